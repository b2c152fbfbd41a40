# SPDX-License-Identifier: GPL-2.0-or-later
"""What loads find and stores leave: stack, constants, the policy's own memory, the kernel's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from schedcpd.model import Tunable
from schedcpd.verify.analysis.flow import read_key
from schedcpd.verify.analysis.program import Insn, Program
from schedcpd.verify.analysis.state import State
from schedcpd.verify.analysis.values import FULL, MASK64, Origin, Range, Unknown, Values

NOT_NULL = (1, MASK64)
CPUS = (0, 8191)
CONSTANTS = ".rodata"
MAP_SECTION = ".maps"
EXTERN_VARIABLES = ("CONFIG_", "LINUX_")
OWN = ("section:", "value:", "own", "record", "percpu")  # the policy's own memory
# Parameters that are CPU numbers, and pointers that may be NULL: (callback, index).
CPU_PARAMETERS = frozenset(
    (("dispatch", 0), ("select_cpu", 1), ("update_idle", 0), ("cpu_acquire", 0),
     ("cpu_release", 0), ("cpu_online", 0), ("cpu_offline", 0), ("dump_cpu", 1))
)  # fmt: skip
NULLABLE = frozenset((("dispatch", 1), ("yield", 1)))
ALIGN = 8


class Memory:
    """Loads and stores of all kinds of memory, on the state that they happen in."""

    def __init__(
        self, program: Program, tunables: Mapping[str, Tunable], values: Values,
        read_bits: Mapping[tuple[str, int], int],
    ) -> None:  # fmt: skip
        self.program = program
        self.values = values
        self._read_bits = read_bits
        self._loaded: dict[int, int] = {}  # unknown from a load → bits of what reads it again
        self._reloadable: dict[int, set[int]] = {}
        self._joins: dict[tuple[object, ...], int] = {}
        self._stacks: set[int] = set()
        self._taken = _addresses_taken(program)
        self._may_be_read: dict[int, dict[tuple[int, int], bool]] = {}
        self._constants: dict[tuple[int, int], Tunable] = {}
        self._maps: dict[tuple[int, int], str] = {}
        self._called = {insn.kfunc for insn in program.code if insn.kfunc and insn.op == 0x85}
        for name, symbol in program.symbols.items():
            if name in tunables and symbol.section.startswith(CONSTANTS):
                self._constants[symbol.index, symbol.value] = tunables[name]
            if symbol.section == MAP_SECTION:
                self._maps[symbol.index, symbol.value] = name
        self.stored: dict[tuple[int, int, int], Range] = {}  # variables written: hull of values
        self.counters: set[int] = set()  # loads of variables that are then counted up
        self.wild: set[int] = set()  # sections written at an unknown place
        self.settled: Mapping[tuple[int, int, int], Range] | None = None  # of an earlier walk
        self._parameters: Sequence[str] = ()
        self._callback = ""
        self._context = 0

    # ---- where things are -----------------------------------------------------------

    def enter(self, callback: str, context: int, parameters: Sequence[str]) -> None:
        """A walk through this callback begins."""
        self._callback, self._context, self._parameters = callback, context, parameters

    def frame(self, depth: int) -> int:
        """The stack of the function that is so many calls deep."""
        about = Unknown(("stack", depth), (1 << 32, MASK64 >> 1), Origin.FREE, "stack")
        value = self.values.unknown(about)
        self._stacks.add(value)
        return value

    def argument(self, index: int) -> int:
        """The callback's own parameter."""
        pointed = self._parameters[index] if 0 <= index < len(self._parameters) else ""
        bounds = FULL
        if (self._callback, index) in CPU_PARAMETERS:
            bounds = CPUS
        elif pointed and (self._callback, index) not in NULLABLE:
            bounds = NOT_NULL
        key = ("argument", self._callback, index)
        return self.values.unknown(Unknown(key, bounds, Origin.FREE, pointed.strip("*")))

    def immediate(self, insn: Insn) -> int:
        """What an instruction with a 64-bit immediate loads."""
        values = self.values
        if insn.kfunc:
            if insn.kfunc in self.program.missing and insn.kfunc in self._called:
                return values.const(0)
            is_setting = insn.kfunc.startswith(EXTERN_VARIABLES)
            pointed = "setting" if is_setting else "ksym"
            return values.unknown(Unknown(("ksym", insn.kfunc), NOT_NULL, Origin.FREE, pointed))
        if insn.callee >= 0:
            return values.unknown(
                Unknown(("code", insn.callee), NOT_NULL, Origin.FREE, f"code:{insn.callee}")
            )
        if insn.symbol is None:
            return values.const(insn.imm)
        place = insn.symbol.value + (insn.imm if not insn.symbol.name else 0)
        if insn.symbol.section == MAP_SECTION:
            name = self._maps.get((insn.symbol.index, place), "")
            return values.unknown(Unknown(("map", name), NOT_NULL, Origin.FREE, f"map:{name}"))
        about = Unknown(
            ("section", insn.symbol.index), NOT_NULL, Origin.FREE, f"section:{insn.symbol.index}"
        )
        offset = insn.symbol.value + insn.imm
        return values.op("add", values.unknown(about), values.const(offset))

    def fresh(
        self, state: State, what: str, bounds: Range, origin: Origin, points_to: str = ""
    ) -> int:
        """Something new and unknown that comes to be at this place."""
        chain = tuple(frame.back for frame in state.frames)
        key = (what, self._callback, state.place, chain, state.turns, bounds, points_to)
        value = self.values.unknown(Unknown(key, bounds, origin, points_to))
        state.forget(self.values, frozenset((value,)))
        return value

    # ---- loads ----------------------------------------------------------------------

    def load(self, state: State, address: int, off: int, size: int) -> int:
        """The value at an address."""
        base, offset = self.values.address(address)
        offset += off
        held = state.memory.get((base, offset))
        if held is not None and held[0] >= size:
            value = held[1] if held[0] == size else self.values.low(held[1], size)
        else:
            value = self._load_new(state, base, offset, size)
            state.memory[base, offset] = size, value
        self._note(state.place, value)
        return value

    def _note(self, place: int, value: int) -> None:
        bit = self._read_bits.get(read_key(self.program.code, place), 0)
        for leaf in self.values.leaves[value]:
            if bit & ~self._loaded.get(leaf, 0):
                self._loaded[leaf] = self._loaded.get(leaf, 0) | bit
                self._reloadable.clear()

    def _load_new(self, state: State, base: int, offset: int, size: int) -> int:
        values = self.values
        bounds = (0, (1 << 8 * size) - 1)
        region = values.points_to(base)
        if base == self._context and offset % ALIGN == 0:
            return values.low(self.argument(offset // ALIGN), size)
        if region.startswith("section:"):
            return self._load_variable(state, base, offset, size)
        if region == "stack" or region.startswith(OWN):
            origin = Origin.FREE if region == "stack" else Origin.STATE
            return self.fresh(state, f"load {base} {offset} {size}", bounds, origin)
        key = ("load", base, offset, size)
        return values.unknown(Unknown(key, bounds, Origin.FREE, self._pointed(region, offset)))

    def _pointed(self, region: str, offset: int) -> str:
        return "" if region != "task_struct" else f"task+{offset}"

    def _load_variable(self, state: State, base: int, offset: int, size: int) -> int:
        values, bounds = self.values, (0, (1 << 8 * size) - 1)
        pointed = values.points_to(base)
        index = int(pointed.removeprefix("section:"))
        section = self.program.sections[index]
        exact = base in values.unknowns
        if section.name.startswith(CONSTANTS):
            if not exact:
                return values.unknown(Unknown(("load", base, offset, size), bounds, Origin.FREE))
            return self._load_constant(index, offset, size)
        bounds = self._settled_bounds(index, offset, size, exact=exact)
        return self.fresh(state, f"load {base} {offset} {size}", bounds, Origin.STATE)

    def _load_constant(self, index: int, offset: int, size: int) -> int:
        values = self.values
        for (section, place), tunable in self._constants.items():
            if section == index and place <= offset < place + 8:
                symbol = self.program.symbols[tunable.name]
                if offset < place + symbol.size:
                    exact = offset == place and size == symbol.size
                    return self._tunable(tunable, offset, size, exact=exact)
        raw = self.program.sections[index].data[offset : offset + size] if offset >= 0 else b""
        return values.const(int.from_bytes(raw, "little"))

    def _tunable(self, tunable: Tunable, offset: int, size: int, *, exact: bool) -> int:
        low, high = tunable.minimum, tunable.maximum
        if low < 0 or tunable.role or not exact:
            low, high = 0, (1 << 8 * size) - 1
        key = ("tunable", tunable.name, offset, size)
        return self.values.unknown(Unknown(key, (low, high), Origin.FREE))

    def _settled_bounds(self, index: int, offset: int, size: int, *, exact: bool) -> Range:
        full = (0, (1 << 8 * size) - 1)
        if self.settled is None or not exact or index in self.wild:
            return full
        around = [
            bounds
            for (section, place, width), bounds in self.settled.items()
            if section == index and place < offset + size and offset < place + width
        ]
        if (index, offset, size) not in self.settled or len(around) != 1:
            return full
        data = self.program.sections[index].data[offset : offset + size]
        first = int.from_bytes(data, "little")
        low, high = around[0]
        return min(low, first), min(max(high, first), full[1])

    # ---- stores ---------------------------------------------------------------------

    def store(self, state: State, address: int, off: int, size: int, value: int | None) -> None:
        """Write a value, or something unknown, to an address."""
        base, offset = self.values.address(address)
        offset += off
        region = self.values.points_to(base)
        exact = base in self.values.unknowns
        if region.startswith("section:"):
            self._note_store(state, int(region.removeprefix("section:")), offset, size, value,
                             exact=exact)  # fmt: skip
        if not exact and region:
            self._drop_region(state, region)
            return
        if region.startswith("value:"):
            for key in [key for key in state.memory if key[0] != base]:
                if offset - 8 < key[1] < offset + size and self.values.points_to(key[0]) == region:
                    del state.memory[key]
        self._drop(state, base, offset, size)
        if value is not None:
            state.memory[base, offset] = size, value

    def _note_store(
        self, state: State, section: int, offset: int, size: int, value: int | None, *, exact: bool
    ) -> None:
        if not exact:
            self.wild.add(section)
            return
        full = (0, (1 << 8 * size) - 1)
        if value is not None:
            self._note_counter(section, offset, value)
        low, high = full if value is None else self.values.bounds(value, state.known)
        before = self.stored.get((section, offset, size), (low, high))
        self.stored[section, offset, size] = min(low, before[0]), max(high, before[1])

    def _note_counter(self, section: int, offset: int, value: int) -> None:
        """A variable that gets its own value plus a constant takes every value in time."""
        values = self.values
        kind, inner, _ = values.nodes[value]
        if kind == "and":
            kind, inner, _ = values.nodes[inner]
        if kind != "add":
            return
        base = values.unknown(Unknown(("section", section), NOT_NULL, Origin.FREE))
        for leaf in values.leaves[inner]:
            if str(values.unknowns[leaf].key[0]).startswith(f"load {base} {offset} "):
                self.counters.add(leaf)

    def clobber(self, state: State, address: int, size: int) -> None:
        """The kernel writes something to an address."""
        base, offset = self.values.address(address)
        region = self.values.points_to(base)
        if region.startswith("section:"):
            self.wild.add(int(region.removeprefix("section:")))
        if base not in self.values.unknowns and region:
            self._drop_region(state, region)
        elif base in self._stacks:
            size = min(size, -offset) if offset < 0 else size
        self._drop(state, base, offset, size)

    def _drop_region(self, state: State, region: str) -> None:
        for key in [key for key in state.memory if self.values.points_to(key[0]) == region]:
            del state.memory[key]

    def _drop(self, state: State, base: int, offset: int, size: int) -> None:
        memory = state.memory
        if size <= ALIGN:
            near = [(base, place) for place in range(offset - 7, offset + size)]
        else:
            near = [key for key in memory if key[0] == base and key[1] < offset + size]
        for key in near:
            held = memory.get(key)
            if held is not None and key[1] + held[0] > offset:
                del memory[key]

    def leave(self, state: State, depth: int) -> None:
        """A function returns: its stack is gone."""
        stack = self.frame(depth)
        for key in [key for key in state.memory if key[0] == stack]:
            del state.memory[key]

    # ---- comparing states -------------------------------------------------------------

    def blur(self, state: State) -> None:
        """Keep only registers and stack, so that more states are alike."""
        state.known.clear()
        for key in [key for key in state.memory if key[0] not in self._stacks]:
            del state.memory[key]

    def join(self, state: State, live: int) -> None:
        """Keep of registers and stack only what is a pointer."""
        values = self.values
        for reg, value in enumerate(state.regs):
            if live >> reg & 1 and not values.points_to(value):
                state.regs[reg] = self._joined((state.place, reg), FULL)
        for key, (size, value) in list(state.memory.items()):
            if not values.points_to(value):
                bounds = (0, (1 << 8 * size) - 1)
                state.memory[key] = size, self._joined((state.place, key, size), bounds)

    def _joined(self, where: tuple[object, ...], bounds: Range) -> int:
        if where not in self._joins:
            about = Unknown(("joined", *where), bounds, Origin.WIDENED)
            self._joins[where] = self.values.unknown(about)
        return self._joins[where]

    def readable(
        self, state: State, reads: int
    ) -> frozenset[tuple[tuple[int, int], tuple[int, int]]]:
        """What memory holds that may still be read."""
        known = self._may_be_read.setdefault(reads, {})
        for key in state.memory.keys() - known.keys():
            known[key] = self._find_readable(key, reads)
        return frozenset(item for item in state.memory.items() if known[item[0]])

    def _find_readable(self, key: tuple[int, int], reads: int) -> bool:
        base, offset = key
        if base not in self._stacks:
            about = self.values.points_to(base)
            if about.startswith(OWN):
                return True
            return bool(self._read_bits.get(("memory", offset), 0) & reads)
        if self._read_bits.get(("stack", offset), 0) & reads:
            return True
        return any(start <= offset < start + 64 for start in self._taken)

    def reloadable(self, reads: int) -> set[int]:
        """The unknowns that a later load would find again."""
        if reads not in self._reloadable:
            self._reloadable[reads] = {leaf for leaf, bits in self._loaded.items() if bits & reads}
        return self._reloadable[reads]


def _addresses_taken(program: Program) -> frozenset[int]:
    """Offsets in the stack whose address is computed somewhere."""
    found = set()
    code = program.code
    for place, insn in enumerate(code[:-1]):
        if insn.op == 0xBF and insn.src == 10:
            following = code[place + 1]
            is_offset = following.op == 0x07 and following.dst == insn.dst
            found.add(following.imm if is_offset else 0)
    return frozenset(found)
