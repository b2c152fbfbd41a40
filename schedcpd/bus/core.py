# SPDX-License-Identifier: GPL-2.0-or-later
"""What the bus needs of the core; ``schedcpd.supervisor.Supervisor`` has this shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from schedcpd.model import (
    Deployment,
    Event,
    Excerpt,
    ExitCause,
    ExitRecord,
    Hit,
    Hold,
    Job,
    KernelState,
    LayerClass,
    Mode,
    Outcome,
    Policy,
    Proposal,
    Quarantine,
    Rule,
    Tier,
    WorkloadProfile,
    WorkloadRecord,
)
from schedcpd.signals import Signal


class Library(Protocol):
    """What there is to build on and what was learnt; the repository's ``Repository``."""

    def search(self, query: str, kind: str, limit: int) -> tuple[Hit, ...]:
        """The entries (of a kind) that fit a query best, best first; all for an empty query."""

    def read(self, kind: str, name: str, part: str) -> str:
        """The text of a part of an entry, its first part when empty; NoSuchEntry."""

    def outcomes(self, workload: str, policy: str, count: int) -> tuple[Outcome, ...]:
        """The newest outcomes (for a workload, of a policy), newest first."""

    def annotate(self, kind: str, name: str, text: str, uid: int) -> int:
        """Keep a note on an entry, on a workload or on nothing; its number; NoSuchEntry."""

    def promote(self, name: str, uid: int) -> None:
        """Let the planner choose a policy, as it is now, for the work that its card names."""

    def retire(self, name: str, reason: str, uid: int) -> None:
        """Keep the planner from choosing a policy until it is promoted."""

    def export(self, place: int) -> tuple[str, int]:
        """A line of the bundle of this machine's own entries, and the place of the next, or 0."""

    def take(self, line: str) -> Mapping[str, int]:
        """Keep what a line of another machine's bundle has: how many of each kind."""


class Core(Protocol):
    """The daemon without its bus: what there is, the verbs, and the signals of change."""

    version: str
    kernel_release: str
    workload_added: Signal[WorkloadRecord]
    workload_changed: Signal[WorkloadRecord]
    workload_removed: Signal[str]  # the workload's id
    policies_changed: Signal[None]
    deployment_added: Signal[Deployment]
    deployment_changed: Signal[Deployment]
    deployment_removed: Signal[int]  # the deployment's id
    job_added: Signal[Job]
    job_changed: Signal[Job]
    job_removed: Signal[int]  # the job's id
    state_changed: Signal[None]  # mode, kernel or holds
    event_logged: Signal[Event]

    @property
    def library(self) -> Library:
        """What there is to build on, and what was learnt before."""

    @property
    def mode(self) -> Mode:
        """How far the daemon goes on its own now."""

    @property
    def safe(self) -> str:
        """Why the machine is in safe mode; empty when it is not."""

    @property
    def workloads(self) -> Mapping[str, WorkloadRecord]:
        """The workloads by id."""

    @property
    def policies(self) -> Mapping[str, Policy]:
        """The installed policies by name."""

    @property
    def deployments(self) -> Mapping[int, Deployment]:
        """The newest deployments by id."""

    @property
    def active(self) -> Deployment | None:
        """The deployment whose policy is attached, or None."""

    @property
    def jobs(self) -> Mapping[int, Job]:
        """The newest jobs by id."""

    @property
    def holds(self) -> tuple[Hold, ...]:
        """Who keeps automation off now."""

    @property
    def quarantines(self) -> tuple[Quarantine, ...]:
        """The policies that must not be attached again."""

    @property
    def rules(self) -> Sequence[Rule]:
        """The rules of the static analysis."""

    def kernel(self) -> KernelState:
        """What the kernel says at this moment."""

    def unusable(self) -> str:
        """Why nothing can be attached here, or an empty string."""

    def last_exit(self) -> Deployment | None:
        """The deployment that ended last."""

    def exit_cause(self, record: ExitRecord) -> ExitCause:
        """What the exit of a policy means."""

    def events(self, count: int) -> tuple[Event, ...]:
        """The newest ``count`` events, oldest first."""

    def deployment(self, ident: int) -> Deployment:
        """One deployment, also of an earlier run; raises NoSuchDeployment."""

    async def examine(self, workload_id: str, tier: Tier) -> WorkloadProfile:
        """What a workload is and does at this moment; WorkloadGone."""

    async def read_file(self, workload_id: str, path: str, offset: int, length: int) -> Excerpt:
        """A part of a text file of the workload, without secrets; FileRefused, WorkloadGone."""

    async def propose(self, proposal: Proposal) -> Deployment:
        """Try what an agent proposes; BadParameter, ProposalRefused and what attaching raises."""

    async def optimize(self, workload_id: str) -> str:
        """Plan anew for a workload and do it; a sentence of what it is. Busy, WorkloadGone."""

    async def apply(
        self, workload_id: str, policy: str, parameters: Mapping[str, int]
    ) -> Deployment:
        """Attach ``policy`` for the workload; BadParameter or another ``SchedcpError``."""

    async def classify(self, workload_id: str, policy: str, layer: LayerClass) -> Deployment:
        """Give the workload a class in ``policy``, attached for all if need be; ``SchedcpError``.

        Returns the deployment that stands for the class.
        """

    async def detach(self, workload_id: str) -> None:
        """Take off what is attached for a workload, which is held until it ends; NotApplied."""

    async def revert(self) -> None:
        """Go back to the kernel default; raises a ``SchedcpError``."""

    async def pause(self) -> None:
        """Go back to the kernel default and decide nothing until ``resume``."""

    async def resume(self) -> None:
        """Decide again, as configured."""

    async def hold(self, owner: str, uid: int, workload_id: str, reason: str) -> Hold:
        """Keep automation off a workload, or the machine when empty, for a client of the bus."""

    async def release_hold(self, cookie: int, owner: str) -> None:
        """End a hold of that client; raises NoSuchHold."""

    def bus_client_gone(self, owner: str) -> None:
        """End what a client of the bus held: it has left."""

    async def release(self, policy: str) -> None:
        """Let a policy out of quarantine."""

    async def revoke(self, policy: str) -> None:
        """Have a policy's object signed no more, once it is out of the kernel; VerifierLost."""

    async def reinstate(self, object_sha256: str) -> None:
        """Undo ``revoke``: the next verification may sign the object; raises VerifierLost."""

    async def withdraw(self, policy: str) -> None:
        """Remove an enrolled policy, once it is out of the kernel; NotEnrolled, VerifierLost."""

    def why(self, workload_id: str) -> Sequence[str]:
        """Why the workload is scheduled as it is, the newest first; raises NoSuchWorkload."""

    def history(self, workload_id: str, count: int) -> Sequence[Deployment]:
        """The newest ``count`` deployments for a workload, or for all when empty; newest first."""

    async def verify(self, policy: str, card: str, source: str, enroll: bool) -> Job:
        """Start to verify an installed policy, or the one in ``source``; raises Busy."""

    def cancel(self, job: int) -> None:
        """End a job before its time; raises NoSuchJob."""
