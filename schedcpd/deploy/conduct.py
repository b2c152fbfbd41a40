# SPDX-License-Identifier: GPL-2.0-or-later
"""Conducts one deployment from its attachment to its end: canary first, then the breaker.

A ``Conduct`` only finds out that a deployment has to end, and why; the ``Deployer`` ends it. What
it does to the scheduler on the way, the turns with the kernel default, goes through the state
machine like everything else.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Protocol, TypeVar

from schedcpd.deploy.breaker import Breaker, BreakerLimits, Guard, GuardSample, Trip
from schedcpd.deploy.canary import Arm, CanarySettings, Switchback
from schedcpd.deploy.loader import Attached
from schedcpd.deploy.messages import LoaderStatus
from schedcpd.deploy.meter import Sample
from schedcpd.deploy.states import MachineState, SchedulerMachine, Trigger
from schedcpd.deploy.windows import blind, measured, since, strict, worst_of
from schedcpd.errors import Ejected, ForeignScheduler, LedgerDamaged, LoaderLost, SchedcpError
from schedcpd.model import CanaryDecision, DeploymentState, ExitRecord, Objective, Workload

Value = TypeVar("Value")

# These cannot be the doing of anybody else, so nobody has to be asked whether they are.
CERTAIN = frozenset({Guard.FAULT, Guard.WEDGE})
# Whoever is made to wait for long does not wait often: waits are counted over so many windows.
WAIT_WINDOWS = 5
# The host of a virtual machine can take its CPUs away for a moment, in the policy's windows alone.
# Harm of more than so many times its limit is plain; other harm has to be found again this soon.
PLAIN = 2.0
SUSPICION_S = 60.0


class Takes(Protocol):
    """What can take turns with what was there before: an attached policy, or one class in it."""

    async def status(self) -> LoaderStatus:
        """What the policy says of itself now; raises LoaderLost."""

    async def suspend(self) -> LoaderStatus:
        """Let what was there before have a turn."""

    async def resume(self) -> object:
        """Come back."""

    async def ended(self) -> LoaderStatus:
        """Wait until the policy is out without our doing."""


class Holder(Takes, Protocol):
    """The process that holds an attached policy; ``deploy.loader.Loader`` is the real one.

    While it is suspended the policy is kept loaded.
    """

    attached: Attached

    async def update_map(
        self, name: str, updates: Mapping[bytes, bytes], deletions: Collection[bytes] = ()
    ) -> None:
        """Delete and write entries of a live map; raises MapRefused, LoaderLost or Ejected."""

    async def detach(self) -> LoaderStatus:
        """Take the policy out of the kernel for good."""


class Meter(Protocol):
    """What is measured; ``deploy.meter.Meter`` is the real one."""

    def sample(self, workload: Workload, counters: Mapping[str, int] | None = None) -> Sample:
        """The counters at this moment."""

    def window(self, before: Sample, after: Sample) -> GuardSample:
        """What happened between two samples."""

    def named(self, cgroup: int) -> str:
        """What people call the workload that has the cgroup of that id."""


@dataclass(frozen=True, slots=True)
class Instruments:
    """What the conduct needs of the world; injected."""

    meter: Meter
    sleep: Callable[[float], Awaitable[None]]
    monotonic: Callable[[], float]
    random: Random


@dataclass(frozen=True, slots=True)
class Score:
    """How one deployment is to be conducted."""

    limits: BreakerLimits
    window_s: float  # of the breaker
    settle_s: float  # not measured after a switch
    canary: CanarySettings | None = None  # None: attached for good at once
    objective: Objective = Objective.NONE


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a deployment has to end, or has ended."""

    state: DeploymentState
    trigger: Trigger
    reason: str  # one sentence
    status: LoaderStatus | None = None  # when the policy is out already
    trip: Trip | None = None
    revert_ms: float = 0.0  # when the kernel default is back already

    @property
    def error(self) -> str:
        """The reason where it is no decision of ours."""
        return self.reason if self.trigger is Trigger.GONE else ""


async def nobody(_: Trip) -> bool:
    """Nobody else is to blame."""
    return False


@dataclass(slots=True)
class Subject:
    """The deployment that is conducted."""

    id: int
    workload: Workload
    policy: str
    holder: Takes
    baseline: GuardSample  # under the kernel default, just before
    change: Callable[..., object] = field(repr=False)  # changes fields of the deployment, and tells
    instead: str = "the kernel default"  # what it takes turns with
    lasting: Workload | None = None  # who is looked after from the canary's end, if another
    # Held by the one that is out to see whether it did the harm.
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    # Whether somebody else is to blame for a trip, or may be.
    relieve: Callable[[Trip], Awaitable[bool]] = field(default=nobody, repr=False)


