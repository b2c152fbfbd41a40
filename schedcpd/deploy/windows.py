# SPDX-License-Identifier: GPL-2.0-or-later
"""What windows say: the figure that a canary compares, and what the breaker compares them with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from schedcpd.deploy.breaker import (
    FEW_WAITS,
    MANY_WAITS,
    BreakerLimits,
    Guard,
    GuardSample,
    Limit,
    Waited,
)
from schedcpd.model import Objective


def measured(objective: Objective, window: GuardSample) -> float | None:
    """The figure of a window that the canary compares; None when there is none."""
    if objective is Objective.MAKESPAN:
        return window.throughput
    if objective is Objective.THROUGHPUT:
        return window.sleeps_per_s
    wait_ns = window.own_wait_p99_ns
    return None if wait_ns is None else float(wait_ns)


def strict(limits: BreakerLimits) -> BreakerLimits:
    """The same limits, of which one bad window is enough."""

    def once(limit: Limit | None) -> Limit | None:
        return None if limit is None else replace(limit, windows=1)

    return _each(limits, once)


def sooner(limits: BreakerLimits) -> BreakerLimits:
    """The same limits, of which one bad window fewer is enough."""

    def fewer(limit: Limit | None) -> Limit | None:
        return None if limit is None else replace(limit, windows=max(1, limit.windows - 1))

    return _each(limits, fewer)


def blind(window: GuardSample, guard: Guard) -> bool:
    """Whether a window says nothing of what a guard watches."""
    figures = {
        Guard.OTHERS_WAIT: window.others_wait_p99_ns,
        Guard.VICTIM_WAIT: window.others or None,
        Guard.OTHERS_STARVED: window.others_full,
        Guard.OWN_WAIT: window.own_wait_p99_ns,
        Guard.PRESSURE: window.pressure_some,
        Guard.THROUGHPUT: window.throughput,
    }
    return figures.get(guard) is None


def _each(limits: BreakerLimits, change: Callable[[Limit | None], Limit | None]) -> BreakerLimits:
    return replace(
        limits,
        others_wait=change(limits.others_wait),
        victim_wait=change(limits.victim_wait),
        others_starved=change(limits.others_starved),
        own_wait=change(limits.own_wait),
        pressure=change(limits.pressure),
        throughput=change(limits.throughput),
    )


def worst_of(windows: Iterable[GuardSample]) -> GuardSample:
    """The worst that each figure was under the kernel default, which no policy has to beat.

    Raises ValueError when there are no windows.
    """
    each = list(windows)
    own = max(each, key=lambda one: one.own_wait_p99_ns or 0)
    others = max(each, key=lambda one: one.others_wait_p99_ns or 0)
    return replace(
        max(each, key=lambda one: one.at),
        own_wait_p99_ns=own.own_wait_p99_ns,
        own_waits=own.own_waits,
        others_wait_p99_ns=others.others_wait_p99_ns,
        others_waits=others.others_waits,
        others=_slowest(one.others for one in each),
        others_full=_extreme(max, (one.others_full for one in each)),
        pressure_some=_extreme(max, (one.pressure_some for one in each)),
        throughput=_extreme(min, (one.throughput for one in each)),
    )


def _slowest(each: Iterable[Mapping[int, Waited]]) -> dict[int, Waited]:
    """For each cgroup the window in which its tasks waited longest."""
    slowest: dict[int, Waited] = {}
    for others in each:
        for cgroup, waited in others.items():
            if cgroup not in slowest or waited.mean_ns > slowest[cgroup].mean_ns:
                slowest[cgroup] = waited
    return slowest


def since(recent: GuardSample, longer: GuardSample) -> GuardSample:
    """The window ``recent``, where its waits are too few for a statistic those of a ``longer`` one.

    Longer windows overlap. What was bad only before must not be bad in each of them, so then the
    smaller one of both figures counts, and none where nobody waited in the window itself.
    """
    window = recent
    if recent.own_waits < MANY_WAITS:
        own = _smaller(recent.own_wait_p99_ns, longer.own_wait_p99_ns)
        window = replace(window, own_wait_p99_ns=own, own_waits=longer.own_waits)
    if recent.others_waits < MANY_WAITS:
        others = _smaller(recent.others_wait_p99_ns, longer.others_wait_p99_ns)
        window = replace(window, others_wait_p99_ns=others, others_waits=longer.others_waits)
    few = {key: one for key, one in recent.others.items() if one.waits < FEW_WAITS}
    calmer = {
        key: Waited(min(one.mean_ns, longer.others[key].mean_ns), longer.others[key].waits)
        for key, one in few.items()
        if key in longer.others
    }
    return replace(window, others={**recent.others, **calmer})


def _smaller(recent: int | None, longer: int | None) -> int | None:
    return None if recent is None or longer is None else min(recent, longer)


def _extreme(
    choose: Callable[[list[float]], float], values: Iterable[float | None]
) -> float | None:
    known = [value for value in values if value is not None]
    return choose(known) if known else None
