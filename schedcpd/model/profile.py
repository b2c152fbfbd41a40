# SPDX-License-Identifier: GPL-2.0-or-later
"""What a workload was seen to do, tier by tier."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from schedcpd.model.probes import ProbesProfile, Waker
from schedcpd.model.workload import WorkloadClass


class Tier(StrEnum):
    """How closely a workload is looked at."""

    SUMMARY = "summary"
    SCHEDULING = "scheduling"  # what the scheduler does with its tasks, too
    PROBES = "probes"  # all that its tasks do, counted by a program in the kernel, too


@dataclass(frozen=True, slots=True)
class Program:
    """One program of a workload and how many processes run it."""

    name: str  # comm, control characters replaced
    processes: int


@dataclass(frozen=True, slots=True)
class SchedulingProfile:
    """The second tier: what the scheduler did with the workload's tasks in ``window_s`` seconds."""

    window_s: float
    tasks: int  # looked at
    run_share: float  # CPUs used by the tasks that were looked at
    wait_share: float  # threads that waited for a CPU, on average
    mean_run_ms: float  # one run, from getting a CPU to losing it
    mean_wait_ms: float  # one wait for a CPU
    forks_per_s: float
    exits_per_s: float
    lifetime_s: float  # median of the processes that ended in the window; 0 when none did
    voluntary_per_s: float  # context switches because a task went to sleep
    involuntary_per_s: float
    # Who may not trace the tasks sees only waits for storage; the third tier tells them all.
    blocked_io: float  # share of sleeping threads that wait for storage, 0 to 1
    blocked_lock: float  # ... for a futex
    blocked_message: float  # ... for a pipe, a socket, a poll
    blocked_timer: float  # ... for a time to come
    period_ms: float  # of periodic wake-ups; 0 when there is no clear period
    # CPU time in all, of those processes of a batch that can be judged by what their command took
    # before, or by the files that their arguments name or that are their standard input.
    expected_s: float = 0.0  # median; 0 when none can be judged
    longest_s: float = 0.0  # of the longest one
    wakers: tuple[Waker, ...] = ()  # only from the third tier; most wakeups first, at most 16


@dataclass(frozen=True, slots=True)
class WorkloadProfile:
    """Summary profile of one workload, taken over ``window_s`` seconds."""

    taken_at: float  # seconds since the epoch
    window_s: float
    processes: int
    threads: int
    runnable: float  # mean number of threads running or waiting for a CPU
    cpus_used: float  # CPU seconds per second
    throttled_s: float  # seconds throttled by cpu.max in the window
    pressure_some: float  # share of the window in which some thread waited for a CPU, 0 to 1
    youngest_s: float  # age of the youngest process
    oldest_s: float
    programs: tuple[Program, ...] = ()  # most processes first, at most 8
    arguments: tuple[str, ...] = ()  # command lines of up to 3 processes, bounded, printable
    sentence: str = ""  # one plain sentence for a person
    # A worker is a process with a runnable thread: what is left when parents that wait are ignored.
    workers: float = 0.0  # mean number of them at one moment
    worker_share: float = 0.0  # how often a worker that was looked at was runnable, 0 to 1
    worker_threads: float = 0.0  # mean number of threads of a worker, runnable or not
    worker_age_s: float = 0.0  # median age of the workers
    worker_program: str = ""  # what more than half of them run
    listeners: int = 0  # TCP sockets of the workload that wait for clients
    command: str = ""  # command line of the oldest process, bounded, printable
    work: WorkloadClass = WorkloadClass.UNKNOWN
    scheduling: SchedulingProfile | None = None  # only when the summary was not enough
    probes: ProbesProfile | None = None  # only when that was not enough either

    @property
    def wakes_of_one(self) -> float:
        """How often a busy thread is woken in a second; 0 without the scheduling tier."""
        seen = self.scheduling
        if seen is None:
            return 0.0
        return seen.voluntary_per_s / max(1.0, min(self.runnable, seen.tasks))

    @property
    def skew(self) -> float:
        """How many times as long as a usual job the longest is expected to run; 0 if unknown."""
        seen = self.scheduling
        return seen.longest_s / seen.expected_s if seen is not None and seen.expected_s else 0.0
