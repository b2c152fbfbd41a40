# SPDX-License-Identifier: GPL-2.0-or-later
"""What becomes of deployments: what is logged of them, and what follows for their workloads."""

from __future__ import annotations

import logging

from schedcpd.automation import Automation, Stages
from schedcpd.company import has_classes
from schedcpd.deploy.deployer import Deployer
from schedcpd.errors import KernelText, SchedcpError, WorkloadGone
from schedcpd.model import (
    CanaryDecision,
    Deployment,
    DeploymentState,
    ExitCause,
    Mode,
    Objective,
    Origin,
    Plan,
    Quarantine,
    Workload,
    WorkloadClass,
    WorkloadProfile,
    WorkloadRecord,
    WorkloadState,
)
from schedcpd.parameters import words

log = logging.getLogger(__name__)

ATTEND_S = 2.0  # how often the workload of an attached policy is looked at
MISSES_TO_LET_GO = 3  # looks in a row at which the workload no longer fits its policy


class Aftermath(Automation):
    """Looks after deployments while they last, and picks up the pieces when they end."""

    def __init__(self, mode: Mode, stages: Stages, deployer: Deployer, dwell_s: float) -> None:
        super().__init__(mode, stages, deployer, dwell_s)
        self._seen: Deployment | None = None  # that ran last, as it was told last
        self._tried: tuple[Workload, Plan] | None = None  # what that was for, and why
        deployer.deployments.changed.connect(self._deployment_changed)
        deployer.deployments.quarantined.connect(self._quarantined)

    def _deployment_changed(self, deployment: Deployment) -> None:
        """Log a change of a deployment and draw its consequences for the workload."""
        match deployment.state:
            case DeploymentState.CANARY | DeploymentState.ATTACHED:
                self._runs(deployment)
            case DeploymentState.REVERTED:
                self._reverted(deployment)
            case DeploymentState.TRIPPED:
                self._tripped(deployment)
            case DeploymentState.EJECTED:
                self._ejected(deployment)
        self.state_changed.emit(None)

    def _runs(self, deployment: Deployment) -> None:
        subject, policy = deployment.workload_id, deployment.policy
        before, self._seen = self._seen, deployment
        canary = deployment.state is DeploymentState.CANARY
        if before is None or before.id != deployment.id:
            turns = "; it takes turns with the kernel default" if canary else ""
            told = f"{policy} attached in {deployment.attach_ms:.0f} ms{turns}"
            self.note("canary" if canary else "attach", subject, told)
            self._tried = self._case_of(deployment)
            self.limits_changed()  # as they did, perhaps, while it was on its way in
            self._start(self._attend(deployment))
        elif (before.state, before.reason) != (deployment.state, deployment.reason):
            kind = "canary" if canary else "promote" if deployment.canary else "attach"
            self.note(kind, subject, f"{policy}: {deployment.reason}")
            if not canary:
                self._learn(deployment)
        self._set(subject, state=WorkloadState.MANAGED)

    def _case_of(self, deployment: Deployment) -> tuple[Workload, Plan] | None:
        """The workload that a deployment has just been made for, and the plan there was for it."""
        record = self._workloads.get(deployment.workload_id)
        if record is None or record.workload is not self._deployer.workload:
            return None  # it ended while the policy was on its way in
        return record.workload, record.plan or Plan(deployment.policy, Objective.NONE, "")

    def _learn(self, deployment: Deployment) -> None:
        """Remember what came of the deployment that ran last."""
        if self._tried is not None and self._seen is not None and self._seen.id == deployment.id:
            self._stages.learn(deployment, *self._tried)

    async def _attend(self, deployment: Deployment) -> None:
        """Look after an attached policy until its workload no longer needs it."""
        misses = 0
        while self.active is not None and self.active.id == deployment.id:
            record = self._workloads.get(deployment.workload_id)
            if record is None or record.workload is not self._deployer.workload:
                # When it ended the policy was on its way in, and nobody was told.
                self._start(self._let_go(deployment.workload_id, "the workload ended"))
                return
            await self._stages.sleep(ATTEND_S)
            await self._deployer.refresh()
            if deployment.origin is Origin.MANUAL:
                continue
            misses = await self._count_misses(deployment, record, misses)
            if misses >= MISSES_TO_LET_GO:
                self._start(self._let_go(record.workload.id, self._no_longer(record.workload.id)))
                return

    async def _count_misses(
        self, deployment: Deployment, record: WorkloadRecord, misses: int
    ) -> int:
        """At how many looks in a row a workload no longer fitted its plan, after another look."""
        workload = record.workload
        try:
            profile = await self._stages.profile(workload)
        except WorkloadGone:
            return misses  # the event of its end reverts
        except (KernelText, OSError) as error:
            log.warning("%s cannot be looked at: %s", workload.id, error)
            return misses
        self._set(workload.id, profile=profile)
        return 0 if self._still_fits(deployment, profile, record.plan) else misses + 1

    def _still_fits(
        self, deployment: Deployment, profile: WorkloadProfile, plan: Plan | None
    ) -> bool:
        known = plan is not None and plan.work is not WorkloadClass.UNKNOWN
        if deployment.origin is Origin.AGENT and not known:
            return bool(profile.processes)  # an agent sees a use where the planner sees no class
        return self._stages.still_fits(profile, plan)

    def _no_longer(self, workload_id: str) -> str:
        record = self._workloads.get(workload_id)
        seen = record.profile.sentence if record and record.profile else ""
        return f"no longer needed: {seen}"

    def _reverted(self, deployment: Deployment) -> None:
        subject, policy, canary = deployment.workload_id, deployment.policy, deployment.canary
        told = f"{policy} detached; the kernel default schedules: {deployment.reason}"
        self.note("revert", subject, told)
        lost = (CanaryDecision.WORSE, CanaryDecision.NO_GAIN)
        if canary is not None and canary.decision in lost:
            self._learn(deployment)
        if subject in self._workloads and canary is not None and canary.decision in lost:
            self._lost[subject, deployment.object_sha256, words(deployment.parameters)] = canary
        self._set(subject, state=left_with(deployment))

    def _tripped(self, deployment: Deployment) -> None:
        took = f"the kernel default was back in {deployment.revert_ms:.0f} ms"
        told = f"{deployment.policy} taken off: {deployment.reason}; {took}"
        self.note("trip", deployment.workload_id, told)
        self._learn(deployment)
        self._set(deployment.workload_id, state=left_with(deployment))
        self._start(self._fall_back(deployment))

    def _ejected(self, deployment: Deployment) -> None:
        subject = deployment.workload_id
        self.note("eject", subject, deployment.error)
        cause = self._stages.exit_cause(deployment.exit) if deployment.exit else None
        if cause is ExitCause.HOTPLUG:
            self._set(subject, state=WorkloadState.NEW)
            self._start(self._attach_again(deployment))
            return
        self._set(subject, state=WorkloadState.HELD)
        if cause is ExitCause.OPERATOR:
            self._set_mode(
                Mode.PAUSED, "paused: the scheduler was ended by sysrq-S; 'resume' goes on"
            )
        elif cause is ExitCause.FAULT:
            self._learn(deployment)
            self._start(self._fall_back(deployment))

    async def _attach_again(self, deployment: Deployment) -> None:
        """A CPU came or went, which is no fault of the policy."""
        await self._deployer.at_rest()
        record = self._workloads.get(deployment.workload_id)
        policy = self._policies.get(deployment.policy)
        if deployment.origin is not Origin.MANUAL or record is None or policy is None:
            await self._look(deployment.workload_id)
            return
        # A person may have wanted the kernel default in the meantime.
        if self._mode is Mode.PAUSED or record.state is WorkloadState.HELD:
            self._set(deployment.workload_id, state=WorkloadState.HELD)
            return
        try:
            reason = "attached again: a CPU came or went"
            await self._deployer.deploy(
                record.workload,
                policy,
                Origin.MANUAL,
                reason=reason,
                parameters=deployment.parameters,
            )
        except SchedcpError as error:
            self._set(deployment.workload_id, state=WorkloadState.HELD)
            self._refuse(deployment.workload_id, str(error))

    async def _fall_back(self, deployment: Deployment) -> None:
        """After harm, the last policy that was known to do good, if it is another one."""
        subject = deployment.workload_id
        known = self._deployer.deployments.known_good(subject)
        policy = self._policies.get(known.policy) if known else None
        if known is None or policy is None or policy.object_sha256 != known.object_sha256:
            return
        if has_classes(policy):
            return  # which class it had there is not on record: the next look plans for one
        await self._deployer.at_rest()
        obstacle = self._obstacle(subject, known.policy, known.parameters)
        if subject not in self._workloads or obstacle or self._stages.unwanted(policy):
            return
        reason = f"the last policy that did good here, after {deployment.policy} did harm"
        plan = Plan(known.policy, Objective.NONE, reason, known.parameters)
        await self._deploy(subject, policy, plan)

    def _quarantined(self, entry: Quarantine) -> None:
        where = "for this workload" if entry.workload_id else "for every workload"
        told = f"{entry.policy} is in quarantine {where}: {entry.reason}"
        self.note("quarantine", entry.workload_id, told)


def left_with(deployment: Deployment) -> WorkloadState:
    """The state of a workload whose policy was taken off: what a person decided on stays theirs."""
    manual = deployment.origin is Origin.MANUAL
    return WorkloadState.HELD if manual else WorkloadState.LEFT_ALONE
