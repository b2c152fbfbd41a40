# SPDX-License-Identifier: GPL-2.0-or-later
"""Puts one policy at a time into the kernel, holds it, and lets go of it.

Every change of what schedules the machine goes through a ``Deployer``, one at a time: a second
request while one is under way is refused, not queued, because the asker decided on a state of the
machine that is about to change. Whatever fails, the kernel default is what is left.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from schedcpd.deploy.loader import Attached
from schedcpd.deploy.messages import LoaderStatus
from schedcpd.errors import (
    Busy,
    Ejected,
    ForeignScheduler,
    KernelRejected,
    LimitsSet,
    LoaderLost,
    NoSchedExt,
    SchedcpError,
)
from schedcpd.model import (
    Card,
    Deployment,
    DeploymentState,
    ExitRecord,
    KernelState,
    Origin,
    Workload,
)
from schedcpd.signals import Signal

log = logging.getLogger(__name__)

KEPT_DEPLOYMENTS = 50  # how many ended ones are remembered


class Holder(Protocol):
    """The process that holds an attached policy; ``deploy.loader.Loader`` is the real one."""

    attached: Attached

    async def status(self) -> LoaderStatus:
        """What the policy says of itself now; raises LoaderLost."""

    async def detach(self) -> LoaderStatus:
        """Take the policy out of the kernel."""

    async def ended(self) -> LoaderStatus:
        """Wait until the policy is out without our doing."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """What the deployer asks of the machine; injected, so that it can be simulated."""

    attach: Callable[[str, Mapping[str, int]], Awaitable[Holder]]
    state: Callable[[], KernelState]
    unusable: Callable[[], str]
    limits: Callable[[], tuple[str, ...]]
    clock: Callable[[], float]  # seconds since the epoch


class Deployer:
    """The state of the machine's scheduler as far as schedcp changed it.

    ``added``, ``changed`` and ``removed`` tell of deployments; ``active`` is the attached one.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.added: Signal[Deployment] = Signal()
        self.changed: Signal[Deployment] = Signal()
        self.removed: Signal[int] = Signal()
        self._kernel = kernel
        self._deployments: dict[int, Deployment] = {}
        self._ids = itertools.count(1)
        self._lock = asyncio.Lock()
        self._holder: Holder | None = None
        self._active_id = 0
        self._watch: asyncio.Task[None] | None = None

    @property
    def deployments(self) -> Mapping[int, Deployment]:
        """The newest deployments by id, oldest first."""
        return self._deployments

    @property
    def active(self) -> Deployment | None:
        """The deployment whose policy is attached, or None."""
        return self._deployments.get(self._active_id)

    @property
    def changing(self) -> bool:
        """Whether an attach or a detach is under way."""
        return self._lock.locked()

    async def deploy(self, workload: Workload, card: Card, origin: Origin) -> Deployment:
        """Attach the policy of ``card`` for ``workload``, in place of what is attached now.

        Raises a ``SchedcpError`` and leaves the kernel default, or, when it was refused before
        anything was changed, the policy there was.
        """
        if self._lock.locked():
            raise Busy("another change of the scheduler is under way; try again when it is done")
        async with self._lock:
            active = self.active
            if active and (active.workload_id, active.policy) == (workload.id, card.name):
                return active
            self._check_machine(card)
            await self._let_go()
            deployment = Deployment(
                id=next(self._ids),
                workload_id=workload.id,
                policy=card.name,
                origin=origin,
                state=DeploymentState.ATTACHING,
                started_at=self._kernel.clock(),
            )
            self._remember(deployment)
            return await self._attach(deployment, target_parameters(card, workload))

    async def revert(self) -> None:
        """Go back to the kernel default; nothing to do when no policy of ours is attached."""
        async with self._lock:
            await self._let_go()

    def limits(self) -> tuple[str, ...]:
        """The CPU weights and limits set on this machine, a sentence each."""
        return self._kernel.limits()

    async def refresh(self) -> None:
        """Read the active policy's counters; a policy that has ended is noticed here too."""
        holder, active = self._holder, self.active
        if holder is None or active is None:
            return
        try:
            status = await holder.status()
        except LoaderLost:
            return  # it died while we asked: ``_watch_holder`` hears of it and says so
        current = self.active
        if current is not None and current.id == active.id:
            self._deployments[active.id] = replace(current, counters=dict(status.counters))

    def _check_machine(self, card: Card) -> None:
        unusable = self._kernel.unusable()
        if unusable:
            raise NoSchedExt(unusable)
        state = self._kernel.state()
        if state.state in ("enabling", "disabling"):
            raise Busy("the kernel is changing its scheduler at this moment; try again")
        if state.state != "disabled" and self._holder is None:
            raise ForeignScheduler(state.policy)
        limits = self._kernel.limits() if card.ignores else ()
        if limits:
            raise LimitsSet(card.name, limits)

    async def _attach(self, deployment: Deployment, parameters: Mapping[str, int]) -> Deployment:
        try:
            holder = await self._kernel.attach(deployment.policy, parameters)
        except SchedcpError as error:
            if isinstance(error, KernelRejected) and error.log:
                log.warning("the kernel on %s:\n%s", error.policy, error.log)
            self._update(
                replace(
                    deployment,
                    state=DeploymentState.FAILED,
                    ended_at=self._kernel.clock(),
                    error=str(error),
                    exit=exit_of(error),
                )
            )
            raise
        deployment = replace(
            deployment, state=DeploymentState.ATTACHED, attach_ms=holder.attached.attach_ms
        )
        self._holder = holder
        self._active_id = deployment.id
        self._watch = asyncio.create_task(self._watch_holder(holder, deployment))
        self._update(deployment)
        return deployment

    async def _watch_holder(self, holder: Holder, deployment: Deployment) -> None:
        """Wait until the policy is gone without our doing, and say why."""
        status = await holder.ended()
        if self._holder is not holder:
            return
        error: SchedcpError
        if status.exit is not None and status.exit.kind:
            message = status.exit.message or status.exit.reason
            error = Ejected(deployment.policy, status.exit.kind, message)
        else:
            error = LoaderLost(deployment.policy, "its process died; the kernel default is back")
        self._forget_holder()
        self._end(deployment.id, DeploymentState.EJECTED, status, str(error))

    async def _let_go(self) -> None:
        holder, active, watch = self._holder, self.active, self._watch
        if holder is None or active is None:
            return
        self._forget_holder()
        if watch is not None:
            watch.cancel()
        status = await holder.detach()
        self._end(active.id, DeploymentState.REVERTED, status, "")

    def _forget_holder(self) -> None:
        self._holder = None
        self._watch = None
        self._active_id = 0

    def _end(self, ident: int, state: DeploymentState, status: LoaderStatus, error: str) -> None:
        self._update(
            replace(
                self._deployments[ident],
                state=state,
                ended_at=self._kernel.clock(),
                exit=status.exit,
                error=error,
                counters=dict(status.counters),
            )
        )

    def _remember(self, deployment: Deployment) -> None:
        self._deployments[deployment.id] = deployment
        self.added.emit(deployment)
        while len(self._deployments) > KEPT_DEPLOYMENTS:
            oldest = next(iter(self._deployments))
            del self._deployments[oldest]
            self.removed.emit(oldest)

    def _update(self, deployment: Deployment) -> None:
        self._deployments[deployment.id] = deployment
        log.debug("deployment %d is %s", deployment.id, deployment.state)
        self.changed.emit(deployment)


def target_parameters(card: Card, workload: Workload) -> dict[str, int]:
    """The values of those tunables that say which cgroup the policy is for."""
    values = {"target-id": workload.cgroup_id, "target-level": workload.level}
    return {tunable.name: values[tunable.role] for tunable in card.tunables if tunable.role}


def exit_of(error: SchedcpError) -> ExitRecord | None:
    """The kernel's words where the error carries them."""
    if isinstance(error, Ejected):
        return error.record or ExitRecord(error.kind, 0, "", error.message)
    return None
