# SPDX-License-Identifier: GPL-2.0-or-later
"""What probes/workload.bpf.c has counted, as its bytes and as values."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from schedcpd.errors import KernelText
from schedcpd.kernel import syscalls

# Known to probes/workload.bpf.c.
SLOTS = 40
MAX_CPUS = 1024
MAX_WAKERS = 512


class Span(IntEnum):
    """``enum workload_span``."""

    QUEUE = 0
    RUN = 1
    LOCK = 2
    MESSAGE = 3
    TIMER = 4
    STORAGE = 5
    OTHER = 6
    PREEMPTED = 7
    LIFE = 8


class Source(IntEnum):
    """``enum workload_source``: where a wake-up came from."""

    ITSELF = 0
    INSIDE = 1
    OUTSIDE = 2
    INTERRUPT = 3
    TIMER = 4


_TIMES = 2 + SLOTS  # words of struct workload_times
# The words of struct workload_counters between the times and the system calls.
_TOTALS = (
    *("wakeups", "unlisted", "migrations", "llc_migrations", "forks", "threads", "execs"),
    *("exits", "tasks"),
)
_WORDS = len(Span) * _TIMES + len(_TOTALS) + syscalls.MOST
_COUNTERS = struct.Struct(f"={_WORDS}Q")
_WINDOW = struct.Struct("=Q")
_WAKER = struct.Struct("=16s16sQQ")  # struct waker, and how often
WAKER_KEY_BYTES = 40
COUNTERS_BYTES = _COUNTERS.size
REPORT_LIMIT = _WINDOW.size + _COUNTERS.size + MAX_WAKERS * _WAKER.size
_WORD_MOST = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Times:
    """Spans of one kind.

    Slot i of ``slots`` counts those of 2**i to 2**(i+1) ns, the last one all longer ones too.
    """

    total_ns: int = 0  # with those that were cut off by the beginning or the end of the window
    whole_ns: int = 0  # of those in the slots
    slots: tuple[int, ...] = (0,) * SLOTS


@dataclass(frozen=True, slots=True)
class WakerCount:
    """How often tasks of one name woke those of another; an interrupt has no name."""

    source: Source
    waker: bytes
    woken: bytes
    wakeups: int


@dataclass(frozen=True, slots=True)
class Counted:
    """All that was counted in the window."""

    window_ns: int
    spans: Mapping[Span, Times]
    totals: Mapping[str, int]  # the names are those of struct workload_counters
    calls: Mapping[int, int]  # by the number of the system call; none that was not made
    wakers: tuple[WakerCount, ...]


def report(window_ns: int, per_cpu: bytes, wakers: bytes) -> bytes:
    """What is counted, with the counters of all CPUs added up; ``parse`` reads it.

    ``per_cpu`` is the value of the map ``counters``, ``wakers`` each key of that map and its value.
    """
    sums = map(sum, zip(*_COUNTERS.iter_unpack(per_cpu), strict=True))
    counted = _COUNTERS.pack(*(min(one, _WORD_MOST) for one in sums))
    return _WINDOW.pack(window_ns) + counted + wakers


def parse(raw: bytes) -> Counted:
    """A report; raises KernelText when it makes no sense."""
    head = _WINDOW.size + _COUNTERS.size
    if not head <= len(raw) <= REPORT_LIMIT or (len(raw) - head) % _WAKER.size:
        raise KernelText("report of the workload probe", f"it has {len(raw)} bytes")
    (window_ns,) = _WINDOW.unpack_from(raw)
    if not window_ns:
        raise KernelText("report of the workload probe", "it is of no time at all")
    words = _COUNTERS.unpack_from(raw, _WINDOW.size)
    totals, calls = len(Span) * _TIMES, len(Span) * _TIMES + len(_TOTALS)
    return Counted(
        window_ns,
        {one: _times(words[one * _TIMES : (one + 1) * _TIMES]) for one in Span},
        dict(zip(_TOTALS, words[totals:calls], strict=True)),
        {number: count for number, count in enumerate(words[calls:]) if count},
        tuple(_waker(*fields) for fields in _WAKER.iter_unpack(raw[head:])),
    )


def _times(words: tuple[int, ...]) -> Times:
    return Times(words[0], words[1], words[2:])


def _waker(waker: bytes, woken: bytes, source: int, wakeups: int) -> WakerCount:
    try:
        known = Source(source)
    except ValueError as exc:
        raise KernelText("report of the workload probe", f"a waker's kind is {source}") from exc
    return WakerCount(known, waker.partition(b"\0")[0], woken.partition(b"\0")[0], wakeups)
