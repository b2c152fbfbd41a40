# SPDX-License-Identifier: GPL-2.0-or-later
"""The circuit breaker: every guard, what noise does to it, and what one bad window does."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedcpd.deploy.breaker import (
    MS,
    Breaker,
    BreakerLimits,
    Guard,
    GuardSample,
    Limit,
    Trip,
    Waited,
    limits_for,
)
from schedcpd.model import Objective

# A busy machine under the kernel default.
BEFORE = GuardSample(
    at=1000.0,
    window_s=5.0,
    own_wait_p99_ns=20 * MS,
    own_waits=5000,
    others_wait_p99_ns=4 * MS,
    others_waits=2000,
    others_full=0.3,
    pressure_some=0.15,
    throughput=100.0,
    enqueued=None,
    dispatched=None,
)
FINE = replace(BEFORE, window_s=1.0, enqueued=900, dispatched=890)


def feed(breaker: Breaker, sample: GuardSample, windows: int = 100) -> tuple[int, Trip | None]:
    """How many windows like this one it takes, and the trip."""
    for window in range(1, windows + 1):
        trip = breaker.check(sample)
        if trip is not None:
            return window, trip
    return windows, None


def make(**limits: Limit | None) -> Breaker:
    return Breaker(replace(BreakerLimits(), **limits), BEFORE)  # type: ignore[arg-type]


def test_what_is_as_before_never_trips() -> None:
    assert feed(make(), FINE) == (100, None)


# One workload among many others

CALM = {1: Waited(5.0 * MS, 100), 2: Waited(0.5 * MS, 100)}


def beside(others: dict[int, Waited]) -> Breaker:
    return Breaker(BreakerLimits(), replace(BEFORE, others=others))


def suffering(*waits: tuple[int, float, int]) -> GuardSample:
    return replace(FINE, others={key: Waited(ms * MS, count) for key, ms, count in waits})


def test_victim_that_is_lost_in_the_percentile_of_all() -> None:
    taken, trip = feed(beside(CALM), suffering((1, 5, 5000), (2, 11, 10)))
    assert trip is not None
    assert (taken, trip.guard, trip.figure) == (3, Guard.VICTIM_WAIT, 11 * MS)
    assert trip.reason == (
        "another workload waited for a CPU for 11.0 ms (mean) instead of 0.5 ms (mean) in 3 windows"
    )


def test_victim_is_named_where_its_name_is_known() -> None:
    names = {2: "web.service"}
    breaker = Breaker(BreakerLimits(), replace(BEFORE, others=CALM), names.__getitem__)
    _, trip = feed(breaker, suffering((1, 5, 5000), (2, 11, 10)))
    assert trip is not None
    assert trip.reason.startswith("web.service waited for a CPU for 11.0 ms (mean)")


@pytest.mark.parametrize(
    ("waits", "windows"),
    [
        ((1, 19, 10), 100),  # less than four times what it was
        ((1, 21, 10), 3),
        ((1, 210, 10), 1),  # very bad
        ((2, 9, 10), 100),  # many times what it was, and still nothing
        ((1, 210, 4), 100),  # too few to say anything
        ((3, 90, 10), 100),  # it was not there before: only what is very bad counts
        ((3, 110, 10), 3),
        ((1, math.nan, 10), 100),
    ],
)
def test_each_victim_is_measured_by_how_it_fared_before(
    waits: tuple[int, float, int], windows: int
) -> None:
    assert feed(beside(CALM), suffering(waits))[0] == windows


def test_no_victims_are_looked_for_when_the_guard_is_off() -> None:
    limits = replace(BreakerLimits(), victim_wait=None)
    breaker = Breaker(limits, replace(BEFORE, others=CALM))
    assert feed(breaker, suffering((1, 1000, 10)))[1] is None


# Each guard


@pytest.mark.parametrize(
    ("sample", "guard", "windows", "reason"),
    [
        (
            replace(FINE, others_wait_p99_ns=40 * MS),
            Guard.OTHERS_WAIT,
            3,
            (
                "other workloads waited for a CPU for 40.0 ms (99th percentile) "
                "instead of 4.0 ms (99th percentile) in 3 windows"
            ),
        ),
        (
            replace(FINE, others_full=1.0),
            Guard.OTHERS_STARVED,
            5,
            (
                "another workload could run and did not for 100% of the time instead of 30% of the "
                "time in 5 windows"
            ),
        ),
        (
            replace(FINE, own_wait_p99_ns=200 * MS),
            Guard.OWN_WAIT,
            5,
            (
                "its own workload waited for a CPU for 200.0 ms (99th percentile) "
                "instead of 20.0 ms (99th percentile) in 5 windows"
            ),
        ),
        (
            replace(FINE, pressure_some=0.97),
            Guard.PRESSURE,
            10,
            (
                "tasks of the machine waited for a CPU for 97% of the time instead of 15% of the "
                "time in 10 windows"
            ),
        ),
        (
            replace(FINE, throughput=20.0),
            Guard.THROUGHPUT,
            8,
            "its own workload got done 20% of what it did under the kernel default in 8 windows",
        ),
        (
            replace(FINE, dispatched=0, pressure_some=0.8),
            Guard.WEDGE,
            3,
            "tasks wait in its queues and none came out of them for 3 windows",
        ),
        (
            replace(FINE, fault="runnable task stall (hog[7] failed to run for 3.020s)"),
            Guard.FAULT,
            1,
            "the kernel threw it out: runnable task stall (hog[7] failed to run for 3.020s)",
        ),
    ],
)
def test_each_guard(sample: GuardSample, guard: Guard, windows: int, reason: str) -> None:
    taken, trip = feed(make(), sample)
    assert trip is not None
    assert (trip.guard, taken, trip.windows, trip.reason) == (guard, windows, windows, reason)


@pytest.mark.parametrize(
    ("sample", "off"),
    [
        (replace(FINE, others_wait_p99_ns=400 * MS), "others_wait"),
        (replace(FINE, others_full=1.0), "others_starved"),
        (replace(FINE, own_wait_p99_ns=5000 * MS), "own_wait"),
        (replace(FINE, pressure_some=0.97), "pressure"),
        (replace(FINE, throughput=20.0), "throughput"),
    ],
)
def test_a_guard_may_be_turned_off(sample: GuardSample, off: str) -> None:
    assert feed(make(), sample)[1] is not None
    assert feed(make(**{off: None}), sample)[1] is None


def test_a_batch_may_let_its_own_tasks_wait() -> None:
    waiting = replace(FINE, own_wait_p99_ns=10_000 * MS)
    assert feed(Breaker(limits_for(Objective.NONE), BEFORE), waiting)[1] is not None
    assert feed(Breaker(limits_for(Objective.MAKESPAN), BEFORE), waiting)[1] is None


# One window


def test_one_very_bad_window_trips_at_once() -> None:
    breaker = make()
    assert breaker.check(FINE) is None
    trip = breaker.check(replace(FINE, others_wait_p99_ns=400 * MS))
    assert trip is not None
    assert (trip.guard, trip.windows) == (Guard.OTHERS_WAIT, 1)
    assert trip.reason.endswith("instead of 4.0 ms (99th percentile)")
    assert trip.figure == 400 * MS > trip.limit


def test_one_bad_window_does_not() -> None:
    breaker = make()
    for sample in (replace(FINE, others_wait_p99_ns=200 * MS), *[FINE] * 3) * 20:
        assert breaker.check(sample) is None


def test_what_the_policy_does_to_its_own_progress_takes_more_than_one_window() -> None:
    assert make().check(replace(FINE, throughput=0.0)) is None
    assert make().check(replace(FINE, pressure_some=1.0, others_full=1.0)) is None


# Hysteresis


def test_bad_windows_need_not_follow_each_other() -> None:
    bad, taken = replace(FINE, others_wait_p99_ns=40 * MS), 0
    breaker = make()
    trip = None
    while trip is None and taken < 50:
        trip = breaker.check(bad if taken % 2 == 0 else FINE)
        taken += 1
    assert trip is not None  # a policy that is bad in turns
    assert 3 < taken < 15
    assert trip.windows == (taken + 1) // 2


def test_a_window_that_is_neither_good_nor_bad_forgets_nothing() -> None:
    breaker = make()
    bad, middling = (replace(FINE, others_wait_p99_ns=wait * MS) for wait in (40, 25))
    for sample in (bad, middling, bad, middling):
        assert breaker.check(sample) is None
    trip = breaker.check(bad)
    assert trip is not None
    assert trip.windows == 3
    assert feed(make(), middling)[1] is None


def test_good_windows_forget() -> None:
    breaker = make()
    bad = replace(FINE, others_wait_p99_ns=40 * MS)
    for sample in (bad, bad, *[FINE] * 4, bad, bad):
        assert breaker.check(sample) is None
    trip = breaker.check(bad)
    assert trip is not None
    assert trip.windows == 3


# The baseline


def test_a_machine_that_waited_before_is_measured_by_itself() -> None:
    slow = Breaker(BreakerLimits(), replace(BEFORE, others_wait_p99_ns=50 * MS))
    assert feed(slow, replace(FINE, others_wait_p99_ns=190 * MS))[1] is None
    assert feed(slow, replace(FINE, others_wait_p99_ns=210 * MS))[0] == 3


def test_short_waits_are_nobodys_harm_however_much_longer() -> None:
    quick = Breaker(BreakerLimits(), replace(BEFORE, others_wait_p99_ns=1000))
    assert feed(quick, replace(FINE, others_wait_p99_ns=29 * MS))[1] is None


@pytest.mark.parametrize(
    "unknown", [{"others_wait_p99_ns": None}, {"others_waits": 0}, {"others_wait_p99_ns": -1}]
)
def test_without_a_baseline_only_the_very_bad_counts(unknown: dict[str, int | None]) -> None:
    blind = Breaker(BreakerLimits(), replace(BEFORE, **unknown))  # type: ignore[arg-type]
    assert feed(blind, replace(FINE, others_wait_p99_ns=290 * MS))[1] is None
    taken, trip = feed(blind, replace(FINE, others_wait_p99_ns=310 * MS))
    assert trip is not None
    assert (taken, trip.baseline) == (3, 0.0)
    assert "instead" not in trip.reason


def test_a_pressure_that_is_unknown_or_was_high_is_not_judged() -> None:
    worst = replace(FINE, pressure_some=1.0)
    for before in (None, 0.38):
        breaker = Breaker(BreakerLimits(), replace(BEFORE, pressure_some=before))
        assert feed(breaker, worst)[1] is None


def test_starving_needs_no_baseline_but_may_be_normal() -> None:
    starved = replace(FINE, others_full=1.0)
    assert feed(Breaker(BreakerLimits(), replace(BEFORE, others_full=None)), starved)[0] == 5
    assert feed(Breaker(BreakerLimits(), replace(BEFORE, others_full=0.9)), starved)[1] is None


@pytest.mark.parametrize("before", [None, 0.0, math.nan])
def test_throughput_without_a_baseline_is_not_judged(before: float | None) -> None:
    breaker = Breaker(BreakerLimits(), replace(BEFORE, throughput=before))
    assert feed(breaker, replace(FINE, throughput=0.0))[1] is None


# Windows with little in them


def test_few_waits_have_to_be_very_long() -> None:
    few = replace(FINE, others_waits=20)
    assert feed(make(), replace(few, others_wait_p99_ns=290 * MS))[1] is None
    assert feed(make(), replace(few, others_wait_p99_ns=4000 * MS))[0] == 3  # and more than one
    assert feed(make(), replace(few, others_waits=4, others_wait_p99_ns=4000 * MS))[1] is None


def test_an_idle_workload_gets_little_done() -> None:
    for pressure in (0.05, None):
        idle = replace(FINE, throughput=0.0, pressure_some=pressure)
        assert feed(make(), idle)[1] is None


def test_no_data_changes_nothing() -> None:
    nothing = GuardSample(at=1000.0, window_s=1.0)
    assert feed(make(), nothing)[1] is None
    breaker = make()
    bad = replace(FINE, others_wait_p99_ns=40 * MS)
    for sample in (bad, nothing, bad, nothing):
        assert breaker.check(sample) is None
    assert breaker.check(bad) is not None


@pytest.mark.parametrize("figure", [math.nan, math.inf, -1.0])
def test_what_is_no_measurement_is_no_data(figure: float) -> None:
    sample = replace(FINE, pressure_some=figure, others_full=figure, throughput=figure)
    assert feed(make(), sample)[1] is None


# Wedges


def test_once_everything_is_stuck_nothing_goes_in_any_more() -> None:
    breaker = make()
    stuck = [
        replace(FINE, enqueued=enqueued, dispatched=0, pressure_some=None)
        for enqueued in (40, 0, 0)
    ]
    trips = [breaker.check(sample) for sample in stuck]
    assert [trip is not None for trip in trips] == [False, False, True]


def test_an_idle_machine_is_not_stuck() -> None:
    idle = replace(FINE, enqueued=0, dispatched=0, pressure_some=0.8)
    assert feed(make(), idle)[1] is None


def test_a_policy_that_counts_something_else_is_not_stuck() -> None:
    assert feed(make(), replace(FINE, dispatched=0, pressure_some=0.4))[1] is None


def test_one_task_that_comes_out_ends_it() -> None:
    breaker = make()
    stuck = replace(FINE, enqueued=1, dispatched=0, pressure_some=0.8)
    moving = replace(stuck, dispatched=1)
    for sample in (stuck, stuck, moving) * 5:
        assert breaker.check(sample) is None


# Noise


@pytest.mark.parametrize("seed", range(5))
def test_an_hour_of_noise_does_not_trip(seed: int) -> None:
    """Histogram slots that double, now and then a hiccup of the whole machine."""
    random = Random(seed)
    breaker = make()
    for _ in range(3600):
        hiccup = random.random() < 0.01
        wait = 4 * MS * 2 ** random.choice([-1, 0, 0, 0, 1, 1, 2])
        own = 20 * MS * 2 ** random.choice([-1, 0, 0, 1, 2])
        sample = replace(
            FINE,
            others_wait_p99_ns=100 * MS if hiccup else wait,
            others_waits=int(2000 * random.random()),
            own_wait_p99_ns=own,
            others_full=random.random(),
            pressure_some=min(1.0, random.expovariate(3)),
            throughput=100 * random.lognormvariate(0, 0.5),
            dispatched=random.choice([0, 5, 900]) if hiccup else 890,
        )
        assert breaker.check(sample) is None


@given(
    st.lists(
        st.builds(
            GuardSample,
            at=st.floats(0, 1e9),
            window_s=st.floats(0, 10),
            own_wait_p99_ns=st.none() | st.integers(-1, 2**64),
            own_waits=st.integers(-1, 10**9),
            others_wait_p99_ns=st.none() | st.integers(-1, 2**64),
            others_waits=st.integers(-1, 10**9),
            others_full=st.none() | st.floats(),
            pressure_some=st.none() | st.floats(),
            throughput=st.none() | st.floats(),
            enqueued=st.none() | st.integers(0, 100),
            dispatched=st.none() | st.integers(0, 100),
        ),
        min_size=1,
        max_size=20,
    )
)
@settings(max_examples=80, deadline=None)
def test_whatever_is_measured_it_decides(samples: list[GuardSample]) -> None:
    breaker = Breaker(BreakerLimits(), samples[0])
    for sample in samples:
        trip = breaker.check(sample)
        if trip is not None:
            assert trip.guard is not Guard.FAULT
            assert trip.reason.isprintable()
            assert math.isfinite(trip.figure)