class Conduct:
    """One deployment; ``run`` it once, and cancel that when somebody else ends the deployment."""

    def __init__(
        self, subject: Subject, score: Score, machine: SchedulerMachine, instruments: Instruments
    ) -> None:
        self.ending: Ending | None = None  # once it is found out, though ``run`` be cancelled then
        self._subject = subject
        self._score = score
        self._machine = machine
        self._tools = instruments
        self._breaker = self._armed(subject.baseline)
        self._suspect_until = -math.inf  # monotonic
        self._switching = False

    @property
    def workload(self) -> Workload:
        """Whose own figures it looks at: those of a canary's workload until that is over."""
        return self._subject.workload

    @property
    def baseline(self) -> GuardSample:
        """What the breaker compares with: windows without the candidate, the newest there are."""
        return self._breaker.baseline

    async def run(self) -> Ending:
        """Return when the deployment has to end, or has ended."""
        ended = asyncio.ensure_future(self._subject.holder.ended())
        work = asyncio.create_task(self._work())
        try:
            await asyncio.wait((ended, work), return_when=asyncio.FIRST_COMPLETED)
            if self._switching and not work.done():
                # The switch that is under way fails too, and knows more of why.
                await asyncio.wait((work,))
            self.ending = work.result() if work.done() else self._gone(ended.result())
            return self.ending
        finally:
            ended.cancel()
            work.cancel()
            await asyncio.gather(ended, work, return_exceptions=True)

    def _gone(self, status: LoaderStatus) -> Ending:
        record, policy = status.exit, self._subject.policy
        error: SchedcpError
        if record is not None and record.kind:
            error = Ejected(policy, record.kind, record.message or record.reason, record)
        else:
            error = LoaderLost(policy, "its process died; the kernel default is back")
        return Ending(DeploymentState.EJECTED, Trigger.GONE, str(error), status)

    async def _work(self) -> Ending:
        self.ending = await self._find_out()
        return self.ending

    async def _find_out(self) -> Ending:
        try:
            ending = await self._canary(self._score.canary) if self._score.canary else None
            return ending or await self._watch()
        except LedgerDamaged as error:
            reason = f"what happens cannot be written down any more: {error}"
            return Ending(DeploymentState.REVERTED, Trigger.REVERT, reason)
        except ForeignScheduler as error:
            # Somebody attached another one in a window of the kernel default.
            return Ending(DeploymentState.REVERTED, Trigger.REVERT, str(error))
        except SchedcpError as error:
            # It was thrown out, or its loader died.
            status = LoaderStatus(exit_of(error))
            return Ending(DeploymentState.EJECTED, Trigger.GONE, str(error), status)

    # The canary

    async def _canary(self, settings: CanarySettings) -> Ending | None:
        """Take turns until it is known which is better; None when the policy won."""
        switchback = Switchback(settings, self._tools.random)
        defaults: list[GuardSample] = []
        while (result := switchback.result()).decision is CanaryDecision.GOING_ON:
            arm = switchback.next_window()
            await self._turn_to(arm)
            await self._tools.sleep(settings.settle_s)
            window = await self._measure(settings.window_s)
            trip = self._breaker.check(window) if arm is Arm.CANDIDATE else None
            if trip is not None:
                return tripped(trip)
            if arm is Arm.DEFAULT:
                defaults.append(window)
            switchback.add(arm, measured(self._score.objective, window))
            self._subject.change(canary=switchback.result())
        if result.decision is not CanaryDecision.PROMOTE:
            return Ending(DeploymentState.REVERTED, Trigger.REVERT, f"canary: {result.reason}")
        self._breaker = self._armed(worst_of(defaults))
        await self._promote(f"canary: {result.reason}")
        self._subject.workload = self._subject.lasting or self._subject.workload
        return None

    async def _turn_to(self, arm: Arm) -> None:
        state = self._machine.state
        if arm is Arm.DEFAULT and state is MachineState.CANARY_ON:
            await self._suspend(Trigger.SUSPEND, "a window of the kernel default")
        elif arm is Arm.CANDIDATE and state is MachineState.CANARY_OFF:
            await self._resume(Trigger.CANARY, "a window of the candidate")

    async def _promote(self, reason: str) -> None:
        if self._machine.state is MachineState.CANARY_ON:
            self._machine.fire(Trigger.PROMOTE, self._subject.id, reason)
        else:
            await self._resume(Trigger.SETTLED, reason)
        self._subject.change(state=DeploymentState.ATTACHED, reason=reason)

    # The breaker

    def _armed(self, baseline: GuardSample) -> Breaker:
        return Breaker(self._score.limits, baseline, self._tools.meter.named)

    async def _watch(self) -> Ending:
        """Watch the guards until one of them trips."""
        samples = deque([await self._sample()], maxlen=WAIT_WINDOWS)
        while True:
            await self._tools.sleep(self._score.window_s)
            after = await self._sample()
            longer = self._tools.meter.window(samples[0], after)
            window = since(self._tools.meter.window(samples[-1], after), longer)
            samples.append(after)
            trip = self._breaker.check(window)
            if trip is None:
                continue
            ending = await self._judge(trip, window)
            if ending is not None:
                return ending
            samples.clear()
            samples.append(await self._sample())

    async def _judge(self, trip: Trip, window: GuardSample) -> Ending | None:
        if trip.guard in CERTAIN:
            return tripped(trip)
        # Two that go at the same time would both be blamed for what one of them did.
        asked = self._subject.asking.locked()
        if asked or await self._subject.relieve(trip):
            self._breaker = self._armed(self.baseline)
            return None
        async with self._subject.asking:
            return await self._confirm(trip, window)

    async def _confirm(self, trip: Trip, window: GuardSample) -> Ending | None:
        """Stop the harm at once, then see whether the kernel default does better just now.

        The baseline may be old, and the machine may simply have more to do than it had then. Harm
        that is not plain makes the policy a suspect: it goes for good when that is found again.
        """
        started = self._tools.monotonic()
        await self._suspend(Trigger.TRIP, trip.reason)
        revert_ms = (self._tools.monotonic() - started) * 1000
        reason = f"taken off to compare with {self._subject.instead}: {trip.reason}"
        self._subject.change(state=DeploymentState.CANARY, reason=reason)
        await self._tools.sleep(self._score.settle_s)
        now = await self._measure(self._score.window_s)
        if blind(now, trip.guard):
            return tripped(trip, revert_ms)
        again = Breaker(strict(self._score.limits), now, self._tools.meter.named).check(window)
        doubt = f"{self._subject.instead} does no better now"
        if again is not None:
            if started < self._suspect_until or again.figure > PLAIN * again.limit:
                return tripped(again, revert_ms)
            self._suspect_until = started + SUSPICION_S
            doubt = "it may have been somebody else's doing"
        self._breaker = self._armed(now)
        reason = f"attached again: {doubt} ({trip.reason})"
        await self._resume(Trigger.SETTLED, reason)
        self._subject.change(state=DeploymentState.ATTACHED, reason=reason)
        return None

    # What both do

    async def _suspend(self, trigger: Trigger, reason: str) -> None:
        self._machine.fire(trigger, self._subject.id, reason)
        status = await self._switch(self._subject.holder.suspend())
        self._machine.fire(Trigger.SUSPENDED, self._subject.id, reason)
        self._subject.change(counters=dict(status.counters))

    async def _resume(self, trigger: Trigger, reason: str) -> None:
        self._machine.fire(Trigger.RESUME, self._subject.id, reason)
        await self._switch(self._subject.holder.resume())
        self._machine.fire(trigger, self._subject.id, reason)

    async def _switch(self, switch: Awaitable[Value]) -> Value:
        self._switching = True
        try:
            return await switch
        finally:
            self._switching = False

    async def _measure(self, window_s: float) -> GuardSample:
        before = await self._sample()
        await self._tools.sleep(window_s)
        return self._tools.meter.window(before, await self._sample())

    async def _sample(self) -> Sample:
        status = await self._subject.holder.status()
        return self._tools.meter.sample(self._subject.workload, status.counters)


def tripped(trip: Trip, revert_ms: float = 0.0) -> Ending:
    """The ending that a trip of the breaker is."""
    state = DeploymentState.TRIPPED
    return Ending(state, Trigger.TRIP, trip.reason, trip=trip, revert_ms=revert_ms)


def exit_of(error: SchedcpError) -> ExitRecord | None:
    """The kernel's words where the error carries them."""
    if isinstance(error, Ejected):
        return error.record or ExitRecord(error.kind, 0, "", error.message)
    return None
