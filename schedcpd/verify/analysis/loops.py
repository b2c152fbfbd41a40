# SPDX-License-Identifier: GPL-2.0-or-later
"""How often the loops of a callback go round in all: across nesting, calls and all their kinds.

The kernel's verifier proves that a loop ends, not that it ends this year: two nested bpf_loop()
calls of eight million laps pass it, and hang the machine with a runqueue locked.
"""

from __future__ import annotations

from collections import defaultdict

from schedcpd.verify.analysis.api import MAX_LOOPS, MAX_SAMPLES, TREE_DEPTH, Act
from schedcpd.verify.analysis.cycles import Cycle, cycles
from schedcpd.verify.analysis.findings import Analysis
from schedcpd.verify.analysis.flow import ALU32, ALU64, JMP, JMP32, successors, usage
from schedcpd.verify.analysis.outcome import Site, entry_of, map_of
from schedcpd.verify.analysis.program import CALL, JCOND, LD_IMM64, Function
from schedcpd.verify.analysis.values import MASK32

LAPS_LIMIT = 65536  # of one callback
QUEUE_LAPS = 1024  # taken for an iterator over tasks: nobody knows how many there are
VERIFIER_STEPS = 1_000_000  # the kernel's verifier walks a plain loop lap by lap
ENDLESS = 1 << 60
CALLS = 8  # how deep functions call each other, as the kernel allows
CYCLES = 256  # loops in one function; with more of them it is not worth counting
LOOP_HELPERS = (164, 181, 209)  # bpf_for_each_map_elem, bpf_loop, bpf_user_ringbuf_drain
LOOPING = (Act.LOOP, Act.FOR_EACH, Act.DRAIN)
SAMPLE_BYTES = 8  # the least that one takes in a ring buffer
Iterator = tuple[int, tuple[int, ...]]  # where it is, and in which call of its function
ITERATING = (Act.ITERATE, Act.ITERATE_QUEUE)
NUMBERS_NEW, NUMBERS_NEXT = "bpf_iter_num_new", "bpf_iter_num_next"
MOVE_NUMBERS = (0xB0 | ALU32, 0xB0 | ALU64)  # of a number into a register


