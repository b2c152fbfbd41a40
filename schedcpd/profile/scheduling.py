# SPDX-License-Identifier: GPL-2.0-or-later
"""The scheduling profile: what the scheduler did with a workload's tasks in half a second.

Everything is sampled and bounded: TASKS_LIMIT tasks, and of them a few more closely. What a task
waits for inside the kernel is told only to those who may trace it; to others only that it waits for
storage.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TypeVar

from schedcpd.errors import KernelText
from schedcpd.kernel import cgroupfs, procfs, taskstats
from schedcpd.kernel.taskstats import Blocked, SchedStat, Switches
from schedcpd.model import SchedulingProfile
from schedcpd.profile.period import clear_period_s

WINDOW_S = 0.5
STEPS = 20
TASKS_LIMIT = 24
FOLLOWED_LIMIT = 6  # tasks whose wake-ups are timed
SLEEPERS_LIMIT = 12  # tasks that are asked what they wait for, in each of a few steps
_CHOOSE_STEP = 4  # after so many steps it is known which tasks are worth following
_BLOCKED_STEPS = (5, 12, 19)
_FRAME_WORK = 0.1  # of all CPU time: a task that does less is a clock beside the work
_LEAST_SLEEPS = 2  # until then, of a task whose wake-ups are worth timing
_LISTING_S = 0.004  # for all listings of the cgroup's processes together
_BIRTHDAYS = 64  # processes whose age is asked for at the beginning
_READS_BETWEEN_YIELDS = 16
Found = TypeVar("Found")


@dataclass(slots=True)
class _Task:
    """One task; ``place`` is its directory in /proc."""

    place: str
    first: SchedStat
    last: SchedStat
    switches: Switches  # the first
    switched: Switches  # the last
    sleeps: list[tuple[float, int]] = field(default_factory=list)  # when, how many so far

    @property
    def run_ns(self) -> int:
        return max(0, self.last.run_ns - self.first.run_ns)

    @property
    def wait_ns(self) -> int:
        return max(0, self.last.wait_ns - self.first.wait_ns)

    @property
    def turns(self) -> int:
        return max(0, self.last.runs - self.first.runs)

    @property
    def voluntary(self) -> int:
        return max(0, self.switched.voluntary - self.switches.voluntary)

    @property
    def involuntary(self) -> int:
        return max(0, self.switched.involuntary - self.switches.involuntary)

    def update(self) -> None:
        """Read both again; a task that has ended keeps what it had."""
        self.last = _read(taskstats.read_schedstat, self.place) or self.last
        self.update_switches()

    def update_switches(self) -> None:
        """Read again how often it went to sleep."""
        self.switched = _read(taskstats.read_switches, self.place) or self.switched


@dataclass(slots=True)
class _Population:
    """Births and deaths, as far as the listings of the cgroup show them."""

    born_s: dict[int, float]  # by process that is there; nan when it is not known
    births: int = 0
    lifetimes: list[float] = field(default_factory=list)  # of those that ended; nan as above

    def count(self, pids: Sequence[int], now: float, since_s: float) -> None:
        """Compare with a listing made ``since_s`` after the last one."""
        there = set(pids)
        for pid in [one for one in self.born_s if one not in there]:
            self.lifetimes.append(now - self.born_s.pop(pid))
        for pid in there - self.born_s.keys():
            self.births += 1
            self.born_s[pid] = now - since_s / 2

    def median_lifetime_s(self) -> float:
        """Half of those that ended, and whose birth is known, lived longer."""
        known = [one for one in self.lifetimes if not math.isnan(one)]
        return max(0.0, median(known)) if known else 0.0


@dataclass(slots=True)
class Observation:
    """One window of one workload; ``workers`` are the pids of its working processes."""

    proc: Path
    place: str
    workers: Sequence[int]
    others: Sequence[int]
    boot: Callable[[], float]  # what processes' start times count in, seconds
    ticks_per_s: int
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _tasks: list[_Task] = field(default_factory=list)
    _followed: list[_Task] = field(default_factory=list)
    _blocked: Counter[Blocked] = field(default_factory=Counter)

    async def take(self, window_s: float = WINDOW_S) -> SchedulingProfile:
        """Watch for ``window_s``; tasks that end meanwhile count as far as they were seen."""
        await self._choose()
        began = listed = self.boot()
        pids = cgroupfs.read_pids(self.place)
        every = self._listing_steps(self.boot() - began)
        population = self._census(pids, began)
        for step in range(1, STEPS + 1):
            await self.sleep(window_s / STEPS)
            if step % every == 0 or step == STEPS:
                now = self.boot()
                population.count(cgroupfs.read_pids(self.place), now, now - listed)
                listed = now
            self._look(step)
        for task in self._tasks:
            task.update()
        elapsed_s = max(self.boot() - began, 1e-3)
        return self._add_up(elapsed_s, population)

    async def _choose(self) -> None:
        """The tasks to look at: working processes first, and of each process all its threads."""
        reads = 0
        for pid in (*self.workers, *self.others):
            left = TASKS_LIMIT - len(self._tasks)
            if left <= 0:
                return
            try:
                _, threads = procfs.read_threads(self.proc, pid, left)
            except KernelText:
                continue
            for thread in threads:
                place = f"{self.proc}/{pid}/task/{thread.pid}"
                counted = _read(taskstats.read_schedstat, place)
                switches = _read(taskstats.read_switches, place)
                if counted and switches:
                    self._tasks.append(_Task(place, counted, counted, switches, switches))
            reads += 1 + len(threads)
            if reads >= _READS_BETWEEN_YIELDS:
                reads = 0
                await asyncio.sleep(0)

    def _census(self, pids: Sequence[int], now: float) -> _Population:
        born_s = dict.fromkeys(pids, float("nan"))
        for pid in pids[:_BIRTHDAYS]:
            try:
                stat = procfs.read_stat(self.proc, pid)
            except KernelText:
                continue
            if stat is not None:
                born_s[pid] = min(now, stat.started_ticks / self.ticks_per_s)
        return _Population(born_s)

    def _listing_steps(self, cost_s: float) -> int:
        """Every how many steps a listing that takes ``cost_s`` is affordable."""
        return min(STEPS, max(1, round(STEPS * cost_s / _LISTING_S)))

    def _look(self, step: int) -> None:
        if step == _CHOOSE_STEP:
            self._follow()
        if step in _BLOCKED_STEPS:
            self._ask_sleepers()
        for task in self._followed:
            task.update_switches()
            task.sleeps.append((self.boot(), task.switched.voluntary))

    def _follow(self) -> None:
        """Time the wake-ups of the tasks that do most, of those that sleep now and then."""
        for task in self._tasks:
            task.update()
        sleepy = [one for one in self._tasks if one.voluntary >= _LEAST_SLEEPS]
        sleepy.sort(key=lambda one: -one.run_ns)
        self._followed = sleepy[:FOLLOWED_LIMIT]

    def _ask_sleepers(self) -> None:
        step = max(1, -(-len(self._tasks) // SLEEPERS_LIMIT))
        for task in self._tasks[::step]:
            stat = _read(procfs.read_task, task.place)
            if stat is not None and stat.state in ("S", "D"):
                reason = taskstats.blocked_on(taskstats.read_wchan(task.place), stat.state)
                self._blocked[reason] += 1

    def _add_up(self, elapsed_s: float, population: _Population) -> SchedulingProfile:
        run_ns = sum(task.run_ns for task in self._tasks)
        wait_ns = sum(task.wait_ns for task in self._tasks)
        turns = sum(task.turns for task in self._tasks)
        # A task that kept its CPU through the window has no turn of it, but has run once.
        runs = sum(max(task.turns, 1) for task in self._tasks if task.run_ns)
        asleep = max(1, self._blocked.total())
        return SchedulingProfile(
            window_s=elapsed_s,
            tasks=len(self._tasks),
            run_share=run_ns / 1e9 / elapsed_s,
            wait_share=wait_ns / 1e9 / elapsed_s,
            mean_run_ms=run_ns / 1e6 / max(1, runs),
            mean_wait_ms=wait_ns / 1e6 / max(1, turns),
            forks_per_s=population.births / elapsed_s,
            exits_per_s=len(population.lifetimes) / elapsed_s,
            lifetime_s=population.median_lifetime_s(),
            voluntary_per_s=sum(task.voluntary for task in self._tasks) / elapsed_s,
            involuntary_per_s=sum(task.involuntary for task in self._tasks) / elapsed_s,
            blocked_io=self._blocked[Blocked.IO] / asleep,
            blocked_lock=self._blocked[Blocked.LOCK] / asleep,
            blocked_message=self._blocked[Blocked.MESSAGE] / asleep,
            blocked_timer=self._blocked[Blocked.TIMER] / asleep,
            period_ms=self._period_ms(),
        )

    def _period_ms(self) -> float:
        """The period of the busiest task that has a clear one; 0 when there is none."""
        # Not by its runs: a task that others preempt gets its CPU back at regular times as well.
        least = _FRAME_WORK * sum(task.run_ns for task in self._tasks)
        periods = (
            clear_period_s(task.sleeps) * 1000
            for task in self._followed
            if task.run_ns and task.run_ns >= least
        )
        return next(filter(None, periods), 0.0)


def _read(reader: Callable[[str], Found | None], place: str) -> Found | None:
    """What ``reader`` says of a task; None when it ended, or is none as we know them."""
    try:
        return reader(place)
    except KernelText:
        return None
