# SPDX-License-Identifier: GPL-2.0-or-later
"""One moment of one path through a callback."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from schedcpd.verify.analysis.values import Range, Values

Refine = Callable[["State", Values, int, int, bool], bool]
Path = tuple["Path", int, int] | None  # (what came before, condition, whether it was true)


class Events(NamedTuple):
    """What has happened to the task on a path; counts stop where more makes no difference."""

    inserts: int = 0  # of the callback's own task, at most 2
    others: int = 0  # of another task
    pushes: int = 0  # into a queue, list or tree of the policy's own
    updates: int = 0  # of a map that may serve as a queue
    tries: int = 0  # to take a task from somewhere
    errors: int = 0  # the policy gave up


NOTHING = Events()
CAPS = Events(2, 1, 1, 1, 1, 1)


class Frame(NamedTuple):
    """A caller that waits for a function to return."""

    back: int  # place to go on at
    saved: tuple[int, ...]  # registers 6 to 10; 0 for one that is not read any more
    laps: int = 0  # how often the callback of a loop has been entered; 0 for a plain call
    most: int = 0  # laps that the loop makes at most
    arguments: tuple[int, ...] = ()  # of the callback, for one more lap


class Lap(NamedTuple):
    """How often a loop has been gone round, and what was there the last time."""

    times: int
    regs: Sequence[int]
    memory: Mapping[tuple[int, int], tuple[int, int]]


@dataclass(slots=True)
class State:
    """Where a path is and what is known there."""

    place: int
    regs: list[int]
    memory: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    known: dict[int, Range] = field(default_factory=dict)
    frames: tuple[Frame, ...] = ()
    events: Events = NOTHING
    path: Path = None
    unsure: bool = False  # joined with others: it may be a path that cannot be
    laps: dict[tuple[int, int], Lap] = field(default_factory=dict)
    turns: int = 0  # backward jumps so far

    def copy(self) -> State:
        """A state that goes another way from here."""
        return State(
            self.place, self.regs.copy(), self.memory.copy(), self.known.copy(), self.frames,
            self.events, self.path, self.unsure, self.laps.copy(), self.turns,
        )  # fmt: skip

    def count(self, name: str) -> None:
        """Note that something happened once more."""
        now = min(getattr(self.events, name) + 1, getattr(CAPS, name))
        self.events = self.events._replace(**{name: now})

    def narrow(self, values: Values, value: int, low: int, high: int) -> bool:
        """Learn that a value lies within bounds; False when that cannot be."""
        now = values.bounds(value, self.known)
        low, high = max(low, now[0]), min(high, now[1])
        if low > high:
            return False
        if (low, high) != now and values.constant(value) is None:
            self.known[value] = (low, high)
            self._narrow_inner(values, value, low, high)
        return True

    def _narrow_inner(self, values: Values, value: int, low: int, high: int) -> None:
        """What is known of x + 5 says something of x."""
        kind, inner, right = values.nodes[value]
        offset = values.constant(right) if kind == "add" else None
        if offset is None:
            return
        lower, upper = (low - offset) % (1 << 64), (high - offset) % (1 << 64)
        if lower <= upper:
            self.narrow(values, inner, lower, upper)

    def forget(self, values: Values, gone: frozenset[int]) -> None:
        """Drop all that is known of these unknowns: they stand for something new now."""
        stale = [one for one in self.known if values.leaves[one] & gone]
        for one in stale:
            del self.known[one]


def assume(state: State, values: Values, condition: int, truth: bool) -> bool:
    """Go on with a condition being true or false; False when it cannot be."""
    wanted = int(truth)
    low, high = values.bounds(condition, state.known)
    if not low <= wanted <= high:
        return False
    if low == high:
        return True
    kind, left, right = values.nodes[condition]
    state.path = (state.path, condition, wanted)
    state.known[condition] = (wanted, wanted)
    rule = _REFINE.get(kind)
    return rule is None or rule(state, values, left, right, truth)


def _equal(state: State, values: Values, left: int, right: int, truth: bool) -> bool:
    a, b = values.bounds(left, state.known), values.bounds(right, state.known)
    if truth:
        both = max(a[0], b[0]), min(a[1], b[1])
        return state.narrow(values, left, *both) and state.narrow(values, right, *both)
    if b[0] == b[1]:
        return _exclude(state, values, left, a, b[0])
    return a[0] != a[1] or _exclude(state, values, right, b, a[0])


def _exclude(state: State, values: Values, value: int, now: Range, number: int) -> bool:
    low, high = now[0] + (now[0] == number), now[1] - (now[1] == number)
    return state.narrow(values, value, low, high)


def _greater(state: State, values: Values, left: int, right: int, truth: bool) -> bool:
    a, b = values.bounds(left, state.known), values.bounds(right, state.known)
    if truth:
        return state.narrow(values, left, b[0] + 1, a[1]) and state.narrow(
            values, right, b[0], a[1] - 1
        )
    return state.narrow(values, left, a[0], b[1]) and state.narrow(values, right, a[0], b[1])


def _signed_greater(bits: int) -> Refine:
    sign, top = 1 << (bits - 1), (1 << bits) - 1

    def refine(state: State, values: Values, left: int, right: int, truth: bool) -> bool:
        a, b = values.bounds(left, state.known), values.bounds(right, state.known)
        if b[0] == b[1]:
            number = b[0]
            if truth and (number < sign or number == top):
                return state.narrow(values, left, (number + 1) & top, sign - 1)
            if not truth and number == top:
                return state.narrow(values, left, sign, top)
            if not truth and number < sign and a[1] < sign:
                return state.narrow(values, left, 0, number)
        elif a[0] == a[1]:
            number = a[0]
            if not truth and number < sign:
                return state.narrow(values, right, number, sign - 1)
            if truth and number == 0:
                return state.narrow(values, right, sign, top)
            if truth and number < sign and b[1] < sign:
                return state.narrow(values, right, 0, number - 1)
        return True

    return refine


_REFINE: Mapping[str, Refine] = {
    "eq": _equal,
    "gt": _greater,
    "sgt": _signed_greater(64),
    "sgt32": _signed_greater(32),
}
