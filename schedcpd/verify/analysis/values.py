# SPDX-License-Identifier: GPL-2.0-or-later
"""Abstract values: expressions over things that are not known, with bounds.

Every value is a number into one table, and equal expressions have equal numbers. So two loads of
one task's flags are the same value, and what a branch has shown of it holds for the second too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum

MASK64 = (1 << 64) - 1
MASK32 = (1 << 32) - 1
SIGN64 = 1 << 63
SIGN32 = 1 << 31
DEPTH_LIMIT = 24

Range = tuple[int, int]
FULL: Range = (0, MASK64)
Known = Mapping[int, Range]


class Origin(IntEnum):
    """Where something unknown comes from: how freely it varies, from the policy's view."""

    FREE = 0  # the task, the machine, the moment: any combination occurs
    STATE = 1  # the policy's own memory: it may keep some combinations from occurring
    WIDENED = 2  # our own simplification


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something unknown; ``points_to`` names what it points to, if it is a pointer."""

    key: tuple[object, ...]
    bounds: Range
    origin: Origin
    points_to: str = ""


class Values:
    """The table of all expressions."""

    def __init__(self) -> None:
        self.nodes: list[tuple[str, int, int]] = []
        self.unknowns: dict[int, Unknown] = {}
        self.leaves: list[frozenset[int]] = []
        self._depths: list[int] = []
        self._plain: dict[int, Range] = {}  # bounds of values of which nothing more is known
        self._index: dict[tuple[object, ...], int] = {}

    def _new(self, key: tuple[object, ...], node: tuple[str, int, int], depth: int) -> int:
        number = len(self.nodes)
        self._index[key] = number
        self.nodes.append(node)
        self._depths.append(depth)
        return number

    def const(self, value: int) -> int:
        """The constant ``value``, modulo 64 bits."""
        value &= MASK64
        key = ("const", value)
        if key in self._index:
            return self._index[key]
        self.leaves.append(frozenset())
        return self._new(key, ("const", value, 0), 0)

    def unknown(self, about: Unknown) -> int:
        """The unknown with that key; the first bounds it was given stay."""
        key = ("unknown", about.key)
        if key in self._index:
            return self._index[key]
        number = self._new(key, ("unknown", 0, 0), 0)
        self.leaves.append(frozenset((number,)))
        self.unknowns[number] = about
        return number

    def op(self, name: str, left: int, right: int) -> int:
        """The 64-bit result of an operation on two values."""
        nodes = self.nodes
        if nodes[left][0] == nodes[right][0] == "const":
            return self.const(compute(name, nodes[left][1], nodes[right][1]))
        simple = self._simplified(name, left, right)
        if simple is not None:
            return simple
        key = (name, left, right)
        if key in self._index:
            return self._index[key]
        depth = 1 + max(self._depths[left], self._depths[right])
        leaves = self.leaves[left] | self.leaves[right]
        if depth > DEPTH_LIMIT:
            origin = max(self.unknowns[leaf].origin for leaf in leaves)
            return self.unknown(Unknown(("opaque", *key), FULL, max(origin, Origin.WIDENED)))
        number = self._new(key, (name, left, right), depth)
        self.leaves.append(leaves)
        return number

    def _simplified(self, name: str, left: int, right: int) -> int | None:
        kind, first, second = self.nodes[right]
        if kind != "const":
            return self._of_equals(name, left, right)
        if name == "sub":
            return self.op("add", left, self.const(-first))
        if first == 0 and name in ("add", "or", "xor", "lsh", "rsh", "arsh"):
            return left
        if name == "and":
            if not first:
                return right
            high = self.bounds(left, {})[1]
            if first & (first + 1) == 0 and high <= first:
                return left
        kind, inner, second = self.nodes[left]
        if name == "add" and kind == "add" and self.nodes[second][0] == "const":
            return self.op("add", inner, self.const(self.nodes[second][1] + first))
        if name == "and" and kind == "and" and self.nodes[second][0] == "const":
            return self.op("and", inner, self.const(self.nodes[second][1] & first))
        return None

    def _of_equals(self, name: str, left: int, right: int) -> int | None:
        if self.nodes[left][0] == "const" and name in ("add", "and", "or", "xor", "mul"):
            return self.op(name, right, left)
        if left == right and name in ("sub", "xor"):
            return self.const(0)
        if left == right and name in ("and", "or"):
            return left
        return None

    def low(self, value: int, size: int) -> int:
        """The lowest ``size`` bytes of a value, the rest zero."""
        return value if size == 8 else self.op("and", value, self.const((1 << 8 * size) - 1))

    def constant(self, value: int) -> int | None:
        """The number that a value is, None when it is not known."""
        node = self.nodes[value]
        return node[1] if node[0] == "const" else None

    def address(self, value: int) -> tuple[int, int]:
        """A pointer as its base and a constant offset, signed."""
        kind, base, offset = self.nodes[value]
        if kind == "add" and self.nodes[offset][0] == "const":
            distance = self.nodes[offset][1]
            return base, distance - (1 << 64) if distance & SIGN64 else distance
        return value, 0

    def points_to(self, value: int) -> str:
        """What a pointer points into, also with an unknown offset; empty if that is not known."""
        if value in self.unknowns:
            return self.unknowns[value].points_to
        if self.nodes[value][0] not in ("add", "sub"):
            return ""
        found = {
            self.unknowns[leaf].points_to
            for leaf in self.leaves[value]
            if self.unknowns[leaf].points_to
        }
        return found.pop() if len(found) == 1 else ""

    def bounds(self, value: int, known: Known) -> Range:
        """The least and the greatest number that a value may be."""
        if known:
            return self._bounds(value, known, {})
        if value not in self._plain:
            self._plain[value] = self._bounds(value, known, {})
        return self._plain[value]

    def _bounds(self, value: int, known: Known, seen: dict[int, Range]) -> Range:
        kind, left, right = self.nodes[value]
        if kind == "const":
            return left, left
        if value in seen:
            return seen[value]
        if kind == "unknown":
            found = self.unknowns[value].bounds
        else:
            found = combine(kind, self._bounds(left, known, seen), self._bounds(right, known, seen))
        if value in known:
            low, high = known[value]
            found = max(found[0], low), min(found[1], high)
        seen[value] = found
        return found

    def evaluate(self, value: int, given: Mapping[int, int], seen: dict[int, int]) -> int:
        """The number that a value is when each unknown in it is as given."""
        kind, left, right = self.nodes[value]
        if kind == "const":
            return left
        if kind == "unknown":
            return given[value]
        if value not in seen:
            seen[value] = compute(
                kind, self.evaluate(left, given, seen), self.evaluate(right, given, seen)
            )
        return seen[value]


def signed(value: int, bits: int = 64) -> int:
    """A number of so many bits as two's complement."""
    return value - (1 << bits) if value >> (bits - 1) & 1 else value


