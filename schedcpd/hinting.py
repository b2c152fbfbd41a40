# SPDX-License-Identifier: GPL-2.0-or-later
"""Wires the task probe, what was learnt of runtimes, and the deployer together.

The probe is loaded once, when the daemon starts and the machine is quiet: taking it in needs a
child, which would have to compete with the very batch that it is for. Until a workload is watched
it tells nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from schedcpd.deploy.probe import TASKS
from schedcpd.deploy.probe.probe import NoProbe, ProbeSettings, attach_probe
from schedcpd.kernel import cgroupfs
from schedcpd.kernel.commandline import read_command_line
from schedcpd.learn.events import TaskFeed
from schedcpd.learn.hints import Hints, Sink, Sources
from schedcpd.learn.runtimes import Runtimes
from schedcpd.model import (
    Deployment,
    DeploymentState,
    LayerKind,
    MapRole,
    Policy,
    Workload,
    WorkloadClass,
    WorkloadRecord,
)

RUNS = (DeploymentState.CANARY, DeploymentState.ATTACHED)


class Core(Protocol):
    """What is known of the machine; ``supervisor.Supervisor`` is the real one."""

    @property
    def workloads(self) -> Mapping[str, WorkloadRecord]:
        """The workloads by id."""

    @property
    def policies(self) -> Mapping[str, Policy]:
        """The installed policies by name."""

    @property
    def active(self) -> Deployment | None:
        """The deployment whose policy is attached, or None."""

    def note(self, kind: str, subject: str, message: str) -> None:
        """Write one line to the daemon's log."""


class Hinting:
    """Runtime hints for the batches of a machine, from ``start`` to ``close``."""

    def __init__(self, core: Core, sink: Sink) -> None:
        self._core = core
        self._sink = sink
        self._feed: TaskFeed | None = None
        self._runtimes: Runtimes | None = None
        self._hints: Hints | None = None
        self._told_for = 0  # the deployment whose map the hints are in

    async def start(
        self, settings: ProbeSettings, database: Path, cgroup: Path, proc: Path
    ) -> None:
        """Have the probe loaded; raises NoProbe, and then there are no hints."""
        fds = await attach_probe(settings, TASKS)
        ring_fd, watched_fd, *link_fds = fds
        try:
            feed = TaskFeed(ring_fd, watched_fd, tuple(link_fds))
        except (OSError, ValueError) as exc:
            for fd in fds:
                os.close(fd)
            raise NoProbe(f"its buffer cannot be read: {exc}") from exc
        sources = Sources(
            pids=partial(_pids, cgroup),
            command_line=partial(read_command_line, proc),
            monotonic=time.monotonic,
        )
        self._feed = feed
        self._runtimes = Runtimes(database, time.time)
        note = partial(self._core.note, "hints")
        self._hints = Hints(feed, self._runtimes, self._sink, sources, note)
        feed.start()
        for record in tuple(self._core.workloads.values()):
            self.workload_changed(record)
        self.policy_changed()

    async def close(self) -> None:
        """Take the probe out of the kernel and close the database."""
        if self._hints is not None:
            await self._hints.stop()
            self._hints = None
        if self._feed is not None:
            self._feed.close()
        if self._runtimes is not None:
            self._runtimes.close()

    def expected(self, workload: Workload) -> Sequence[int]:
        """The CPU time in ns that processes of a batch are expected to use, where it is known."""
        record = self._core.workloads.get(workload.id)
        # Of one that has ended meanwhile nobody would say so again.
        if self._hints is None or record is None:
            return ()
        return self._hints.expected(record.workload)

    # What happens to workloads and policies

    def workload_changed(self, record: WorkloadRecord) -> None:
        """A workload is known, or something else is known of it."""
        if self._hints is not None:
            self._hints.consider(record.workload, self._wants_hints(record))

    def workload_removed(self, workload_id: str) -> None:
        """A workload has ended."""
        if self._hints is not None:
            self._hints.vanished(workload_id)

    def policy_changed(self) -> None:
        """A policy was attached, or has left, perhaps."""
        active = self._core.active
        running = active if active is not None and active.state in RUNS else None
        ident = running.id if running is not None else 0
        if self._hints is None or ident == self._told_for:
            return
        self._told_for = ident
        self._hints.policy_attached(running is not None and self._takes_hints(running.policy))

    def _wants_hints(self, record: WorkloadRecord) -> bool:
        profile, plan = record.profile, record.plan
        if profile is not None and profile.work is WorkloadClass.BATCH:
            return True
        layer = record.layer or (plan.layer if plan is not None else None)
        if layer is not None:
            return layer.kind is LayerKind.LONGEST
        return plan is not None and plan.policy is not None and self._takes_hints(plan.policy)

    def _takes_hints(self, name: str) -> bool:
        policy = self._core.policies.get(name)
        return policy is not None and bool(policy.card.live_map(MapRole.HINTS))


def _pids(cgroup: Path, workload: Workload) -> Sequence[int]:
    return cgroupfs.read_pids(cgroupfs.directory(cgroup, workload.id))
