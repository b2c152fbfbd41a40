# SPDX-License-Identifier: GPL-2.0-or-later
"""Walks every path of a callback with abstract values, and notes what happens on the way.

Branches that a path has already decided are not taken the other way. Loops are walked a few times
and then from an unknown state. The number of states is bounded: what is over it is joined, and
findings that rest on a joined state are not certain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from schedcpd.model import Card
from schedcpd.verify.analysis.effects import Effects
from schedcpd.verify.analysis.flow import ALU32, ALU64, JMP, JMP32, LDX, ST, STX, Flow
from schedcpd.verify.analysis.memory import Memory
from schedcpd.verify.analysis.outcome import Ending, Outcome
from schedcpd.verify.analysis.program import CALL, EXIT, JCOND, LD_IMM64, Insn, Program
from schedcpd.verify.analysis.state import Frame, Lap, State, assume
from schedcpd.verify.analysis.values import FULL, MASK32, MASK64, Origin, Unknown, Values

STEPS = 30_000  # of one callback
ALL_STEPS = 90_000  # of all of them, and of both walks
EXACT = 12  # states of one place that are told apart
BLURRED = 18  # ... and then with less detail
JOINED = 48  # ... and then with hardly any
FRAMES = 8  # calls in calls, as the kernel allows
LAPS_EXACT, LAPS = 2, 3
FIRST_LAP = Lap(0, (), {})
SIZES = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}
ALU = {
    0x00: "add", 0x10: "sub", 0x20: "mul", 0x30: "div", 0x40: "or", 0x50: "and", 0x60: "lsh",
    0x70: "rsh", 0x90: "mod", 0xA0: "xor", 0xC0: "arsh",
}  # fmt: skip
# Every comparison as one of four conditions: name, operands swapped, answer negated.
COMPARE = {
    0x10: ("eq", False, False), 0x20: ("gt", False, False), 0x30: ("gt", True, True),
    0x40: ("set", False, False), 0x50: ("eq", False, True), 0x60: ("sgt", False, False),
    0x70: ("sgt", True, True), 0xA0: ("gt", True, False), 0xB0: ("gt", False, True),
    0xC0: ("sgt", True, False), 0xD0: ("sgt", False, True),
}  # fmt: skip


class Walk:
    """Walks the callbacks of one program."""

    def __init__(self, program: Program, card: Card, flow: Flow, values: Values) -> None:
        self.program = program
        self.code = program.code
        self.flow = flow
        self.values = values
        self.memory = Memory(
            program, {one.name: one for one in card.tunables}, values, flow.read_bits
        )
        self.effects = Effects(program, values, self.memory)
        self._left = ALL_STEPS
        self._reset("")

    def _reset(self, callback: str) -> None:
        self.outcome = Outcome(callback)
        self._stack: list[State] = []
        self._seen: dict[tuple[object, ...], set[tuple[object, ...]]] = {}

    def run(self, callback: str, entry: int, parameters: Sequence[str]) -> Outcome:
        """Walk one callback from its entry."""
        self._reset(callback)
        state = State(entry, [0] * 11)
        state.regs[1] = self.values.unknown(
            Unknown(("context", callback), (1, MASK64), Origin.FREE, "context")
        )
        state.regs[10] = self.memory.frame(0)
        self.memory.enter(callback, state.regs[1], parameters)
        self.effects.enter(self.outcome, self.memory.argument(0))
        self._stack.append(state)
        most = min(STEPS, self._left)
        while self._stack and self.outcome.steps < most:
            self._follow(self._stack.pop(), most)
        self.outcome.complete &= not self._stack
        self._left -= self.outcome.steps
        return self.outcome

    def _follow(self, state: State, most: int) -> None:
        """Walk on until the path ends, splits, or has been walked before."""
        while True:
            if state.place in self.flow.targets and not self._is_new(state):
                return
            self.outcome.steps += 1
            if self.outcome.steps >= most:
                self.outcome.complete = False
                return
            if not self._step(state):
                return

    def _step(self, state: State) -> bool:
        """Execute one instruction; False when this path goes no further."""
        insn = self.code[state.place]
        kind = insn.op & 7
        if insn.dead:
            self.effects.trap(state)
            return False
        if insn.op == LD_IMM64:
            state.regs[insn.dst] = self.memory.immediate(insn)
            state.place += 2
            return True
        if kind in (JMP, JMP32):
            return self._jump(state, insn)
        if kind in (ALU32, ALU64):
            state.regs[insn.dst] = self._alu(state, insn)
        elif kind == LDX:
            value = self.memory.load(state, state.regs[insn.src], insn.off, SIZES[insn.op & 0x18])
            signed = insn.op & 0xE0 == 0x80 and insn.op & 0x18 != 0x18
            state.regs[insn.dst] = self._extend(value, SIZES[insn.op & 0x18]) if signed else value
        elif kind == STX:
            self._store(state, insn)
        elif kind == ST:
            self.memory.store(
                state, state.regs[insn.dst], insn.off, SIZES[insn.op & 0x18],
                self.values.const(insn.imm),
            )  # fmt: skip
            self.effects.stored(state, insn)
        state.place += 1
        return True

    def _extend(self, value: int, size: int) -> int:
        return self.values.op(f"sext{8 * size}", value, self.values.const(0))

    def _store(self, state: State, insn: Insn) -> None:
        size = SIZES[insn.op & 0x18]
        address = state.regs[insn.dst]
        if insn.op & 0xE0 != 0xC0:
            value = self.values.low(state.regs[insn.src], size)
            self.memory.store(state, address, insn.off, size, value)
            self.effects.stored(state, insn)
            return
        # An atomic operation: others may write the same place, so nothing is known of it after.
        fresh = self.memory.fresh(state, "atomic", (0, (1 << 8 * size) - 1), Origin.FREE)
        self.memory.store(state, address, insn.off, size, None)
        if insn.imm == 0xF1:
            state.regs[0] = fresh
        elif insn.imm & 1:
            state.regs[insn.src] = fresh

    # ---- arithmetic -----------------------------------------------------------------

    def _alu(self, state: State, insn: Insn) -> int:
        values, regs = self.values, state.regs
        code, wide = insn.op & 0xF0, insn.op & 7 == ALU64
        right = regs[insn.src] if insn.op & 8 else values.const(insn.imm)
        if code == 0xB0:
            if insn.off in (8, 16, 32):
                right = self._extend(right, insn.off // 8)
            return right if wide else values.low(right, 4)
        left = regs[insn.dst]
        if code == 0x80:
            left, right, name = values.const(0), left, "sub"
        elif code == 0xD0:
            return values.op("swap", left, values.const(insn.op << 8 | insn.imm & 0xFF))
        else:
            name = ALU.get(code, "swap")
        if insn.off == 1 and name in ("div", "mod"):
            name = f"s{name}"
        if wide:
            return values.op(name, left, right)
        left, right = values.low(left, 4), values.low(right, 4)
        if name in ("arsh", "sdiv", "smod"):
            left = self._extend(left, 4)
            right = self._extend(right, 4) if name != "arsh" else right
        return values.low(values.op(name, left, right), 4)

    # ---- control flow ---------------------------------------------------------------

    def _jump(self, state: State, insn: Insn) -> bool:
        if insn.op == CALL:
            return self._call(state, insn)
        if insn.op == EXIT:
            return self._exit(state)
        if insn.op & 0xF0 == 0x00:
            return self._go(state, insn.jump)
        if insn.op == JCOND:
            other = state.copy()
            other.place += 1
            self._stack.append(other)
            return self._go(state, insn.jump)
        condition, negated = self._condition(state, insn)
        low, high = self.values.bounds(condition, state.known)
        if low == high:
            if bool(low) != negated:
                return self._go(state, insn.jump)
            state.place += 1
            return True
        other = state.copy()
        if assume(other, self.values, condition, not negated) and self._go(other, insn.jump):
            self._stack.append(other)
        state.place += 1
        return assume(state, self.values, condition, negated)

    def _condition(self, state: State, insn: Insn) -> tuple[int, bool]:
        values = self.values
        left = state.regs[insn.dst]
        right = state.regs[insn.src] if insn.op & 8 else values.const(insn.imm)
        name, swapped, negated = COMPARE.get(insn.op & 0xF0, ("eq", False, False))
        if insn.op & 7 == JMP32:
            left, right = values.low(left, 4), values.low(right, 4)
            name = "sgt32" if name == "sgt" else name
        if swapped:
            left, right = right, left
        return values.op(name, left, right), negated

    def _go(self, state: State, target: int) -> bool:
        """Jump; a loop is walked a few times, at last with all that changes in it unknown."""
        if target <= state.place:
            key = (len(state.frames), target)
            lap, regs, memory = state.laps.get(key, FIRST_LAP)
            if lap >= LAPS:
                return False
            if lap >= LAPS_EXACT:
                self._widen(state, target, regs, memory)
            state.laps[key] = Lap(lap + 1, tuple(state.regs), state.memory.copy())
            state.turns += 1
        state.place = target
        return True

    def _widen(
        self,
        state: State,
        target: int,
        regs: Sequence[int],
        memory: Mapping[tuple[int, int], tuple[int, int]],
    ) -> None:
        gone = set()
        for index, before in enumerate(regs):
            now = state.regs[index]
            if now != before:
                about = Unknown(("lap", target, index), FULL, Origin.WIDENED)
                state.regs[index] = self.values.unknown(about)
                gone.add(state.regs[index])
        for key, (size, now) in list(state.memory.items()):
            if memory.get(key, (size, now))[1] != now:
                bounds = (0, (1 << 8 * size) - 1)
                about = Unknown(("lap", target, key, size), bounds, Origin.WIDENED)
                state.memory[key] = size, self.values.unknown(about)
                gone.add(state.memory[key][1])
        state.forget(self.values, frozenset(gone))

    def _call(self, state: State, insn: Insn) -> bool:
        if insn.callee >= 0:
            return self._enter(state, insn.callee, Frame(state.place + 1, self._saved(state)))
        self.effects.call(state, insn)
        loop = self.effects.loop_callback
        self.effects.loop_callback = None
        if loop is not None:
            frame = Frame(state.place + 1, self._saved(state), 1, loop.most, loop.arguments)
            if not loop.least:
                skipped = state.copy()
                skipped.place += 1
                skipped.regs[0] = self.values.const(0)
                self._stack.append(skipped)
            if loop.most:
                state.regs[1:6] = [*loop.arguments, 0][:5]
                return self._enter(state, loop.entry, frame)
            return False
        state.place += 1
        return True

    def _saved(self, state: State) -> tuple[int, ...]:
        live = self.flow.live[state.place + 1] | 1 << 10
        return tuple(state.regs[reg] if live >> reg & 1 else 0 for reg in range(6, 11))

    def _enter(self, state: State, entry: int, frame: Frame) -> bool:
        if len(state.frames) >= FRAMES:
            self.outcome.complete = False
            return False
        state.frames = (*state.frames, frame)
        state.regs[6:11] = [0, 0, 0, 0, self.memory.frame(len(state.frames))]
        state.place = entry
        return True

    def _exit(self, state: State) -> bool:
        if not state.frames:
            result = state.regs[0]
            self.outcome.endings.append(
                Ending(
                    state.place,
                    result,
                    self.values.bounds(result, state.known),
                    state.events,
                    state.path,
                    state.unsure,
                )
            )
            return False
        depth, frame = len(state.frames), state.frames[-1]
        for key in [key for key in state.laps if key[0] >= depth]:
            del state.laps[key]
        if frame.laps:
            self._next_lap(state, frame)
        self.memory.leave(state, depth)
        state.frames = state.frames[:-1]
        state.regs[1:6] = [0] * 5
        state.regs[6:11] = frame.saved
        state.place = frame.back
        return True

    def _next_lap(self, state: State, frame: Frame) -> None:
        """The callback of a loop returned: 0 to go on, 1 to stop."""
        if frame.laps < min(frame.most, LAPS_EXACT):
            again = state.copy()
            goes_on = self.values.op("eq", self.values.low(state.regs[0], 4), self.values.const(0))
            if assume(again, self.values, goes_on, truth=True):
                self.memory.leave(again, len(again.frames))
                again.frames = (*again.frames[:-1], frame._replace(laps=frame.laps + 1))
                again.regs[1:6] = [*frame.arguments, 0][:5]
                again.regs[6:11] = [0, 0, 0, 0, self.memory.frame(len(again.frames))]
                again.turns += 1
                again.place = self.effects.loop_entries[frame.arguments]
                self._stack.append(again)
        state.regs[0] = self.memory.fresh(state, "laps", (0, min(frame.most, MASK32)), Origin.FREE)

    # ---- states that were here before --------------------------------------------------

    def _is_new(self, state: State) -> bool:
        where = (state.place, tuple(frame.back for frame in state.frames), state.events)
        seen = self._seen.setdefault(where, set())
        if len(seen) >= EXACT and not state.unsure:
            state.unsure = True
        if state.unsure:
            self.memory.blur(state)
        if len(seen) >= BLURRED:
            self.memory.join(state, self.flow.live[state.place])
        signature = self._signature(state)
        if signature in seen:
            return False
        if len(seen) >= JOINED:
            self.outcome.complete = False
            return False
        seen.add(signature)
        return True

    def _signature(self, state: State) -> tuple[object, ...]:
        flow, place = self.flow, state.place
        live, reads = flow.live[place], flow.reads[place]
        for frame in state.frames:
            reads |= flow.reads[frame.back]
        regs = tuple(value if live >> reg & 1 else 0 for reg, value in enumerate(state.regs))
        memory = self.memory.readable(state, reads)
        leaves: set[int] = set()
        for value in (*regs, *(value for _, (_, value) in memory)):
            leaves |= self.values.leaves[value]
        for frame in state.frames:
            for value in (*frame.saved, *frame.arguments):
                leaves |= self.values.leaves[value]
        leaves |= self.memory.reloadable(reads)
        known = frozenset(
            item for item in state.known.items() if self.values.leaves[item[0]] <= leaves
        )
        return regs, memory, known, state.frames, state.unsure
