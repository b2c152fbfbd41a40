# SPDX-License-Identifier: GPL-2.0-or-later
"""The bench's statistics."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.figures import Job, coverage_of, estimate, lower_bound, recovered

VALUES = st.lists(st.floats(0, 1e6), min_size=1, max_size=60)
JOBS = st.lists(st.builds(Job, st.floats(0.01, 100), st.floats(0, 50)), min_size=1, max_size=30)


@given(VALUES)
def test_an_interval_encloses_its_median(values: list[float]) -> None:
    found = estimate(values)
    assert min(values) <= found.low <= found.median <= found.high <= max(values)
    assert found.median == statistics.median(values)
    assert 0 <= found.coverage < 1
    assert found.count == len(values)


@given(VALUES, st.randoms())
def test_the_order_of_values_does_not_matter(values: list[float], order: random.Random) -> None:
    mixed = order.sample(values, len(values))
    assert estimate(mixed) == estimate(values)


@given(st.integers(6, 200))
def test_six_values_are_enough_for_95_percent_and_no_wider_interval_is_taken(count: int) -> None:
    found = estimate([float(i) for i in range(count)])
    rank = int(found.low)
    assert found.coverage >= 0.95
    assert found.high == count - 1 - rank
    assert coverage_of(count, rank + 1) < 0.95


def test_few_values_give_all_of_them_and_say_what_that_is_worth() -> None:
    found = estimate([3.0, 1.0, 2.0])
    assert (found.low, found.high, found.coverage) == (1.0, 3.0, 0.75)
    assert estimate([1.0]).coverage == 0


def test_no_values_are_an_error() -> None:
    with pytest.raises(ValueError, match="no values"):
        estimate([])


def test_the_interval_covers_the_true_median_as_often_as_it_says() -> None:
    source = random.Random(5)
    draws = [estimate([source.expovariate(1) for _ in range(9)]) for _ in range(4000)]
    hits = sum(one.low <= math.log(2) <= one.high for one in draws) / len(draws)
    assert hits == pytest.approx(draws[0].coverage, abs=0.02)


@given(JOBS, st.integers(1, 8))
def test_no_greedy_schedule_beats_the_bound(jobs: list[Job], cpus: int) -> None:
    free = [0.0] * cpus
    for job in sorted(jobs, key=lambda job: (job.arrived_s, -job.cpu_s)):
        first = free.index(min(free))
        free[first] = max(free[first], job.arrived_s) + job.cpu_s
    assert max(free) >= lower_bound(jobs, cpus) * (1 - 1e-9)


def test_the_bound_is_the_longest_job_or_the_work_on_all_cpus() -> None:
    assert lower_bound([Job(24.0), Job(1.0)], 2) == 24.0
    assert lower_bound([Job(1.0)] * 40, 2) == 20.0
    assert lower_bound([Job(1.0), Job(5.0, 10.0)], 2) == 15.0
    assert lower_bound([], 2) == 0


def test_recovered_is_0_for_the_default_and_1_for_the_bound() -> None:
    assert recovered(40, 40, 30) == 0
    assert recovered(40, 30, 30) == 1
    assert recovered(40, 45, 30) == -0.5
    assert math.isnan(recovered(30.1, 20, 30))
