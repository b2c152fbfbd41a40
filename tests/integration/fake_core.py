# SPDX-License-Identifier: GPL-2.0-or-later
"""A core without stages: attributes are set and signals emitted by the test."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from integration import samples
from integration.fake_library import FakeLibrary
from integration.fake_verifier import FakeVerifier
from schedcpd.errors import NoSuchDeployment, NoSuchHold, NoSuchWorkload, NotEnrolled
from schedcpd.jobs import Jobs
from schedcpd.kernel.sched_ext import exit_cause
from schedcpd.model import (
    Deployment,
    DeploymentState,
    Event,
    Excerpt,
    ExitCause,
    ExitRecord,
    Hold,
    Job,
    KernelState,
    LayerClass,
    Mode,
    Origin,
    Policy,
    Proposal,
    Quarantine,
    Rule,
    Tier,
    WorkloadProfile,
    WorkloadRecord,
)
from schedcpd.parameters import words
from schedcpd.signals import Signal


class FakeCore:
    """Has the shape of ``schedcpd.bus.core.Core``; ``calls`` records the verbs."""

    def __init__(self) -> None:
        self.version = "0.1.0"
        self.kernel_release = "7.3.4-cloud-amd64"
        self.mode = Mode.AUTO
        self.safe = ""
        self.workloads: dict[str, WorkloadRecord] = {}
        self.policies: dict[str, Policy] = {}
        self.deployments: dict[int, Deployment] = {}
        self.active: Deployment | None = None
        self.kernel_state: KernelState | Exception = samples.DISABLED
        self.reason = ""
        self.logged: list[Event] = []
        self.calls: list[tuple[str, ...]] = []
        self.refusal: Exception | None = None
        self.gate = asyncio.Event()  # verbs wait for it
        self.gate.set()
        self.holds: tuple[Hold, ...] = ()
        self.quarantines: tuple[Quarantine, ...] = ()
        self.rules: tuple[Rule, ...] = samples.RULES
        self.reasons: dict[str, tuple[str, ...]] = {}  # workload id → why
        self.library = FakeLibrary(self._library_verb)
        self.past: tuple[Deployment, ...] = ()  # newest first
        self.looked: WorkloadProfile | None = None  # what a new look finds
        self.file = "all: test\n\techo [removed:token]\n"
        self.verifier = FakeVerifier()
        self._jobs = Jobs(self.verifier, lambda: samples.NOW)
        self.jobs = self._jobs.jobs
        self.job_added = self._jobs.added
        self.job_changed = self._jobs.changed
        self.job_removed = self._jobs.removed
        self.workload_added: Signal[WorkloadRecord] = Signal()
        self.workload_changed: Signal[WorkloadRecord] = Signal()
        self.workload_removed: Signal[str] = Signal()
        self.policies_changed: Signal[None] = Signal()
        self.deployment_added: Signal[Deployment] = Signal()
        self.deployment_changed: Signal[Deployment] = Signal()
        self.deployment_removed: Signal[int] = Signal()
        self.state_changed: Signal[None] = Signal()
        self.event_logged: Signal[Event] = Signal()

    def kernel(self) -> KernelState:
        if isinstance(self.kernel_state, Exception):
            raise self.kernel_state
        return self.kernel_state

    def unusable(self) -> str:
        return self.reason

    def last_exit(self) -> Deployment | None:
        ended = [one for one in self.deployments.values() if one.ended_at]
        return max(ended, key=lambda one: one.ended_at, default=None)

    def exit_cause(self, record: ExitRecord) -> ExitCause:
        return exit_cause(record)

    def events(self, count: int) -> tuple[Event, ...]:
        return tuple(self.logged)[-count:] if count else ()

    async def apply(
        self, workload_id: str, policy: str, parameters: Mapping[str, int]
    ) -> Deployment:
        await self._verb("apply", workload_id, policy, words(parameters))
        return self._attach_new(workload_id, policy, parameters, Origin.MANUAL)

    async def propose(self, proposal: Proposal) -> Deployment:
        await self._verb("propose", proposal.workload_id, proposal.policy, proposal.reason)
        what = (proposal.workload_id, proposal.policy, proposal.parameters)
        return self._attach_new(*what, Origin.AGENT)

    def _attach_new(
        self, workload_id: str, policy: str, parameters: Mapping[str, int], origin: Origin
    ) -> Deployment:
        made = samples.deployment(max(self.deployments, default=0) + 1)
        made = replace(made, workload_id=workload_id, policy=policy, origin=origin)
        self.attach(replace(made, parameters=dict(parameters)))
        return made

    async def optimize(self, workload_id: str) -> str:
        self.log("plan", workload_id, "a batch of jobs")
        await self._verb("optimize", workload_id)
        return "the kernel default schedules it: no batch"

    def deployment(self, ident: int) -> Deployment:
        found = [one for one in (*self.deployments.values(), *self.past) if one.id == ident]
        if not found:
            raise NoSuchDeployment(ident)
        return found[0]

    async def examine(self, workload_id: str, tier: Tier) -> WorkloadProfile:
        await self._verb("profile", workload_id, tier)
        return self.looked or samples.examined(tier)

    async def read_file(self, workload_id: str, path: str, offset: int, length: int) -> Excerpt:
        await self._verb("readfile", workload_id, path)
        return Excerpt(self.file[offset : offset + length], len(self.file))

    async def classify(self, workload_id: str, policy: str, layer: LayerClass) -> Deployment:
        await self._verb("classify", workload_id, policy, str(layer))
        if self.active is None or self.active.policy != policy:
            machine = samples.deployment(max(self.deployments, default=0) + 1, workload_id="")
            self.attach(replace(machine, policy=policy))
        made = samples.deployment(max(self.deployments) + 1, workload_id=workload_id)
        made = replace(made, policy=policy, layer=layer, attach_ms=1.26)
        self.deployments[made.id] = made
        self.deployment_added.emit(made)
        self.put(replace(self.workloads[workload_id], layer=layer))
        return made

    async def detach(self, workload_id: str) -> None:
        await self._verb("detach", workload_id)
        for one in tuple(self.deployments.values()):
            if one.layer is not None and one.workload_id == workload_id:
                ended = replace(one, state=DeploymentState.REVERTED, ended_at=samples.NOW)
                self.change(ended)
        self.put(replace(self.workloads[workload_id], layer=None))

    async def revert(self) -> None:
        await self._verb("revert")
        if self.active is not None:
            self.end(self.active, DeploymentState.REVERTED)

    async def pause(self) -> None:
        await self._verb("pause")
        self.mode = Mode.PAUSED
        self.state_changed.emit(None)

    async def resume(self) -> None:
        await self._verb("resume")
        self.mode = Mode.AUTO
        self.state_changed.emit(None)

    async def hold(self, owner: str, uid: int, workload_id: str, reason: str) -> Hold:
        await self._verb("hold", workload_id, reason)
        cookie = max((hold.cookie for hold in self.holds), default=0) + 1
        hold = Hold(cookie, owner, uid, workload_id, reason, samples.NOW)
        self._hold(*self.holds, hold)
        return hold

    async def release_hold(self, cookie: int, owner: str) -> None:
        await self._verb("release_hold", str(cookie))
        kept = [hold for hold in self.holds if (hold.cookie, hold.owner) != (cookie, owner)]
        if len(kept) == len(self.holds):
            raise NoSuchHold(cookie)
        self._hold(*kept)

    def bus_client_gone(self, owner: str) -> None:
        self.calls.append(("bus_client_gone", owner))
        self._hold(*(hold for hold in self.holds if hold.owner != owner))

    def _hold(self, *holds: Hold) -> None:
        self.holds = holds
        self.state_changed.emit(None)

    async def release(self, policy: str) -> None:
        await self._verb("release", policy)
        self.quarantines = tuple(one for one in self.quarantines if one.policy != policy)

    async def revoke(self, policy: str) -> None:
        await self._verb("revoke", policy)
        told = f"it was revoked; 'schedctl revoke --undo {policy}' takes that back"
        changed = replace(self.policies[policy], admissible=False, token=told)
        self.install(*{**self.policies, policy: changed}.values())

    async def reinstate(self, object_sha256: str) -> None:
        await self._verb("reinstate", object_sha256)

    async def withdraw(self, policy: str) -> None:
        await self._verb("withdraw", policy)
        if not self.policies[policy].enrolled:
            raise NotEnrolled(policy)
        self.install(*(one for name, one in self.policies.items() if name != policy))

    def why(self, workload_id: str) -> tuple[str, ...]:
        if workload_id not in self.reasons:
            raise NoSuchWorkload(workload_id)
        return self.reasons[workload_id]

    def history(self, workload_id: str, count: int) -> tuple[Deployment, ...]:
        found = (one for one in self.past if workload_id in ("", one.workload_id))
        return tuple(found)[:count]

    async def verify(self, policy: str, card: str, source: str, enroll: bool) -> Job:
        await self._verb("enroll" if enroll else "verify", policy, card, source)
        return await self._jobs.verify(policy, card, source, enroll)

    def cancel(self, job: int) -> None:
        self.calls.append(("cancel", str(job)))
        self._jobs.cancel(job)

    async def stop(self) -> None:
        """End the jobs that a test left running."""
        await self._jobs.stop()

    def _library_verb(self, *call: str) -> None:
        self.calls.append(call)
        if self.refusal is not None:
            raise self.refusal

    async def _verb(self, *call: str) -> None:
        self.calls.append(call)
        await self.gate.wait()
        if self.refusal is not None:
            raise self.refusal

    # What a test makes happen

    def put(self, record: WorkloadRecord) -> None:
        known = record.workload.id in self.workloads
        self.workloads[record.workload.id] = record
        (self.workload_changed if known else self.workload_added).emit(record)

    def remove(self, workload_id: str) -> None:
        del self.workloads[workload_id]
        self.workload_removed.emit(workload_id)

    def install(self, *policies: Policy) -> None:
        self.policies = {policy.card.name: policy for policy in policies}
        self.policies_changed.emit(None)

    def attach(self, deployment: Deployment) -> None:
        self.kernel_state = replace(samples.ENABLED, policy=deployment.policy)
        self.deployments[deployment.id] = deployment
        self.active = deployment
        self.deployment_added.emit(deployment)

    def change(self, deployment: Deployment) -> None:
        self.deployments[deployment.id] = deployment
        self.deployment_changed.emit(deployment)

    def end(
        self, deployment: Deployment, state: DeploymentState, record: ExitRecord | None = None
    ) -> None:
        self.kernel_state = samples.DISABLED
        self.active = None
        ended = replace(
            deployment,
            state=state,
            ended_at=samples.NOW - 3,
            exit=record,
            error=record.message if record else "",
        )
        self.deployments[deployment.id] = ended
        self.deployment_changed.emit(ended)

    def log(self, kind: str, subject: str, message: str, at: float = samples.NOW) -> None:
        self.logged.append(Event(at, kind, subject, message))
        self.event_logged.emit(self.logged[-1])


def batch_machine() -> FakeCore:
    """A machine with a managed batch, an idle service and two policies, one refused."""
    core = FakeCore()
    core.put(samples.batch_record())
    core.put(samples.record("/system.slice/nginx.service", 78))
    core.install(samples.policy("scx_batch"), samples.policy("scx_fair", admissible=False))
    core.attach(samples.deployment(1))
    core.log("attach", "/system.slice/batch.service", "scx_batch is attached")
    return core
