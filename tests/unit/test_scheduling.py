# SPDX-License-Identifier: GPL-2.0-or-later
"""The scheduling tier, on tasks in files and on real ones."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from schedcpd.kernel import cgroupfs
from schedcpd.model import SchedulingProfile
from schedcpd.profile.scheduling import STEPS, TASKS_LIMIT, Observation
from unit.made_tasks import MadeTasks


@pytest.fixture
def made(tmp_path: Path) -> MadeTasks:
    return MadeTasks(tmp_path)


async def test_run_and_wait_times(made: MadeTasks) -> None:
    busy = made.add(1, state="R", run_ns=10**9, runs=7)
    waiting = made.add(2, state="R")

    def step(elapsed_s: float) -> None:
        busy.run_ns, busy.runs = 10**9 + round(elapsed_s * 1e9), 7 + round(elapsed_s * 100)
        busy.involuntary = busy.runs
        waiting.wait_ns = round(elapsed_s * 0.5e9)
        waiting.runs = round(elapsed_s * 20)

    made.step = step
    seen = await made.observation([1, 2]).take(0.5)
    assert seen.window_s == pytest.approx(0.5)
    assert seen.tasks == 2
    assert seen.run_share == pytest.approx(1.0)
    assert seen.wait_share == pytest.approx(0.5)
    assert seen.mean_run_ms == pytest.approx(10.0)
    assert seen.mean_wait_ms == pytest.approx(250 / 60)
    assert seen.voluntary_per_s == 0.0
    assert seen.involuntary_per_s == pytest.approx(114.0)
    assert seen.period_ms == 0.0


async def test_a_task_that_never_leaves_its_cpu_has_run_once(made: MadeTasks) -> None:
    busy = made.add(1, state="R", runs=3)
    made.step = lambda elapsed_s: setattr(busy, "run_ns", round(elapsed_s * 1e9))
    assert (await made.observation([1]).take(0.5)).mean_run_ms == pytest.approx(500.0)


async def test_births_deaths_and_lifetimes(made: MadeTasks) -> None:
    made.add(1)
    made.began = made.now - 10.0  # what was there before is ten seconds old

    def step(elapsed_s: float) -> None:
        number = made.sleeps
        if number <= 16:
            made.add(100 + number)
        if number > 4:
            made.end(100 + number - 4)
        if number == STEPS:
            made.end(1)

    made.step = step
    made.write()
    made.began = made.now
    seen = await made.observation([1]).take(0.5)
    assert seen.forks_per_s == pytest.approx(16 / 0.5)
    assert seen.exits_per_s == pytest.approx(17 / 0.5)
    assert seen.lifetime_s == pytest.approx(4.5 * 0.025)  # seen to begin half a step late
    assert seen.tasks == 1


async def test_listings_that_cost_much_are_few(made: MadeTasks) -> None:
    made.add(1)
    observation = made.observation([1])
    listings: list[float] = []
    real = cgroupfs.read_pids

    def slow(place: str) -> list[int]:
        listings.append(made.now)
        made.now += 0.002
        return real(place)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cgroupfs, "read_pids", slow)
        await observation.take()
    assert len(listings) == 3  # at the beginning, in the middle, at the end


async def test_what_sleeping_tasks_wait_for(made: MadeTasks) -> None:
    waits = [("D", "folio_wait_bit"), ("S", "futex_do_wait"), ("S", "do_epoll_wait")]
    for pid, (state, wchan) in enumerate([*waits, ("S", "hrtimer_nanosleep")], 1):
        made.add(pid, state=state, wchan=wchan)
    made.add(9, state="R", wchan="0")
    seen = await made.observation([1, 2, 3, 4, 9]).take()
    shares = (seen.blocked_io, seen.blocked_lock, seen.blocked_message, seen.blocked_timer)
    assert shares == (0.25, 0.25, 0.25, 0.25)


async def test_where_the_kernel_hides_it_only_storage_is_told(made: MadeTasks) -> None:
    made.add(1, state="D")
    made.add(2, state="S")
    seen = await made.observation([1, 2]).take()
    shares = (seen.blocked_io, seen.blocked_lock, seen.blocked_message, seen.blocked_timer)
    assert shares == (0.5, 0.0, 0.0, 0.0)


def frames(made: MadeTasks, run_share: float) -> None:
    """A task that sleeps sixty times a second, beside one that never does."""
    frame, hog = made.add(1), made.add(2, state="R")

    def step(elapsed_s: float) -> None:
        frame.voluntary = round(elapsed_s * 60)
        frame.runs = frame.voluntary + round(elapsed_s * 33)
        frame.run_ns = round(elapsed_s * run_share * 1e9)
        hog.run_ns = round(elapsed_s * (1 - run_share) * 1e9)
        hog.runs = round(elapsed_s * 250)

    made.step = step


async def test_a_period_is_found_though_others_preempt(made: MadeTasks) -> None:
    frames(made, 0.3)
    seen = await made.observation([2], [1]).take(0.5)
    assert seen.period_ms == pytest.approx(16.67, rel=0.05)


async def test_a_clock_beside_the_work_gives_it_no_period(made: MadeTasks) -> None:
    frames(made, 0.02)
    assert (await made.observation([1, 2]).take(0.5)).period_ms == 0.0


async def test_tasks_that_end_count_as_far_as_they_were_seen(made: MadeTasks) -> None:
    short = made.add(1, state="R")

    def step(elapsed_s: float) -> None:
        short.run_ns = round(elapsed_s * 1e9)
        if made.sleeps == 10:
            made.end(1)

    made.step = step
    seen = await made.observation([1, 77]).take(0.5)
    assert seen.tasks == 1
    # Read for the last time when tasks are chosen to be followed.
    assert 0.1 <= seen.run_share <= 0.5
    assert seen.exits_per_s == pytest.approx(2.0)


async def test_what_makes_no_sense_counts_for_nothing(made: MadeTasks) -> None:
    made.add(1, state="R", run_ns=5)
    observation = made.observation([1, 2])
    for name in ("schedstat", "status"):
        (made.proc / "1/task/1" / name).write_text("what\n")
    (made.proc / "2").mkdir()
    made.write = lambda: None  # type: ignore[method-assign]
    seen = await observation.take()
    assert (seen.tasks, seen.run_share) == (0, 0.0)


async def test_counters_never_run_backwards(made: MadeTasks) -> None:
    task = made.add(1, state="R", run_ns=10**9, wait_ns=10**9, runs=50, voluntary=9, involuntary=9)
    made.step = lambda _: task.__init__(1, 1, state="R")  # type: ignore[misc]
    seen = await made.observation([1]).take()
    assert (seen.run_share, seen.wait_share, seen.mean_run_ms) == (0.0, 0.0, 0.0)
    assert (seen.voluntary_per_s, seen.involuntary_per_s) == (0.0, 0.0)


async def test_many_tasks_are_bounded(made: MadeTasks) -> None:
    for pid in range(1, 40):
        for thread in range(10):
            made.add(pid, pid * 100 + thread)
    made.write()
    read: list[str] = []
    real = os.open

    def counting(path: str, *flags: int) -> int:
        read.append(path)
        return real(path, *flags)

    made.write = lambda: None  # type: ignore[method-assign]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", counting)
        seen = await made.observation([1, 2], list(range(3, 40))).take()
    assert seen.tasks == TASKS_LIMIT
    assert len(read) < 700


async def test_a_cgroup_that_vanishes(made: MadeTasks) -> None:
    made.add(1)
    observation = made.observation([1])
    (made.place / "cgroup.procs").unlink()
    made.write = lambda: None  # type: ignore[method-assign]
    assert (await observation.take()).forks_per_s == 0.0


LOOP = """
import time
due = time.monotonic()
print(flush=True)
while True:
    due += 0.02
    time.sleep(max(0, due - time.monotonic()))
"""


async def observe_real(tmp_path: Path, *command: str) -> SchedulingProfile:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        await process.stdout.readline()
        (tmp_path / "cgroup.procs").write_text(f"{process.pid}\n")
        ticks = os.sysconf("SC_CLK_TCK")

        def boot() -> float:
            return time.clock_gettime(time.CLOCK_BOOTTIME)

        place, workers = str(tmp_path), [process.pid]
        return await Observation(Path("/proc"), place, workers, [], boot, ticks).take(0.3)
    finally:
        process.kill()
        await process.wait()


async def test_a_real_process_that_sleeps(tmp_path: Path) -> None:
    seen = await observe_real(tmp_path, sys.executable, "-c", LOOP)
    assert seen.tasks == 1
    assert seen.voluntary_per_s > 10
    assert seen.run_share < 0.9
    assert seen.blocked_io < 1.0


async def test_a_real_process_that_never_sleeps(tmp_path: Path) -> None:
    seen = await observe_real(tmp_path, sys.executable, "-c", "print(flush=True)\nwhile 1: pass")
    assert seen.tasks == 1
    assert seen.run_share + seen.wait_share > 0.3
    assert seen.period_ms == 0.0
