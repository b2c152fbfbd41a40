# SPDX-License-Identifier: GPL-2.0-or-later
"""What calls do to a state, and the notes that the rules are checked on."""

from __future__ import annotations

from dataclasses import dataclass

from schedcpd.verify.analysis.api import (
    HELPERS,
    MAX_LOOPS,
    MAX_SAMPLES,
    TREE_DEPTH,
    VALUE,
    Act,
    Call,
    kfunc,
)
from schedcpd.verify.analysis.memory import OWN, Memory
from schedcpd.verify.analysis.outcome import MAP, MISSING, STORE, Outcome, Site, entry_of
from schedcpd.verify.analysis.program import Insn, Program, base_name
from schedcpd.verify.analysis.state import State
from schedcpd.verify.analysis.values import MASK32, MASK64, Origin, Values

SITE_LIMIT = 4096
ARRAYS = (2, 6)  # BPF_MAP_TYPE_ARRAY and its per-CPU form: a lookup within it finds something
OWN_TASK = frozenset(("select_cpu", "enqueue"))


@dataclass(frozen=True, slots=True)
class Loop:
    """A call that makes the kernel call a function of the policy again and again."""

    entry: int
    least: int
    most: int
    arguments: tuple[int, ...]


class Effects:
    """Knows the calls."""

    def __init__(self, program: Program, values: Values, memory: Memory) -> None:
        self.program = program
        self.values = values
        self.memory = memory
        self.loop_callback: Loop | None = None
        self.loop_entries: dict[tuple[int, ...], int] = {}
        self.timers: set[int] = set()
        self._noted: Outcome | None = None
        self._task = 0
        self._fork = _fork_offset(program)
        self._ids = _id_offsets(program)

    def enter(self, noted: Outcome, task: int) -> None:
        """A walk through a callback begins, for this task."""
        self._noted, self._task = noted, task

    def trap(self, state: State) -> None:
        """An instruction that this kernel has nothing for is reached."""
        self._note(Site(state.place, MISSING, Act.OTHER, self._callback, self._chain(state)))

    @property
    def _callback(self) -> str:
        return self._noted.callback if self._noted else ""

    def _chain(self, state: State) -> tuple[int, ...]:
        return tuple(frame.back for frame in state.frames)

    def _note(self, site: Site) -> None:
        if self._noted is None:
            return
        key = (site.place, site.name, site.chain, site.bounds, site.is_own, site.points_to,
               site.is_guarded)  # fmt: skip
        before = self._noted.sites.get(key)
        if before is None and len(self._noted.sites) >= SITE_LIMIT:
            self._noted.complete = False
        elif before is None or (before.unsure and not site.unsure):
            self._noted.sites[key] = site

    # ---- stores ---------------------------------------------------------------------

    def stored(self, state: State, insn: Insn) -> None:
        """A plain store: noted when it is to a task of the kernel's."""
        base, offset = self.values.address(state.regs[insn.dst])
        region = self.values.points_to(base)
        value = state.regs[insn.src] if insn.op & 7 == 3 else self.values.const(insn.imm)
        if region.startswith(OWN) and self._names_task(value):
            state.count("updates")
        if region != "task_struct":
            return
        offset = (offset + insn.off) & MASK64
        self._note(
            Site(
                state.place, STORE, Act.OTHER, self._callback, self._chain(state),
                bounds=((offset, offset), self.values.bounds(value, state.known)),
                values=(value,),
                points_to=(region,), path=state.path, is_guarded=self._is_guarded(state),
                unsure=state.unsure,
            )
        )  # fmt: skip

    def _names_task(self, value: int) -> bool:
        """Whether a value is the callback's task, or says which one it is."""
        return value == self._task or any(
            key[:2] == ("load", self._task) and key[2] in self._ids
            for key in (self.values.unknowns[leaf].key for leaf in self.values.leaves[value])
        )

    def _is_guarded(self, state: State) -> bool:
        held = state.memory.get((self.memory.argument(1), self._fork))
        if held is None:
            return False
        leaves = self.values.leaves[held[1]]
        tested = any(self.values.leaves[one] & leaves for one in state.known)
        return tested and self.values.bounds(held[1], state.known)[0] == 0

    # ---- calls ----------------------------------------------------------------------

    def call(self, state: State, insn: Insn) -> None:
        """Do what a call does; one that this kernel does not have is a finding of its own."""
        name, about = self._named(insn)
        values = self._arguments(state, about)
        site = Site(
            place=state.place,
            name=name,
            act=about.act,
            callback=self._callback,
            chain=self._chain(state),
            bounds=tuple(self.values.bounds(one, state.known) for one in values)
            if about.act != Act.OTHER
            else (),
            values=values,
            points_to=tuple(self.values.points_to(one) for one in values),
            is_own=self._callback in OWN_TASK and state.regs[1] == self._task,
            is_kfunc=bool(insn.kfunc),
            as_written=insn.kfunc,
            path=state.path,
            unsure=state.unsure,
        )
        self._note(site)
        self._events(state, site)
        for argument, size in (about.writes or {}).items():
            self.memory.clobber(state, state.regs[argument], self._size(state, name, size))
        self._callbacks(state, site)
        state.regs[0] = self._result(state, name, about)
        state.regs[1:6] = [0] * 5

    def _named(self, insn: Insn) -> tuple[str, Call]:
        if insn.kfunc:
            name = base_name(insn.kfunc)
            return name, kfunc(name) or Call()
        return HELPERS.get(insn.imm, (f"helper {insn.imm}", Call()))

    def _arguments(self, state: State, about: Call) -> tuple[int, ...]:
        if about.act != Act.INSERT_VTIME_ARGS:
            return tuple(state.regs[1:6])
        fields = [self.memory.load(state, state.regs[2], offset, 8) for offset in (0, 8, 16, 24)]
        return (state.regs[1], *fields)

    def _size(self, state: State, name: str, size: int) -> int:
        """Reads say in their second argument how much they write."""
        if "probe_read" not in name:
            return size
        return min(size, self.values.bounds(state.regs[2], state.known)[1])

    def _events(self, state: State, site: Site) -> None:
        act = site.act
        if act in (Act.INSERT, Act.INSERT_VTIME, Act.INSERT_VTIME_ARGS):
            state.count("inserts" if site.is_own else "others")
            if not site.is_own:
                state.count("tries")
        elif act in (
            Act.CONSUME,
            Act.MOVE,
            Act.SUB_DISPATCH,
            Act.ITERATE_QUEUE,
            Act.POP,
            Act.DRAIN,
        ):
            state.count("tries")
        elif act == Act.PUSH:
            state.count("pushes")
        elif act == Act.UPDATE:
            state.count("updates")
        elif act in (Act.ERROR, Act.LEAVE):
            state.count("errors")

    def _result(self, state: State, name: str, about: Call) -> int:
        pointed, bounds = about.points_to, about.bounds
        if pointed == VALUE:
            map_name = self.values.points_to(state.regs[1]).removeprefix(MAP)
            pointed = f"value:{map_name}"
            if about.act == Act.READ_MAP and self._is_within(state, map_name):
                bounds = (1, MASK64)
        origin = Origin.STATE if pointed.startswith(("value:", "own", "record")) else Origin.FREE
        value = self.memory.fresh(state, name, bounds, origin, pointed)
        if name == "bpf_iter_num_next":
            self._number(state, value)
        elif name == "bpf_iter_num_new":
            self._new_numbers(state)
        return value

    def _is_within(self, state: State, map_name: str) -> bool:
        about = self.program.maps.get(map_name)
        if about is None or about.kind not in ARRAYS or about.key_size != 4:
            return False
        key = self.memory.load(state, state.regs[2], 0, 4)
        return self.values.bounds(key, state.known)[1] < about.max_entries

    def _new_numbers(self, state: State) -> None:
        """Keep the bounds of a number iterator in the iterator itself, as one value each."""
        start, end = (self.values.low(state.regs[reg], 4) for reg in (2, 3))
        self.memory.store(state, state.regs[1], 0, 4, start)
        self.memory.store(state, state.regs[1], 4, 4, end)

    def _number(self, state: State, pointer: int) -> None:
        low = self.values.bounds(self.memory.load(state, state.regs[1], 0, 4), state.known)[0]
        high = self.values.bounds(self.memory.load(state, state.regs[1], 4, 4), state.known)[1]
        bounds = (low, high - 1) if low < high <= MASK32 >> 1 else (0, MASK32)
        number = self.memory.fresh(state, "number", bounds, Origin.FREE)
        state.memory[pointer, 0] = 4, number

    def _callbacks(self, state: State, site: Site) -> None:
        entry = entry_of(site)
        if entry < 0:
            return
        if site.act == Act.TIMER:
            self.timers.add(entry)
        elif site.act == Act.LOOP:
            low, high = self.values.bounds(self.values.low(state.regs[1], 4), state.known)
            high = min(high, MAX_LOOPS)
            index = self.memory.fresh(state, "index", (0, max(high - 1, 0)), Origin.FREE)
            self._loop(entry, low, high, (index, state.regs[3]))
        elif site.act == Act.FOR_EACH:
            map_name = site.points_to[0].removeprefix(MAP)
            about = self.program.maps.get(map_name)
            most = about.max_entries if about else MAX_LOOPS
            key = self.memory.fresh(state, "key", (1, MASK64), Origin.FREE, "own")
            value = self.memory.fresh(
                state, "element", (1, MASK64), Origin.STATE, f"value:{map_name}"
            )
            self._loop(entry, 0, most, (state.regs[1], key, value, state.regs[3]))
        elif site.act == Act.DRAIN:
            sample = self.memory.fresh(state, "sample", (1, MASK64), Origin.FREE, "record")
            self._loop(entry, 0, MAX_SAMPLES, (sample, state.regs[3]))
        elif site.act == Act.PUSH:
            nodes = [
                self.memory.fresh(state, which, (1, MASK64), Origin.STATE, "own")
                for which in ("node", "other")
            ]
            self._loop(entry, 0, TREE_DEPTH, tuple(nodes))

    def _loop(self, entry: int, least: int, most: int, arguments: tuple[int, ...]) -> None:
        self.loop_callback = Loop(entry, least, most, arguments)
        self.loop_entries[arguments] = entry


def _fork_offset(program: Program) -> int:
    """Where args->fork of init_task lies, in the object's own layout."""
    btf = program.btf
    for type_id in btf.ids(["scx_init_task_args"])["scx_init_task_args"]:
        for field in btf.fields(type_id):
            if field.name == "fork":
                return field.bits // 8
    return 0


def _id_offsets(program: Program) -> frozenset[int]:
    """Where a task has its numbers."""
    btf = program.btf
    return frozenset(
        field.bits // 8
        for type_id in btf.ids(["task_struct"])["task_struct"]
        for field in btf.fields(type_id)
        if field.name in ("pid", "tgid")
    )
