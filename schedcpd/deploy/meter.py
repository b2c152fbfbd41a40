# SPDX-License-Identifier: GPL-2.0-or-later
"""What a workload and everybody else got out of the machine in a window: for canary and breaker.

Every figure is a difference of counters that the kernel keeps; what it does not tell is None.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from schedcpd.deploy.breaker import GuardSample, Waited, unnamed
from schedcpd.errors import KernelText
from schedcpd.kernel import cgroupfs, latency
from schedcpd.kernel.latency import CgroupLatency
from schedcpd.kernel.pressure import read_pressure
from schedcpd.kernel.text import printable
from schedcpd.model import Workload

TAIL = 0.99
CGROUPS_OF_A_WORKLOAD = 200
OTHERS_WATCHED = 500
NAME_SHOWN = 80
MIN_WINDOW_S = 1e-3
# By convention of the cards: tasks put in the policy's own queues, and tasks taken from them.
ENQUEUED = "nr_enqueued"
DISPATCHED = "nr_dispatched"

Latencies = Mapping[int, CgroupLatency]
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Sample:
    """The counters at one moment; None where the kernel does not tell."""

    at: float  # monotonic, seconds
    usage_us: int | None = None  # CPU time of the workload
    pressure_us: int | None = None  # time in which some task of the machine waited for a CPU
    latencies: Latencies | None = None  # by cgroup id
    own: frozenset[int] = frozenset()  # the workload's cgroup and those below it
    aside: frozenset[int] = frozenset()  # cgroups of those who let others go first
    # Time in which other workloads had tasks to run and none of them ran, by workload id.
    full_us: Mapping[str, int] = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=dict)  # of the policy


class Meter:
    """Reads the counters of a machine.

    ``latencies`` gives those of the run-queue probe, None where it does not run; it may raise
    KernelText or OSError. ``workloads`` are those whose starvation is watched for, ``yielding``
    those who let others go first: nobody does them harm who makes them wait. ``monotonic`` and
    ``clock`` (since the epoch) give seconds.
    """

    def __init__(
        self,
        cgroup: Path,
        pressure: Path,
        latencies: Callable[[], Latencies | None],
        workloads: Callable[[], Iterable[str]],
        monotonic: Callable[[], float],
        clock: Callable[[], float],
        yielding: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self._cgroup = cgroup
        self._pressure = pressure
        self._latencies = latencies
        self._workloads = workloads
        self._monotonic = monotonic
        self._clock = clock
        self._yielding = yielding

    def sample(self, workload: Workload, counters: Mapping[str, int] | None = None) -> Sample:
        """The counters now, with those of the policy where it is attached.

        Of the whole machine (its id is empty) everybody is another workload, to be protected, and
        nobody's work stands for what it gets done.
        """
        place = cgroupfs.directory(self._cgroup, workload.id)
        yielding = frozenset(self._yielding())
        return Sample(
            at=self._monotonic(),
            usage_us=_or_none(lambda: _usage_us(place)) if workload.id else None,
            pressure_us=_or_none(self._pressure_us),
            latencies=_or_none(self._latencies),
            own=_cgroups_of(place) if workload.id else frozenset(),
            aside=frozenset().union(*(self._cgroups_at(one) for one in yielding)),
            full_us=self._full_us(yielding | {workload.id}),
            counters=dict(counters or {}),
        )

    def window(self, before: Sample, after: Sample) -> GuardSample:
        """What happened between two samples."""
        length_s = max(after.at - before.at, MIN_WINDOW_S)
        own, others, each = _waits(before, after)
        usage_us = _less(after.usage_us, before.usage_us)
        pressure_us = _less(after.pressure_us, before.pressure_us)
        sample = GuardSample(
            at=self._clock(),
            window_s=length_s,
            own_wait_p99_ns=_tail(own),
            own_waits=own.waits if own else 0,
            sleeps_per_s=own.sleeps / length_s if own else None,
            others_wait_p99_ns=_tail(others),
            others_waits=others.waits if others else 0,
            others={key: Waited(one.wait_ns / one.waits, one.waits) for key, one in each.items()},
            others_full=_longest(before.full_us, after.full_us, length_s),
            pressure_some=None if pressure_us is None else min(pressure_us / 1e6 / length_s, 1.0),
            throughput=None if usage_us is None else usage_us / 1e6 / length_s,
        )
        if not {ENQUEUED, DISPATCHED} <= after.counters.keys() & before.counters.keys():
            return sample
        return replace(
            sample,
            enqueued=after.counters[ENQUEUED] - before.counters[ENQUEUED],
            dispatched=after.counters[DISPATCHED] - before.counters[DISPATCHED],
        )

    def named(self, cgroup: int) -> str:
        """What people call the workload that has the cgroup of that id: its unit.

        Looks at the workloads one by one: not for every window.
        """
        for one in itertools.islice(self._workloads(), OTHERS_WATCHED):
            if cgroupfs.read_id(cgroupfs.directory(self._cgroup, one)) == cgroup:
                return printable(Path(one).name, NAME_SHOWN)
        return unnamed(cgroup)

    def _cgroups_at(self, identifier: str) -> frozenset[int]:
        return _cgroups_of(cgroupfs.directory(self._cgroup, identifier))

    def _full_us(self, but: Collection[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for identifier in itertools.islice(self._workloads(), OTHERS_WATCHED):
            place = cgroupfs.directory(self._cgroup, identifier)
            pressure = _or_none(functools.partial(read_pressure, f"{place}/cpu.pressure"))
            if pressure is not None and identifier not in but:
                found[identifier] = pressure.full_us
        return found

    def _pressure_us(self) -> int | None:
        pressure = read_pressure(str(self._pressure))
        return pressure.some_us if pressure else None


def _usage_us(place: str) -> int | None:
    stat = cgroupfs.read_cpu_stat(place)
    return stat.usage_us if stat else None


def _cgroups_of(place: str) -> frozenset[int]:
    identifiers = (cgroupfs.read_id(one) for one in cgroupfs.walk(place, CGROUPS_OF_A_WORKLOAD))
    return frozenset(one for one in identifiers if one is not None)


def _waits(
    before: Sample, after: Sample
) -> tuple[CgroupLatency | None, CgroupLatency | None, Latencies]:
    """What the workload waited, what all others did, and each of those that waited at all."""
    if before.latencies is None or after.latencies is None:
        return None, None, {}
    changes = latency.difference(after.latencies, before.latencies)
    # A cgroup of the workload that has ended in the window is still its own.
    own = before.own | after.own
    aside = own | before.aside | after.aside
    others = {key: one for key, one in changes.items() if key not in aside}
    return (
        latency.total(one for key, one in changes.items() if key in own),
        latency.total(others.values()),
        {key: one for key, one in others.items() if one.waits},
    )


def _tail(waits: CgroupLatency | None) -> int | None:
    value = latency.quantile(waits, TAIL) if waits else None
    return None if value is None else round(value)


def _longest(before: Mapping[str, int], after: Mapping[str, int], length_s: float) -> float | None:
    """The largest share of the window in which one of the others was kept from running."""
    waited_us = [after[one] - before[one] for one in after.keys() & before.keys()]
    return min(max(0, *waited_us) / 1e6 / length_s, 1.0) if waited_us else None


def _less(now: int | None, before: int | None) -> int | None:
    return None if now is None or before is None else max(0, now - before)


def _or_none(read: Callable[[], Value | None]) -> Value | None:
    """What is read; None when it cannot be, as what is not known must not decide anything."""
    try:
        return read()
    except (KernelText, OSError):
        return None
