# SPDX-License-Identifier: GPL-2.0-or-later
"""Reports of the workload probe, as its child writes them."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from schedcpd.kernel import syscalls, workload
from schedcpd.kernel.workload import SLOTS, Source, Span

TOTALS = (
    *("wakeups", "unlisted", "migrations", "llc_migrations", "forks", "threads", "execs"),
    *("exits", "tasks"),
)


def times(total_ns: int, whole_ns: int = 0, **slots: int) -> list[int]:
    """The words of struct workload_times; ``s3=2`` are two spans in slot 3."""
    words = [0] * SLOTS
    for name, number in slots.items():
        words[int(name[1:])] = number
    return [total_ns, whole_ns, *words]


def counters(
    spans: Mapping[Span, list[int]] | None = None,
    calls: Mapping[int, int] | None = None,
    **totals: int,
) -> bytes:
    """The counters of one CPU."""
    words = [word for span in Span for word in (spans or {}).get(span, times(0))]
    words += [totals.get(name, 0) for name in TOTALS]
    words += [(calls or {}).get(number, 0) for number in range(syscalls.MOST)]
    return struct.pack(f"={len(words)}Q", *words)


def waker(source: int, woke: bytes, woken: bytes, wakeups: int) -> bytes:
    """A key of the map of wakers and its value."""
    return struct.pack("=16s16sQQ", woke, woken, source, wakeups)


def service(window_ns: int = 2_000_000_000) -> bytes:
    """A service with two threads that answers a client, and another one that waits for a lock."""
    spans = {
        Span.QUEUE: times(6_000_000, 5_000_000, s14=98, s20=2),
        Span.RUN: times(400_000_000, 400_000_000, s22=100),
        Span.MESSAGE: times(1_500_000_000, 1_400_000_000, s23=100),
        Span.LOCK: times(2_000_000_000),
        Span.TIMER: times(500_000_000, 500_000_000, s24=20),
        Span.PREEMPTED: times(1_000_000, 1_000_000, s14=3),
        Span.LIFE: times(7_000_000, 7_000_000, s22=1),
    }
    calls = {0: 7, 232: 400, 500: 1}
    totals = {"wakeups": 120, "migrations": 5, "llc_migrations": 1, "forks": 1, "exits": 1}
    wakers = (
        waker(Source.TIMER, b"", b"server", 20),
        waker(Source.OUTSIDE, b"client\xff", b"server", 100),
    )
    cpu = counters(spans, calls, tasks=3, **totals)
    return workload.report(window_ns, cpu + counters(), b"".join(wakers))