def compute(name: str, left: int, right: int) -> int:
    """What the machine computes, modulo 64 bits."""
    return _COMPUTE[name](left, right) & MASK64


_COMPUTE: Mapping[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a // b if b else 0,
    "mod": lambda a, b: a % b if b else a,
    "or": lambda a, b: a | b,
    "and": lambda a, b: a & b,
    "xor": lambda a, b: a ^ b,
    "lsh": lambda a, b: a << (b & 63),
    "rsh": lambda a, b: a >> (b & 63),
    "arsh": lambda a, b: signed(a) >> (b & 63),
    "sdiv": lambda a, b: _toward_zero(signed(a), signed(b)),
    "smod": lambda a, b: signed(a) - signed(b) * _toward_zero(signed(a), signed(b)),
    "sext8": lambda a, _: signed(a & 0xFF, 8),
    "sext16": lambda a, _: signed(a & 0xFFFF, 16),
    "sext32": lambda a, _: signed(a & MASK32, 32),
    "swap": lambda a, _: a,
    "eq": lambda a, b: int(a == b),
    "gt": lambda a, b: int(a > b),
    "sgt": lambda a, b: int(signed(a) > signed(b)),
    "sgt32": lambda a, b: int(signed(a, 32) > signed(b, 32)),
    "set": lambda a, b: int(bool(a & b)),
}


