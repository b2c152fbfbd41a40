# SPDX-License-Identifier: GPL-2.0-or-later
"""Puts one policy at a time into the kernel, holds it, and lets go of it.

Every change of what schedules the machine goes through a ``Deployer``, one at a time: a second
request while one is under way is refused, not queued, because the asker decided on a state of the
machine that is about to change. Each step is in the ledger before it is made. Whatever fails, the
kernel default is what is left.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from schedcpd.deploy.breaker import GuardSample
from schedcpd.deploy.conduct import (
    Conduct,
    Ending,
    Holder,
    Instruments,
    Score,
    Subject,
    exit_of,
)
from schedcpd.deploy.deployments import Deployments
from schedcpd.deploy.messages import LoaderStatus
from schedcpd.deploy.record import Record
from schedcpd.deploy.states import MachineState, SchedulerMachine, Trigger
from schedcpd.errors import (
    Busy,
    Ejected,
    ForeignScheduler,
    KernelRejected,
    LedgerDamaged,
    LimitsSet,
    NoSchedExt,
    SchedcpError,
)
from schedcpd.kernel.sched_ext import exit_cause
from schedcpd.model import (
    Card,
    Deployment,
    DeploymentState,
    ExitCause,
    ExitRecord,
    KernelState,
    Objective,
    Origin,
    Policy,
    Workload,
)

log = logging.getLogger(__name__)

LEAVE_S = 2.0  # what a policy may take to leave once its loader is done
POLL_S = 0.01
_REVERTED = DeploymentState.REVERTED

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Kernel:
    """What the deployer asks of the machine; injected, so that it can be simulated."""

    # A policy, the digest of its object, and its parameters.
    attach: Callable[[str, str, Mapping[str, int]], Awaitable[Holder]]
    state: Callable[[], KernelState]
    unusable: Callable[[], str]
    limits: Callable[[str], tuple[str, ...]]  # of one cgroup, or of all for "/"
    clock: Callable[[], float]  # seconds since the epoch
    release: str  # of the running kernel
    instruments: Instruments
    score: Callable[[Policy, Objective, bool], Score]  # the last: whether with a canary
    baseline_s: Callable[[], float]  # how long the kernel default is measured before attaching


@dataclass(slots=True)
class Running:
    """A deployment whose policy is in the kernel, or waits for its turn."""

    id: int
    workload: Workload
    policy: str
    holder: Holder
    task: asyncio.Task[None] | None = None
    conduct: Conduct | None = None


class Deployer:
    """The state of the machine's scheduler as far as schedcp changed it.

    ``deployments`` has what there was; ``active`` is the one under way.
    """

    def __init__(self, kernel: Kernel, record: Record) -> None:
        self.record = record
        self.deployments = Deployments(record, kernel.release, kernel.clock)
        self._kernel = kernel
        self._machine = SchedulerMachine(record.transition, kernel.clock)
        self._lock = asyncio.Lock()
        self._running: Running | None = None
        self._rescue: asyncio.Future[Deployment | None] | None = None
        self._safe = ""

    @property
    def active(self) -> Deployment | None:
        """The deployment whose policy is attached or takes turns, or None."""
        return self.deployments.newest.get(self._running.id) if self._running else None

    @property
    def workload(self) -> Workload | None:
        """What the active deployment was made for; another one may have its name by now."""
        return self._running.workload if self._running else None

    @property
    def changing(self) -> bool:
        """Whether an attach or a detach is under way."""
        return self._lock.locked()

    @property
    def state(self) -> MachineState:
        """What schedules the machine, as far as schedcp changed it."""
        return self._machine.state

    @property
    def safe(self) -> str:
        """Why the machine is in safe mode; empty when it is not."""
        return self._safe

    def begin(self, boot_id: str) -> None:
        """Begin a run, in safe mode when the last one ended in the middle of something."""
        self._safe = self.record.begin(boot_id)
        self._keep_safe()

    def confirm(self) -> None:
        """A person says go on: end safe mode."""
        if self._machine.state is MachineState.SAFE:
            self._machine.fire(Trigger.CONFIRM, reason="a person ended safe mode")
        self._safe = ""

    def _keep_safe(self) -> None:
        if self._safe and self._machine.may(Trigger.UNCLEAN):
            self._machine.fire(Trigger.UNCLEAN, reason=self._safe)

    async def deploy(
        self,
        workload: Workload,
        policy: Policy,
        origin: Origin,
        objective: Objective = Objective.NONE,
        reason: str = "",
    ) -> Deployment:
        """Attach ``policy`` for ``workload``, in place of what is attached now.

        Raises a ``SchedcpError`` and leaves the kernel default, or, when it was refused before
        anything was changed, the policy there was.
        """
        if self._lock.locked():
            raise Busy("another change of the scheduler is under way; try again when it is done")
        async with self._lock:
            active, card = self.active, policy.card
            if active is not None and is_enough(active, workload, card, origin):
                return active
            self._check_machine(card)
            self.deployments.check_quarantine(policy, workload.id)
            await self._let_go(f"{card.name} takes its place")
            baseline = await self._measure_baseline(workload)
            known_good = self.deployments.is_known_good(policy, workload)
            canary = origin is Origin.AUTOMATIC and not known_good
            score = self._kernel.score(policy, objective, canary)
            deployment = self.deployments.make(workload, policy, origin, reason)
            self._machine.fire(Trigger.DEPLOY, deployment.id, f"{card.name}: {reason}")
            self.deployments.add(deployment)
            holder = await self._attach(deployment, target_parameters(card, workload), canary)
            running = Running(deployment.id, workload, card.name, holder)
            return self._conduct(running, score, baseline)

    async def revert(self, reason: str, only: int = 0) -> Deployment | None:
        """Go back to the kernel default; the deployment that this ended, if there was one.

        With ``only`` that deployment is meant, and none that has taken its place by now.
        """
        async with self._lock:
            active = self.active
            if only and (active is None or active.id != only):
                return None
            await self._let_go(reason)
            return active

    async def stop(self) -> None:
        """Go back to the kernel default and close the ledger; nothing can be asked afterwards."""
        await self.revert("the daemon stops")
        self.record.end()

    async def at_rest(self) -> None:
        """Wait until the change that is under way is done."""
        async with self._lock:
            return

    def limits(self, path: str) -> tuple[str, ...]:
        """The CPU weights and limits of a cgroup, or of all of them for "/", a sentence each."""
        return self._kernel.limits(path)

    async def refresh(self) -> None:
        """Read the active policy's counters; a policy that has ended is noticed here too."""
        running = self._running
        if running is None:
            return
        try:
            status = await running.holder.status()
        except SchedcpError:
            return  # it died while we asked: its conduct hears of it and says so
        if self._running is running:
            self.deployments.count(running.id, status.counters)

    # On the way in

    def _check_machine(self, card: Card) -> None:
        unusable = self._kernel.unusable()
        if unusable:
            raise NoSchedExt(unusable)
        state, running = self._kernel.state(), self._running
        # A policy of ours may be on its way in or out for a turn of its canary.
        if running is None and state.state in ("enabling", "disabling"):
            raise Busy("the kernel is changing its scheduler at this moment; try again")
        if state.state == "enabled" and (running is None or state.policy != running.policy):
            raise ForeignScheduler(state.policy)
        limits = self._kernel.limits("/") if card.ignores else ()
        if limits:
            raise LimitsSet(card.name, limits)

    async def _measure_baseline(self, workload: Workload) -> GuardSample:
        tools = self._kernel.instruments
        before = tools.meter.sample(workload)
        await tools.sleep(self._kernel.baseline_s())
        return tools.meter.window(before, tools.meter.sample(workload))

    async def _attach(
        self, deployment: Deployment, parameters: Mapping[str, int], canary: bool
    ) -> Holder:
        try:
            policy, sha256 = deployment.policy, deployment.object_sha256
            holder = await self._kernel.attach(policy, sha256, parameters)
        except BaseException as error:  # when the asker is cancelled, the loader has gone too
            self._failed(deployment, error)
            raise
        trigger, reason = Trigger.SETTLED, "it has settled"
        if canary:
            trigger, reason = Trigger.CANARY, "it has settled; its canary begins"
        try:
            self._machine.fire(trigger, deployment.id, reason)
        except LedgerDamaged as error:
            await finished(holder.detach())
            self._failed(deployment, error)
            raise
        return holder

    def _failed(self, deployment: Deployment, error: BaseException) -> None:
        if isinstance(error, KernelRejected) and error.log:
            log.warning("the kernel on %s:\n%s", error.policy, error.log)
        said = str(error) if isinstance(error, SchedcpError) else "it was given up halfway"
        record = exit_of(error) if isinstance(error, SchedcpError) else None
        self._machine.fire(Trigger.FAILED, deployment.id, said)
        self._keep_safe()
        if is_fault(record):
            self.deployments.quarantine(deployment.id, "", said)
        failed = DeploymentState.FAILED
        self.deployments.end(deployment.id, state=failed, error=said, reason=said, exit=record)

    def _conduct(self, running: Running, score: Score, baseline: GuardSample) -> Deployment:
        """Begin to look after a policy that has just been attached."""
        subject = Subject(
            id=running.id,
            workload=running.workload,
            policy=running.policy,
            holder=running.holder,
            baseline=baseline,
            change=functools.partial(self.deployments.change, running.id),
        )
        conduct = Conduct(subject, score, self._machine, self._kernel.instruments)
        running.conduct = conduct
        running.task = asyncio.create_task(self._see_through(running, conduct))
        running.task.add_done_callback(functools.partial(self._seen_through, running))
        self._running = running
        return self.deployments.change(
            running.id,
            state=DeploymentState.CANARY if score.canary else DeploymentState.ATTACHED,
            attach_ms=running.holder.attached.attach_ms,
        )

    async def _see_through(self, running: Running, conduct: Conduct) -> None:
        ending = await conduct.run()
        async with self._lock:
            if self._running is running:
                await self._end(running, ending)

    def _seen_through(self, running: Running, task: asyncio.Task[None]) -> None:
        """Nobody looks after a policy whose conduct has failed: it has to go."""
        if task.cancelled() or task.exception() is None:
            return
        log.error("the conduct of %s failed", running.policy, exc_info=task.exception())
        if self._running is running:
            reason = "nobody looked after it any more"
            self._rescue = asyncio.ensure_future(self.revert(reason, running.id))

    # On the way out

    async def _let_go(self, reason: str) -> None:
        if self._running is not None:
            await finished(self._end_early(self._running, reason))

    async def _end_early(self, running: Running, reason: str) -> None:
        if running.task is not None:
            running.task.cancel()
            await asyncio.wait((running.task,))
        # It may have found out something worse in the meantime.
        ending = running.conduct.ending if running.conduct else None
        await self._end(running, ending or Ending(_REVERTED, Trigger.REVERT, reason))

    async def _end(self, running: Running, ending: Ending) -> None:
        """Leave the kernel default, whatever state the deployment is in."""
        monotonic = self._kernel.instruments.monotonic
        started = monotonic()
        if ending.trigger is not Trigger.GONE:
            self._machine.fire(ending.trigger, running.id, ending.reason)
        status = await running.holder.detach()
        stuck = await self._until_default(running.policy)
        revert_ms = ending.revert_ms or (monotonic() - started) * 1000
        ending = ejected_meanwhile(running.policy, ending, status)
        gone = self._machine.state is not MachineState.DETACHING
        done = Trigger.GONE if gone else Trigger.DETACHED
        self._machine.fire(done, running.id, ending.reason)
        self._running = None
        self._keep_safe()
        left = ending.status or status
        if is_fault(left.exit):
            self.deployments.quarantine(running.id, "", ending.reason)
        elif ending.state is DeploymentState.TRIPPED:
            self.deployments.quarantine(running.id, running.workload.id, ending.reason)
        self.deployments.end(
            running.id,
            state=ending.state,
            exit=left.exit,
            error=stuck or ending.error,
            reason=ending.reason,
            counters=dict(left.counters or status.counters),
            revert_ms=0.0 if ending.trigger is Trigger.GONE else round(revert_ms, 1),
        )

    async def _until_default(self, policy: str) -> str:
        """Wait until the kernel says that the policy is out, at once as a rule; why it is not."""
        tools = self._kernel.instruments
        deadline = tools.monotonic() + LEAVE_S
        while (state := self._kernel.state()).state != "disabled" and state.policy == policy:
            if tools.monotonic() > deadline:
                stuck = (
                    f"{policy} has no loader any more and is still in the kernel: somebody else "
                    "holds its link; 'echo S > /proc/sysrq-trigger' takes it out"
                )
                log.error("%s", stuck)
                return stuck
            await tools.sleep(POLL_S)
        return ""


