# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import random

import pytest

from schedcpd.verify.analysis.values import combine, compute


@pytest.mark.parametrize("name", ["or", "xor", "and", "add", "mod", "lsh"])
def test_bounds_hold(name: str) -> None:
    chance = random.Random(5)
    for _ in range(300):
        left, right = (sorted(chance.choices(range(24), k=2)) for _ in range(2))
        low, high = combine(name, (left[0], left[1]), (right[0], right[1]))
        for a in range(left[0], left[1] + 1):
            for b in range(right[0], right[1] + 1):
                assert low <= compute(name, a, b) <= high, (name, a, b)


def test_bounds_of_a_base_with_an_index() -> None:
    assert combine("or", (16, 16), (0, 3)) == (16, 19)
