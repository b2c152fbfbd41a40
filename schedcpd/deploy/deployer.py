# SPDX-License-Identifier: GPL-2.0-or-later
"""What may be asked of the machine's scheduler: a policy for one workload, or a class for each.

A class that a person chose is there at once and stays. One that automation chose proves itself:
with the first of them the policy takes turns with the kernel default, measured on that workload;
each later one takes turns with having no class, which is an entry of a map. From then on each of
them has a circuit breaker of its own, so that harm costs the class that does it, not the policy.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from schedcpd.deploy.attaching import UNDER_WAY, Attaching, Kernel, Running
from schedcpd.deploy.breaker import GuardSample, Trip
from schedcpd.deploy.classes import MACHINE, Claim, Classes, Classified
from schedcpd.deploy.conduct import Ending, tripped
from schedcpd.deploy.finish import finished
from schedcpd.deploy.livemaps import batches, encode_hint, encode_process
from schedcpd.deploy.record import Record
from schedcpd.deploy.trials import Trials, class_score
from schedcpd.errors import Busy, NoClasses, SchedcpError
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
)
from schedcpd.parameters import NONE

log = logging.getLogger(__name__)

# The breaker of a class needs two bad windows and another one to be sure; the policy's, three.
PATIENCE_S = 10.0


class Deployer(Attaching):
    """The policy that is attached, the classes of workloads in it, and the hints it is given."""

    def __init__(self, kernel: Kernel, record: Record) -> None:
        super().__init__(kernel, record)
        tools = kernel.instruments
        self.classes = Classes(self.deployments, tools.monotonic)
        self._trials = Trials(
            *(self.deployments, tools, kernel.clock, self._asking),
            is_attached=self._is_attached,
            ended=self._class_ended,
        )
        self._patient_at = -PATIENCE_S  # when the classes' breakers were given time last
        self._relieve = self._blame
        self.deployments.changed.connect(self._deployment_changed)

    @property
    def proving(self) -> bool:
        """Whether the policy, or a class in it, has still to prove itself."""
        newest = self.deployments.newest
        given = [newest[one.deployment] for one in self.classes.classified.values()]
        each = [self.active, *given]
        return any(one is not None and one.state is DeploymentState.CANARY for one in each)

    # Classes

    async def classify(
        self,
        workload: Workload,
        policy: Policy,
        layer: LayerClass,
        origin: Origin,
        objective: Objective = Objective.NONE,
        reason: str = "",
        along: Collection[Claim] = (),
    ) -> Deployment:
        """Give ``workload`` a class in ``policy``; the deployment that stands for the class.

        The policy is attached for the whole machine if it is not there yet. Where it is there, only
        an entry of its map is written. ``along`` are claims of others that are given with it, as
        what is attached for them has to go. Raises NoClasses, MapRefused, and whatever ``deploy``
        does.
        """
        if not policy.card.live_map(MapRole.CLASSES):
            raise NoClasses(policy.card.name)
        before = self._running_for_all(policy)
        if self._lock.locked() and before is None:
            raise Busy(UNDER_WAY)
        async with self._lock:
            if self._running_for_all(policy) is not before:
                raise Busy(UNDER_WAY)
            self.deployments.check_quarantine(policy, workload.id)
            claims = (*self.classes.claims(but=workload), *along)
            await self._deploy(MACHINE, policy, origin, objective, reason, tried_on=workload)
            running = self._running_for_all(policy)
            assert running is not None  # nobody else ends it while we have the lock
            if running is before:
                claims = ()  # they have it; else a person did not wait for the end of a canary
            mine = Claim(workload, policy, layer, origin, reason, objective)
            try:
                for claim in (*claims, mine):
                    deployment = await self._give(running, claim)
            finally:
                await self._let_go_unneeded("no workload has a class in it")
            return deployment

    async def declassify(self, workload: Workload, reason: str, linger: bool = False) -> bool:
        """Take the class of a workload away; whether it had one.

        The policy goes with the last that needs it, unless it may ``linger`` until
        ``let_go_unneeded``, and with the one that its canary was measured on.
        """
        async with self._lock:
            running = self._running
            if running is None or running.workload is not MACHINE:
                return False
            had = self.classes.of(workload)
            if had is None:
                return False
            await self._trials.stop(had.deployment)
            await finished(self.classes.take(running.holder, workload, reason))
            measured = running.conduct.workload if running.conduct else MACHINE
            if measured.is_same(workload):
                await self._let_go(reason)
            elif not linger:
                await self._let_go_unneeded(reason)
            return True

    async def let_go_unneeded(self, reason: str) -> None:
        """Take off a policy with classes that nobody needs any more."""
        async with self._lock:
            await self._let_go_unneeded(reason)

    def _running_for_all(self, policy: Policy) -> Running | None:
        """What runs, when that is the policy, for the whole machine."""
        running = self._running
        if running is None or running.workload is not MACHINE:
            return None
        return running if running.policy == policy.card.name else None

    async def _let_go_unneeded(self, reason: str) -> None:
        running = self._running
        if running is not None and running.workload is MACHINE and not self.classes.needed:
            await self._let_go(reason)

    async def _give(self, running: Running, claim: Claim) -> Deployment:
        """Give a class, and look after it when it is automation's."""
        had = self.classes.classified.get(claim.workload.id)
        if had is not None and had.claim.is_for_the_same(claim):
            return self.deployments.newest[had.deployment]
        attached = claim.origin is Origin.AUTOMATIC and self._is_attached()
        baseline = await self._measure_baseline(claim.workload) if attached else None
        stopped = had is not None and await self._trials.stop(had.deployment)
        state = DeploymentState.CANARY if self._has_to_prove(claim) else DeploymentState.ATTACHED
        try:
            deployment = await finished(self.classes.give(running.holder, claim, state))
        except SchedcpError as error:
            if had is not None and stopped:  # nobody looks after the one before any more
                why = f"another class could not be given: {error}"
                await finished(self.classes.take(running.holder, had.claim.workload, why))
            raise
        if baseline is not None:
            self._begin_trial(running, self.classes.classified[claim.workload.id], baseline)
        else:
            self._begin_waiting(running)  # if the policy was done proving itself meanwhile
        return self.deployments.newest[deployment.id]

    def _has_to_prove(self, claim: Claim) -> bool:
        """Whether a class takes turns first: background work would always lose, as it shall."""
        if claim.origin is not Origin.AUTOMATIC or claim.layer.kind is LayerKind.BACKGROUND:
            return False
        known_good = self.deployments.is_known_good(claim.policy, claim.workload, NONE)
        return not (self._is_attached() and known_good)

    # Looking after automatic classes

    def _is_attached(self) -> bool:
        """Whether a policy is in the kernel for good, rather than in turns."""
        active = self.active
        return active is not None and active.state is DeploymentState.ATTACHED

    def _deployment_changed(self, deployment: Deployment) -> None:
        running = self._running
        if running is not None and running.id == deployment.id and running.workload is MACHINE:
            self._begin_waiting(running)

    def _begin_waiting(self, running: Running) -> None:
        """Once the policy is there for good, the classes that waited for that are looked after."""
        deployment = self.deployments.newest[running.id]
        if deployment.state is not DeploymentState.ATTACHED or running.conduct is None:
            return
        newest = running.conduct.baseline  # its own figures are those of the canary's workload
        others = replace(newest, own_wait_p99_ns=None, own_waits=0, throughput=None)
        for one in tuple(self.classes.classified.values()):
            if one.claim.origin is not Origin.AUTOMATIC or one.deployment in self._trials:
                continue
            tried = one.claim.workload.is_same(running.tried_on)
            if tried and deployment.canary is not None:
                how = {"state": DeploymentState.ATTACHED, "reason": deployment.reason}
                self.deployments.change(one.deployment, canary=deployment.canary, **how)
            self._begin_trial(running, one, newest if tried else others)

    def _begin_trial(self, running: Running, classified: Classified, baseline: GuardSample) -> None:
        claim = classified.claim
        state = self.deployments.newest[classified.deployment].state
        canary = state is DeploymentState.CANARY
        score = self._kernel.score(claim.policy, claim.objective, canary, None)
        score = class_score(score, claim)
        self._trials.begin(classified, running.holder, score, baseline)

    async def _class_ended(self, classified: Classified, ending: Ending) -> None:
        """A class has to go, or has gone."""
        async with self._lock:
            await self._end_class(classified, ending)

    async def _end_class(self, classified: Classified, ending: Ending) -> None:
        running, workload = self._running, classified.claim.workload
        if running is None or self.classes.of(workload) is not classified:
            return
        if ending.state is DeploymentState.TRIPPED:
            self.deployments.quarantine(classified.deployment, workload.id, ending.reason)
        how: dict[str, Any] = {"state": ending.state, "error": ending.error}
        how["exit"] = ending.status.exit if ending.status else None
        await finished(self.classes.take(running.holder, workload, ending.reason, **how))

    async def _blame(self, trip: Trip) -> bool:
        """Whether a class is to blame for what the policy's breaker found, or may be.

        One that is on trial is: it is what changed last. The breakers of the others see the same,
        and get the time to find out.
        """
        async with self._lock:
            suspect = self._trials.suspect()
            if suspect is not None:
                await self._trials.stop(suspect.deployment)
                await self._end_class(suspect, tripped(trip))
                return True
            since_s = self._kernel.instruments.monotonic() - self._patient_at
            if not self._trials or since_s < PATIENCE_S:
                return False
            self._patient_at += since_s
            return True

    async def _ended(self, running: Running, **how: Any) -> None:
        await self._trials.stop_all()
        tried = self.classes.of(running.tried_on)
        canary = self.deployments.newest[running.id].canary
        if tried is not None and self.deployments.newest[tried.deployment].canary is None:
            self.deployments.change(tried.deployment, canary=canary)
        self.classes.end(**how)

    # Hints and what else the policy tells

    async def update_hints(
        self, updates: Mapping[int, int], deletions: Collection[int] = ()
    ) -> None:
        """Tell the attached policy how long processes are expected to run: tgid → nanoseconds.

        Nothing happens when none is attached that has a map for it. The map of a policy that is
        attached is empty at first. A hint that is not taken is advice that is not followed.
        """
        running = self._running
        name = running.card.live_map(MapRole.HINTS) if running is not None else ""
        if running is None or not name:
            return
        hints = dict(encode_hint(tgid, expected_ns) for tgid, expected_ns in updates.items())
        try:
            for part in batches(hints, [encode_process(tgid) for tgid in deletions]):
                await running.holder.update_map(name, *part)
        except SchedcpError as error:
            log.debug("hints for %s: %s", running.policy, error)

    def limits(self, path: str) -> tuple[str, ...]:
        """The CPU weights and limits of a cgroup, or of all of them for "/", a sentence each."""
        return self._kernel.limits(path)

    async def refresh(self) -> None:
        """Read the active policy's counters; a policy that has ended is noticed here too."""
        running = self._running
        if running is None:
            return
        try:
            status = await running.holder.status()
        except SchedcpError:
            return  # it died while we asked: its conduct hears of it and says so
        if self._running is running:
            self.deployments.count(running.id, status.counters)
