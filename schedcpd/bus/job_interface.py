# SPDX-License-Identifier: GPL-2.0-or-later
"""``org.schedcp.Daemon1.Job``: a long piece of work, how far it is and how it ended."""

from collections.abc import Callable

from schedcpd.bus import names
from schedcpd.bus.authorisation import Action
from schedcpd.bus.connection import current_caller
from schedcpd.bus.conversion import job_values
from schedcpd.bus.core import Core
from schedcpd.bus.members import Gate, ValuesInterface, method, shown
from schedcpd.model import Job


class JobInterface(ValuesInterface):
    """One job; it can be cancelled while it runs."""

    def __init__(
        self, core: Core, gate: Gate, job: Job, submitter: Callable[[int], str | None]
    ) -> None:
        """``submitter`` gives the client that waits for a job."""
        self.gate = gate
        self._core = core
        self._id = job.id
        self._submitter = submitter
        super().__init__(names.JOB, names.job_path(job.id), job_values(job))

    def changed(self, job: Job) -> None:
        """Show how far the job is now."""
        self.update(job_values(job))

    Id = shown("Id", "t")
    Kind = shown("Kind", "s")
    Subject = shown("Subject", "s")
    State = shown("State", "s")
    Now = shown("Now", "s")
    Stages = shown("Stages", "s")
    Report = shown("Report", "s")
    Error = shown("Error", "s")
    StartedAt = shown("StartedAt", "d")
    EndedAt = shown("EndedAt", "d")

    @method("Cancel", action=Action.VERIFY)
    async def cancel(self) -> None:
        """End the job before its time; one that is over stays as it is."""
        caller = current_caller()
        if self._submitter(self._id) not in (None, caller.sender):
            # Else whoever may verify could keep an administrator from enrolling anything.
            await self.gate.authority.require(Action.CONFIGURE, caller)
        self._core.cancel(self._id)
