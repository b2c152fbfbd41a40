# SPDX-License-Identifier: GPL-2.0-or-later
"""The deployments there were, and what was learnt from them; each change is written down and told.

``added``, ``changed`` and ``removed`` tell of deployments, ``quarantined`` of policies that did
harm.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from schedcpd.deploy.ledger import KnownGood
from schedcpd.deploy.record import Record
from schedcpd.errors import NoSuchDeployment, Quarantined
from schedcpd.model import (
    CanaryDecision,
    Deployment,
    DeploymentState,
    Origin,
    Policy,
    Quarantine,
    Workload,
)
from schedcpd.parameters import NONE
from schedcpd.signals import Signal

log = logging.getLogger(__name__)

KEPT_DEPLOYMENTS = 50  # how many ended ones are objects on the bus; the ledger has more
FAR_BACK = 1000  # more than the ledger keeps


class Deployments:
    """The newest deployments in memory, all of them in the ledger.

    ``release`` is that of the running kernel; ``clock`` gives seconds since the epoch.
    """

    def __init__(self, record: Record, release: str, clock: Callable[[], float]) -> None:
        self.added: Signal[Deployment] = Signal()
        self.changed: Signal[Deployment] = Signal()
        self.removed: Signal[int] = Signal()
        self.quarantined: Signal[Quarantine] = Signal()
        self._record = record
        self._release = release
        self._clock = clock
        self._newest: dict[int, Deployment] = {}

    @property
    def newest(self) -> Mapping[int, Deployment]:
        """The newest deployments by id, oldest first."""
        return self._newest

    def make(
        self,
        workload: Workload,
        policy: Policy,
        origin: Origin,
        reason: str,
        parameters: Mapping[str, int] = NONE,
    ) -> Deployment:
        """A new deployment, not known to anybody yet; raises LedgerDamaged."""
        return Deployment(
            id=self._record.next_id(),
            workload_id=workload.id,
            policy=policy.card.name,
            origin=origin,
            state=DeploymentState.ATTACHING,
            started_at=self._clock(),
            reason=reason,
            object_sha256=policy.object_sha256,
            parameters=dict(parameters),
            kind=policy.card.kind,
            ops=policy.card.ops,
        )

    def add(self, deployment: Deployment) -> None:
        """Make it known; the oldest that have ended are forgotten."""
        self._newest[deployment.id] = deployment
        self._record.deployment(deployment)
        self.added.emit(deployment)
        ended = [ident for ident, one in self._newest.items() if one.ended_at]
        for oldest in ended[: max(0, len(self._newest) - KEPT_DEPLOYMENTS)]:
            del self._newest[oldest]
            self.removed.emit(oldest)

    def change(self, ident: int, **changes: Any) -> Deployment:
        """Replace fields of a deployment, write it down, and tell."""
        before = self._newest[ident]
        after = replace(before, **changes)
        self._newest[ident] = after
        won = after.canary is not None and after.canary.decision is CanaryDecision.PROMOTE
        attached = after.state is DeploymentState.ATTACHED
        if won and attached and before.state is DeploymentState.CANARY:
            self._record.promote(after, self._release, after.canary)
        self._record.deployment(after)
        log.debug("deployment %d is %s", ident, after.state)
        self.changed.emit(after)
        return after

    def end(self, ident: int, **changes: Any) -> None:
        """Replace fields of a deployment that is over."""
        self.change(ident, ended_at=self._clock(), **changes)

    def count(self, ident: int, counters: Mapping[str, int]) -> None:
        """Take over the counters of a policy; not worth writing down or telling."""
        self._newest[ident] = replace(self._newest[ident], counters=dict(counters))

    def history(self, count: int, workload_id: str | None = None) -> tuple[Deployment, ...]:
        """The newest (for one workload), of this run and of earlier ones; newest first."""
        known = {one.id: one for one in self._record.deployments(count, workload_id)}
        for one in self._newest.values():
            if workload_id in (None, one.workload_id):
                known[one.id] = one
        return tuple(sorted(known.values(), key=lambda one: one.id, reverse=True)[:count])

    def known_good(self, workload_id: str) -> KnownGood | None:
        """The policy that won its canary last for a workload on this kernel."""
        return self._record.known_good(workload_id, self._release)

    def is_known_good(
        self, policy: Policy, workload: Workload, parameters: Mapping[str, int]
    ) -> bool:
        """Whether that is this very policy, with these very parameters."""
        known = self.known_good(workload.id)
        same = known is not None and known.object_sha256 == policy.object_sha256
        return same and known is not None and known.parameters == parameters

    def find(self, ident: int) -> Deployment:
        """One deployment, of this run or of an earlier one; raises NoSuchDeployment."""
        known = self._newest.get(ident)
        found = [known] if known else self._record.deployments(FAR_BACK)
        deployment = next((one for one in found if one.id == ident), None)
        if deployment is None:
            raise NoSuchDeployment(ident)
        return deployment

    def check_quarantine(self, policy: Policy, workload_id: str) -> None:
        """Raise Quarantined when a policy may not be attached for a workload; LedgerDamaged."""
        entry = self._record.quarantined(policy.object_sha256, self._release, workload_id)
        if entry is not None:
            raise Quarantined(policy.card.name, entry.reason)

    def quarantine(self, ident: int, workload_id: str, reason: str) -> None:
        """Put the policy of a deployment into quarantine, for all workloads when empty."""
        deployment = self._newest[ident]
        entry = Quarantine(
            object_sha256=deployment.object_sha256,
            policy=deployment.policy,
            kernel_release=self._release,
            workload_id=workload_id,
            since=self._clock(),
            reason=reason,
        )
        self._record.quarantine(entry)
        self.quarantined.emit(entry)
