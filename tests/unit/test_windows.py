# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest

from schedcpd.deploy.breaker import BreakerLimits, Guard, GuardSample, Waited
from schedcpd.deploy.windows import blind, measured, since, strict, worst_of
from schedcpd.model import Objective

WINDOW = GuardSample(
    at=5.0,
    window_s=1.0,
    own_wait_p99_ns=7,
    own_waits=70,
    sleeps_per_s=700.0,
    others_wait_p99_ns=9,
    others_waits=90,
    others={1: Waited(9.0, 90)},
    others_full=0.1,
    pressure_some=0.2,
    throughput=2.0,
)


def test_what_a_canary_compares() -> None:
    assert measured(Objective.MAKESPAN, WINDOW) == 2.0
    assert measured(Objective.THROUGHPUT, WINDOW) == 700.0
    assert measured(Objective.NONE, WINDOW) == 7.0
    assert measured(Objective.NONE, GuardSample(1.0, 1.0)) is None


def test_worst_of_the_kernel_default() -> None:
    other = replace(
        WINDOW,
        at=6.0,
        own_wait_p99_ns=None,
        own_waits=0,
        others_wait_p99_ns=99,
        others_waits=40,
        pressure_some=0.1,
        throughput=1.0,
        others_full=None,
    )
    worst = worst_of([WINDOW, other])
    assert (worst.at, worst.throughput, worst.pressure_some) == (6.0, 1.0, 0.2)
    assert (worst.others_wait_p99_ns, worst.others_waits) == (99, 40)
    assert (worst.own_wait_p99_ns, worst.own_waits, worst.others_full) == (7, 70, 0.1)
    nothing = GuardSample(1.0, 1.0)
    assert worst_of([nothing]) == nothing
    with pytest.raises(ValueError, match="empty"):
        worst_of([])


def test_one_bad_window_is_enough_for_the_strict() -> None:
    limits = strict(BreakerLimits(own_wait=None))
    assert limits.own_wait is None
    kept = (limits.others_wait, limits.others_starved, limits.pressure, limits.throughput)
    assert all(limit is not None and limit.windows == 1 for limit in kept)


@pytest.mark.parametrize("guard", [one for one in Guard if one not in (Guard.FAULT, Guard.WEDGE)])
def test_blindness(guard: Guard) -> None:
    assert blind(GuardSample(1.0, 1.0), guard)
    assert not blind(WINDOW, guard)


def test_slowest_window_of_each_cgroup() -> None:
    first = replace(WINDOW, others={1: Waited(5.0, 10), 2: Waited(7.0, 20)})
    second = replace(WINDOW, others={1: Waited(6.0, 30), 3: Waited(1.0, 40)})
    slowest = {1: Waited(6.0, 30), 2: Waited(7.0, 20), 3: Waited(1.0, 40)}
    assert worst_of([first, second]).others == slowest


LONGER = GuardSample(
    at=1.0,
    window_s=5.0,
    own_wait_p99_ns=5,
    own_waits=200,
    others_wait_p99_ns=30,
    others_waits=400,
    others={1: Waited(6.0, 7), 2: Waited(9.0, 20), 3: Waited(90.0, 50)},
    throughput=8.0,
    pressure_some=0.9,
)


def test_few_waits_are_seen_together_with_those_before() -> None:
    others = {1: Waited(7.0, 4), 2: Waited(8.0, 4), 4: Waited(3.0, 90)}
    window = since(replace(WINDOW, others=others), LONGER)
    assert (window.own_wait_p99_ns, window.own_waits) == (5, 200)
    assert (window.others_wait_p99_ns, window.others_waits) == (9, 400), "it is calm again"
    seen = {1: Waited(6.0, 7), 2: Waited(8.0, 20), 4: Waited(3.0, 90)}
    assert window.others == seen, "the third did not wait at all in the window itself"
    kept = (window.throughput, window.pressure_some, window.window_s)
    assert kept == (WINDOW.throughput, WINDOW.pressure_some, WINDOW.window_s)


def test_many_waits_speak_for_themselves() -> None:
    many = replace(WINDOW, own_waits=100, others_waits=100, others={1: Waited(7.0, 5)})
    assert since(many, LONGER) == many


def test_without_a_wait_there_is_nothing_to_see() -> None:
    nothing = GuardSample(1.0, 1.0)
    window = since(nothing, LONGER)
    assert (window.own_wait_p99_ns, window.others_wait_p99_ns, window.others) == (None, None, {})
