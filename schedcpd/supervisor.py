# SPDX-License-Identifier: GPL-2.0-or-later
"""The supervisor: chains the stages for every workload and is the only one that decides.

It knows no bus, no inotify and no subprocess: events come in through its methods (``populated``,
``vanished``, ``limits_changed``, ``pressed``, ``kernel_changed``), changes go out through signals,
and everything that touches the machine is injected as ``Stages`` and ``deploy.Deployer``.

Who wins: a person's choice, then the daemon's own. A workload that a person decided on (apply or
revert) is held: automation keeps off it until it ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from schedcpd.deploy.deployer import Deployer
from schedcpd.errors import (
    KernelText,
    LimitsSet,
    NoSuchPolicy,
    NoSuchWorkload,
    SchedcpError,
    WorkloadGone,
)
from schedcpd.model import (
    Deployment,
    DeploymentState,
    Event,
    ExitCause,
    ExitRecord,
    KernelState,
    Mode,
    Objective,
    Origin,
    Plan,
    Policy,
    Workload,
    WorkloadProfile,
    WorkloadRecord,
    WorkloadState,
)
from schedcpd.signals import Signal

log = logging.getLogger(__name__)

KEPT_EVENTS = 1000
ATTEND_S = 2.0  # how often the workload of an attached policy is looked at
MISSES_TO_LET_GO = 3  # looks in a row at which the workload no longer fits its policy
LOOKS_AT_ONCE = 4  # workloads profiled at the same time, and per pressure event


@dataclass(frozen=True, slots=True)
class Stages:
    """What the supervisor asks of the stages; each function belongs to one folder."""

    identify: Callable[[str], Workload | None]  # watch
    pressed: Callable[[Iterable[Workload]], tuple[Workload, ...]]  # watch: most pressed first
    profile: Callable[[Workload], Awaitable[WorkloadProfile]]  # profile; may raise WorkloadGone
    plan: Callable[[WorkloadProfile], Plan]  # plan
    still_fits: Callable[[WorkloadProfile], bool]  # plan
    kernel: Callable[[], KernelState]
    unusable: Callable[[], str]
    exit_cause: Callable[[ExitRecord], ExitCause]
    clock: Callable[[], float]  # seconds since the epoch
    sleep: Callable[[float], Awaitable[None]]


class Supervisor:
    """Workloads, policies, deployments and the log of the machine, and the verbs on them."""

    def __init__(
        self,
        version: str,
        kernel_release: str,
        mode: Mode,
        stages: Stages,
        deployer: Deployer,
        dwell_s: float,
    ) -> None:
        self.version = version
        self.kernel_release = kernel_release
        self.workload_added: Signal[WorkloadRecord] = Signal()
        self.workload_changed: Signal[WorkloadRecord] = Signal()
        self.workload_removed: Signal[str] = Signal()
        self.policies_changed: Signal[None] = Signal()
        self.state_changed: Signal[None] = Signal()
        self.event_logged: Signal[Event] = Signal()
        self._stages = stages
        self._deployer = deployer
        self._configured_mode = mode
        self._mode = mode
        self._dwell_s = dwell_s
        self._workloads: dict[str, WorkloadRecord] = {}
        self._policies: dict[str, Policy] = {}
        self._events: deque[Event] = deque(maxlen=KEPT_EVENTS)
        self._rested_at: dict[str, float] = {}  # workload id → when its policy was let go
        self._faulty: set[str] = set()  # policies with a kernel error since the daemon started
        self._refused: dict[str, str] = {}  # workload id → why it could not get its policy
        self._looking = False
        self._looks = asyncio.Semaphore(LOOKS_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self.deployment_added = deployer.added
        self.deployment_changed = deployer.changed
        self.deployment_removed = deployer.removed
        deployer.changed.connect(self._deployment_changed)

    # What there is

    @property
    def mode(self) -> Mode:
        """How far the daemon goes on its own now."""
        return self._mode

    @property
    def workloads(self) -> Mapping[str, WorkloadRecord]:
        """The workloads by id."""
        return self._workloads

    @property
    def policies(self) -> Mapping[str, Policy]:
        """The installed policies by name."""
        return self._policies

    @property
    def deployments(self) -> Mapping[int, Deployment]:
        """The newest deployments by id."""
        return self._deployer.deployments

    @property
    def active(self) -> Deployment | None:
        """The deployment whose policy is attached, or None."""
        return self._deployer.active

    def kernel(self) -> KernelState:
        """What the kernel says at this moment."""
        return self._stages.kernel()

    def unusable(self) -> str:
        """Why nothing can be attached here, or an empty string."""
        return self._stages.unusable()

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

    # Verbs of people

    async def apply(self, workload_id: str, policy: str) -> Deployment:
        """Attach ``policy`` for the workload; raises a ``SchedcpError``."""
        record = self._workloads.get(workload_id)
        if record is None:
            raise NoSuchWorkload(workload_id)
        if policy not in self._policies:
            raise NoSuchPolicy(policy)
        try:
            deployment = await self._deployer.deploy(
                record.workload, self._policies[policy].card, Origin.MANUAL
            )
        except SchedcpError as error:
            self.note("refuse", workload_id, str(error))
            raise
        plan = Plan(policy, Objective.NONE, "chosen by a person")
        self._set(workload_id, state=WorkloadState.MANAGED, plan=plan)
        return deployment

    async def revert(self) -> None:
        """Go back to the kernel default; the workload concerned is held until it ends."""
        active = self.active
        await self._deployer.revert()
        if active is not None:
            self._set(active.workload_id, state=WorkloadState.HELD)

    async def pause(self) -> None:
        """Decide nothing until ``resume``, and go back to the kernel default."""
        self._set_mode(Mode.PAUSED, "paused: the kernel default schedules until 'resume'")
        await self._deployer.revert()

    async def resume(self) -> None:
        """Decide again, as configured."""
        self._set_mode(self._configured_mode, f"resumed in mode {self._configured_mode}")

    # Events of the machine

    def populated(self, path: str, has_processes: bool) -> None:
        """A cgroup got its first process or lost its last."""
        if not has_processes:
            self.vanished(path)
            return
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
        if self.active is not None and self.active.workload_id == path:
            self._start(self._let_go(path, "the workload ended"))
        self.workload_removed.emit(path)

    def limits_changed(self) -> None:
        """Somebody set a CPU weight or limit; a policy that ignores it has to go."""
        active = self.active
        policy = self._policies.get(active.policy) if active else None
        if policy is not None and policy.card.ignores:
            self._start(self._check_limits())

    def pressed(self) -> None:
        """Tasks of the machine wait for CPUs: look at the workloads that wait."""
        if not self._looking and self._mode is not Mode.PAUSED:
            self._start(self._look_at_pressed())

    def kernel_changed(self) -> None:
        """A scheduler was attached or left the kernel, ours or another."""
        self.state_changed.emit(None)
        self._start(self._deployer.refresh())

    def set_policies(self, policies: Iterable[Policy]) -> None:
        """Replace what is known of the installed policies."""
        self._policies = {policy.card.name: policy for policy in policies}
        self.policies_changed.emit(None)

    def configure(self, mode: Mode, dwell_s: float) -> None:
        """Take over a new configuration; a pause by a person stays."""
        self._configured_mode = mode
        self._dwell_s = dwell_s
        if self._mode is not Mode.PAUSED and self._mode is not mode:
            self._set_mode(mode, f"configured to mode {mode}")

    def note(self, kind: str, subject: str, message: str) -> None:
        """Write one line to the daemon's log."""
        event = Event(self._stages.clock(), kind, subject, message)
        self._events.append(event)
        self.event_logged.emit(event)

    async def stop(self) -> None:
        """End every task of ours and leave the kernel default."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._deployer.revert()

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
        return record.state not in (WorkloadState.HELD, WorkloadState.MANAGED)

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
        plan = self._stages.plan(profile)
        before = record.plan.policy if record.plan else None
        if before != plan.policy:
            self.note("plan", workload_id, plan.reason)
        await self._act(workload_id, profile, plan)

    async def _act(self, workload_id: str, profile: WorkloadProfile, plan: Plan) -> None:
        if plan.policy is None:
            self._refused.pop(workload_id, None)
            self._set(workload_id, profile=profile, plan=plan, state=WorkloadState.LEFT_ALONE)
            return
        obstacle = self._obstacle(workload_id, plan.policy)
        state = WorkloadState.ADVISED if obstacle else WorkloadState.NEW
        self._set(workload_id, profile=profile, plan=plan, state=state)
        if obstacle:
            self._refuse(workload_id, obstacle)
            return
        card = self._policies[plan.policy].card
        workload = self._workloads[workload_id].workload
        try:
            await self._deployer.deploy(workload, card, Origin.AUTOMATIC)
        except SchedcpError as error:
            self._set(workload_id, state=WorkloadState.ADVISED)
            self._refuse(workload_id, str(error))
        else:
            self._refused.pop(workload_id, None)

    def _obstacle(self, workload_id: str, policy: str) -> str:
        """Why the daemon does not attach what the plan says, or an empty string."""
        unusable = self.unusable()
        installed = self._policies.get(policy)
        reasons = (
            (self._mode is not Mode.AUTO, f"mode is {self._mode}"),
            (bool(unusable), unusable),
            (self.active is not None or self._deployer.changing, "another workload has a policy"),
            (installed is None, f"{policy} is not installed"),
            (
                installed is not None and not installed.admissible,
                installed.token if installed else "",
            ),
            (policy in self._faulty, f"{policy} was ejected by this kernel before"),
            (self._rests(workload_id), "its policy was let go a moment ago"),
        )
        return next((reason for holds, reason in reasons if holds), "")

    def _rests(self, workload_id: str) -> bool:
        rested_at = self._rested_at.get(workload_id)
        return rested_at is not None and self._stages.clock() - rested_at < self._dwell_s

    def _refuse(self, workload_id: str, reason: str) -> None:
        if self._refused.get(workload_id) != reason:
            self._refused[workload_id] = reason
            self.note("refuse", workload_id, f"not attached: {reason}")

    async def _attend(self, deployment: Deployment) -> None:
        """Look after an attached policy until its workload no longer needs it."""
        misses = 0
        while self.active is not None and self.active.id == deployment.id:
            await self._stages.sleep(ATTEND_S)
            await self._deployer.refresh()
            record = self._workloads.get(deployment.workload_id)
            if record is None or deployment.origin is Origin.MANUAL:
                continue
            try:
                profile = await self._stages.profile(record.workload)
            except WorkloadGone:
                continue  # the event of its end reverts
            misses = 0 if self._stages.still_fits(profile) else misses + 1
            self._set(record.workload.id, profile=profile)
            if misses >= MISSES_TO_LET_GO:
                self._start(
                    self._let_go(record.workload.id, f"no longer needed: {profile.sentence}")
                )
                return

    async def _let_go(self, workload_id: str, reason: str) -> None:
        if self.active is None or self.active.workload_id != workload_id:
            return
        self.note("plan", workload_id, f"back to the kernel default: {reason}")
        await self._deployer.revert()
        if workload_id in self._workloads:
            self._rested_at[workload_id] = self._stages.clock()

    async def _check_limits(self) -> None:
        active = self.active
        if active is None:
            return
        try:
            limits = self._deployer.limits()
        except KernelText as error:  # a limit that cannot be understood is not no limit
            limits = (str(error),)
        if limits:
            await self._let_go(active.workload_id, str(LimitsSet(active.policy, limits)))

    def _deployment_changed(self, deployment: Deployment) -> None:
        """Log a change of a deployment and draw its consequences for the workload."""
        subject, policy = deployment.workload_id, deployment.policy
        if deployment.state is DeploymentState.ATTACHED:
            self.note("attach", subject, f"{policy} attached in {deployment.attach_ms:.0f} ms")
            self._set(subject, state=WorkloadState.MANAGED)
            self._start(self._attend(deployment))
        elif deployment.state is DeploymentState.REVERTED:
            self.note("revert", subject, f"{policy} detached; the kernel default schedules")
            self._set(subject, state=WorkloadState.LEFT_ALONE)
        elif deployment.state is DeploymentState.EJECTED:
            self._ejected(deployment)
        self.state_changed.emit(None)

    def _ejected(self, deployment: Deployment) -> None:
        subject = deployment.workload_id
        self.note("eject", subject, deployment.error)
        cause = self.exit_cause(deployment.exit) if deployment.exit else ExitCause.REVERTED
        if cause is ExitCause.HOTPLUG:
            self._set(subject, state=WorkloadState.NEW)
            self._start(self._look(subject))
            return
        self._set(subject, state=WorkloadState.HELD)
        if cause is ExitCause.OPERATOR:
            self._set_mode(
                Mode.PAUSED, "paused: the scheduler was ended by sysrq-S; 'resume' goes on"
            )
        elif cause is ExitCause.FAULT:
            self._faulty.add(deployment.policy)

    def _set_mode(self, mode: Mode, message: str) -> None:
        self._mode = mode
        self.note("mode", "", message)
        self.state_changed.emit(None)

    def _set(self, workload_id: str, **changes: Any) -> None:
        """Replace fields of a workload's record and tell, if it is still there and differs."""
        record = self._workloads.get(workload_id)
        if record is None:
            return
        changed = replace(record, **changes)
        if changed != record:
            self._workloads[workload_id] = changed
            self.workload_changed.emit(changed)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a task of the supervisor failed", exc_info=task.exception())
