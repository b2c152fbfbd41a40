# SPDX-License-Identifier: GPL-2.0-or-later
"""A verifier that says what the test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from integration import samples
from schedcpd.model import Report
from schedcpd.reports import Progress


class FakeVerifier:
    """Goes through the stages of ``report``; waits for ``gate`` before the last of them ends."""

    def __init__(self) -> None:
        self.report: Report = samples.report()
        self.failure: Exception | None = None
        self.asked: list[tuple[str, str, str, bool]] = []
        self.cancelled = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def verify(
        self,
        policy: str,
        card: str,
        source: str,
        enroll: bool,
        on_progress: Callable[[Progress], None],
    ) -> Report:
        self.asked.append((policy, card, source, enroll))
        try:
            *first, last = self.report.stages
            for stage in first:
                on_progress(Progress(stage.stage))
                on_progress(Progress(stage.stage, report=stage))
            on_progress(Progress(last.stage))
            for check in last.checks:
                on_progress(Progress(last.stage, check=check))
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failure is not None:
            raise self.failure
        on_progress(Progress(last.stage, report=last))
        return self.report
