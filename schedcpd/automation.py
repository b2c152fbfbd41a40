# SPDX-License-Identifier: GPL-2.0-or-later
"""Automation: chains the stages for every workload and is the only one that decides unasked.

It knows no bus, no inotify and no subprocess: events come in through its methods (``populated``,
``vanished``, ``limits_changed``, ``pressed``, ``kernel_changed``), changes go out through signals,
and everything that touches the machine is injected as ``Stages`` and ``deploy.Deployer``.

Who wins: a person's choice, then a hold, then the daemon's own. A workload that a person decided on
(apply or revert) is held: automation keeps off it until it ends. What becomes of those that want a
policy while another workload has one is in ``company``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from schedcpd.company import Company
from schedcpd.deploy.classes import Claim
from schedcpd.deploy.deployer import Deployer
from schedcpd.deploy.holds import Holds
from schedcpd.errors import KernelText, LimitsSet, SchedcpError, WorkloadGone
from schedcpd.known import Known
from schedcpd.model import (
    Canary,
    Candidate,
    Deployment,
    ExitCause,
    ExitRecord,
    KernelState,
    Mode,
    Origin,
    Plan,
    Policy,
    Tier,
    Workload,
    WorkloadClass,
    WorkloadProfile,
    WorkloadRecord,
    WorkloadState,
)
from schedcpd.parameters import NONE, words
from schedcpd.watch.identity import of_programs

log = logging.getLogger(__name__)

LOOKS_AT_ONCE = 4  # workloads profiled at the same time, and per pressure event
_NO_PHASE = (WorkloadClass.IDLE, WorkloadClass.UNKNOWN)  # nobody wants to hear of them


@dataclass(frozen=True, slots=True)
class Stages:
    """What is asked of the stages; each function belongs to one folder."""

    identify: Callable[[str], Workload | None]  # watch
    pressed: Callable[[Iterable[Workload]], tuple[Workload, ...]]  # watch: most pressed first
    profile: Callable[[Workload], Awaitable[WorkloadProfile]]  # profile; may raise WorkloadGone
    # plan; the last are the policies that are out of the question for this workload, and why
    plan: Callable[[Workload, WorkloadProfile, Mapping[str, str]], Plan]
    examine: Callable[[Workload, Tier], Awaitable[WorkloadProfile]]  # profile; WorkloadGone
    still_fits: Callable[[WorkloadProfile, Plan | None], bool]  # plan
    learn: Callable[[Deployment, Workload, Plan], object]  # learn
    forgive: Callable[[str], object]  # learn: the harm that a policy did
    kernel: Callable[[], KernelState]
    unusable: Callable[[], str]
    unwanted: Callable[[Policy], str]  # repository: why the planner must not choose it, or empty
    exit_cause: Callable[[ExitRecord], ExitCause]
    clock: Callable[[], float]  # seconds since the epoch
    sleep: Callable[[float], Awaitable[None]]


class Automation(Known):
    """The workloads of the machine and what is decided for them.

    ``Aftermath`` adds what follows from it, and ``Supervisor`` what people want.
    """

    def __init__(self, mode: Mode, stages: Stages, deployer: Deployer, dwell_s: float) -> None:
        super().__init__(stages.clock)
        self._stages = stages
        self._deployer = deployer
        self._holds = Holds(stages.clock)
        self._configured_mode = mode
        self._mode = mode
        self._dwell_s = dwell_s
        self._rested_at: dict[str, float] = {}  # workload id → when its policy was let go
        # Workload id, object, parameters in words → the canary that was lost.
        self._lost: dict[tuple[str, str, str], Canary] = {}
        self._asked: set[str] = set()  # for which a person wants a plan carried out now
        self._refused: dict[str, str] = {}  # workload id → why it could not get its policy
        self._arriving: set[str] = set()  # whose automatic policy is on its way in
        self._moved_at = 0.0  # when a workload was moved into a class last
        self._looking = False
        self._limited: set[str] = set()  # cgroups whose limits are about to be looked at
        self._looks = asyncio.Semaphore(LOOKS_AT_ONCE)

    @property
    def mode(self) -> Mode:
        """How far the daemon goes on its own now."""
        return Mode.SAFE if self._deployer.safe else self._mode

    @property
    def active(self) -> Deployment | None:
        """The deployment whose policy is attached or takes turns, or None."""
        return self._deployer.active

    def unusable(self) -> str:
        """Why nothing can be attached here, or an empty string."""
        return self._stages.unusable()

    # Events of the machine

    def populated(self, path: str, has_processes: bool) -> None:
        """A cgroup got its first process or lost its last."""
        if not has_processes:
            self.vanished(path)
            return
        self.limits_changed(path)  # what was set on an empty cgroup counts from now on
        workload = None if path in self._workloads else self._stages.identify(path)
        if workload is None:
            return
        record = WorkloadRecord(workload, WorkloadState.NEW)
        self._workloads[workload.id] = record
        self.workload_added.emit(record)
        self._start(self._look(workload.id))

    def vanished(self, path: str) -> None:
        """A cgroup is empty or gone; a policy attached for it is let go."""
        if self._workloads.pop(path, None) is None:
            return
        self._rested_at.pop(path, None)
        self._refused.pop(path, None)
        self._lost = {key: lost for key, lost in self._lost.items() if key[0] != path}
        if self.active is not None and self.active.workload_id == path:
            self._start(self._let_go(path, "the workload ended"))
        self.workload_removed.emit(path)

    def limits_changed(self, path: str = "/") -> None:
        """Somebody set a CPU weight or limit; a policy that ignores it has to go.

        ``path`` is the cgroup, or the root when it may be any.
        """
        active = self.active
        policy = self._policies.get(active.policy) if active else None
        if policy is None or not policy.card.ignores:
            return
        if not self._limited:
            self._start(self._check_limits())
        self._limited.add(path)

    def pressed(self) -> None:
        """Tasks of the machine wait for CPUs: look at the workloads that wait."""
        if not self._looking and self.mode not in (Mode.PAUSED, Mode.SAFE):
            self._start(self._look_at_pressed())

    def kernel_changed(self) -> None:
        """A scheduler was attached or left the kernel, ours or another."""
        self.state_changed.emit(None)
        self._start(self._deployer.refresh())

    async def stop(self) -> None:
        """End every task of ours, leave the kernel default, and close the ledger."""
        await self._end_tasks()
        await self._deployer.stop()
        await self._end_tasks()  # those that the end of a deployment has started

    # Decisions

    async def _look_at_pressed(self) -> None:
        self._looking = True
        try:
            records = [one.workload for one in self._workloads.values() if self._may_look(one)]
            for workload in self._stages.pressed(records)[:LOOKS_AT_ONCE]:
                await self._look(workload.id)
        finally:
            self._looking = False

    def _may_look(self, record: WorkloadRecord) -> bool:
        decided = record.state in (WorkloadState.HELD, WorkloadState.MANAGED)
        return not decided and record.workload.id not in self._arriving

    async def _look(self, workload_id: str) -> None:
        """Profile one workload, plan for it, and do what the plan says."""
        record = self._workloads.get(workload_id)
        if record is None:
            return
        try:
            async with self._looks:
                profile = await self._stages.profile(record.workload)
        except WorkloadGone:
            return  # it ended while we looked; its own event removes it
        record = self._workloads.get(workload_id)
        if record is None or not self._may_look(record):
            return
        plan, barred = self._plan(self._recognise(record, profile), profile)
        before = record.plan.policy if record.plan else None
        if before != plan.policy:
            self.note("plan", workload_id, plan.reason)
        await self._act(workload_id, profile, plan, barred)

    def _recognise(self, record: WorkloadRecord, profile: WorkloadProfile) -> Workload:
        """The workload by a name that it will have again; tells when its work is another now."""
        workload, before = record.workload, record.profile
        # One for which something is on its way in is known by the object that it came with.
        if not workload.identity and not self._deployer.changing:
            seen = (profile.command, profile.worker_program, profile.arguments)
            workload = replace(workload, identity=of_programs(workload.id, *seen))
            self._set(workload.id, workload=workload)
        if before is not None and profile.work not in (before.work, *_NO_PHASE):
            told = f"{before.work} until now, {profile.work} from now on: {profile.sentence}"
            self.note("phase", workload.id, told)
        return workload

    def _plan(self, workload: Workload, profile: WorkloadProfile) -> tuple[Plan, Mapping[str, str]]:
        """A plan, and the policies that it had to do without, each with the reason."""
        barred = self._company().bars(self._policies)
        objections = {
            name: self._objection(workload.id, one) or self._stages.unwanted(one)
            for name, one in self._policies.items()
        }
        barred.update((name, reason) for name, reason in objections.items() if reason)
        if self.unusable():
            barred = {}  # what would suit the workload is worth knowing all the same
        attaching = not self._general_obstacle(workload.id)
        while True:
            plan = self._stages.plan(workload, profile, barred)
            if not attaching or plan.policy is None or plan.policy in barred:
                return plan, barred
            limits = self._limits_against(plan.policy)
            if not limits:
                return plan, barred
            barred = {**barred, plan.policy: limits}

    def _limits_against(self, name: str) -> str:
        """The CPU weights and limits that a policy would not honour, as a sentence, or empty.

        Every cgroup is looked at: only for a policy that is about to be attached.
        """
        policy = self._policies.get(name)
        if policy is None or not policy.card.ignores:
            return ""
        try:
            limits = self._deployer.limits("/")
        except KernelText as error:  # a limit that cannot be understood is not no limit
            return str(error)
        return str(LimitsSet(name, limits)) if limits else ""

    async def _act(
        self,
        workload_id: str,
        profile: WorkloadProfile,
        plan: Plan,
        barred: Mapping[str, str],
    ) -> None:
        if plan.policy is None:
            wanted = (one for one in plan.candidates if _wanted(one, barred))
            refusal = next((barred[one.policy] for one in wanted), "")
            state = WorkloadState.ADVISED if refusal else WorkloadState.LEFT_ALONE
            self._set(workload_id, profile=profile, plan=plan, state=state)
            if refusal:
                self._refuse(workload_id, refusal)
            else:
                self._refused.pop(workload_id, None)
            return
        obstacle = self._obstacle(workload_id, plan.policy, plan.parameters)
        obstacle = obstacle or self._in_the_way(plan)
        state = WorkloadState.ADVISED if obstacle else WorkloadState.NEW
        self._set(workload_id, profile=profile, plan=plan, state=state)
        if obstacle:
            self._refuse(workload_id, obstacle)
            return
        await self._deploy(workload_id, self._policies[plan.policy], plan)

    async def _deploy(
        self, workload_id: str, policy: Policy, plan: Plan, origin: Origin = Origin.AUTOMATIC
    ) -> None:
        workload = self._workloads[workload_id].workload
        self._arriving.add(workload_id)
        how = (origin, plan.objective, plan.reason)
        along = self._move(policy, plan)
        others = {claim.workload.id for claim in along} - self._arriving
        self._arriving |= others
        try:
            if plan.layer is None:
                await self._deployer.deploy(workload, policy, *how, plan.parameters)
            else:
                await self._deployer.classify(workload, policy, plan.layer, *how, along=along)
        except SchedcpError as error:
            self._set(workload_id, state=WorkloadState.ADVISED)
            self._refuse(workload_id, str(error))
        else:
            self._refused.pop(workload_id, None)
        finally:
            self._arriving -= {workload_id, *others}

    def _company(self) -> Company:
        active, classes = self.active, self._deployer.classes
        claims = [one.claim for one in classes.classified.values()]
        return Company(
            active=active,
            first=self._workloads.get(active.workload_id) if active else None,
            classes=sum(claim.origin is Origin.AUTOMATIC for claim in claims),
            needed=classes.needed,
            trying=self._deployer.proving,
            changing=self._deployer.changing,
            dwell_s=self._dwell_s,
            now=self._stages.clock(),
            moved_at=self._moved_at,
        )

    def _in_the_way(self, plan: Plan) -> str:
        """Why a plan cannot be followed for the sake of others, or an empty string."""
        company = self._company()
        reason, first = company.against(plan), company.first
        if reason or first is None or company.shares:
            return reason
        hold = self._holds.blocking(first.workload.id)
        held = f"{first.workload.unit} cannot be moved: it is held: {hold.reason}" if hold else ""
        return held or self._objection(first.workload.id, self._policies[plan.policy or ""])

    def _move(self, policy: Policy, plan: Plan) -> tuple[Claim, ...]:
        """The class of the workload whose own policy makes way for a plan, if there is one."""
        company = self._company()
        moved, first = company.moves(plan), company.first
        if first is None or moved is None or moved.layer is None:
            return ()
        self._moved_at = self._stages.clock()
        self.note("plan", first.workload.id, moved.reason)
        self._set(first.workload.id, plan=moved)
        how = (Origin.AUTOMATIC, moved.reason, moved.objective)
        return (Claim(first.workload, policy, moved.layer, *how),)

    def _obstacle(self, workload_id: str, name: str, parameters: Mapping[str, int] = NONE) -> str:
        """Why the daemon does not attach what the plan says, or an empty string."""
        reason, policy = self._general_obstacle(workload_id), self._policies.get(name)
        if reason or policy is None:
            return reason or f"{name} is not installed"
        beside = self._company().bars(self._policies).get(name, "")
        return beside or self._objection(workload_id, policy, parameters)

    def _general_obstacle(self, workload_id: str) -> str:
        """Why the daemon attaches no policy at all for a workload now, or an empty string."""
        return self._veto(workload_id) or self._company().closed

    def _veto(self, workload_id: str) -> str:
        """Why it would attach none even if nobody else had one, or an empty string."""
        unusable = self.unusable()
        hold = self._holds.blocking(workload_id)
        unrecorded = self._deployer.record.check()
        reasons = (
            (bool(self._deployer.safe), f"safe mode: {self._deployer.safe}"),
            (not self._may_decide(workload_id), f"mode is {self._mode}"),
            (bool(unusable), unusable),
            (bool(unrecorded), f"nothing can be written down: {unrecorded}"),
            (hold is not None, f"the scheduler is held: {hold.reason}" if hold else ""),
            (self._rests(workload_id), "its policy was let go a moment ago"),
        )
        return next((reason for holds, reason in reasons if holds), "")

    def _may_decide(self, workload_id: str) -> bool:
        """Whether the mode lets the daemon attach what it finds best."""
        asked = workload_id in self._asked
        return self._mode is Mode.AUTO or (asked and self._mode is Mode.ADVISE)

    def _objection(
        self, workload_id: str, policy: Policy, parameters: Mapping[str, int] = NONE
    ) -> str:
        """What speaks against this policy for this workload, or an empty string."""
        if not policy.admissible:
            return policy.token
        try:
            self._deployer.deployments.check_quarantine(policy, workload_id)
        except SchedcpError as error:
            return str(error)
        lost = self._lost.get((workload_id, policy.object_sha256, words(parameters)))
        if lost is not None:
            return f"{policy.card.name} lost its canary: {lost.reason}"
        return ""

    def _rests(self, workload_id: str) -> bool:
        rested_at = self._rested_at.get(workload_id)
        # The clock may have been set back since.
        return rested_at is not None and abs(self._stages.clock() - rested_at) < self._dwell_s

    def _refuse(self, workload_id: str, reason: str) -> None:
        if workload_id in self._workloads and self._refused.get(workload_id) != reason:
            self._refused[workload_id] = reason
            self.note("refuse", workload_id, f"not attached: {reason}")

    async def _let_go(self, workload_id: str, reason: str) -> None:
        active = self.active
        if active is None or active.workload_id != workload_id:
            return
        self.note("plan", workload_id, f"back to the kernel default: {reason}")
        await self._deployer.revert(reason, active.id)
        if workload_id in self._workloads:
            self._rested_at[workload_id] = self._stages.clock()

    async def _check_limits(self) -> None:
        changed, self._limited = self._limited, set()
        active = self.active
        if active is None:
            return
        paths = ("/",) if "/" in changed else sorted(changed)
        try:
            limits = tuple(one for path in paths for one in self._deployer.limits(path))
        except KernelText as error:  # a limit that cannot be understood is not no limit
            limits = (str(error),)
        if limits:
            await self._let_go(active.workload_id, str(LimitsSet(active.policy, limits)))

    def _set_mode(self, mode: Mode, message: str) -> None:
        self._mode = mode
        self.note("mode", "", message)
        self.state_changed.emit(None)


def _wanted(candidate: Candidate, barred: Mapping[str, str]) -> bool:
    """Whether a policy would have been worth it, had it not been out of the question here."""
    reason = barred.get(candidate.policy, "")
    return candidate.score > 0 and bool(reason) and candidate.objection == reason
