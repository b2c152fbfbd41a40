# SPDX-License-Identifier: GPL-2.0-or-later
"""Jobs: how they go on, how they end, and how many there are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from schedcpd import jobs
from schedcpd.errors import Busy, NoSuchJob, VerifierLost
from schedcpd.jobs import Jobs
from schedcpd.model import Check, Job, JobState, Report, StageOutcome, StageReport, VerifyStage
from schedcpd.reports import Progress

STAGES = tuple(StageReport(stage, StageOutcome.PASSED, 1.0) for stage in VerifyStage)
PASSED = Report("scx_x", "", "", "7.3.4", "", "kvm", 1, STAGES)
FAILED = replace(
    PASSED, stages=(STAGES[0], replace(STAGES[1], outcome=StageOutcome.FAILED, reason="SCX101"))
)
BROKEN = replace(
    PASSED, stages=(STAGES[0], replace(STAGES[1], outcome=StageOutcome.BROKEN, reason="no QEMU"))
)


class Script:
    """A verifier that takes each step when the test puts it in ``steps``."""

    def __init__(self) -> None:
        self.steps: asyncio.Queue[Progress | Report | Exception] = asyncio.Queue()
        self.running = 0
        self.asked: list[tuple[str, str, str, bool]] = []

    async def verify(
        self,
        policy: str,
        card: str,
        source: str,
        enroll: bool,
        on_progress: Callable[[Progress], None],
    ) -> Report:
        self.asked.append((policy, card, source, enroll))
        self.running += 1
        try:
            while True:
                match await self.steps.get():
                    case Progress() as step:
                        on_progress(step)
                    case Report() as report:
                        return report
                    case Exception() as error:
                        raise error
        finally:
            self.running -= 1


class Watched:
    """Jobs, and what their signals told."""

    def __init__(self) -> None:
        self.script = Script()
        self.now = 100.0
        self.jobs = Jobs(self.script, lambda: self.now)
        self.told: asyncio.Queue[Job] = asyncio.Queue()
        self.added: list[int] = []
        self.removed: list[int] = []
        self.jobs.added.connect(lambda job: self.added.append(job.id))
        self.jobs.changed.connect(self.told.put_nowait)
        self.jobs.removed.connect(self.removed.append)

    async def after(self, *steps: Progress | Report | Exception) -> Job:
        """The job as told after the last of the steps."""
        for step in steps:
            self.script.steps.put_nowait(step)
            job = await asyncio.wait_for(self.told.get(), 5)
        return job


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    one = Watched()
    yield one
    await one.jobs.stop()
    assert one.script.running == 0


async def test_a_job_tells_each_step_and_its_verdict(watched: Watched) -> None:
    job = await watched.jobs.verify("scx_x", "card", "source", True)
    assert (job.kind, job.subject, job.state, job.started_at) == (
        *("enroll", "scx_x", JobState.RUNNING),
        100.0,
    )
    assert watched.added == [job.id]
    job = await watched.after(Progress(VerifyStage.COMPILE))
    assert job.now == "compiling it"
    job = await watched.after(Progress(VerifyStage.COMPILE, report=STAGES[0]))
    assert (job.now, job.stages) == ("", STAGES[:1])
    job = await watched.after(Progress(VerifyStage.DYNAMIC))
    for number, name in enumerate(("runnable", "pinned"), 1):
        check = Check(name, True, "")
        job = await watched.after(Progress(VerifyStage.DYNAMIC, check=check))
        assert job.now == f"trying it out in that machine ({number} done, the last: {name})"
    watched.now = 130.0
    job = await watched.after(PASSED)
    assert (job.state, job.report, job.stages) == (JobState.PASSED, PASSED, STAGES)
    assert (job.ended_at, job.now, job.error) == (130.0, "", "")
    assert watched.jobs.jobs[job.id] == job
    assert watched.script.asked == [("scx_x", "card", "source", True)]


@pytest.mark.parametrize(
    ("end", "state", "error"),
    [
        (FAILED, JobState.REFUSED, ""),
        (BROKEN, JobState.BROKEN, "static: no QEMU"),
        (VerifierLost("gone"), JobState.BROKEN, "the verifier failed: gone"),
        (ValueError("/secret"), JobState.BROKEN, "schedcpd failed inside; its journal has the"),
    ],
)
async def test_how_a_job_ends(
    end: Report | Exception, state: JobState, error: str, watched: Watched
) -> None:
    await watched.jobs.verify("scx_x", "", "", False)
    job = await watched.after(end)
    assert job.state is state
    assert job.error.startswith(error)
    assert bool(job.error) == bool(error)
    assert job.ended_at == 100.0


async def test_a_cancelled_job_ends_its_work(watched: Watched) -> None:
    job = await watched.jobs.verify("scx_x", "", "", False)
    await watched.after(Progress(VerifyStage.COMPILE))
    watched.jobs.cancel(job.id)
    ended = await asyncio.wait_for(watched.told.get(), 5)
    assert ended.state is JobState.CANCELLED
    assert watched.script.running == 0
    watched.jobs.cancel(job.id)  # one that is over stays as it is
    assert watched.jobs.jobs[job.id] == ended


async def test_a_job_cancelled_before_it_began(watched: Watched) -> None:
    job = await watched.jobs.verify("scx_x", "", "", False)
    watched.jobs.cancel(job.id)
    assert (await asyncio.wait_for(watched.told.get(), 5)).state is JobState.CANCELLED


async def test_an_unknown_job_cannot_be_cancelled(watched: Watched) -> None:
    with pytest.raises(NoSuchJob):
        watched.jobs.cancel(1)


async def test_few_at_once(watched: Watched) -> None:
    for _ in range(jobs.MOST_AT_ONCE):
        await watched.jobs.verify("scx_x", "", "", False)
    with pytest.raises(Busy):
        await watched.jobs.verify("scx_y", "", "", False)
    await watched.after(PASSED)
    await watched.jobs.verify("scx_y", "", "", False)


async def test_who_may_enroll_need_not_wait_for_those_who_only_verify(watched: Watched) -> None:
    for _ in range(jobs.MOST_AT_ONCE):
        await watched.jobs.verify("scx_x", "", "", False)
    await watched.jobs.verify("scx_y", "card", "source", True)
    for enroll in (False, True):
        with pytest.raises(Busy):
            await watched.jobs.verify("scx_z", "card", "source", enroll)


async def test_the_oldest_that_are_over_are_forgotten(watched: Watched) -> None:
    lasting = await watched.jobs.verify("scx_long", "", "", False)
    await watched.after(Progress(VerifyStage.COMPILE))
    for _ in range(jobs.KEPT + 5):
        job = await watched.jobs.verify("scx_x", "", "", False)
        watched.jobs.cancel(job.id)
        await asyncio.wait_for(watched.told.get(), 5)
    assert len(watched.jobs.jobs) == jobs.KEPT
    assert lasting.id in watched.jobs.jobs
    assert watched.removed == list(range(2, 8))
