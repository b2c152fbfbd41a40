# SPDX-License-Identifier: GPL-2.0-or-later
"""What deployments have taught: a measured effect or a failure, for the planner's next time.

An outcome belongs to a workload, the object of a policy, a kernel release and a kind of machine:
when one of these changes, what was learnt before says nothing any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from schedcpd.model import (
    Canary,
    CanaryDecision,
    Deployment,
    DeploymentState,
    Objective,
    Origin,
    Outcome,
    OutcomeKind,
    Plan,
    Workload,
)

KEPT = 1000  # the ledger keeps as many
KEPT_OF_ONE = 8  # of one workload under one policy: a job that runs every minute crowds out none
REASON_LIMIT = 300  # characters

_FAILED = (DeploymentState.TRIPPED, DeploymentState.EJECTED)
_LOST = (CanaryDecision.WORSE, CanaryDecision.NO_GAIN)


class Store(Protocol):
    """Where outcomes outlive the daemon; ``deploy.record.Record`` is the real one."""

    def outcomes(self) -> tuple[Outcome, ...]:
        """All of them, oldest first."""

    def save_outcome(self, outcome: Outcome) -> None:
        """Keep one, in place of what was known of its deployment."""

    def forget_outcome(self, deployment: int) -> None:
        """Drop one."""


class Outcomes:
    """The outcomes in memory, so that a plan costs no I/O, and in the store.

    ``topology`` says what kind of machine it is, ``host`` which; ``clock`` gives seconds since the
    epoch.
    """

    def __init__(
        self,
        store: Store,
        kernel_release: str,
        topology: str,
        clock: Callable[[], float],
        host: str = "",
    ) -> None:
        self._store = store
        self._kernel_release = kernel_release
        self._topology = topology
        self._clock = clock
        self._host = host
        self._known = {one.deployment: one for one in store.outcomes()}

    def every(self) -> tuple[Outcome, ...]:
        """All of them, oldest first."""
        return tuple(self._known.values())

    def recall(self) -> tuple[Outcome, ...]:
        """Those of this kernel on this kind of machine, oldest first."""
        here = (self._kernel_release, self._topology)
        return tuple(
            one for one in self._known.values() if (one.kernel_release, one.topology) == here
        )

    def learn(self, deployment: Deployment, workload: Workload, plan: Plan) -> Outcome | None:
        """Remember what a deployment for ``workload`` has taught; None when that is nothing."""
        kind = teaches(deployment, plan.objective)
        if kind is None:
            return None
        # A failure after a canary that was won: the windows before it no longer count.
        shown = deployment.canary if kind is OutcomeKind.EFFECT else None
        canary = shown or Canary("", 0, 0.0, 0.0, 0.0, CanaryDecision.GOING_ON)
        outcome = Outcome(
            deployment=deployment.id,
            at=self._clock(),
            workload=workload.identity or workload.id,
            work=plan.work,
            objective=plan.objective,
            policy=deployment.policy,
            object_sha256=deployment.object_sha256,
            kernel_release=self._kernel_release,
            topology=self._topology,
            kind=kind,
            metric=canary.metric,
            effect=canary.effect,
            low=canary.low,
            high=canary.high,
            pairs=canary.pairs,
            reason=(deployment.error or deployment.reason)[:REASON_LIMIT],
            host=self._host,
            parameters=dict(deployment.parameters),
        )
        self._keep(outcome)
        return outcome

    def forgive(self, policy: str) -> None:
        """Forget the failures of a policy: a person let it out of quarantine."""
        for outcome in tuple(self._known.values()):
            if outcome.policy == policy and outcome.kind is OutcomeKind.FAILURE:
                self._forget(outcome.deployment)

    def _forget(self, deployment: int) -> None:
        del self._known[deployment]
        self._store.forget_outcome(deployment)

    def _keep(self, outcome: Outcome) -> None:
        self._known.pop(outcome.deployment, None)
        self._known[outcome.deployment] = outcome
        self._store.save_outcome(outcome)
        alike = [one.deployment for one in self._known.values() if _key(one) == _key(outcome)]
        for deployment in alike[:-KEPT_OF_ONE]:
            self._forget(deployment)
        while len(self._known) > KEPT:
            self._forget(next(iter(self._known)))


def teaches(deployment: Deployment, objective: Objective) -> OutcomeKind | None:
    """What kind of outcome a deployment has, or None: it was cut off, or a person chose it.

    Harm is one whoever chose the policy, and whatever for.
    """
    if deployment.state in _FAILED:
        return OutcomeKind.FAILURE
    canary = deployment.canary
    if canary is None or deployment.origin is Origin.MANUAL or objective is Objective.NONE:
        return None
    if canary.decision in _LOST:
        return OutcomeKind.EFFECT
    if canary.decision is not CanaryDecision.PROMOTE:
        return None
    # What a batch gains is known at its end: its canary only shows that it loses nothing.
    batch = objective is Objective.MAKESPAN
    return OutcomeKind.HARMLESS if batch else OutcomeKind.EFFECT


def _key(outcome: Outcome) -> tuple[str, ...]:
    return (outcome.workload, outcome.object_sha256, outcome.kernel_release, outcome.topology)
