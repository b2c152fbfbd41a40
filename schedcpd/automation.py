# SPDX-License-Identifier: GPL-2.0-or-later
"""Automation: chains the stages for every workload and is the only one that decides unasked.

It knows no bus, no inotify and no subprocess: events come in through its methods (``populated``,
``vanished``, ``limits_changed``, ``pressed``, ``kernel_changed``), changes go out through signals,
and everything that touches the machine is injected as ``Stages`` and ``deploy.Deployer``.

Who wins: a person's choice, then a hold, then the daemon's own. A workload that a person decided on
(apply or revert) is held: automation keeps off it until it ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from schedcpd.deploy.deployer import Deployer
from schedcpd.deploy.holds import Holds
from schedcpd.errors import KernelText, LimitsSet, SchedcpError, WorkloadGone
from schedcpd.model import (
    Canary,
    Deployment,
    Event,
    ExitCause,
    ExitRecord,
    KernelState,
    Mode,
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
LOOKS_AT_ONCE = 4  # workloads profiled at the same time, and per pressure event


@dataclass(frozen=True, slots=True)
class Stages:
    """What is asked of the stages; each function belongs to one folder."""

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


class Automation:
    """The workloads of the machine and what is decided for them.

    ``Aftermath`` adds what follows from it, and ``Supervisor`` what people want.
    """

    def __init__(self, mode: Mode, stages: Stages, deployer: Deployer, dwell_s: float) -> None:
        self.workload_added: Signal[WorkloadRecord] = Signal()
        self.workload_changed: Signal[WorkloadRecord] = Signal()
        self.workload_removed: Signal[str] = Signal()
        self.policies_changed: Signal[None] = Signal()
        self.state_changed: Signal[None] = Signal()
        self.event_logged: Signal[Event] = Signal()
        self._stages = stages
        self._deployer = deployer
        self._holds = Holds(stages.clock)
        self._configured_mode = mode
        self._mode = mode
        self._dwell_s = dwell_s
        self._workloads: dict[str, WorkloadRecord] = {}
        self._policies: dict[str, Policy] = {}
        self._events: deque[Event] = deque(maxlen=KEPT_EVENTS)
        self._rested_at: dict[str, float] = {}  # workload id → when its policy was let go
        self._lost: dict[tuple[str, str], Canary] = {}  # workload id, object → its lost canary
        self._refused: dict[str, str] = {}  # workload id → why it could not get its policy
        self._arriving: set[str] = set()  # whose automatic policy is on its way in
        self._looking = False
        self._limited: set[str] = set()  # cgroups whose limits are about to be looked at
        self._looks = asyncio.Semaphore(LOOKS_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def mode(self) -> Mode:
        """How far the daemon goes on its own now."""
        return Mode.SAFE if self._deployer.safe else self._mode

    @property
    def workloads(self) -> Mapping[str, WorkloadRecord]:
        """The workloads by id."""
        return self._workloads

    @property
    def policies(self) -> Mapping[str, Policy]:
        """The installed policies by name."""
        return self._policies

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

    def note(self, kind: str, subject: str, message: str) -> None:
        """Write one line to the daemon's log."""
        event = Event(self._stages.clock(), kind, subject, message)
        self._events.append(event)
        self.event_logged.emit(event)

    async def stop(self) -> None:
        """End every task of ours, leave the kernel default, and close the ledger."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._deployer.stop()

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
        await self._deploy(workload_id, self._policies[plan.policy], plan)

    async def _deploy(self, workload_id: str, policy: Policy, plan: Plan) -> None:
        workload = self._workloads[workload_id].workload
        self._arriving.add(workload_id)
        try:
            await self._deployer.deploy(
                workload, policy, Origin.AUTOMATIC, plan.objective, plan.reason
            )
        except SchedcpError as error:
            self._set(workload_id, state=WorkloadState.ADVISED)
            self._refuse(workload_id, str(error))
        else:
            self._refused.pop(workload_id, None)
        finally:
            self._arriving.discard(workload_id)

    def _obstacle(self, workload_id: str, name: str) -> str:
        """Why the daemon does not attach what the plan says, or an empty string."""
        unusable, policy = self.unusable(), self._policies.get(name)
        hold = self._holds.blocking(workload_id)
        unrecorded = self._deployer.record.check()
        reasons = (
            (bool(self._deployer.safe), f"safe mode: {self._deployer.safe}"),
            (self._mode is not Mode.AUTO, f"mode is {self._mode}"),
            (bool(unusable), unusable),
            (bool(unrecorded), f"nothing can be written down: {unrecorded}"),
            (hold is not None, f"the scheduler is held: {hold.reason}" if hold else ""),
            (self.active is not None or self._deployer.changing, "another workload has a policy"),
            (policy is None, f"{name} is not installed"),
        )
        reason = next((reason for holds, reason in reasons if holds), "")
        if reason or policy is None:
            return reason
        return self._objection(workload_id, policy)

    def _objection(self, workload_id: str, policy: Policy) -> str:
        """What speaks against this policy for this workload, or an empty string."""
        if not policy.admissible:
            return policy.token
        try:
            self._deployer.deployments.check_quarantine(policy, workload_id)
        except SchedcpError as error:
            return str(error)
        lost = self._lost.get((workload_id, policy.object_sha256))
        if lost is not None:
            return f"{policy.card.name} lost its canary: {lost.reason}"
        return "its policy was let go a moment ago" if self._rests(workload_id) else ""

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