class Budget:
    """Counts laps; the numbers come from what the walk of one callback has seen."""

    def __init__(self, analysis: Analysis, callback: str) -> None:
        self._program = analysis.program
        self._code = analysis.program.code
        self._calls: dict[int, int] = defaultdict(int)  # place of bpf_loop() → laps
        self._entries: dict[int, set[int]] = defaultdict(set)  # ... → what it calls
        self._iterators: dict[Iterator, int] = defaultdict(int)  # → laps
        self._begun: dict[Iterator, set[int]] = defaultdict(set)  # → places of its new()
        self._next: dict[int, set[Iterator]] = defaultdict(set)  # place of a next() → iterators
        self._creates: set[int] = set()
        self._cycles: dict[int, list[Cycle]] = {}
        self._laps: dict[int, int] = {}
        self._queues: dict[int, int] = {}
        self._is_complete = analysis.outcomes[callback].complete
        for site in analysis.outcomes[callback].sites.values():
            self._read(site)

    def _read(self, site: Site) -> None:
        entry = entry_of(site)
        if site.act in LOOPING or (site.act == Act.PUSH and entry >= 0):
            # What is not known to be called may be anything.
            most = self._laps_of(site) if entry >= 0 else ENDLESS
            self._calls[site.place] = max(self._calls[site.place], most)
            self._entries[site.place] |= {entry} - {-1}
        elif site.act in ITERATING:
            one = site.values[0], site.chain
            most = _count(site) if site.name == NUMBERS_NEW else QUEUE_LAPS
            self._begun[one].add(site.place)
            self._iterators[one] = max(self._iterators[one], most)
        elif site.act == Act.NEXT:
            self._next[site.place].add((site.values[0], site.chain))
        elif site.act == Act.CREATE:
            self._creates.add(site.place)

    def _laps_of(self, site: Site) -> int:
        """How often a call makes the kernel call a function of the policy."""
        if site.act == Act.LOOP:
            return min(site.bounds[0][1] & MASK32, MAX_LOOPS)
        if site.act == Act.PUSH:
            return TREE_DEPTH
        about = self._program.maps.get(map_of(site))
        if site.act == Act.DRAIN:
            return min(about.max_entries // SAMPLE_BYTES, MAX_SAMPLES) if about else MAX_SAMPLES
        return about.max_entries if about else MAX_LOOPS

    def laps(self, entry: int, depth: int = 0) -> int:
        """How many laps a call of this function may make in all."""
        if entry in self._laps or depth > CALLS:
            return self._laps.get(entry, ENDLESS)
        self._laps[entry] = ENDLESS
        if len(self._loops(entry)) > CYCLES:
            return ENDLESS
        function = self._program.functions[entry]
        total = sum(self._around(entry, next(iter(one.own))) for one in self._loops(entry)
                    if one.own)  # fmt: skip
        for place in range(function.entry, function.end):
            inner = self._inner(place, self.laps, depth)
            if self._is_unseen(place):
                total += MAX_LOOPS
            elif place in self._calls:
                total += self._around(entry, place) * self._calls[place] * (1 + inner)
            elif inner:
                total += self._around(entry, place) * inner
        self._laps[entry] = min(total, ENDLESS)
        return self._laps[entry]

    def queues(self, entry: int, depth: int = 0) -> int:
        """How many queues a call of this function may create."""
        if entry in self._queues or depth > CALLS:
            return self._queues.get(entry, ENDLESS)
        self._queues[entry] = ENDLESS
        if len(self._loops(entry)) > CYCLES:
            return ENDLESS
        function = self._program.functions[entry]
        total = 0
        for place in range(function.entry, function.end):
            inner = self._inner(place, self.queues, depth) * self._calls.get(place, 1)
            if inner or place in self._creates:
                total += self._around(entry, place) * (inner + (place in self._creates))
        self._queues[entry] = min(total, ENDLESS)
        return self._queues[entry]

    def _is_unseen(self, place: int) -> bool:
        """Whether this call loops, and the walk may have ended before it came here."""
        insn = self._code[place]
        is_loop = insn.op == CALL and not insn.src and insn.imm in LOOP_HELPERS
        return is_loop and not self._is_complete and place not in self._calls

    def _inner(self, place: int, count: object, depth: int) -> int:
        insn = self._code[place]
        entries = set(self._entries.get(place, ()))
        if insn.op == CALL and insn.callee >= 0:
            entries.add(insn.callee)
        if not entries or not callable(count):
            return 0
        return sum(int(count(one, depth + 1)) for one in entries)

    def _around(self, entry: int, place: int) -> int:
        """How often the loops of its own function carry a place round."""
        product = 1
        for cycle in self._loops(entry):
            if place in cycle.nodes:
                product = min(product * self._of_cycle(cycle), ENDLESS)
        return product

    def _loops(self, entry: int) -> list[Cycle]:
        if entry not in self._cycles:
            function = self._program.functions[entry]
            self._cycles[entry] = cycles(self._graph(function), self._counted)
        return self._cycles[entry]

    def _counted(self, nodes: frozenset[int]) -> frozenset[int]:
        """The places in a loop that ask an iterator begun before it for the next one."""
        return frozenset(
            place
            for place in nodes & self._next.keys()
            if all(one in self._begun and not self._begun[one] & nodes for one in self._next[place])
        )

    def _graph(self, function: Function) -> dict[int, list[int]]:
        graph, place = {}, function.entry
        while place < function.end:
            following = successors(self._code, place, function.end)
            graph[place] = following
            place += 2 if self._code[place].op == LD_IMM64 else 1
        return {
            node: [one for one in following if one in graph] for node, following in graph.items()
        }

    def _of_cycle(self, cycle: Cycle) -> int:
        if counted := self._counted(cycle.nodes):
            ones = {one for place in counted for one in self._next[place]}
            return sum(self._iterators[one] for one in ones)
        for place in cycle.own:
            insn = self._code[place]
            if insn.op == JCOND:
                return MAX_LOOPS
            if insn.op == CALL and insn.kfunc.endswith("_next"):
                return self._of_next(place)
        return self._of_plain(cycle)

    def _of_next(self, place: int) -> int:
        """Laps of an iterator that was begun in another function, or that was never reached."""
        if self._code[place].kfunc != NUMBERS_NEXT:
            return QUEUE_LAPS
        asked = {at for at, _ in self._next.get(place, ())}
        known = [most for (at, _), most in self._iterators.items() if at in asked]
        return max(known, default=1 if self._is_complete else self._as_written(place))

    def _as_written(self, place: int) -> int:
        """The most laps of the number iterators that this function begins with plain numbers."""
        functions = self._program.functions.values()
        function = next(one for one in functions if one.entry <= place < one.end)
        targets = frozenset(insn.jump for insn in self._code[function.entry : function.end])
        news = [
            at for at in range(function.entry, function.end)
            if self._code[at].op == CALL and self._code[at].kfunc == NUMBERS_NEW
        ]  # fmt: skip
        most = 0 if news else MAX_LOOPS
        for at in news:
            start, end = (self._number(at, register, targets) for register in (2, 3))
            most = max(most, MAX_LOOPS if start is None or end is None else end - start)
        return min(most, MAX_LOOPS)

    def _number(self, at: int, register: int, targets: frozenset[int]) -> int | None:
        """The number in a register at a call, if it is put there just before on every way to it."""
        place = at
        while place not in targets and place > 0:
            place -= 1
            insn = self._code[place]
            if usage(insn)[1] >> register & 1:
                is_number = insn.op in MOVE_NUMBERS and insn.dst == register
                return insn.imm if is_number else None
            if insn.op & 7 in (JMP, JMP32):
                return None
        return None

    def _of_plain(self, cycle: Cycle) -> int:
        """A loop without an iterator: the greatest number that a way out is tested with."""
        tested = [0]
        for place in cycle.own:
            insn = self._code[place]
            is_test = insn.op & 7 in (JMP, JMP32) and insn.jump >= 0 and not insn.op & 8
            if is_test and not {place + 1, insn.jump} <= cycle.nodes:
                tested.append(abs(insn.imm))
        most = min(VERIFIER_STEPS // max(1, len(cycle.nodes)), LAPS_LIMIT)
        return min(max(tested), most) or most


def _count(site: Site) -> int:
    """How often a number iterator goes round at most."""
    low, high = site.bounds[1][0] & MASK32, site.bounds[2][1] & MASK32
    if low > MASK32 >> 1 or high > MASK32 >> 1:
        return MAX_LOOPS
    return min(max(high - low, 0), MAX_LOOPS)
