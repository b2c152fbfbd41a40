# SPDX-License-Identifier: GPL-2.0-or-later
"""Long pieces of work that somebody asked for: verifications, a few at once, the newest kept."""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from schedcpd.errors import Busy, NoSuchJob, VerifierLost
from schedcpd.model import Job, JobState, Report, StageOutcome, VerifyStage
from schedcpd.reports import Progress
from schedcpd.signals import Signal

log = logging.getLogger(__name__)

MOST_AT_ONCE = 2  # each compiles, and boots a machine
FOR_ENROLMENT = 1  # more, so that those who may only verify cannot keep an administrator waiting
KEPT = 50

DOING = {
    VerifyStage.COMPILE: "compiling it",
    VerifyStage.STATIC: "reading the compiled object",
    VerifyStage.KERNEL: "booting a machine to load it in",
    VerifyStage.DYNAMIC: "trying it out in that machine",
}


class Verifier(Protocol):
    """Who does the work."""

    async def verify(
        self,
        policy: str,
        card: str,
        source: str,
        enroll: bool,
        on_progress: Callable[[Progress], None],
    ) -> Report:
        """The verdict on a policy; raises VerifierLost. To cancel it ends all of its work."""


class Jobs:
    """The jobs by id; signals tell of each that comes, changes or is forgotten."""

    def __init__(self, verifier: Verifier, clock: Callable[[], float]) -> None:
        """``clock`` gives seconds since the epoch."""
        self.added: Signal[Job] = Signal()
        self.changed: Signal[Job] = Signal()
        self.removed: Signal[int] = Signal()  # the job's id
        self._verifier = verifier
        self._clock = clock
        self._jobs: dict[int, Job] = {}
        self._tasks: dict[int, asyncio.Task[Report]] = {}
        self._checks: dict[int, int] = {}  # job → checks done in its stage
        self._numbers = itertools.count(1)

    @property
    def jobs(self) -> Mapping[int, Job]:
        """The newest jobs by id."""
        return self._jobs

    async def verify(self, policy: str, card: str, source: str, enroll: bool) -> Job:
        """Start to verify an installed policy, or the one in ``source``; raises Busy."""
        if len(self._tasks) >= MOST_AT_ONCE + (FOR_ENROLMENT if enroll else 0):
            raise Busy(f"{len(self._tasks)} verifications are under way already")
        kind = "enroll" if enroll else "verify"
        job = Job(next(self._numbers), kind, policy, JobState.RUNNING, self._clock())
        self._jobs[job.id] = job
        self.added.emit(job)
        work = self._verifier.verify(
            policy, card, source, enroll, functools.partial(self._progressed, job.id)
        )
        task = asyncio.ensure_future(work)
        self._tasks[job.id] = task
        task.add_done_callback(functools.partial(self._ended, job.id))
        self._forget_oldest()
        return job

    def cancel(self, job: int) -> None:
        """End a job before its time; one that is over stays as it is. Raises NoSuchJob."""
        if job not in self._jobs:
            raise NoSuchJob(job)
        if job in self._tasks:
            self._tasks[job].cancel()

    async def stop(self) -> None:
        """End every job."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _progressed(self, number: int, step: Progress) -> None:
        """Note a step; the stages of a job are those that are done."""
        job = self._jobs[number]
        if step.report is not None:
            self._set(replace(job, stages=(*job.stages, step.report), now=""))
            return
        done = self._checks.get(number, 0) + 1 if step.check else 0
        self._checks[number] = done
        last = f" ({done} done, the last: {step.check.name})" if step.check else ""
        self._set(replace(job, now=f"{DOING[step.stage]}{last}"))

    def _ended(self, number: int, task: asyncio.Task[Report]) -> None:
        del self._tasks[number]
        self._checks.pop(number, None)
        job = replace(self._jobs[number], now="", ended_at=self._clock())
        if task.cancelled():
            self._set(replace(job, state=JobState.CANCELLED))
        elif error := task.exception():
            self._set(replace(job, state=JobState.BROKEN, error=_sentence(error)))
        else:
            self._set(_judged(job, task.result()))

    def _set(self, job: Job) -> None:
        self._jobs[job.id] = job
        self.changed.emit(job)

    def _forget_oldest(self) -> None:
        over = [number for number in self._jobs if number not in self._tasks]
        for number in over[: max(len(self._jobs) - KEPT, 0)]:
            del self._jobs[number]
            self.removed.emit(number)


def _judged(job: Job, report: Report) -> Job:
    """The job with its verdict."""
    values: dict[str, Any] = {"report": report, "stages": report.stages}
    if report.passed:
        return replace(job, state=JobState.PASSED, **values)
    if any(stage.outcome is StageOutcome.BROKEN for stage in report.stages):
        return replace(job, state=JobState.BROKEN, error=report.reason, **values)
    return replace(job, state=JobState.REFUSED, **values)


def _sentence(error: BaseException) -> str:
    if isinstance(error, VerifierLost):
        return str(error)
    log.error("unexpected error in a verification", exc_info=error)
    return "schedcpd failed inside; its journal has the details"
