# SPDX-License-Identifier: GPL-2.0-or-later
"""Automatic classes prove themselves as policies do, and are watched as long as they last.

Each has a conduct like that of a policy, in which the class goes out of the policy's map and comes
back: its canary compares it with having no class in the same policy, in windows that cost a write
to a map instead of an attachment. Its breaker needs one bad window fewer than the policy's, so that
whose class does harm loses it before everybody loses the policy.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from schedcpd.deploy.breaker import GuardSample
from schedcpd.deploy.classes import Claim, Classified
from schedcpd.deploy.conduct import Conduct, Ending, Holder, Instruments, Meter, Score, Subject
from schedcpd.deploy.deployments import Deployments
from schedcpd.deploy.finish import finished
from schedcpd.deploy.livemaps import encode_class
from schedcpd.deploy.messages import LoaderStatus
from schedcpd.deploy.meter import Sample
from schedcpd.deploy.states import SchedulerMachine, Trigger
from schedcpd.deploy.windows import sooner
from schedcpd.model import CanaryDecision, DeploymentState, LayerKind, Transition, Workload

log = logging.getLogger(__name__)


def class_score(score: Score, claim: Claim) -> Score:
    """How a class is conducted, where a policy with that objective is conducted by ``score``."""
    limits = sooner(score.limits)
    if claim.layer.kind is LayerKind.BACKGROUND:
        limits = replace(limits, own_wait=None, throughput=None)  # it is there to give way
    canary = score.canary
    if canary is not None:
        canary = replace(canary, metric=f"{canary.metric}, with its class and without,")
    return replace(score, limits=limits, canary=canary)


class _OneClass:
    """A class as a conduct sees it."""

    def __init__(self, holder: Holder, claim: Claim) -> None:
        self._holder = holder
        self._claim = claim

    async def status(self) -> LoaderStatus:
        # The counters are those of the whole policy, which has a conduct that looks at them.
        return replace(await self._holder.status(), counters={})

    async def suspend(self) -> LoaderStatus:
        claim = self._claim
        await finished(self._holder.update_map(claim.map_name, {}, (claim.key,)))
        return await self.status()

    async def resume(self) -> None:
        claim = self._claim
        entry = {claim.key: encode_class(claim.layer)}
        await finished(self._holder.update_map(claim.map_name, entry))

    async def ended(self) -> LoaderStatus:
        # The policy's own conduct hears of it, and ends all classes.
        forever: asyncio.Future[LoaderStatus] = asyncio.get_running_loop().create_future()
        return await forever


class _Steady:
    """A meter that measures nothing while the policy itself is out for a comparison."""

    def __init__(self, tools: Instruments, is_attached: Callable[[], bool]) -> None:
        self._tools = tools
        self._is_attached = is_attached

    def sample(self, workload: Workload, counters: Mapping[str, int] | None = None) -> Sample:
        if self._is_attached():
            return self._tools.meter.sample(workload, counters)
        return Sample(at=self._tools.monotonic())

    def window(self, before: Sample, after: Sample) -> GuardSample:
        return self._tools.meter.window(before, after)

    def named(self, cgroup: int) -> str:
        return self._tools.meter.named(cgroup)


@dataclass(slots=True)
class _Trial:
    classified: Classified
    proves: bool  # whether it began with a canary
    task: asyncio.Task[None]


class Trials:
    """The conducts of automatic classes, by the deployments that stand for them.

    ``is_attached`` says whether the policy is in the kernel for good; ``ended`` is told of classes
    that have to go; ``asking`` is held while one is out for a comparison; ``clock`` gives seconds
    since the epoch.
    """

    def __init__(
        self,
        deployments: Deployments,
        tools: Instruments,
        clock: Callable[[], float],
        asking: asyncio.Lock,
        is_attached: Callable[[], bool],
        ended: Callable[[Classified, Ending], Awaitable[None]],
    ) -> None:
        self._deployments = deployments
        meter: Meter = _Steady(tools, is_attached)
        self._tools = replace(tools, meter=meter)
        self._clock = clock
        self._asking = asking
        self._ended = ended
        self._trials: dict[int, _Trial] = {}
        self._rescues: set[asyncio.Future[None]] = set()

    def __contains__(self, deployment: int) -> bool:
        return deployment in self._trials

    def __len__(self) -> int:
        return len(self._trials)

    def suspect(self) -> Classified | None:
        """The newest class whose canary is under way."""
        for trial in reversed(tuple(self._trials.values())):
            canary = self._deployments.newest[trial.classified.deployment].canary
            decided = canary is not None and canary.decision is not CanaryDecision.GOING_ON
            if trial.proves and not decided:
                return trial.classified
        return None

    def begin(
        self, classified: Classified, holder: Holder, score: Score, baseline: GuardSample
    ) -> None:
        """Begin to look after a class that has just been given."""
        claim, ident = classified.claim, classified.deployment
        # What a class goes through is not what the scheduler does: none of it is written down.
        machine = SchedulerMachine(_unrecorded, self._clock)
        machine.fire(Trigger.DEPLOY, ident)
        machine.fire(Trigger.CANARY if score.canary else Trigger.SETTLED, ident)

        def change(**changes: object) -> None:
            self._deployments.change(ident, **changes)

        subject = Subject(
            id=ident,
            workload=claim.workload,
            policy=claim.policy.card.name,
            holder=_OneClass(holder, claim),
            baseline=baseline,
            change=change,
            instead="having no class",
            asking=self._asking,
        )
        conduct = Conduct(subject, score, machine, self._tools)
        task = asyncio.create_task(self._see_through(classified, conduct))
        self._trials[ident] = _Trial(classified, score.canary is not None, task)
        task.add_done_callback(lambda done: self._seen_through(classified, done))

    async def stop(self, deployment: int) -> bool:
        """Look after a class no longer; whether it was. Its entry may be in the map or not."""
        trial = self._trials.pop(deployment, None)
        if trial is None:
            return False
        trial.task.cancel()
        await asyncio.wait((trial.task,))
        return True

    async def stop_all(self) -> None:
        """Look after none of them any longer."""
        for deployment in tuple(self._trials):
            await self.stop(deployment)

    async def _see_through(self, classified: Classified, conduct: Conduct) -> None:
        await self._ended(classified, await conduct.run())

    def _seen_through(self, classified: Classified, task: asyncio.Task[None]) -> None:
        """Nobody looks after a class whose conduct has failed: it has to go."""
        self._trials.pop(classified.deployment, None)
        if task.cancelled() or task.exception() is None:
            return
        workload = classified.claim.workload.id
        log.error("the conduct of the class of %s failed", workload, exc_info=task.exception())
        reason = "nobody looked after it any more"
        ending = Ending(DeploymentState.REVERTED, Trigger.REVERT, reason)
        rescue = asyncio.ensure_future(self._ended(classified, ending))
        self._rescues.add(rescue)
        rescue.add_done_callback(self._rescues.discard)


def _unrecorded(_: Transition) -> None:
    pass
