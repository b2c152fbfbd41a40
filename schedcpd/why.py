# SPDX-License-Identifier: GPL-2.0-or-later
"""Why a workload is scheduled as it is, in sentences for a person; the newest come first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from schedcpd.model import (
    CanaryDecision,
    Deployment,
    DeploymentState,
    Hold,
    Origin,
    PolicyKind,
    Quarantine,
    WorkloadRecord,
    WorkloadState,
)
from schedcpd.parameters import with_words

_STATES = {
    WorkloadState.NEW: "it was not looked at yet",
    WorkloadState.LEFT_ALONE: "the kernel default schedules it",
    WorkloadState.ADVISED: "the kernel default schedules it, though a policy would suit it",
    WorkloadState.MANAGED: "a policy schedules for it",
    WorkloadState.HELD: "automation keeps off it until it ends",
}


@dataclass(frozen=True, slots=True)
class Case:
    """All that has a say in how one workload is scheduled."""

    record: WorkloadRecord | None  # None when it has ended
    refusal: str  # why it could not get its policy, or empty
    safe: str  # why the machine is in safe mode, or empty
    holds: tuple[Hold, ...]
    quarantines: tuple[Quarantine, ...]
    deployments: tuple[Deployment, ...]  # its own, newest first


def explain(case: Case) -> tuple[str, ...]:
    """The sentences."""
    return tuple(_lines(case))


def _lines(case: Case) -> Iterator[str]:
    if case.record is None:
        yield "it has ended"
    else:
        yield _STATES[case.record.state]
    if case.safe:
        yield f"safe mode: {case.safe}; automation is off until 'schedctl resume'"
    for hold in case.holds:
        what = "it is held" if hold.workload_id else "the machine is held"
        yield f"{what} by user {hold.uid}: {hold.reason}"
    if case.refusal:
        yield f"not attached: {case.refusal}"
    if case.record is not None and case.record.plan is not None:
        plan = case.record.plan
        layer = f"; as {plan.layer} in {plan.policy}" if plan.layer else ""
        yield f"plan: {plan.reason}{layer}"
    for deployment in case.deployments:
        yield from _of(deployment)
    yield from _quarantined(case.quarantines)


def _of(deployment: Deployment) -> Iterator[str]:
    canary = deployment.canary
    under_way = canary is not None and canary.decision is CanaryDecision.GOING_ON
    if canary is not None and under_way and deployment.state is DeploymentState.CANARY:
        yield f"canary: {canary.pairs} pairs of windows so far, {canary.effect:+.1%}"
    took = f" in {deployment.revert_ms:.0f} ms" if deployment.revert_ms else ""
    # A run that was cut off left only an error: what it had for a reason was why it began.
    reason = deployment.error or deployment.reason
    told = f": {reason}" if reason else ""
    policy = with_words(deployment.policy, deployment.parameters)
    foreign = ", a foreign scheduler," if deployment.kind is PolicyKind.FOREIGN else ""
    whose = ", proposed by an agent," if deployment.origin is Origin.AGENT else ""
    yield f"{policy}{foreign}{whose} {_WORDS[deployment.state]}{took}{told}"


_WORDS = {
    DeploymentState.ATTACHING: "is being attached",
    DeploymentState.CANARY: "takes turns with the kernel default",
    DeploymentState.ATTACHED: "is attached",
    DeploymentState.REVERTED: "was taken off",
    DeploymentState.TRIPPED: "was taken off by the circuit breaker",
    DeploymentState.EJECTED: "was ejected",
    DeploymentState.FAILED: "could not be attached",
}


def _quarantined(entries: Iterable[Quarantine]) -> Iterator[str]:
    for entry in entries:
        where = "for it" if entry.workload_id else "for every workload"
        yield (
            f"{entry.policy} is in quarantine {where} on {entry.kernel_release}: {entry.reason}; "
            f"'schedctl release {entry.policy}' lets it out"
        )
