# SPDX-License-Identifier: GPL-2.0-or-later
"""The supervisor: automation, and what people may ask and want of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from schedcpd import parameters as tunables
from schedcpd import why
from schedcpd.automation import Stages
from schedcpd.deploy.deployer import Deployer
from schedcpd.errors import (
    BadParameter,
    DigestRefused,
    ForeignPolicy,
    NoSuchPolicy,
    NoSuchWorkload,
    NotApplied,
    NotEnrolled,
    SchedcpError,
)
from schedcpd.jobs import Jobs
from schedcpd.model import (
    Deployment,
    Event,
    Excerpt,
    ExitCause,
    ExitRecord,
    Hold,
    Job,
    KernelState,
    LayerClass,
    LayerKind,
    MapRole,
    Mode,
    Objective,
    Origin,
    Plan,
    Policy,
    PolicyKind,
    Quarantine,
    Rule,
    Tier,
    Transition,
    Workload,
    WorkloadProfile,
    WorkloadState,
)
from schedcpd.proposals import Proposals
from schedcpd.repository.repository import Repository

EXAMINED_AT_ONCE = 2  # workloads, beside those that automation looks at
WHY_DEPLOYMENTS = 5  # how many of a workload's deployments are told when somebody asks why
CHOSEN = "chosen by a person"
WANTED_DEFAULT = "a person asked for the kernel default"


class Registry(Protocol):
    """Who signs and enrolls policies; each method raises VerifierLost."""

    async def revoke(self, object_sha256: str) -> None:
        """Never sign a token for this object again, and take away the one it has."""

    async def reinstate(self, object_sha256: str) -> None:
        """Undo ``revoke``."""

    async def withdraw(self, policy: str) -> None:
        """Remove an enrolled policy and its token."""


class Files(Protocol):
    """Who reads files of workloads."""

    async def read(self, workload: Workload, path: str, offset: int, length: int) -> Excerpt:
        """A part of a file below the working directory of one of its processes; FileRefused."""


class Supervisor(Proposals):
    """Workloads, policies, deployments, jobs and the log of the machine, and the verbs on them."""

    def __init__(
        self,
        version: str,
        kernel_release: str,
        mode: Mode,
        stages: Stages,
        deployer: Deployer,
        dwell_s: float,
        jobs: Jobs,
        registry: Registry,
        rules: Callable[[], Sequence[Rule]],
        files: Files,
        library: Repository,
    ) -> None:
        super().__init__(mode, stages, deployer, dwell_s)
        self.version = version
        self.kernel_release = kernel_release
        self._registry = registry
        self._rules = rules
        self._files = files
        self._examining = asyncio.Semaphore(EXAMINED_AT_ONCE)
        self.library = library
        self.deployment_added = deployer.deployments.added
        self.deployment_changed = deployer.deployments.changed
        self.deployment_removed = deployer.deployments.removed
        self.job_added = jobs.added
        self.job_changed = jobs.changed
        self.job_removed = jobs.removed
        self._jobs = jobs
        jobs.changed.connect(self._job_changed)
        jobs.changed.connect(library.verdict)
        library.noted.connect(lambda told: self.note("repository", *told))
        self.policies_changed.connect(lambda _: library.changed())
        self.state_changed.connect(lambda _: library.changed())

    def begin(self, boot_id: str) -> None:
        """Begin a run, in safe mode when the last one ended in the middle of a deployment."""
        self._deployer.begin(boot_id)
        if self._deployer.safe:
            told = f"safe mode: {self._deployer.safe}; 'schedctl resume' ends it"
            self.note("mode", "", told)
        if self._deployer.record.unusable:
            told = f"advice only: nothing can be written down: {self._deployer.record.unusable}"
            self.note("mode", "", told)

    # What there is

    @property
    def deployments(self) -> Mapping[int, Deployment]:
        """The newest deployments by id."""
        return self._deployer.deployments.newest

    @property
    def jobs(self) -> Mapping[int, Job]:
        """The newest jobs by id."""
        return self._jobs.jobs

    @property
    def holds(self) -> tuple[Hold, ...]:
        """Who keeps automation off now."""
        return self._holds.all()

    @property
    def quarantines(self) -> tuple[Quarantine, ...]:
        """The policies that must not be attached again."""
        return self._deployer.record.quarantines()

    @property
    def rules(self) -> Sequence[Rule]:
        """The rules of the static analysis."""
        return self._rules()

    @property
    def safe(self) -> str:
        """Why the machine is in safe mode; empty when it is not."""
        return self._deployer.safe

    def kernel(self) -> KernelState:
        """What the kernel says at this moment."""
        return self._stages.kernel()

    def last_exit(self) -> Deployment | None:
        """The deployment that ended last."""
        ended = [one for one in self.deployments.values() if one.ended_at]
        return max(ended, key=lambda one: one.ended_at, default=None)

    def exit_cause(self, record: ExitRecord) -> ExitCause:
        """What the exit of a policy means."""
        return self._stages.exit_cause(record)

    def events(self, count: int) -> tuple[Event, ...]:
        """The newest ``count`` events, oldest first."""
        return tuple(self._events)[-count:] if count > 0 else ()

    def history(self, workload_id: str, count: int) -> tuple[Deployment, ...]:
        """The newest ``count`` deployments for a workload, or for all when empty; newest first."""
        return self._deployer.deployments.history(count, workload_id or None)

    def transitions(self, count: int) -> tuple[Transition, ...]:
        """The newest ``count`` steps of the machine's scheduler, oldest first."""
        return self._deployer.record.transitions(count)

    def deployment(self, ident: int) -> Deployment:
        """One deployment, also of an earlier run; raises NoSuchDeployment."""
        return self._deployer.deployments.find(ident)

    async def examine(self, workload_id: str, tier: Tier) -> WorkloadProfile:
        """What a workload is and does at this moment; NoSuchWorkload, WorkloadGone."""
        record = self._known(workload_id)
        async with self._examining:
            return await self._stages.examine(record.workload, tier)

    async def read_file(self, workload_id: str, path: str, offset: int, length: int) -> Excerpt:
        """A part of a text file of the workload, without secrets; FileRefused and the like."""
        return await self._files.read(self._known(workload_id).workload, path, offset, length)

    def why(self, workload_id: str) -> tuple[str, ...]:
        """Why the workload is scheduled as it is, the newest first; raises NoSuchWorkload."""
        record = self._workloads.get(workload_id)
        deployments = self.history(workload_id, WHY_DEPLOYMENTS)
        if record is None and not deployments:
            raise NoSuchWorkload(workload_id)
        here = ("", workload_id)
        case = why.Case(
            record=record,
            refusal=self._refused.get(workload_id, ""),
            safe=self._deployer.safe,
            holds=tuple(one for one in self.holds if one.workload_id in here),
            quarantines=tuple(one for one in self.quarantines if one.workload_id in here),
            deployments=deployments,
        )
        return why.explain(case)

    # Verbs of people

    async def apply(
        self, workload_id: str, policy: str, parameters: Mapping[str, int] = tunables.NONE
    ) -> Deployment:
        """Attach ``policy`` for the workload; BadParameter or another ``SchedcpError``.

        In a policy with classes it gets the class of every other task.
        """
        record, known = self._known(workload_id), self._installed(policy)
        tunables.check(known.card, parameters)
        if known.card.live_map(MapRole.CLASSES):
            if parameters:
                raise BadParameter(policy, "it is for all workloads, and so are its parameters")
            return await self.classify(workload_id, policy, LayerClass(LayerKind.FAIR))
        if known.card.kind is PolicyKind.FOREIGN and not known.admissible:
            raise DigestRefused(policy, known.token)
        deploying = self._deployer.deploy(
            record.workload, known, Origin.MANUAL, reason=CHOSEN, parameters=parameters
        )
        plan = Plan(policy, Objective.NONE, CHOSEN, dict(parameters))
        return await self._choose(workload_id, plan, deploying)

    async def classify(self, workload_id: str, policy: str, layer: LayerClass) -> Deployment:
        """Give the workload a class in ``policy``, attached for all if need be; ``SchedcpError``.

        Others keep the classes that they have. Returns the deployment that stands for the class.
        """
        record, known = self._known(workload_id), self._installed(policy)
        classifying = self._deployer.classify(
            record.workload, known, layer, Origin.MANUAL, reason=CHOSEN
        )
        plan = Plan(policy, Objective.NONE, CHOSEN, layer=layer)
        return await self._choose(workload_id, plan, classifying)

    async def _choose(
        self, workload_id: str, plan: Plan, deploying: Awaitable[Deployment]
    ) -> Deployment:
        try:
            deployment = await deploying
        except SchedcpError as error:
            self.note("refuse", workload_id, str(error))
            raise
        self._refused.pop(workload_id, None)
        self._set(workload_id, plan=plan)
        return deployment

    async def detach(self, workload_id: str) -> None:
        """Take off what is attached for a workload, which is held until it ends; NotApplied."""
        record = self._known(workload_id)
        if not await self._deployer.declassify(record.workload, WANTED_DEFAULT):
            active = self.active
            if active is None or active.workload_id != workload_id:
                raise NotApplied(workload_id)
            await self._deployer.revert(WANTED_DEFAULT, active.id)
        self._set(workload_id, state=WorkloadState.HELD)

    async def revert(self) -> None:
        """Go back to the kernel default; the workloads concerned are held until they end."""
        # What is there now can end by itself before its turn, and what is on its way in be next.
        before, lost = self.active, [one.workload_id for one in self._again]
        concerned = {*self._deployer.classes.classified, *lost}
        ended = await self._deployer.revert(WANTED_DEFAULT)
        for deployment in (before, ended):
            if deployment is not None:
                concerned.add(deployment.workload_id)
        for workload_id in sorted(concerned):
            self._set(workload_id, state=WorkloadState.HELD)

    async def pause(self) -> None:
        """Decide nothing until ``resume``, and go back to the kernel default."""
        self._set_mode(Mode.PAUSED, "paused: the kernel default schedules until 'resume'")
        await self._deployer.revert("paused by a person")

    async def resume(self) -> None:
        """Decide again, as configured."""
        was_safe = bool(self._deployer.safe)
        self._deployer.confirm()
        ended = "; safe mode ended" if was_safe else ""
        self._set_mode(self._configured_mode, f"resumed in mode {self._configured_mode}{ended}")

    async def hold(self, owner: str, uid: int, workload_id: str, reason: str) -> Hold:
        """Keep automation off a workload, or the machine when empty, for a client of the bus."""
        if workload_id and workload_id not in self._workloads:
            raise NoSuchWorkload(workload_id)
        hold = self._holds.add(owner, uid, workload_id, reason)
        self.note("hold", workload_id, f"held by user {uid}: {reason}")
        self.state_changed.emit(None)
        return hold

    async def release_hold(self, cookie: int, owner: str) -> None:
        """End a hold of that client; raises NoSuchHold."""
        hold = self._holds.release(cookie, owner)
        self._released(hold.workload_id, f"no longer held: {hold.reason}")

    def bus_client_gone(self, owner: str) -> None:
        """End what a client of the bus held: it has left."""
        number = self._holds.drop_owner(owner)
        if number:
            what = "1 hold" if number == 1 else f"{number} holds"
            self._released("", f"{what} ended with the program that had asked")

    def _released(self, workload_id: str, told: str) -> None:
        self.note("hold", workload_id, told)
        self.state_changed.emit(None)
        self.pressed()

    async def release(self, policy: str) -> None:
        """Let a policy out of quarantine; raises NoSuchPolicy when it is not in there."""
        if not self._deployer.record.release(policy):
            raise NoSuchPolicy(policy)
        self._stages.forgive(policy)
        self.note("quarantine", policy, "let out of quarantine by a person")
        self.state_changed.emit(None)

    async def revoke(self, policy: str) -> None:
        """Have a policy's object signed no more, once it is out of the kernel; VerifierLost."""
        known = self._verified(policy)
        await self._bar(known, "it was revoked", self._registry.revoke, known.object_sha256)
        self.note("revoke", policy, "revoked by a person: its object is signed no more")

    async def reinstate(self, object_sha256: str) -> None:
        """Undo ``revoke``: the next verification may sign the object; raises VerifierLost."""
        await self._registry.reinstate(object_sha256)
        told = f"no longer revoked: the object {object_sha256} may be signed again"
        names = [name for name, one in self._policies.items() if one.object_sha256 == object_sha256]
        self.note("revoke", " ".join(names), told)

    async def withdraw(self, policy: str) -> None:
        """Remove an enrolled policy, once it is out of the kernel; NotEnrolled, VerifierLost."""
        known = self._verified(policy)
        if not known.enrolled:
            raise NotEnrolled(policy)
        await self._bar(known, "it was withdrawn", self._registry.withdraw, policy)
        self.set_policies(one for name, one in self._policies.items() if name != policy)
        self.note("withdraw", policy, "withdrawn by a person")

    def _verified(self, policy: str) -> Policy:
        """An installed policy that the verifier answers for; raises ForeignPolicy."""
        known = self._installed(policy)
        if known.card.kind is PolicyKind.FOREIGN:
            raise ForeignPolicy(policy)
        return known

    async def _bar(
        self, policy: Policy, reason: str, act: Callable[[str], Awaitable[None]], subject: str
    ) -> None:
        """Take a policy out of the kernel and keep it out, now and by what ``act`` does."""
        barred = replace(policy, admissible=False, token=reason)
        self._exchange(policy, barred)
        try:
            await self._take_off(policy, reason)
            await act(subject)
        except BaseException:
            self._exchange(barred, policy)
            raise
        # Somebody may have attached it while the verifier was asked; from now on nobody can.
        await self._take_off(policy, reason)

    def _exchange(self, old: Policy, new: Policy) -> None:
        """Put one in the place of the other, unless it was found to have changed."""
        if self._policies.get(old.card.name) is old:
            self._policies[old.card.name] = new
            self.policies_changed.emit(None)

    async def _take_off(self, policy: Policy, reason: str) -> None:
        await self._deployer.at_rest()
        if self.active is not None and self.active.policy == policy.card.name:
            await self._deployer.revert(reason, self.active.id)

    async def verify(self, policy: str, card: str, source: str, enroll: bool) -> Job:
        """Start to verify an installed policy, or the one in ``source``; raises Busy."""
        if not (card or source):
            self._verified(policy)
        return await self._jobs.verify(policy, card, source, enroll)

    def cancel(self, job: int) -> None:
        """End a job before its time; raises NoSuchJob."""
        self._jobs.cancel(job)

    async def stop(self) -> None:
        """End every job and task, leave the kernel default, and close the ledger."""
        await self._jobs.stop()
        await super().stop()
        self.library.close()

    def _job_changed(self, job: Job) -> None:
        if job.ended_at:
            reason = job.error or (job.report.reason if job.report else "")
            self.note(job.kind, job.subject, f"{job.state}: {reason}" if reason else job.state)

    # The daemon's own

    def set_policies(self, policies: Iterable[Policy]) -> None:
        """Replace what is known of the installed policies."""
        self._policies = {policy.card.name: policy for policy in policies}
        self.policies_changed.emit(None)
        active = self.active
        if active is not None and active.kind is PolicyKind.FOREIGN:
            now = self._policies.get(active.policy)
            if now is None or now.object_sha256 != active.object_sha256:
                reason = "it is not enrolled any more as it was"
                self._start(self._let_go(active.workload_id, reason))

    def configure(self, mode: Mode, dwell_s: float) -> None:
        """Take over a new configuration; a pause by a person stays."""
        self._configured_mode = mode
        self._dwell_s = dwell_s
        if self._mode is not Mode.PAUSED and self._mode is not mode:
            self._set_mode(mode, f"configured to mode {mode}")
