# SPDX-License-Identifier: GPL-2.0-or-later
"""What the workload probe has counted: the third tier of a profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class SleepReason(StrEnum):
    """Why a task is off its CPU."""

    LOCK = "lock"  # a futex or a lock on a file: another task
    MESSAGE = "message"  # a pipe, a socket, a poll
    TIMER = "timer"  # a time to come, or a poll that nobody answered in time
    STORAGE = "storage"  # or whatever else cannot be interrupted
    OTHER = "other"  # a child, a signal, a terminal
    PREEMPTED = "preempted"  # it would rather run


class WakerKind(StrEnum):
    """Where a wake-up comes from."""

    ITSELF = "itself"  # another thread of the same process
    INSIDE = "inside"  # another process of the workload
    OUTSIDE = "outside"
    INTERRUPT = "interrupt"  # a device, the network
    TIMER = "timer"


@dataclass(frozen=True, slots=True)
class Histogram:
    """Spans of time. Slot i of ``slots`` counts those of 2**i to 2**(i+1) ns, the last one more.

    Only those count that began and ended in the window; ``total_s`` has the others as well, as far
    as they lie in it.
    """

    slots: tuple[int, ...] = ()
    mean_ms: float = 0.0
    total_s: float = 0.0

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self.slots)

    def quantile_ns(self, share: float) -> float | None:
        """The time in ns that ``share`` (0 to 1) of them do not exceed; None without any.

        Within a slot they count as evenly spread, so it may be off by nearly a factor of two.
        """
        rank = min(max(share, 0.0), 1.0) * self.count
        below = 0
        for slot, count in enumerate(self.slots):
            if count and below + count >= rank:
                low = 1 << slot if slot else 0
                return low + (rank - below) / count * ((2 << slot) - low)
            below += count
        return None


@dataclass(frozen=True, slots=True)
class Waker:
    """Who woke whom in a window; programs by comm, control characters replaced."""

    kind: WakerKind
    waker: str  # empty for an interrupt
    woken: str
    wakeups: int


@dataclass(frozen=True, slots=True)
class SystemCall:
    """One system call and how often it was made in a window."""

    name: str
    calls: int


@dataclass(frozen=True, slots=True)
class ProbesProfile:
    """The third tier: all that the tasks of a workload did in ``window_s`` seconds."""

    window_s: float
    tasks: int  # there at the end
    queue: Histogram = Histogram()  # waits for a CPU, from the wake-up or the preemption on
    run: Histogram = Histogram()  # turns on a CPU
    # Until the wake-up; a preempted task gets its CPU back at the end of such a wait.
    off_cpu: Mapping[SleepReason, Histogram] = field(default_factory=dict)  # those that occurred
    wakeups: int = 0
    wakers: tuple[Waker, ...] = ()  # most wakeups first, at most 16
    system_calls: int = 0
    calls: tuple[SystemCall, ...] = ()  # most first, at most 16
    migrations: int = 0  # turns on another CPU than the turn before
    cache_migrations: int = 0  # of them, those to another last-level cache
    forks: int = 0  # processes
    threads: int = 0  # begun by a process that was there
    execs: int = 0
    exits: int = 0  # processes
    lifetimes: Histogram = Histogram()  # of the processes that ended
    sentence: str = ""  # one plain sentence for a person

    def asleep_share(self, reason: SleepReason) -> float:
        """The share of all sleep that was for that reason, 0 to 1."""
        slept: dict[SleepReason, float] = {
            key: one.total_s
            for key, one in self.off_cpu.items()
            if key is not SleepReason.PREEMPTED
        }
        total = sum(slept.values())
        return slept.get(reason, 0.0) / total if total else 0.0