def _toward_zero(left: int, right: int) -> int:
    if not right:
        return 0
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def combine(name: str, left: Range, right: Range) -> Range:
    """Bounds of the result of an operation on values with these bounds."""
    if left[0] > left[1] or right[0] > right[1]:
        return 1, 0
    if left[0] == left[1] and right[0] == right[1]:
        exact = compute(name, left[0], right[0])
        return exact, exact
    bounds = _COMBINE.get(name)
    low, high = bounds(left, right) if bounds else FULL
    return (low, high) if 0 <= low <= high <= MASK64 else FULL


def _add(a: Range, b: Range) -> Range:
    low, high = a[0] + b[0], a[1] + b[1]
    if low > MASK64:  # both ends wrap, as when a constant is taken away
        low, high = low - MASK64 - 1, high - MASK64 - 1
    return low, high


def _and(a: Range, b: Range) -> Range:
    return 0, min(a[1], b[1])


def _or(a: Range, b: Range) -> Range:
    # No carries: neither more bits than the wider one has, nor more than the sum.
    high = (1 << max(a[1].bit_length(), b[1].bit_length())) - 1
    return max(a[0], b[0]), min(high, a[1] + b[1])


def _shift_left(a: Range, b: Range) -> Range:
    return (a[0] << b[0], a[1] << b[1]) if b[1] < 64 else FULL


def _shift_right(a: Range, b: Range) -> Range:
    return (a[0] >> b[1], a[1] >> b[0]) if b[1] < 64 else (0, a[1])


def _shift_signed(a: Range, b: Range) -> Range:
    return _shift_right(a, b) if a[1] < SIGN64 else FULL


def _divide(a: Range, b: Range) -> Range:
    return (a[0] // b[1], a[1] // b[0]) if b[0] else (0, a[1])


def _modulo(a: Range, b: Range) -> Range:
    return 0, min(a[1], b[1] - 1) if b[0] else a[1]


def _extend(bits: int, a: Range) -> Range:
    return a if a[1] < 1 << (bits - 1) else FULL


def _greater(a: Range, b: Range) -> Range:
    return int(a[0] > b[1]), int(a[1] > b[0])


def _equal(a: Range, b: Range) -> Range:
    return 0, int(a[0] <= b[1] and b[0] <= a[1])


def _signed_greater(sign: int, a: Range, b: Range) -> Range:
    # Each side of zero is in order by itself.
    if (a[0] ^ a[1]) & sign or (b[0] ^ b[1]) & sign or max(a[1], b[1]) >= 2 * sign:
        return 0, 1
    return _greater((a[0] ^ sign, a[1] ^ sign), (b[0] ^ sign, b[1] ^ sign))


_COMBINE: Mapping[str, Callable[[Range, Range], Range]] = {
    "add": _add,
    "sub": lambda a, b: (a[0] - b[1], a[1] - b[0]),
    "mul": lambda a, b: (a[0] * b[0], a[1] * b[1]),
    "div": _divide,
    "mod": _modulo,
    "and": _and,
    "or": _or,
    "xor": lambda a, b: (0, _or(a, b)[1]),
    "lsh": _shift_left,
    "rsh": _shift_right,
    "arsh": _shift_signed,
    "sext8": lambda a, _: _extend(8, a),
    "sext16": lambda a, _: _extend(16, a),
    "sext32": lambda a, _: _extend(32, a),
    "eq": _equal,
    "gt": _greater,
    "sgt": lambda a, b: _signed_greater(SIGN64, a, b),
    "sgt32": lambda a, b: _signed_greater(SIGN32, a, b),
    "set": lambda _a, _b: (0, 1),
}
