# SPDX-License-Identifier: GPL-2.0-or-later
"""Looks at the processes of a cgroup a few times and adds up what was seen.

State R is sampled, not computed from schedstat: a task that waits through the whole window, as the
queued ones of a run-to-completion policy do, shows no waiting time there until it runs.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median

from schedcpd.errors import KernelText
from schedcpd.kernel import cgroupfs, procfs

FULL_LOOK_TASKS = 500  # bounds the look that learns names and ages
QUICK_LOOK_TASKS = 32  # enough for a mean, and cheap
_TASKS_BETWEEN_YIELDS = 64


@dataclass(slots=True)
class Seen:
    """One process over all looks; ``runnable`` counts those that found a runnable thread."""

    stat: procfs.TaskStat
    looks: int = 0  # only those that covered its threads
    runnable: int = 0
    last_look: int = 0


@dataclass(slots=True)
class Look:
    """One moment; sums over the processes that were looked at, and how many there are in all."""

    listed: int  # process ids in the cgroup
    chosen: int  # of them, those to look at
    processes: int = 0  # of them, those that were still there
    threads: int = 0
    covered_processes: int = 0  # of them, those whose threads were looked at
    covered_threads: int = 0
    runnable: float = 0.0
    busy: int = 0  # covered processes with a runnable thread

    @property
    def scale(self) -> float:
        """All processes for each that was to be looked at."""
        return self.listed / self.chosen if self.chosen else 1.0

    @property
    def all_runnable(self) -> float:
        """Runnable threads, scaled up to all threads."""
        covered = self.covered_threads
        return self.runnable * self.scale * self.threads / covered if covered else 0.0

    @property
    def all_workers(self) -> float:
        """Processes with a runnable thread, scaled up to all processes."""
        covered = self.covered_processes
        return self.busy * self.scale * self.processes / covered if covered else 0.0


@dataclass(slots=True)
class Census:
    """What several looks at one cgroup have found."""

    proc: Path
    place: str
    looks: list[Look] = field(default_factory=list)
    seen: dict[tuple[int, int], Seen] = field(default_factory=dict)  # pid and start: pids come back

    async def look(self, budget: int) -> None:
        """Look once at about ``budget`` tasks; processes that end meanwhile are not counted."""
        pids = cgroupfs.read_pids(self.place)
        step = max(1, -(-len(pids) // budget))
        chosen = pids[len(self.looks) % step :: step]
        look = Look(listed=len(pids), chosen=len(chosen))
        yielded = 0
        for pid in chosen:
            self._look_at(pid, look, budget)
            if look.processes + look.covered_threads - yielded >= _TASKS_BETWEEN_YIELDS:
                yielded = look.processes + look.covered_threads
                await asyncio.sleep(0)
        self.looks.append(look)

    def _look_at(self, pid: int, look: Look, budget: int) -> None:
        try:
            stat = procfs.read_stat(self.proc, pid)
            if stat is None:
                return
            left = budget - look.covered_threads
            total, threads = 1, [stat]
            if stat.threads > 1:
                total, threads = procfs.read_threads(self.proc, pid, left) if left > 0 else (0, [])
        except KernelText:
            return  # not a process as we know them: it counts for nothing
        runnable = sum(thread.runnable for thread in threads)
        look.processes += 1
        look.threads += stat.threads
        if threads:
            look.covered_processes += 1
            look.covered_threads += total
            look.runnable += runnable * total / len(threads)
            look.busy += runnable > 0
        entry = self.seen.setdefault((stat.pid, stat.started_ticks), Seen(stat))
        entry.stat = stat  # a fork becomes another program by exec
        entry.looks += bool(threads)
        entry.runnable += runnable > 0
        entry.last_look = len(self.looks)

    # What all looks together say

    def latest(self) -> Look:
        """The last look that found a process."""
        return next((look for look in reversed(self.looks) if look.processes), Look(0, 0))

    def mean_runnable(self) -> float:
        """Threads running or waiting for a CPU, over all looks."""
        return fmean(look.all_runnable for look in self.looks) if self.looks else 0.0

    def mean_workers(self) -> float:
        """Processes with such a thread, over all looks."""
        return fmean(look.all_workers for look in self.looks) if self.looks else 0.0

    def crowded_share(self, cpus_used: float) -> float:
        """The share of looks with clearly more runnable threads than the workload got CPUs."""
        crowded = sum(look.all_runnable > cpus_used + 1 for look in self.looks)
        return crowded / len(self.looks) if self.looks else 0.0

    def workers(self) -> list[Seen]:
        """Processes that were seen with a runnable thread, the busiest first."""
        busy = [one for one in self.seen.values() if one.runnable]
        return sorted(busy, key=lambda one: (-one.runnable, one.stat.pid))

    def oldest(self) -> Seen | None:
        """The process that was there first; it started the others, in all likelihood."""
        return min(
            self.seen.values(), key=lambda one: (one.stat.started_ticks, one.stat.pid), default=None
        )

    def others(self) -> list[Seen]:
        """Processes that were never seen with a runnable thread."""
        return [one for one in self.seen.values() if not one.runnable]

    def median_nice(self) -> float:
        """Of the workers, or of all processes where none works."""
        return median([one.stat.nice for one in self.workers() or self.seen.values()] or [0.0])

    def usual_policy(self) -> int:
        """The scheduling policy that most of the workers, or of all processes, have."""
        policies = Counter(one.stat.policy for one in self.workers() or self.seen.values())
        return max(policies, key=lambda one: policies[one], default=0)

    def programs(self) -> list[tuple[str, int]]:
        """Programs of the last look and their processes, most first; of equals the busier."""
        latest = self.latest()
        number = next((i for i, look in enumerate(self.looks) if look is latest), 0)
        there = [one for one in self.seen.values() if one.last_look == number]
        processes = Counter(one.stat.comm for one in there)
        busy = self.busy_programs()
        ranked = sorted(processes.items(), key=lambda one: (-one[1], -busy[one[0]], one[0]))
        return [(name, round(count * latest.scale)) for name, count in ranked]

    def busy_programs(self) -> Counter[str]:
        """How often each program was found runnable."""
        busy: Counter[str] = Counter()
        for one in self.workers():
            busy[one.stat.comm] += one.runnable
        return busy

    def ages(self, boot_s: float, ticks_per_s: int, workers_only: bool = False) -> list[float]:
        """Ages of the processes in seconds, where ``boot_s`` is the time since boot."""
        chosen = self.workers() if workers_only else self.seen.values()
        return [max(0.0, boot_s - one.stat.started_ticks / ticks_per_s) for one in chosen]

    def median_worker_age(self, boot_s: float, ticks_per_s: int) -> float:
        """Half of the workers are younger; seconds."""
        return median(self.ages(boot_s, ticks_per_s, workers_only=True) or [0.0])
