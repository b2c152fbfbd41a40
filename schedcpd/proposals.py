# SPDX-License-Identifier: GPL-2.0-or-later
"""What others ask the daemon to decide: plans of agents, and to plan again.

A plan of an agent is not trusted. It goes as far as one of the daemon's own and no further: it
never overrides what a person decided, nor a hold, a pause or safe mode; the policy has to be
verified, and not be in quarantine; it is tried in a canary, and watched by the circuit breaker.
What comes of it is learnt. Where the workload has a policy that the daemon or an agent chose, it
has to do better than that one (see ``deploy.canary``); if it does not, the old one comes back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from schedcpd import parameters as tunables
from schedcpd.automation import Stages
from schedcpd.deploy.attaching import UNDER_WAY
from schedcpd.deploy.deployer import Deployer
from schedcpd.errors import (
    Busy,
    NoSuchPolicy,
    NoSuchWorkload,
    ProposalRefused,
    SchedcpError,
    WorkloadGone,
)
from schedcpd.layers import Layers
from schedcpd.model import (
    Canary,
    CanaryDecision,
    Deployment,
    DeploymentState,
    MapRole,
    Mode,
    Objective,
    Origin,
    Plan,
    Policy,
    PolicyKind,
    Proposal,
    WorkloadRecord,
    WorkloadState,
)

_LOST = (CanaryDecision.WORSE, CanaryDecision.NO_GAIN)


@dataclass(frozen=True, slots=True)
class Incumbent:
    """The policy that a proposal is to take the place of."""

    deployment: Deployment
    plan: Plan
    effect: float  # in its canary; 0 where it had none, as one that changed nothing


class Proposals(Layers):
    """Carries out what is proposed, as far as nobody has decided otherwise."""

    def __init__(self, mode: Mode, stages: Stages, deployer: Deployer, dwell_s: float) -> None:
        super().__init__(mode, stages, deployer, dwell_s)
        self._replaced: dict[int, Incumbent] = {}  # by the deployment on trial in its place
        self._proposed_at: dict[str, float] = {}  # workload id → when a proposal for it ended

    async def propose(self, proposal: Proposal) -> Deployment:
        """Try what an agent proposes; BadParameter, ProposalRefused and what attaching raises."""
        record, policy = self._known(proposal.workload_id), self._installed(proposal.policy)
        tunables.check(policy.card, proposal.parameters)
        subject, before = proposal.workload_id, record.plan
        try:
            incumbent = self._admit(proposal, record, policy)
            plan = _plan_of(proposal, record)
            self.note("propose", subject, f"an agent proposes {_words(proposal)}")
            self._set(subject, plan=plan)
            return await self._try_out(record, policy, plan, incumbent)
        except SchedcpError as error:
            self.note("refuse", subject, str(error))
            self._set(subject, plan=before)
            raise

    async def _try_out(
        self, record: WorkloadRecord, policy: Policy, plan: Plan, incumbent: Incumbent | None
    ) -> Deployment:
        subject = record.workload.id
        self._arriving.add(subject)
        try:
            deployment = await self._deployer.deploy(
                record.workload,
                policy,
                Origin.AGENT,
                plan.objective,
                plan.reason,
                plan.parameters,
                incumbent.effect if incumbent else None,
            )
        except SchedcpError:
            if incumbent is not None and self.active is None:
                self._start(self._restore(subject, incumbent))
            raise
        finally:
            self._arriving.discard(subject)
        if incumbent is not None and deployment.id != incumbent.deployment.id:
            self._replaced[deployment.id] = incumbent
        self._refused.pop(subject, None)
        return deployment

    def _admit(
        self, proposal: Proposal, record: WorkloadRecord, policy: Policy
    ) -> Incumbent | None:
        """What the proposal has to do better than, if there is something; raises for what bars it.

        ``parameters`` are checked already.
        """
        subject = proposal.workload_id
        if policy.card.live_map(MapRole.CLASSES):
            raise ProposalRefused(proposal.policy, "it is for all workloads, each with a class")
        if policy.card.kind is PolicyKind.FOREIGN:
            raise ProposalRefused(proposal.policy, "only a person chooses a foreign scheduler")
        if self._deployer.changing:
            raise Busy(UNDER_WAY)
        held = record.state is WorkloadState.HELD
        reason = (
            ("a person decided on this workload" if held else "")
            or self._veto(subject)
            or self._objection(subject, policy, proposal.parameters)
            or self._too_soon(subject)
        )
        if reason:
            raise ProposalRefused(proposal.policy, reason)
        return self._incumbent(proposal, record)

    def _too_soon(self, workload_id: str) -> str:
        ended_at = self._proposed_at.get(workload_id)
        if ended_at is None or abs(self._stages.clock() - ended_at) >= self._dwell_s:
            return ""
        return f"another proposal for it ended less than {self._dwell_s:g} s ago"

    def _incumbent(self, proposal: Proposal, record: WorkloadRecord) -> Incumbent | None:
        active, subject = self.active, proposal.workload_id
        if active is None:
            return None
        classified = self._deployer.classes.classified
        mine = active
        if not active.workload_id and set(classified) == {subject}:
            mine = self._deployer.deployments.newest[classified[subject].deployment]
        reason, plan = "", record.plan
        if mine.workload_id != subject or plan is None:
            reason = "another workload has a policy"
        elif mine.origin is Origin.MANUAL:
            reason = f"a person chose {mine.policy} for this workload"
        elif self._deployer.proving:
            reason = f"the canary of {mine.policy} is not over"
        elif _by_batch(plan.objective) != _by_batch(proposal.objective):
            reason = (
                f"{mine.policy} is there for {plan.objective}, "
                "which no canary can compare with another objective"
            )
        if reason or plan is None:
            raise ProposalRefused(proposal.policy, reason)
        return Incumbent(mine, plan, self._effect_of(mine))

    def _effect_of(self, incumbent: Deployment) -> float:
        """What the policy that is there gained when it was on trial last."""
        known = self._deployer.deployments.known_good(incumbent.workload_id)
        same = known is not None and known.object_sha256 == incumbent.object_sha256
        canary: Canary | None = incumbent.canary
        if canary is None and same and known and known.parameters == incumbent.parameters:
            canary = known.canary
        return canary.effect if canary is not None else 0.0

    def _deployment_changed(self, deployment: Deployment) -> None:
        super()._deployment_changed(deployment)
        if deployment.origin is not Origin.AGENT or not deployment.ended_at:
            return
        subject, canary = deployment.workload_id, deployment.canary
        if subject in self._workloads:
            self._proposed_at[subject] = self._stages.clock()
        incumbent = self._replaced.pop(deployment.id, None)
        lost = canary is not None and canary.decision in _LOST
        # After harm there is what was known to do good; see ``Aftermath``.
        if incumbent is not None and lost and deployment.state is DeploymentState.REVERTED:
            self._start(self._restore(subject, incumbent))

    async def _restore(self, workload_id: str, incumbent: Incumbent) -> None:
        """Give a workload back what it had before a proposal that was no better."""
        await self._deployer.at_rest()
        had, record = incumbent.deployment, self._workloads.get(workload_id)
        policy = self._policies.get(had.policy)
        if record is None or policy is None or record.state is WorkloadState.HELD:
            return
        self._set(workload_id, plan=incumbent.plan)
        if had.layer is not None:  # a class is for the planner to give
            await self._look(workload_id)
        elif obstacle := self._obstacle(workload_id, had.policy, had.parameters):
            self._refuse(workload_id, obstacle)
        else:
            plan = replace(incumbent.plan, policy=had.policy, parameters=had.parameters)
            await self._deploy(workload_id, policy, plan, had.origin)

    def vanished(self, path: str) -> None:
        """A cgroup is empty or gone; what is attached for it is let go."""
        super().vanished(path)
        self._proposed_at.pop(path, None)

    async def optimize(self, workload_id: str) -> str:
        """Plan anew for a workload, as a person asks for it, and do it; a sentence of what it is.

        What kept automation off this workload is forgotten: a revert by a person, a lost canary, a
        policy that was let go a moment ago. Raises Busy and WorkloadGone.
        """
        record = self._known(workload_id)
        if workload_id in self._arriving:
            raise Busy(UNDER_WAY)
        if there := self._attached_for(workload_id):
            whose = "as a person chose" if there.origin is Origin.MANUAL else there.reason
            return f"{there.policy} is {there.state} for it already: {whose}"
        self.note("optimize", workload_id, "a person asks for a plan")
        self._lost = {key: lost for key, lost in self._lost.items() if key[0] != workload_id}
        for known in (self._rested_at, self._refused, self._proposed_at):
            known.pop(workload_id, None)
        self._set(workload_id, state=WorkloadState.NEW, plan=None)
        self._asked.add(workload_id)
        try:
            await self._look(workload_id)
        finally:
            self._asked.discard(workload_id)
        if self._workloads.get(workload_id, record).plan is None:
            raise WorkloadGone(workload_id)
        return self._decided(workload_id)

    def _attached_for(self, workload_id: str) -> Deployment | None:
        """The deployment for a workload: its class, or the policy that is attached for it."""
        classified = self._deployer.classes.classified.get(workload_id)
        if classified is not None:
            return self._deployer.deployments.newest[classified.deployment]
        active = self.active
        return active if active is not None and active.workload_id == workload_id else None

    def _decided(self, workload_id: str) -> str:
        record = self._workloads.get(workload_id)
        if record is None or record.plan is None:
            raise WorkloadGone(workload_id)
        there, plan = self._attached_for(workload_id), record.plan
        if there is not None:
            turns = " in turns with the kernel default" * (there.state is DeploymentState.CANARY)
            policy = tunables.with_words(there.policy, there.parameters)
            return f"{policy} is attached for it{turns}: {plan.reason}"
        if refused := self._refused.get(workload_id):
            return f"the kernel default schedules it; nothing is attached for it: {refused}"
        return f"the kernel default schedules it: {plan.reason}"

    def _known(self, workload_id: str) -> WorkloadRecord:
        if workload_id not in self._workloads:
            raise NoSuchWorkload(workload_id)
        return self._workloads[workload_id]

    def _installed(self, policy: str) -> Policy:
        if policy not in self._policies:
            raise NoSuchPolicy(policy)
        return self._policies[policy]


def _plan_of(proposal: Proposal, record: WorkloadRecord) -> Plan:
    before = record.plan or Plan(None, Objective.NONE, "")
    return replace(
        before,
        policy=proposal.policy,
        objective=proposal.objective,
        reason=f"proposed by an agent: {proposal.reason}",
        parameters=dict(proposal.parameters),
        layer=None,
    )


def _words(proposal: Proposal) -> str:
    policy = tunables.with_words(proposal.policy, proposal.parameters)
    return f"{policy} for {proposal.objective}: {proposal.reason}"


def _by_batch(objective: Objective) -> bool:
    """Whether a canary for it compares the CPU time that the workload gets."""
    return objective is Objective.MAKESPAN
