# SPDX-License-Identifier: GPL-2.0-or-later
"""A batch of real processes, one of which has much more to do: found out, and planned for.

What the kernel tells of cgroups, and the task probe of open files, is made up from /proc here; the
real ones are in tests/vm/test_hints.py.
"""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest_asyncio

from schedcpd.kernel.commandline import read_command_line
from schedcpd.learn.events import TaskEvent
from schedcpd.learn.hints import Hints, Sources
from schedcpd.learn.runtimes import Runtimes
from schedcpd.model import Plan, Workload, WorkloadClass, WorkloadKind, WorkloadProfile
from schedcpd.plan.planner import Situation, plan
from schedcpd.profile.profiler import Profiler
from schedcpd.repository.cards import parse_card
from unit.fakes import make_policy
from unit.task_records import FakeFeed, opened
from unit.test_hints import FakeSink

PROC = Path("/proc")
SCHEDULERS = Path(__file__).parents[2] / "schedulers"
NAMES = ("scx_batch", "scx_longest", "scx_layers", "scx_latency")
GB = 1_000_000_000
USUAL, LONG = 8 * GB, 192 * GB  # of zeros, which take no room
NICE = 9  # less than what makes it background work


class OpenFiles(FakeFeed):
    """The regular files that real processes have open."""

    def __init__(self, pids: Sequence[int]) -> None:
        super().__init__()
        self.pids = pids

    def open_files(self) -> Sequence[TaskEvent]:
        return [event for pid in self.pids for event in self.of(pid)]

    def of(self, pid: int) -> Sequence[TaskEvent]:
        found = []
        for link in (PROC / f"{pid}/fd").iterdir():
            about = link.stat()
            if stat.S_ISREG(about.st_mode):
                name = os.fsencode(link.readlink().name)
                found.append(opened(pid, name, about.st_size, stdin=link.name == "0"))
        return found


@dataclass
class Batch:
    """Real processes in a cgroup that is made up; ``sleep`` makes it use its CPU time."""

    folder: Path
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    async def start(self, *sizes: int) -> None:
        """One xz for each file; every other one has it as its standard input."""
        for number, size in enumerate(sizes):
            file = self.folder / f"file{number}"
            with file.open("wb") as made:
                made.truncate(size)
            words = ["xz", "-3", "--threads=1", "--stdout"]
            words += [] if number % 2 else [str(file)]
            with file.open("rb") as given:
                process = await asyncio.create_subprocess_exec(
                    *words,
                    stdin=given if number % 2 else asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                )
            self.processes.append(process)
            os.sched_setscheduler(process.pid, os.SCHED_OTHER, os.sched_param(0))
            with suppress(PermissionError):
                os.setpriority(os.PRIO_PROCESS, process.pid, NICE)
        self.place.mkdir()
        pids = "".join(f"{one.pid}\n" for one in self.processes)
        (self.place / "cgroup.procs").write_text(pids)
        await self.sleep(0)

    @property
    def place(self) -> Path:
        return self.folder / "cgroup/batch.service"

    @property
    def pids(self) -> list[int]:
        return [one.pid for one in self.processes]

    @property
    def workload(self) -> Workload:
        inode = self.place.stat().st_ino
        return Workload("/batch.service", inode, "batch.service", WorkloadKind.SERVICE, 1.0)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        used = round((time.monotonic() - self.began) * 1.9e6)
        (self.place / "cpu.stat").write_text(f"usage_usec {used}\nthrottled_usec 0\n")

    async def profile(self) -> WorkloadProfile:
        """As the daemon would, with the task probe."""
        runtimes = Runtimes(self.folder / "runtimes.db", time.time)
        sources = Sources(
            lambda _: self.pids, lambda pid: read_command_line(PROC, pid), time.monotonic
        )
        hints = Hints(OpenFiles(self.pids), runtimes, FakeSink(), sources, lambda *_: None)
        profiler = Profiler(self.folder / "cgroup", PROC, 2, self.sleep, listeners=dict)
        profiler.expected = hints.expected
        try:
            return await profiler.profile(self.workload)
        finally:
            await hints.stop()
            runtimes.close()

    async def end(self) -> None:
        for process in self.processes:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


@pytest_asyncio.fixture
async def batch(tmp_path: Path) -> AsyncIterator[Batch]:
    (tmp_path / "cgroup").mkdir()
    made = Batch(tmp_path)
    yield made
    await made.end()


def decide(profile: WorkloadProfile) -> Plan:
    """With the policies that are shipped."""
    policies = {}
    for name in NAMES:
        card = parse_card((SCHEDULERS / name / f"{name}.toml").read_bytes(), name)
        policies[name] = replace(make_policy(name), card=card)
    return plan(Situation("batch", profile, 2, policies))


async def test_a_job_with_a_much_larger_file_is_found_out(batch: Batch) -> None:
    await batch.start(*[USUAL] * 5, LONG)
    profile = await batch.profile()
    assert profile.work is WorkloadClass.BATCH, profile.sentence
    assert profile.scheduling is not None
    assert (profile.scheduling.expected_s, profile.scheduling.longest_s) == (160.0, 3800.0)
    decided = decide(profile)
    assert decided.policy == "scx_longest", decided
    assert (
        "the longest is expected to take 24 times as long as a usual one: a batch" in decided.reason
    )


async def test_of_files_of_one_size_none_is_the_longest(batch: Batch) -> None:
    await batch.start(*[USUAL] * 6)
    profile = await batch.profile()
    assert profile.work is WorkloadClass.BATCH, profile.sentence
    assert profile.skew == 1.0
    assert decide(profile).policy == "scx_batch"
