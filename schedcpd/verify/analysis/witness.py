# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a path can surely be taken: by finding values of its unknowns for which it is taken.

A path that only depends on the task and the machine, and for which values are found, is taken
sooner or later. One that depends on the policy's own memory may be impossible for reasons that the
walk does not see, and one whose values are not found may be impossible too: neither is certain.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator

from schedcpd.verify.analysis.state import Path
from schedcpd.verify.analysis.values import MASK64, Origin, Values

ATTEMPTS = 300
LEAVES = 16
CONDITIONS = 200
SEED = 1
EVALUATIONS = 100_000  # in all; after that nothing is certain


class Witness:
    """Looks for values."""

    def __init__(self, values: Values, counters: Collection[int]) -> None:
        self.values = values
        self.counters = counters  # variables of the policy that take every value in time
        self._left = EVALUATIONS
        self._chance = random.Random(SEED)

    def is_certain(self, path: Path) -> bool:
        """Whether values were found for which every condition of the path holds."""
        conditions = list(steps(path))
        leaves = sorted({leaf for one, _ in conditions for leaf in self.values.leaves[one]})
        if len(conditions) > CONDITIONS or len(leaves) > LEAVES:
            return False
        if not all(self._is_free(leaf) for leaf in leaves):
            return False
        return self._search(conditions, leaves)

    def is_ordinary(self, path: Path) -> bool:
        """Whether a path depends on nothing but the task and the machine."""
        return all(
            self._is_free(leaf) for one, _ in steps(path) for leaf in self.values.leaves[one]
        )

    def _is_free(self, leaf: int) -> bool:
        return leaf in self.counters or self.values.unknowns[leaf].origin == Origin.FREE

    def _search(self, conditions: list[tuple[int, int]], leaves: list[int]) -> bool:
        candidates = self._candidates(conditions)
        given = {leaf: self._pick(leaf, candidates) for leaf in leaves}
        for _ in range(ATTEMPTS):
            self._left -= len(conditions)
            if self._left < 0:
                break
            seen: dict[int, int] = {}
            failed = [
                one for one, truth in conditions if self.values.evaluate(one, given, seen) != truth
            ]
            if not failed:
                return True
            choice = sorted(self.values.leaves[self._chance.choice(failed)])
            leaf = self._chance.choice(choice)
            given[leaf] = self._pick(leaf, candidates)
        return False

    def _pick(self, leaf: int, candidates: list[int]) -> int:
        low, high = self.values.unknowns[leaf].bounds
        fitting = [one for one in candidates if low <= one <= high]
        return self._chance.choice([low, high, *fitting])

    def _candidates(self, conditions: list[tuple[int, int]]) -> list[int]:
        """Numbers that the conditions speak of, and those beside them."""
        found: set[int] = {0, 1}
        seen: set[int] = set()
        stack = [one for one, _ in conditions]
        while stack:
            value = stack.pop()
            if value in seen:
                continue
            seen.add(value)
            kind, left, right = self.values.nodes[value]
            if kind == "const":
                found |= {left, (left - 1) & MASK64, (left + 1) & MASK64, left ^ 0xFFFFFFFF}
            elif kind != "unknown":
                stack += [left, right]
        return sorted(found)[:64]


def steps(path: Path) -> Iterator[tuple[int, int]]:
    """The conditions of a path, last first, and whether each was true."""
    while path is not None:
        path, condition, truth = path
        yield condition, truth
