# SPDX-License-Identifier: GPL-2.0-or-later
"""Puts one policy at a time into the kernel, holds it, and lets go of it.

Every change of what schedules the machine goes through an ``Attaching``, one at a time: a second
request while one is under way is refused, not queued, because the asker decided on a state of the
machine that is about to change. Each step is in the ledger before it is made. Whatever fails, the
kernel default is what is left.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from schedcpd.deploy.breaker import GuardSample, Trip
from schedcpd.deploy.conduct import (
    Conduct,
    Ending,
    Holder,
    Instruments,
    Score,
    Subject,
    exit_of,
    nobody,
)
from schedcpd.deploy.deployments import Deployments
from schedcpd.deploy.finish import finished
from schedcpd.deploy.judgements import (
    ejected_meanwhile,
    is_enough,
    is_fault,
    target_parameters,
)
from schedcpd.deploy.record import Record
from schedcpd.deploy.states import MachineState, SchedulerMachine, Trigger
from schedcpd.errors import (
    Busy,
    ForeignScheduler,
    KernelRejected,
    LedgerDamaged,
    LimitsSet,
    NoSchedExt,
    SchedcpError,
)
from schedcpd.model import (
    Card,
    Deployment,
    DeploymentState,
    KernelState,
    Objective,
    Origin,
    Policy,
    Workload,
    is_called,
)
from schedcpd.parameters import NONE

log = logging.getLogger(__name__)

LEAVE_S = 2.0  # what a policy may take to leave once its loader is done
POLL_S = 0.01
UNDER_WAY = "another change of the scheduler is under way; try again when it is done"
_REVERTED = DeploymentState.REVERTED


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
    # The last two: whether with a canary, and the effect that it has to beat, if any.
    score: Callable[[Policy, Objective, bool, float | None], Score]
    baseline_s: Callable[[], float]  # how long the kernel default is measured before attaching


@dataclass(slots=True)
class Running:
    """A deployment whose policy is in the kernel, or waits for its turn."""

    id: int
    workload: Workload
    tried_on: Workload  # what its canary measures
    card: Card
    holder: Holder
    task: asyncio.Task[None] | None = None
    conduct: Conduct | None = None

    @property
    def policy(self) -> str:
        """The name of the policy."""
        return self.card.name


class Attaching:
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
        self._asking = asyncio.Lock()
        self._relieve: Callable[[Trip], Awaitable[bool]] = nobody
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
        parameters: Mapping[str, int] = NONE,
        incumbent: float | None = None,
    ) -> Deployment:
        """Attach ``policy`` for ``workload``, in place of what is attached now.

        ``incumbent`` is the effect that what is there now had in its canary, and that the policy
        has to do better than. Raises a ``SchedcpError`` and leaves the kernel default, or, when it
        was refused before anything was changed, the policy there was.
        """
        if self._lock.locked():
            raise Busy(UNDER_WAY)
        async with self._lock:
            order = (workload, policy, origin, objective, reason, parameters, incumbent)
            return await self._deploy(*order)

    async def _deploy(
        self,
        workload: Workload,
        policy: Policy,
        origin: Origin,
        objective: Objective,
        reason: str,
        parameters: Mapping[str, int] = NONE,
        incumbent: float | None = None,
        tried_on: Workload | None = None,
    ) -> Deployment:
        """Attach it; the canary measures what ``tried_on`` gains, where that is another."""
        active, card = self.active, policy.card
        if active is not None and is_enough(active, workload, card, origin, parameters):
            return active
        self._check_machine(card)
        self.deployments.check_quarantine(policy, workload.id)
        await self._let_go(f"{card.name} takes its place")
        known_good = self.deployments.is_known_good(policy, tried_on or workload, parameters)
        canary = origin is not Origin.MANUAL and (incumbent is not None or not known_good)
        subject = tried_on if canary and tried_on is not None else workload
        baseline = await self._measure_baseline(subject)
        score = self._kernel.score(policy, objective, canary, incumbent)
        deployment = self.deployments.make(workload, policy, origin, reason, parameters)
        self._machine.fire(Trigger.DEPLOY, deployment.id, f"{card.name}: {reason}")
        self.deployments.add(deployment)
        constants = {**parameters, **target_parameters(card, workload)}
        holder = await self._attach(deployment, constants, canary)
        running = Running(deployment.id, workload, subject, card, holder)
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

    # On the way in

    def _check_machine(self, card: Card) -> None:
        unusable = self._kernel.unusable()
        if unusable:
            raise NoSchedExt(unusable)
        state, running = self._kernel.state(), self._running
        # A policy of ours may be on its way in or out for a turn of its canary.
        if running is None and state.state in ("enabling", "disabling"):
            raise Busy("the kernel is changing its scheduler at this moment; try again")
        ours = running is not None and is_called(running.card.ops, state.policy)
        if state.state == "enabled" and not ours:
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
            workload=running.tried_on,
            policy=running.policy,
            holder=running.holder,
            baseline=baseline,
            change=functools.partial(self.deployments.change, running.id),
            lasting=running.workload,
            asking=self._asking,
            relieve=self._relieve,
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
        stuck = await self._until_default(running.card)
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
            measured = running.conduct.workload if running.conduct else running.workload
            self.deployments.quarantine(running.id, measured.id, ending.reason)
        how: dict[str, Any] = {
            "state": ending.state,
            "exit": left.exit,
            "error": stuck or ending.error,
            "reason": ending.reason,
            "revert_ms": 0.0 if ending.trigger is Trigger.GONE else round(revert_ms, 1),
        }
        counters = dict(left.counters or status.counters)
        self.deployments.end(running.id, **how, counters=counters)
        await self._ended(running, **how)

    async def _ended(self, running: Running, **how: Any) -> None:
        """What a policy leaves behind; ``how`` it ended, as fields of a deployment."""

    async def _until_default(self, card: Card) -> str:
        """Wait until the kernel says that the policy is out, at once as a rule; why it is not."""
        tools = self._kernel.instruments
        deadline = tools.monotonic() + LEAVE_S
        while (state := self._kernel.state()).state != "disabled":
            if not is_called(card.ops, state.policy):
                break
            if tools.monotonic() > deadline:
                stuck = (
                    f"{card.name} has no loader any more and is still in the kernel: somebody else "
                    "holds its link; 'echo S > /proc/sysrq-trigger' takes it out"
                )
                log.error("%s", stuck)
                return stuck
            await tools.sleep(POLL_S)
        return ""
