# SPDX-License-Identifier: GPL-2.0-or-later
"""Canary and breaker over a simulated kernel: who wins, who trips, and what dies in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from schedcpd.deploy.breaker import (
    MS,
    OTHERS_STARVED,
    OTHERS_WAIT,
    THROUGHPUT,
    BreakerLimits,
    GuardSample,
)
from schedcpd.deploy.deployer import Deployer
from schedcpd.deploy.meter import Meter as RealMeter
from schedcpd.deploy.meter import Sample
from schedcpd.deploy.states import MachineState
from schedcpd.errors import Ejected, ForeignScheduler, KernelRejected, LoaderLost, SchedcpError
from schedcpd.kernel.latency import SLOTS, CgroupLatency, total
from schedcpd.model import (
    CanaryDecision,
    Deployment,
    DeploymentState,
    ExitRecord,
    Objective,
    Origin,
    Workload,
)
from unit.fakes import (
    GOOD,
    HARM,
    FakeKernel,
    FakeMeter,
    deployer_that_reverts,
    make_policy,
    make_workload,
    settle,
)

BATCH = make_policy()
FAIR = make_policy("scx_fair")
STALL = ExitRecord(1026, 0, "runnable task stall", "xz[4] failed to run for 3.0s")
HOTPLUG = ExitRecord(66, 0x1000100000000, "unregistered", "cpu 1 going offline")
CANARY_WINDOWS = 4


@pytest.fixture
def kernel() -> FakeKernel:
    return FakeKernel()


@pytest.fixture
async def deployer(kernel: FakeKernel) -> AsyncIterator[Deployer]:
    async with deployer_that_reverts(kernel) as deployer:
        yield deployer


async def deploy(deployer: Deployer, origin: Origin = Origin.AUTOMATIC) -> Deployment:
    return await deployer.deploy(make_workload(), BATCH, origin, Objective.MAKESPAN, "a batch")


def last(deployer: Deployer) -> Deployment:
    return max(deployer.deployments.newest.values(), key=lambda one: one.id)


def steps(kernel: FakeKernel) -> list[str]:
    return [step.after for step in kernel.ledger.steps]


async def test_canary_takes_turns_and_is_won(kernel: FakeKernel, deployer: Deployer) -> None:
    deployment = await deploy(deployer)
    assert deployment.state is DeploymentState.CANARY
    await kernel.pass_windows(CANARY_WINDOWS)
    ended = last(deployer)
    assert ended.state is DeploymentState.ATTACHED
    assert ended.canary is not None
    assert (ended.canary.decision, ended.canary.pairs) == (CanaryDecision.PROMOTE, 2)
    assert "canary: it is not clearly worse" in ended.reason
    turns = kernel.meter.windows[1:]  # the first is the baseline
    assert sorted(turns[:2]) == sorted(turns[2:4]) == ["", "scx_batch"]
    assert (kernel.policy, deployer.state) == ("scx_batch", MachineState.ATTACHED)
    known = deployer.deployments.known_good(make_workload().id)
    assert known is not None
    assert (known.policy, known.object_sha256) == ("scx_batch", BATCH.object_sha256)


async def test_every_turn_is_written_down(kernel: FakeKernel, deployer: Deployer) -> None:
    await deploy(deployer)
    await kernel.pass_windows(CANARY_WINDOWS)
    before = ""
    for after in steps(kernel):
        if after == "canary-off":
            assert before == "detaching"
        if after == "canary-on":
            assert before == "attaching"
        before = after
    assert steps(kernel).count("canary-off") == 2 or kernel.switches < 4


async def test_what_is_known_to_be_good_needs_no_canary(
    kernel: FakeKernel, deployer: Deployer
) -> None:
    await deploy(deployer)
    await kernel.pass_windows(CANARY_WINDOWS)
    await deployer.revert("a person said so")
    assert (await deploy(deployer)).state is DeploymentState.ATTACHED
    await deployer.revert("a person said so")
    other = replace(BATCH, object_sha256="f" * 64)
    again = await deployer.deploy(make_workload(), other, Origin.AUTOMATIC)
    assert again.state is DeploymentState.CANARY, "another object has to prove itself"


@pytest.mark.parametrize(
    ("candidate", "decision", "words"),
    [
        (0.1, CanaryDecision.WORSE, "canary: it is worse"),
        (None, CanaryDecision.NO_GAIN, "had data"),
    ],
)
async def test_canary_that_is_not_won(
    kernel: FakeKernel,
    deployer: Deployer,
    candidate: float | None,
    decision: CanaryDecision,
    words: str,
) -> None:
    kernel.meter.candidate = replace(GOOD, throughput=candidate)
    await deploy(deployer)
    await kernel.pass_windows(CANARY_WINDOWS)
    ended = last(deployer)
    assert ended.state is DeploymentState.REVERTED
    assert ended.canary is not None
    assert ended.canary.decision is decision
    assert words in ended.reason
    assert (kernel.policy, deployer.active) == ("", None)
    assert not kernel.ledger.entries, "no gain is no harm"
    assert deployer.deployments.known_good(make_workload().id) is None


async def test_harm_to_others_ends_the_canary_at_once(
    kernel: FakeKernel, deployer: Deployer
) -> None:
    kernel.meter.candidate = HARM
    await deploy(deployer)
    await kernel.pass_windows(2)
    ended = last(deployer)
    assert ended.state is DeploymentState.TRIPPED
    assert "other workloads waited" in ended.reason
    (entry,) = kernel.ledger.entries
    assert (entry.workload_id, entry.reason) == (make_workload().id, ended.reason)


async def test_person_does_not_wait_for_the_canary(kernel: FakeKernel, deployer: Deployer) -> None:
    await deploy(deployer)
    assert (await deploy(deployer)).id == 1, "automation does"
    manual = await deploy(deployer, Origin.MANUAL)
    assert (manual.id, manual.state) == (2, DeploymentState.ATTACHED)
    assert deployer.deployments.newest[1].state is DeploymentState.REVERTED
    assert (await deploy(deployer, Origin.MANUAL)).id == 2


WAITS = replace(GOOD, others_wait_p99_ns=60_000_000)
STARVED = replace(GOOD, others_full=1.0)
SLOW = replace(GOOD, throughput=0.2, pressure_some=0.9)
WEDGED = replace(GOOD, enqueued=5, dispatched=0)
HARMS = [
    (HARM, 1, "other workloads waited for a CPU"),
    (WAITS, OTHERS_WAIT.windows, "other workloads waited for a CPU"),
    (STARVED, OTHERS_STARVED.windows, "another workload could run and did not"),
    (SLOW, THROUGHPUT.windows, "its own workload got done"),
    (WEDGED, BreakerLimits().wedge_windows, "none came out of them"),
]


@pytest.mark.parametrize(("harm", "windows", "words"), HARMS)
async def test_guards_trip(
    kernel: FakeKernel, deployer: Deployer, harm: GuardSample, windows: int, words: str
) -> None:
    await deploy(deployer, Origin.MANUAL)
    await kernel.pass_windows(3)
    assert kernel.policy == "scx_batch", "nothing is wrong so far"
    kernel.meter.candidate = harm
    await kernel.pass_windows(windows - 1)
    assert kernel.policy == "scx_batch"
    await kernel.pass_windows()
    assert kernel.policy == "", "the harm stops before anything else is looked at"
    await kernel.pass_windows()
    if harm is WAITS:
        assert "it may have been somebody else's doing" in last(deployer).reason
        await kernel.pass_windows(windows + 1)
    ended = last(deployer)
    assert (ended.state, ended.exit and ended.exit.kind) == (DeploymentState.TRIPPED, 64)
    assert words in ended.reason
    (entry,) = kernel.ledger.entries
    assert entry.workload_id == make_workload().id
    assert "detaching" in steps(kernel)


async def test_harm_that_is_not_plain_and_not_found_again_is_no_fault_of_the_policy(
    kernel: FakeKernel, deployer: Deployer
) -> None:
    await deploy(deployer, Origin.MANUAL)
    kernel.meter.candidate = WAITS
    await kernel.pass_windows(OTHERS_WAIT.windows + 1)
    assert last(deployer).state is DeploymentState.ATTACHED
    kernel.meter.candidate = GOOD
    await kernel.pass_windows(10)
    assert last(deployer).state is DeploymentState.ATTACHED
    assert not kernel.ledger.entries


async def test_load_of_others_is_no_fault_of_the_policy(
    kernel: FakeKernel, deployer: Deployer
) -> None:
    """The kernel default does as badly at the moment: the policy comes back."""
    await deploy(deployer, Origin.MANUAL)
    kernel.meter.candidate = kernel.meter.default = HARM
    await kernel.pass_windows()
    assert kernel.policy == ""
    assert last(deployer).state is DeploymentState.CANARY
    assert "to compare with the kernel default" in last(deployer).reason
    await kernel.pass_windows()
    assert kernel.policy == "scx_batch"
    assert last(deployer).state is DeploymentState.ATTACHED
    assert "does no better now" in last(deployer).reason
    await kernel.pass_windows(5)
    assert kernel.policy == "scx_batch", "that load is what it is compared with now"
    assert not kernel.ledger.entries
    assert not kernel.ledger.good, "coming back is no canary won"


async def test_what_cannot_be_compared_stays_off(kernel: FakeKernel, deployer: Deployer) -> None:
    await deploy(deployer, Origin.MANUAL)
    kernel.meter.candidate = HARM
    kernel.meter.default = GuardSample(1.0, 1.0)
    await kernel.pass_windows(2)
    assert last(deployer).state is DeploymentState.TRIPPED


async def test_time_to_the_kernel_default_is_told(kernel: FakeKernel, deployer: Deployer) -> None:
    await deploy(deployer, Origin.MANUAL)
    kernel.meter.candidate = HARM
    await kernel.pass_windows()
    kernel.now += 100
    await kernel.pass_windows()
    assert last(deployer).state is DeploymentState.TRIPPED
    assert last(deployer).revert_ms < 1000, "the look at the kernel default is not part of it"


async def reach(kernel: FakeKernel, deployer: Deployer, state: MachineState) -> None:
    """Deploy and go on until the machine is in that state."""
    await deploy(deployer, Origin.MANUAL if state is MachineState.ATTACHED else Origin.AUTOMATIC)
    await settle()
    for _ in range(CANARY_WINDOWS):
        if deployer.state is state:
            return
        await kernel.pass_windows()
    assert deployer.state is state


RUNNING = [MachineState.CANARY_ON, MachineState.CANARY_OFF, MachineState.ATTACHED]


@pytest.mark.parametrize("state", RUNNING)
@pytest.mark.parametrize(
    ("record", "words", "quarantined"),
    [(None, "process died", 0), (STALL, "xz[4] failed", 1), (HOTPLUG, "going offline", 0)],
)
async def test_what_ends_on_its_own_in_each_state(
    kernel: FakeKernel,
    deployer: Deployer,
    state: MachineState,
    record: ExitRecord | None,
    words: str,
    quarantined: int,
) -> None:
    await reach(kernel, deployer, state)
    kernel.holders[0].end(record)
    await settle()
    ended = last(deployer)
    assert (ended.state, ended.exit) == (DeploymentState.EJECTED, record)
    assert words in ended.reason
    assert ended.error == ended.reason
    assert len(kernel.ledger.entries) == quarantined
    assert steps(kernel)[-1] == "default"
    assert deployer.active is None


@pytest.mark.parametrize("state", RUNNING)
async def test_reverting_in_each_state(
    kernel: FakeKernel, deployer: Deployer, state: MachineState
) -> None:
    await reach(kernel, deployer, state)
    await deployer.revert("a person said so")
    assert kernel.holders[0].detached
    assert steps(kernel)[-2:] == ["detaching", "default"]
    assert last(deployer).reason == "a person said so"


@pytest.mark.parametrize("state", [MachineState.CANARY_ON, MachineState.CANARY_OFF])
@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (Ejected("scx_batch", 1026, STALL.message, STALL), "xz[4] failed"),
        (LoaderLost("scx_batch", "it stopped answering and was killed"), "stopped answering"),
        (KernelRejected("scx_batch", "settle", "it did not stay"), "did not stay"),
        (ForeignScheduler("scx_lavd"), "scx_lavd"),
    ],
)
async def test_switch_that_fails(
    kernel: FakeKernel,
    deployer: Deployer,
    state: MachineState,
    refusal: SchedcpError,
    words: str,
) -> None:
    await reach(kernel, deployer, state)
    kernel.holders[0].refusal = refusal
    await kernel.pass_windows(2)
    ended = last(deployer)
    foreign = isinstance(refusal, ForeignScheduler)
    assert ended.state is (DeploymentState.REVERTED if foreign else DeploymentState.EJECTED)
    assert words in ended.reason
    assert kernel.holders[0].detached, "nothing is left of its loader"
    assert steps(kernel)[-1] == "default"
    assert bool(kernel.ledger.entries) is isinstance(refusal, Ejected)


@pytest.mark.parametrize("state", [MachineState.CANARY_ON, MachineState.CANARY_OFF])
async def test_reverting_in_the_middle_of_a_switch(
    kernel: FakeKernel, deployer: Deployer, state: MachineState
) -> None:
    await reach(kernel, deployer, state)
    kernel.holders[0].gate.clear()
    await kernel.pass_windows(2)
    middle = deployer.state
    assert middle in (MachineState.ATTACHING, MachineState.DETACHING)
    await asyncio.wait_for(deployer.revert("a person said so"), 5)
    assert last(deployer).state is DeploymentState.REVERTED
    assert steps(kernel)[-1] == "default"


async def test_ledger_that_fails_during_the_canary(kernel: FakeKernel, deployer: Deployer) -> None:
    await reach(kernel, deployer, MachineState.CANARY_OFF)
    kernel.ledger.full = True
    await kernel.pass_windows(2)
    ended = last(deployer)
    assert ended.state is DeploymentState.REVERTED
    assert "cannot be written down" in ended.reason
    assert (kernel.policy, deployer.active) == ("", None)


async def test_harm_found_at_the_moment_of_a_revert_is_not_forgotten(
    kernel: FakeKernel, deployer: Deployer
) -> None:
    await deploy(deployer, Origin.MANUAL)
    kernel.holders[0].leaves_with = STALL
    kernel.meter.candidate = replace(GOOD, enqueued=5, dispatched=0)
    await kernel.pass_windows(2)
    taking = asyncio.create_task(deployer.deploy(make_workload(), FAIR, Origin.MANUAL))
    await kernel.pass_windows()
    await taking
    assert kernel.ledger.entries
    assert deployer.deployments.newest[1].state is not DeploymentState.REVERTED


class Waits(FakeMeter):
    """Another workload that waits for so many milliseconds each time, in each sample anew."""

    def __init__(self, kernel: FakeKernel, often: int) -> None:
        super().__init__(kernel)
        self.ms = 1
        self._often = often
        self._sum = CgroupLatency()
        self._real = RealMeter(Path(), Path(), lambda: None, tuple, lambda: 0.0, lambda: 0.0)

    def sample(self, workload: Workload, counters: Mapping[str, int] | None = None) -> Sample:
        wait_ns = (self.ms if self._kernel.policy else 1) * MS
        slots = [0] * SLOTS
        slots[wait_ns.bit_length() - 1] = self._often
        more = CgroupLatency(self._often, self._often * wait_ns, 0, tuple(slots))
        self._sum = total((self._sum, more))
        return Sample(self._kernel.now, latencies={5: self._sum})

    def window(self, before: Sample, after: Sample) -> GuardSample:
        return self._real.window(before, after)


@pytest.mark.parametrize("often", [3, 300])
@pytest.mark.parametrize(("bad", "trips"), [(1, False), (8, True)])
async def test_window_that_was_bad_once_counts_once(often: int, bad: int, trips: bool) -> None:
    kernel = FakeKernel()
    kernel.meter = meter = Waits(kernel, often)
    deployer = kernel.deployer()
    await deploy(deployer, Origin.MANUAL)
    await kernel.pass_windows(8)
    meter.ms = 60 if often > 100 else 400
    await kernel.pass_windows(bad)
    meter.ms = 1
    await kernel.pass_windows(8)
    assert (last(deployer).state is DeploymentState.TRIPPED) is trips
    await deployer.revert("the test is over")


@pytest.mark.parametrize("steps", range(10))
async def test_harm_that_was_found_is_not_forgotten_by_whoever_reverts(
    kernel: FakeKernel, deployer: Deployer, steps: int
) -> None:
    await deploy(deployer, Origin.MANUAL)
    kernel.meter.candidate = replace(GOOD, enqueued=5, dispatched=0)
    await kernel.pass_windows(2)
    before = len(kernel.meter.windows)
    kernel.let_pass()
    for _ in range(steps):
        await asyncio.sleep(0)
    await deployer.revert("a person said so")
    found = len(kernel.meter.windows) > before
    assert (last(deployer).state is DeploymentState.TRIPPED) is found
    assert bool(kernel.ledger.entries) is found