async def finished(work: Coroutine[Any, Any, Value]) -> Value:
    """Carry on to the end however often the asker is cancelled: what is half done is worse."""
    task, cancelled = asyncio.ensure_future(work), False
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    return task.result()


def is_enough(active: Deployment, workload: Workload, card: Card, origin: Origin) -> bool:
    """Whether what is asked for is there already.

    A person who asks for a policy does not wait for the end of its canary.
    """
    same = (active.workload_id, active.policy) == (workload.id, card.name)
    return same and (origin is Origin.AUTOMATIC or active.state is DeploymentState.ATTACHED)


def target_parameters(card: Card, workload: Workload) -> dict[str, int]:
    """The values of those tunables that say which cgroup the policy is for."""
    values = {"target-id": workload.cgroup_id, "target-level": workload.level}
    return {tunable.name: values[tunable.role] for tunable in card.tunables if tunable.role}


def is_fault(record: ExitRecord | None) -> bool:
    """Whether the kernel threw the policy out for an error of its own."""
    return record is not None and bool(record.kind) and exit_cause(record) is ExitCause.FAULT


def ejected_meanwhile(policy: str, ending: Ending, status: LoaderStatus) -> Ending:
    """The ending that it is when the kernel threw the policy out while it was taken off."""
    record = status.exit
    if record is None or not is_fault(record) or ending.trigger is Trigger.GONE:
        return ending
    error = Ejected(policy, record.kind, record.message or record.reason, record)
    return Ending(DeploymentState.EJECTED, Trigger.GONE, str(error), status, ending.trip)
