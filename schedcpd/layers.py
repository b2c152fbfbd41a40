# SPDX-License-Identifier: GPL-2.0-or-later
"""What becomes of the classes of workloads in a policy that is attached for the whole machine.

A person's class is there until its workload ends or a person takes it. One of automation goes also
when the work is no longer what the class was for, when it loses its canary and when it does harm;
once the last of those that need the policy is gone, it stays for GRACE_S, so that workloads that
come and go do not have it attached again and again.
"""

from __future__ import annotations

from schedcpd.aftermath import ATTEND_S, MISSES_TO_LET_GO, Aftermath, left_with
from schedcpd.automation import Stages
from schedcpd.deploy.deployer import Deployer
from schedcpd.errors import SchedcpError
from schedcpd.model import (
    CanaryDecision,
    Deployment,
    DeploymentState,
    ExitCause,
    Mode,
    Origin,
    Plan,
    Policy,
    Workload,
    WorkloadState,
)
from schedcpd.parameters import words

GRACE_S = 10.0
_LOST = (CanaryDecision.WORSE, CanaryDecision.NO_GAIN)


class Layers(Aftermath):
    """Looks after workloads that have a class, each of which has a deployment of its own for it."""

    def __init__(self, mode: Mode, stages: Stages, deployer: Deployer, dwell_s: float) -> None:
        super().__init__(mode, stages, deployer, dwell_s)
        self._again: list[Deployment] = []  # classes that were lost because a CPU came or went
        # Automatic classes by deployment: as they were told last, for what and why they are.
        self._cases: dict[int, tuple[Deployment, Workload, Plan]] = {}
        deployer.deployments.added.connect(self._deployment_added)

    @property
    def yielding(self) -> tuple[str, ...]:
        """The ids of the workloads whose class lets others go first."""
        return self._deployer.classes.yielding()

    def vanished(self, path: str) -> None:
        """A cgroup is empty or gone; what is attached for it is let go, and its class with it."""
        record = self._workloads.get(path)
        super().vanished(path)
        if record is not None and path in self._deployer.classes.classified:
            self._start(self._take_class(path))

    async def _take_class(self, path: str) -> None:
        classified = self._deployer.classes.classified.get(path)
        record = self._workloads.get(path)
        if classified is None:
            return
        workload = classified.claim.workload
        if record is None or record.workload is not workload:  # else it came back meanwhile
            linger = classified.claim.origin is Origin.AUTOMATIC
            await self._deployer.declassify(workload, "the workload ended", linger)

    def _deployment_added(self, deployment: Deployment) -> None:
        """A workload has got a class."""
        subject = deployment.workload_id
        if deployment.layer is None:
            return
        told = f"{deployment.policy}: {deployment.reason}; set in {deployment.attach_ms:.1f} ms"
        self.note("class", subject, told)
        self._refused.pop(subject, None)
        self._set(subject, state=WorkloadState.MANAGED, layer=deployment.layer)
        self.state_changed.emit(None)
        self._start(self._take_class(subject))  # if it ended while the policy was on its way in
        record = self._workloads.get(subject)
        if deployment.origin is Origin.AUTOMATIC and record is not None and record.plan is not None:
            self._cases[deployment.id] = deployment, record.workload, record.plan
            self._start(self._attend_class(deployment, record.workload))

    def _deployment_changed(self, deployment: Deployment) -> None:
        if deployment.layer is None:
            super()._deployment_changed(deployment)
        elif deployment.ended_at:
            self._class_lost(deployment)
        else:
            self._class_changed(deployment)

    def _class_changed(self, deployment: Deployment) -> None:
        """An automatic class takes turns, or has got through its canary."""
        before, workload, plan = self._cases.get(deployment.id, (None, None, None))
        self.state_changed.emit(None)
        if before is None or workload is None or plan is None:
            return
        self._cases[deployment.id] = deployment, workload, plan
        if (before.state, before.reason) == (deployment.state, deployment.reason):
            return
        won = deployment.state is DeploymentState.ATTACHED
        kind = "promote" if won and deployment.canary else "class"
        self.note(kind, workload.id, f"{deployment.policy}: {deployment.reason}")
        if won:
            self._stages.learn(deployment, workload, plan)
            self.pressed()  # those who waited for its canary are next

    def _class_lost(self, deployment: Deployment) -> None:
        """A workload has no class any more, or another one."""
        subject = deployment.workload_id
        if subject not in self._deployer.classes.classified:
            told = f"{deployment.policy}: no longer {deployment.layer}: {deployment.reason}"
            tripped = deployment.state is DeploymentState.TRIPPED
            self.note(
                "trip" if tripped and deployment.id in self._cases else "class", subject, told
            )
            self._left_without(deployment)
        if deployment.id in self._cases:
            self._draw_conclusions(deployment)
        self.state_changed.emit(None)

    def _left_without(self, deployment: Deployment) -> None:
        cause = self._stages.exit_cause(deployment.exit) if deployment.exit else None
        state = left_with(deployment)
        if cause is ExitCause.HOTPLUG:
            state = WorkloadState.NEW
            self._again.append(deployment)
        elif deployment.state is DeploymentState.EJECTED:
            state = WorkloadState.HELD
        self._set(deployment.workload_id, state=state, layer=None)

    def _draw_conclusions(self, deployment: Deployment) -> None:
        """Learn from the end of an automatic class."""
        _, workload, plan = self._cases.pop(deployment.id)
        canary, cause = deployment.canary, None
        if deployment.exit is not None:
            cause = self._stages.exit_cause(deployment.exit)
        if deployment.state is not DeploymentState.EJECTED or cause is ExitCause.FAULT:
            self._stages.learn(deployment, workload, plan)
        if workload.id in self._workloads and canary is not None and canary.decision in _LOST:
            self._lost[workload.id, deployment.object_sha256, words(deployment.parameters)] = canary
        if cause is not ExitCause.HOTPLUG:  # else it is given again
            self.pressed()
        self._start(self._linger())

    async def _linger(self) -> None:
        """Let go of a policy that nobody needs, unless somebody does after all."""
        await self._stages.sleep(GRACE_S)
        await self._deployer.let_go_unneeded(f"nobody has needed it for {GRACE_S:.0f} s")

    async def _attend_class(self, deployment: Deployment, workload: Workload) -> None:
        """Look after an automatic class until the work is no longer what it is for."""
        misses = 0
        while deployment.id in self._cases:
            await self._stages.sleep(ATTEND_S)
            record = self._workloads.get(workload.id)
            if record is None or deployment.id not in self._cases:
                return
            misses = await self._count_misses(deployment, record, misses)
            if misses >= MISSES_TO_LET_GO and deployment.id in self._cases:
                reason = self._no_longer(workload.id)
                self._rested_at[workload.id] = self._stages.clock()
                await self._deployer.declassify(workload, reason, linger=True)
                return

    async def _attend(self, deployment: Deployment) -> None:
        if deployment.workload_id:
            await super()._attend(deployment)
            return
        while self.active is not None and self.active.id == deployment.id:
            await self._stages.sleep(ATTEND_S)
            await self._deployer.refresh()

    async def _attach_again(self, deployment: Deployment) -> None:
        if deployment.workload_id:
            await super()._attach_again(deployment)
            return
        await self._deployer.at_rest()
        again, self._again = self._again, []
        for lost in again:
            await self._classify_again(lost)

    async def _plan_again(self, lost: Deployment, policy: Policy) -> None:
        """Give an automatic class again while its plan still stands; else plan anew."""
        subject = lost.workload_id
        plan = self._workloads[subject].plan
        stands = plan is not None and (plan.policy, plan.layer) == (lost.policy, lost.layer)
        if plan is None or not stands or self._obstacle(subject, lost.policy):
            await self._look(subject)
            return
        await self._deploy(subject, policy, plan)

    async def _classify_again(self, lost: Deployment) -> None:
        subject = lost.workload_id
        record, policy = self._workloads.get(subject), self._policies.get(lost.policy)
        if record is None or policy is None:
            return
        if lost.origin is not Origin.MANUAL:
            await self._plan_again(lost, policy)
            return
        # A person may have wanted the kernel default in the meantime.
        if self._mode is Mode.PAUSED or record.state is WorkloadState.HELD or lost.layer is None:
            self._set(subject, state=WorkloadState.HELD)
            return
        try:
            reason = "given again: a CPU came or went"
            await self._deployer.classify(
                record.workload, policy, lost.layer, Origin.MANUAL, reason=reason
            )
        except SchedcpError as error:
            self._set(subject, state=WorkloadState.HELD)
            self._refuse(subject, str(error))
