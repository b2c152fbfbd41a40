# SPDX-License-Identifier: GPL-2.0-or-later
"""Plain data flow over the code: successors, live registers, and what is still going to be read.

Two states of the walk that differ only in what nobody reads any more are the same state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schedcpd.verify.analysis.program import CALL, EXIT, LD_IMM64, Function, Insn, Program

LDX, ST, STX, ALU32, JMP, JMP32, ALU64 = 1, 2, 3, 4, 5, 6, 7
ARGUMENTS = 0b111110
CALL_CLOBBERS = 0b111111
FRAME = 10
BITS = 512  # different reads that are told apart; more share a bit
PASSES = 64  # of one function; what is not settled by then is only less exact


@dataclass(frozen=True, slots=True)
class Flow:
    """Facts by place."""

    targets: frozenset[int]  # places that a jump leads to
    live: Sequence[int]  # registers that are read before they are written, as bits
    reads: Sequence[int]  # what is still read from memory, as bits
    read_bits: Mapping[tuple[str, int], int]


def successors(code: Sequence[Insn], place: int, end: int) -> list[int]:
    """Where the function goes on after ``place``."""
    insn = code[place]
    if insn.op == EXIT:
        return []
    following = place + (2 if insn.op == LD_IMM64 else 1)
    found = [following] if following < end else []
    if insn.jump >= 0:
        found = [insn.jump] if insn.op & 0xF7 in (0x05, 0x06) else [*found, insn.jump]
    return found


def usage(insn: Insn) -> tuple[int, int]:
    """The registers that an instruction reads and writes, as bits."""
    kind = insn.op & 7
    dst, src = 1 << insn.dst, 1 << insn.src
    if insn.op == CALL:
        return ARGUMENTS, CALL_CLOBBERS
    if insn.op == EXIT:
        return 1, 0
    if kind == LDX:
        return src, dst
    if kind == ST:
        return dst, 0
    if kind == STX:
        return dst | src | (1 if insn.op & 0xE0 == 0xC0 else 0), 0
    if kind in (ALU32, ALU64):
        read = src if insn.op & 8 else 0
        return (read, dst) if insn.op & 0xF0 == 0xB0 else (read | dst, dst)
    if kind in (JMP, JMP32):
        if insn.op & 0xF0 in (0x00, 0xE0):
            return 0, 0
        return dst | (src if insn.op & 8 else 0), 0
    return 0, dst


def read_key(code: Sequence[Insn], place: int) -> tuple[str, int]:
    """What a load reads, roughly: by offset in the stack, in a variable, or in anything else."""
    insn = code[place]
    if insn.src == FRAME:
        return "stack", insn.off
    before = code[place - 2] if place >= 2 else None
    if before and before.op == LD_IMM64 and before.dst == insn.src and before.symbol:
        return before.symbol.section, before.symbol.value + before.imm + insn.off
    return "memory", insn.off


def study(program: Program) -> Flow:
    """Data flow of the whole program."""
    code = program.code
    bits: dict[tuple[str, int], int] = {}
    for place, insn in enumerate(code):
        if insn.op & 7 == LDX:
            bits.setdefault(read_key(code, place), 1 << len(bits) % BITS)
    live, reads = [0] * (len(code) + 1), [0] * (len(code) + 1)
    totals = _totals(program, bits)
    for function in program.functions.values():
        _study_function(code, function, live, reads, bits, totals)
    return Flow(
        targets=frozenset(insn.jump for insn in code if insn.jump >= 0),
        live=live,
        reads=reads,
        read_bits=bits,
    )


def _totals(program: Program, bits: Mapping[tuple[str, int], int]) -> dict[int, int]:
    """All that each function reads, with those that it calls."""
    code = program.code
    own: dict[int, int] = {}
    calls: dict[int, set[int]] = {}
    for entry, function in program.functions.items():
        own[entry], calls[entry] = 0, set()
        for place in range(function.entry, function.end):
            insn = code[place]
            if insn.op & 7 == LDX:
                own[entry] |= bits[read_key(code, place)]
            if insn.callee >= 0:
                calls[entry].add(insn.callee)
    for _ in range(PASSES):
        changed = False
        for entry, callees in calls.items():
            total = own[entry]
            for callee in callees:
                total |= own[callee]
            changed |= total != own[entry]
            own[entry] = total
        if not changed:
            break
    return own


def _study_function(
    code: Sequence[Insn],
    function: Function,
    live: list[int],
    reads: list[int],
    bits: Mapping[tuple[str, int], int],
    totals: Mapping[int, int],
) -> None:
    for _ in range(PASSES):
        changed = False
        for place in range(function.end - 1, function.entry - 1, -1):
            insn = code[place]
            out = seen = 0
            for successor in successors(code, place, function.end):
                out |= live[successor]
                seen |= reads[successor]
            used, written = usage(insn)
            if insn.op & 7 == LDX:
                seen |= bits[read_key(code, place)]
            if insn.callee >= 0:
                seen |= totals[insn.callee]
            out = used | (out & ~written)
            if (out, seen) != (live[place], reads[place]):
                live[place], reads[place] = out, seen
                changed = True
        if not changed:
            break
