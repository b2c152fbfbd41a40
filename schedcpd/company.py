# SPDX-License-Identifier: GPL-2.0-or-later
"""How workloads share the machine when several have something to gain at once: the rule.

A workload that is alone gets the policy that suits it best, of whatever kind. While that is one for
it alone, all that another can get is a class in a policy that has classes. The machine moves there
when both together are expected to gain more there than the first does alone, and stays as long as
anybody needs it: who comes later joins, and nobody goes back to a policy of their own before the
last class is gone. Background work only joins, as a class of its own makes way for others.

What a person chose is never moved. A move costs the first one its policy for a moment, so there is
none while something is still being tried, none before the first has had its policy for as long as
workloads rest without one, and none within MOVE_DWELL_S of another, whatever came of that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from schedcpd.model import (
    Candidate,
    Deployment,
    LayerKind,
    MapRole,
    Origin,
    Plan,
    Policy,
    WorkloadRecord,
)

MOVE_DWELL_S = 300.0
CLASSES_AT_ONCE = 16  # automatic ones: each is looked at every few seconds


@dataclass(frozen=True, slots=True)
class Company:
    """Those who have a policy or a class at this moment, as one sees them who has none."""

    active: Deployment | None
    first: WorkloadRecord | None  # whom the active policy is for, where it is for one
    classes: int  # automatic ones
    needed: bool  # whether one of the classes is for the good of its own workload
    trying: bool  # whether a policy or a class has still to prove itself
    changing: bool
    dwell_s: float
    now: float  # seconds since the epoch, as all times
    moved_at: float = 0.0  # when the machine was moved last

    @property
    def shares(self) -> bool:
        """Whether what is attached is for the whole machine, so that others can join."""
        return self.active is not None and not self.active.workload_id

    def bars(self, policies: Mapping[str, Policy]) -> dict[str, str]:
        """The policies that cannot be attached beside what there is, each with the reason."""
        active = self.active
        if active is None:
            return {}
        if self.shares:
            reason = f"{active.policy} is attached, in which others have a class"
            return {name: reason for name in policies if name != active.policy}
        reason = f"another workload has {active.policy}"
        alone = [name for name, one in policies.items() if not has_classes(one)]
        return dict.fromkeys(alone, reason)

    @property
    def closed(self) -> str:
        """Why nobody else can get anything now, or an empty string."""
        active = self.active
        if self.changing:
            return "the scheduler is being changed for another workload"
        if active is None:
            return ""
        if not self.shares and active.origin is Origin.MANUAL:
            return f"another workload has {active.policy}, chosen by a person"
        if self.trying:
            return f"{active.policy} is still being tried on another workload"
        if self.shares and self.classes >= CLASSES_AT_ONCE:
            return f"{self.classes} workloads have a class already"
        return ""

    def against(self, plan: Plan) -> str:
        """Why a plan cannot be followed beside what there is, or an empty string."""
        background = plan.layer is not None and plan.layer.kind is LayerKind.BACKGROUND
        if background and not (self.shares and self.needed):
            return "it would make way for nobody: no other workload has a class"
        if self.active is None or self.shares:
            return ""
        return self._against_moving(self.active, plan)

    def _against_moving(self, active: Deployment, plan: Plan) -> str:
        has = f"another workload has {active.policy}"
        if self.first is None or plan.layer is None:
            return has
        # The clock may have been set back since.
        if abs(self.now - active.started_at) < self.dwell_s:
            return f"{has} and got it a moment ago"
        if abs(self.now - self.moved_at) < MOVE_DWELL_S:
            return f"{has}, and one was moved less than {MOVE_DWELL_S:.0f} s ago"
        there = weighed(self.first, plan.policy)
        if there is None or there.layer is None or there.objection or there.score <= 0:
            return f"{has} and would lose what it gains by that"
        alone, together = self._gains(active, plan)
        if together <= alone:
            return f"{has} and gains {alone:.0%} by that; both in {plan.policy} {together:.0%}"
        return ""

    def _gains(self, active: Deployment, plan: Plan) -> tuple[float, float]:
        """What the first one is expected to gain by its own policy, and both by the plan's."""
        if self.first is None:
            return 0.0, 0.0
        alone, there = weighed(self.first, active.policy), weighed(self.first, plan.policy)
        gain = alone.score if alone else 0.0
        if active.origin is Origin.AGENT and active.canary is not None:
            gain = active.canary.effect  # an agent saw more in it than the planner
        mine = next((one.score for one in plan.candidates if one.policy == plan.policy), 0.0)
        return gain, mine + (there.score if there else 0.0)

    def moves(self, plan: Plan) -> Plan | None:
        """What becomes of the first one's plan when another's is followed; None if nothing."""
        first = self.first
        if self.active is None or self.shares or first is None or first.plan is None:
            return None
        if plan.layer is None:
            return None
        there = weighed(first, plan.policy)
        alone, together = self._gains(self.active, plan)
        reason = (
            f"moved from {self.active.policy}, by which it gains {alone:.0%}, as another workload "
            f"wants a policy too and both gain {together:.0%}: {first.plan.reason}"
        )
        return Plan(
            policy=plan.policy,
            objective=first.plan.objective,
            reason=reason,
            candidates=first.plan.candidates,
            work=first.plan.work,
            layer=there.layer if there else None,
        )


def has_classes(policy: Policy) -> bool:
    """Whether workloads can have classes in a policy."""
    return bool(policy.card.live_map(MapRole.CLASSES))


def weighed(record: WorkloadRecord, policy: str | None) -> Candidate | None:
    """What a workload's plan says of a policy; None where it says nothing."""
    candidates = record.plan.candidates if record.plan else ()
    return next((one for one in candidates if one.policy == policy), None)
