# SPDX-License-Identifier: GPL-2.0-or-later
"""The classes of workloads in a policy that is attached for the whole machine.

A class is an entry of a live map: giving one, changing it and taking it away changes nothing of
what is in the kernel otherwise, and takes a few milliseconds. In the record each class is a
deployment of its own beside that of the machine: of the policy, for the workload that has it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from schedcpd.deploy.conduct import Holder
from schedcpd.deploy.deployments import Deployments
from schedcpd.deploy.livemaps import encode_cgroup, encode_class
from schedcpd.errors import LedgerDamaged, SchedcpError
from schedcpd.model import (
    Deployment,
    DeploymentState,
    LayerClass,
    LayerKind,
    MapRole,
    Objective,
    Origin,
    Policy,
    Workload,
    WorkloadKind,
)

log = logging.getLogger(__name__)

# What a deployment for the whole machine is for; as for holds, the empty id means all of it.
MACHINE = Workload("", 1, "the whole machine", WorkloadKind.SCOPE, 0.0)
# Their tasks let others go first, or one another.
YIELDING = frozenset({LayerKind.BATCH, LayerKind.LONGEST, LayerKind.BACKGROUND})
NEUTRAL_WEIGHT = 100


@dataclass(frozen=True, slots=True)
class Claim:
    """The class that somebody wants a workload to have in a policy with classes."""

    workload: Workload
    policy: Policy
    layer: LayerClass
    origin: Origin
    reason: str
    objective: Objective = Objective.NONE

    @property
    def map_name(self) -> str:
        """The policy's map of classes."""
        return self.policy.card.live_map(MapRole.CLASSES)

    @property
    def yields(self) -> bool:
        """Whether the workload is to wait for others: then it is no harm that it does."""
        return self.layer.kind in YIELDING or 0 < self.layer.weight < NEUTRAL_WEIGHT

    def is_for_the_same(self, other: Claim) -> bool:
        """Whether both want the same for the same cgroup, for whatever reason."""
        mine = (self.key, self.layer, self.origin)
        return mine == (other.key, other.layer, other.origin)

    @property
    def key(self) -> bytes:
        """The workload's key in that map."""
        return encode_cgroup(self.workload.cgroup_id)


@dataclass(frozen=True, slots=True)
class Classified:
    """A workload that has a class, and the deployment that stands for it."""

    deployment: int
    claim: Claim


class Classes:
    """The workloads that have a class, and what is written into the policy's map for them.

    ``monotonic`` gives seconds.
    """

    def __init__(self, deployments: Deployments, monotonic: Callable[[], float]) -> None:
        self._deployments = deployments
        self._monotonic = monotonic
        self._classified: dict[str, Classified] = {}

    @property
    def classified(self) -> Mapping[str, Classified]:
        """Who has a class now, by the workload's id."""
        return MappingProxyType(self._classified)

    def claims(self, but: Workload) -> tuple[Claim, ...]:
        """What the others than ``but`` have."""
        return tuple(one.claim for key, one in self._classified.items() if key != but.id)

    @property
    def needed(self) -> bool:
        """Whether anybody needs the policy: background work alone makes way for nobody."""
        claims = [one.claim for one in self._classified.values()]
        return any(
            claim.origin is Origin.MANUAL or claim.layer.kind is not LayerKind.BACKGROUND
            for claim in claims
        )

    def of(self, workload: Workload) -> Classified | None:
        """The class of a workload; one of its name that has another cgroup has none."""
        had = self._classified.get(workload.id)
        return had if had is not None and had.claim.workload.is_same(workload) else None

    def yielding(self) -> tuple[str, ...]:
        """The ids of the workloads whose class lets others go first."""
        return tuple(key for key, one in self._classified.items() if one.claim.yields)

    async def give(self, holder: Holder, claim: Claim, state: DeploymentState) -> Deployment:
        """Give a workload a class, in place of the one it may have; its deployment has ``state``.

        Raises what ``Holder.update_map`` does, LedgerDamaged, or ValueError for a parameter that is
        out of bounds; then nothing has changed.
        """
        had = self._classified.get(claim.workload.id)
        before = had.claim if had is not None else None
        # A cgroup that was made anew under the same name is another one.
        stale = {before.key: before} if before is not None else {}
        stale.pop(claim.key, None)
        started = self._monotonic()
        await holder.update_map(claim.map_name, {claim.key: encode_class(claim.layer)}, [*stale])
        took_ms = (self._monotonic() - started) * 1000
        reason = f"class {claim.layer}: {claim.reason}"
        try:
            made = self._deployments.make(claim.workload, claim.policy, claim.origin, reason)
        except LedgerDamaged:
            # It was done first, as it is urgent; but what cannot be written down is not done.
            old = {before.key: encode_class(before.layer)} if before is not None else {}
            await holder.update_map(claim.map_name, old, () if claim.key in old else (claim.key,))
            raise
        deployment = replace(
            made,
            state=state,
            attach_ms=round(took_ms, 2),
            layer=claim.layer,
        )
        self._classified[claim.workload.id] = Classified(deployment.id, claim)
        if had is not None:
            self._deployments.end(had.deployment, **_reverted("another class takes its place"))
        self._deployments.add(deployment)
        return deployment

    async def take(self, holder: Holder, workload: Workload, reason: str, **how: Any) -> None:
        """Take the class of a workload away; ``how`` it ended, as fields of its deployment.

        Its entry goes even when the cgroup is gone: the kernel may give its id to another.
        """
        had = self._classified[workload.id]
        started = self._monotonic()
        try:
            await holder.update_map(had.claim.map_name, {}, (had.claim.key,))
        except SchedcpError as error:  # the policy has gone with all its classes, as a rule
            log.warning("the class of %s: %s", workload.id, error)
        took_ms = (self._monotonic() - started) * 1000
        del self._classified[workload.id]
        ended = {**_reverted(reason), "revert_ms": round(took_ms, 2), **how}
        self._deployments.end(had.deployment, **ended)

    def end(self, **changes: Any) -> None:
        """The policy has left the kernel, and all classes with it; fields of their deployments."""
        ended, self._classified = self._classified, {}
        for one in ended.values():
            self._deployments.end(one.deployment, **changes)


def _reverted(reason: str) -> dict[str, Any]:
    return {"state": DeploymentState.REVERTED, "reason": reason}
