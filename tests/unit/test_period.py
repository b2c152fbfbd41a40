# SPDX-License-Identifier: GPL-2.0-or-later
"""Regular wake-ups, told apart from those that only come as often."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.profile.period import LONGEST_S, SHORTEST_S, clear_period_s

SAMPLES = 17  # every 25 ms, as the scheduling tier takes them


def counted(events: list[float], late_s: float = 0.0) -> list[tuple[float, int]]:
    """How many of the events were seen at each sample."""
    times = [index * 0.025 + late_s * (index % 3) for index in range(SAMPLES)]
    return [(at, sum(event <= at for event in events)) for at in times]


@pytest.mark.parametrize("period_ms", [2.7, 5.0, 10.0, 16.667, 20.0, 33.3, 41.7])
@pytest.mark.parametrize("phase", [0.0, 0.3, 0.9])
def test_a_clear_period_is_found(period_ms: float, phase: float) -> None:
    period_s = period_ms / 1000
    events = [(index + phase) * period_s for index in range(1000)]
    assert clear_period_s(counted(events, 0.004)) == pytest.approx(period_s, rel=0.06)


@pytest.mark.parametrize("seed", range(10))
def test_frames_that_are_late_now_and_then(seed: int) -> None:
    random = Random(seed)
    events = [index / 60 + random.uniform(0, 0.008) for index in range(60)]
    assert clear_period_s(counted(events)) == pytest.approx(1 / 60, rel=0.05)


def test_wake_ups_at_random_have_none() -> None:
    found = 0
    for seed in range(2000):
        random, at, events = Random(seed), 0.0, []
        while at < 0.5:
            at += random.expovariate((40, 60, 120, 400)[seed % 4])
            events.append(at)
        found += clear_period_s(counted(events)) > 0
    assert found <= 6


@pytest.mark.parametrize(
    "events",
    [
        [],
        [0.1] * 100,  # all at once
        [index * 0.12 for index in range(100)],  # too slow to be sure
        [index * 0.0002 for index in range(5000)],  # no work has so short a period
        [index * 0.01 for index in range(20)],  # it stopped
        [index * 0.005 + (0.15 if index > 30 else 0) for index in range(200)],  # it paused
    ],
)
def test_none_is_clear(events: list[float]) -> None:
    assert clear_period_s(counted(events)) == 0.0


any_float = st.floats(-1e9, 1e9)


@given(st.lists(st.tuples(any_float, st.integers(-(2**63), 2**63)), max_size=30))
def test_any_counts_give_a_period_in_bounds(counts: list[tuple[float, int]]) -> None:
    period_s = clear_period_s(sorted(counts))
    assert period_s == 0.0 or SHORTEST_S <= period_s <= LONGEST_S
