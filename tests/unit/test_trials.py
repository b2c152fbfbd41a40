# SPDX-License-Identifier: GPL-2.0-or-later
"""Automatic classes prove themselves: turns with no class, a breaker each, and who is to blame."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedcpd.deploy.breaker import BreakerLimits, Guard, Trip
from schedcpd.deploy.canary import CanarySettings
from schedcpd.deploy.classes import MACHINE, Claim
from schedcpd.deploy.conduct import Score
from schedcpd.deploy.deployer import Deployer
from schedcpd.deploy.livemaps import encode_cgroup, encode_class
from schedcpd.deploy.trials import _Steady, class_score
from schedcpd.errors import LoaderLost, MapRefused, Quarantined
from schedcpd.model import (
    CanaryDecision,
    Deployment,
    DeploymentState,
    ExitRecord,
    LayerClass,
    LayerKind,
    Objective,
    Origin,
    Workload,
)
from unit.fakes import (
    GOOD,
    HARM,
    FakeKernel,
    cancel_all,
    deployer_that_reverts,
    make_policy,
    make_policy_with_maps,
    make_workload,
)

WEB, BUILD = make_workload("/web.service", 11), make_workload("/build.service", 22)
LATENCY, BATCH = LayerClass(LayerKind.LATENCY), LayerClass(LayerKind.BATCH)
BACKGROUND = LayerClass(LayerKind.BACKGROUND)
LAYERS = make_policy_with_maps()
SLOW = replace(GOOD, throughput=0.1)
CANARY_WINDOWS = 4
TRIP = Trip(Guard.OTHERS_WAIT, 2e9, 3e7, 1e6, 1, "other workloads waited for a CPU")


@pytest.fixture
def kernel() -> FakeKernel:
    return FakeKernel()


@pytest.fixture
async def deployer(kernel: FakeKernel) -> AsyncIterator[Deployer]:
    async with deployer_that_reverts(kernel) as deployer:
        yield deployer


async def give(
    deployer: Deployer,
    workload: Workload,
    layer: LayerClass = BATCH,
    origin: Origin = Origin.AUTOMATIC,
) -> Deployment:
    return await deployer.classify(workload, LAYERS, layer, origin, Objective.MAKESPAN, "why")


async def give_first(kernel: FakeKernel, deployer: Deployer) -> Deployment:
    """The web service has a class, and the policy is attached for good."""
    made = await give(deployer, WEB, LATENCY)
    await kernel.pass_windows(CANARY_WINDOWS)
    return deployer.deployments.newest[made.id]


def now(deployer: Deployer, deployment: Deployment) -> Deployment:
    return deployer.deployments.newest[deployment.id]


def entries(kernel: FakeKernel) -> dict[bytes, bytes]:
    return kernel.holders[-1].maps.get("layers", {})


def of(*classes: tuple[Workload, LayerClass]) -> dict[bytes, bytes]:
    return {encode_cgroup(one.cgroup_id): encode_class(layer) for one, layer in classes}


async def passes(kernel: FakeKernel, windows: int, until: Deployment, deployer: Deployer) -> None:
    """Windows of all conducts pass until a deployment is no longer on trial, or so many have."""
    for _ in range(windows):
        if now(deployer, until).state is not DeploymentState.CANARY:
            return
        await kernel.pass_windows()


async def test_the_first_is_proved_with_the_policy(kernel: FakeKernel, deployer: Deployer) -> None:
    made = await give(deployer, WEB, LATENCY)
    assert (made.state, deployer.proving) == (DeploymentState.CANARY, True)
    first = await give_first(kernel, deployer)
    assert deployer.active is not None
    assert (first.state, first.canary) == (DeploymentState.ATTACHED, deployer.active.canary)
    assert first.canary is not None
    assert first.canary.decision is CanaryDecision.PROMOTE
    known = deployer.deployments.known_good(WEB.id)
    assert known is not None
    assert known.policy == "scx_layers"
    assert (deployer.proving, entries(kernel)) == (False, of((WEB, LATENCY)))


async def test_who_loses_with_the_policy_has_lost(kernel: FakeKernel, deployer: Deployer) -> None:
    kernel.meter.candidate = SLOW
    first = await give_first(kernel, deployer)
    assert kernel.policy == ""
    assert (first.state, bool(first.ended_at)) == (DeploymentState.REVERTED, True)
    assert first.canary is not None
    assert first.canary.decision is CanaryDecision.WORSE


async def test_the_second_takes_turns_with_no_class(kernel: FakeKernel, deployer: Deployer) -> None:
    await give_first(kernel, deployer)
    steps, switches = len(kernel.ledger.steps), kernel.switches
    second = await give(deployer, BUILD)
    assert second.state is DeploymentState.CANARY
    seen = set()
    for _ in range(20):
        seen.add(encode_cgroup(BUILD.cgroup_id) in entries(kernel))
        await passes(kernel, 1, second, deployer)
    assert seen == {True, False}, "it was in the map and out of it"
    second = now(deployer, second)
    assert second.state is DeploymentState.ATTACHED
    assert second.canary is not None
    assert "with its class and without, changed by" in second.canary.reason
    assert entries(kernel) == of((WEB, LATENCY), (BUILD, BATCH))
    assert (len(kernel.ledger.steps), kernel.switches) == (steps, switches), "the policy stayed"


async def test_a_class_that_gains_nothing_goes_and_the_others_stay(
    kernel: FakeKernel, deployer: Deployer
) -> None:
    first = await give_first(kernel, deployer)
    kernel.meter.classed[BUILD.cgroup_id] = SLOW
    second = await give(deployer, BUILD)
    await passes(kernel, 40, second, deployer)
    second = now(deployer, second)
    assert second.state is DeploymentState.REVERTED
    assert second.canary is not None
    assert second.canary.decision is CanaryDecision.WORSE
    assert entries(kernel) == of((WEB, LATENCY))
    assert (kernel.policy, now(deployer, first).state) == ("scx_layers", DeploymentState.ATTACHED)
    assert not kernel.ledger.entries, "no gain is no harm"


async def test_harm_on_trial_costs_the_class_and_not_the_policy(
    kernel: FakeKernel, deployer: Deployer
) -> None:
    first = await give_first(kernel, deployer)
    kernel.meter.harmful = {BUILD.cgroup_id}
    second = await give(deployer, BUILD, LATENCY)
    await passes(kernel, 40, second, deployer)
    second = now(deployer, second)
    assert second.state is DeploymentState.TRIPPED
    assert "other workloads waited" in second.reason
    assert [one.workload_id for one in kernel.ledger.entries] == [BUILD.id]
    await kernel.pass_windows(20)
    assert (kernel.policy, now(deployer, first).state) == ("scx_layers", DeploymentState.ATTACHED)
    for origin in Origin:
        with pytest.raises(Quarantined):
            await give(deployer, BUILD, LATENCY, origin)


async def test_the_policy_blames_the_class_on_trial(kernel: FakeKernel, deployer: Deployer) -> None:
    await give_first(kernel, deployer)
    second = await give(deployer, BUILD, LATENCY)
    assert await deployer._relieve(TRIP)
    assert now(deployer, second).state is DeploymentState.TRIPPED
    assert now(deployer, second).reason == TRIP.reason
    assert entries(kernel) == of((WEB, LATENCY))


async def test_harm_that_begins_later_costs_the_class_too(
    kernel: FakeKernel, deployer: Deployer
) -> None:
    first = await give_first(kernel, deployer)
    second = await give(deployer, BUILD, LATENCY)
    await passes(kernel, 40, second, deployer)
    kernel.meter.harmful = {BUILD.cgroup_id}
    await kernel.pass_windows(12)
    assert now(deployer, second).state is DeploymentState.TRIPPED
    assert (kernel.policy, now(deployer, first).state) == ("scx_layers", DeploymentState.ATTACHED)
    assert entries(kernel) == of((WEB, LATENCY))


async def test_harm_of_nobodys_class_costs_the_policy(
    kernel: FakeKernel, deployer: Deployer
) -> None:
    first = await give_first(kernel, deployer)
    kernel.meter.candidate = HARM
    await kernel.pass_windows(20)
    assert kernel.policy == ""
    first = now(deployer, first)
    assert first.state is DeploymentState.TRIPPED
    assert deployer.deployments.newest[1].state is DeploymentState.TRIPPED
    assert [one.workload_id for one in kernel.ledger.entries] == [MACHINE.id]


async def test_harm_of_the_first_class_is_for_its_workload_only(
    kernel: FakeKernel, deployer: Deployer
) -> None:
    kernel.meter.candidate = HARM
    await give_first(kernel, deployer)
    assert [one.workload_id for one in kernel.ledger.entries] == [WEB.id]


async def test_who_moves_has_its_class_at_once_and_proves_it_later(
    kernel: FakeKernel, deployer: Deployer
) -> None:
    await deployer.deploy(BUILD, make_policy(), Origin.MANUAL)
    along = (Claim(BUILD, LAYERS, BATCH, Origin.AUTOMATIC, "moved", Objective.MAKESPAN),)
    how = (Origin.AUTOMATIC, Objective.MAKESPAN, "why")
    first = await deployer.classify(WEB, LAYERS, LATENCY, *how, along=along)
    assert kernel.policy == "scx_layers"
    assert entries(kernel) == of((WEB, LATENCY), (BUILD, BATCH))
    moved = deployer.deployments.newest[deployer.classes.classified[BUILD.id].deployment]
    assert moved.state is DeploymentState.CANARY
    await kernel.pass_windows(CANARY_WINDOWS)
    assert now(deployer, first).state is DeploymentState.ATTACHED
    assert now(deployer, moved).canary is None, "that was measured on the other"
    await passes(kernel, 40, moved, deployer)
    assert now(deployer, moved).canary is not None
    assert now(deployer, moved).state is DeploymentState.ATTACHED


async def test_what_won_before_needs_no_canary(kernel: FakeKernel, deployer: Deployer) -> None:
    await give_first(kernel, deployer)
    await deployer.declassify(WEB, "it ended")
    assert kernel.policy == ""
    again = await give(deployer, WEB, LATENCY)
    assert again.state is DeploymentState.ATTACHED
    assert kernel.policy == "scx_layers"
    assert not deployer.proving
    other = await give(deployer, BUILD)
    assert other.state is DeploymentState.CANARY


async def test_the_policy_goes_with_whom_its_canary_measures(
    kernel: FakeKernel, deployer: Deployer
) -> None:
    await give(deployer, WEB, LATENCY)
    await give(deployer, BUILD)
    await kernel.pass_windows(1)
    await deployer.declassify(WEB, "it ended", linger=True)
    assert kernel.policy == ""


async def test_a_policy_may_linger(kernel: FakeKernel, deployer: Deployer) -> None:
    await give_first(kernel, deployer)
    await give(deployer, BUILD, BACKGROUND)
    assert await deployer.declassify(WEB, "it ended", linger=True)
    assert kernel.policy == "scx_layers"
    await deployer.let_go_unneeded("the grace time is over")
    assert kernel.policy == "", "background work makes way for nobody"
    await deployer.let_go_unneeded("the grace time is over")


async def test_background_work_does_not_take_turns(kernel: FakeKernel, deployer: Deployer) -> None:
    await give_first(kernel, deployer)
    kernel.meter.classed[BUILD.cgroup_id] = SLOW
    made = await give(deployer, BUILD, BACKGROUND)
    assert made.state is DeploymentState.ATTACHED
    await kernel.pass_windows(30)
    assert now(deployer, made).state is DeploymentState.ATTACHED, "it is there to give way"


async def test_a_person_takes_over_an_automatic_class(
    kernel: FakeKernel, deployer: Deployer
) -> None:
    await give_first(kernel, deployer)
    kernel.meter.harmful = {WEB.cgroup_id}
    made = await give(deployer, WEB, LATENCY, Origin.MANUAL)
    assert made.state is DeploymentState.ATTACHED
    assert not deployer._trials
    assert entries(kernel) == of((WEB, LATENCY))


async def test_a_class_that_cannot_be_changed_is_taken(
    kernel: FakeKernel, deployer: Deployer
) -> None:
    first = await give_first(kernel, deployer)
    kernel.holders[0].map_refusal = MapRefused("scx_layers", "layers", "it is full")
    with pytest.raises(MapRefused):
        await give(deployer, WEB, BATCH, Origin.MANUAL)
    assert now(deployer, first).state is DeploymentState.REVERTED
    assert kernel.policy == ""


@pytest.mark.parametrize(
    "record", [ExitRecord(1026, 0, "runnable task stall", "xz[4] failed"), None]
)
async def test_classes_on_trial_end_with_the_policy(
    kernel: FakeKernel, deployer: Deployer, record: ExitRecord | None
) -> None:
    await give_first(kernel, deployer)
    second = await give(deployer, BUILD)
    kernel.holders[0].end(record)
    await kernel.pass_windows(3)
    second = now(deployer, second)
    assert (second.state, second.exit) == (DeploymentState.EJECTED, record)
    assert not deployer._trials


async def test_a_class_that_does_not_come_back_is_lost(
    kernel: FakeKernel, deployer: Deployer
) -> None:
    await give_first(kernel, deployer)
    second = await give(deployer, BUILD)
    kernel.holders[0].map_refusal = LoaderLost("scx_layers", "it does not answer")
    await passes(kernel, 40, second, deployer)
    second = now(deployer, second)
    assert second.state is DeploymentState.EJECTED
    assert "it does not answer" in second.error
    assert BUILD.id not in deployer.classes.classified


async def test_a_conduct_that_fails_costs_the_class(
    kernel: FakeKernel, deployer: Deployer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await give_first(kernel, deployer)
    second = await give(deployer, BUILD)

    async def break_down() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(kernel.holders[0], "status", break_down)
    await kernel.pass_windows(2)
    assert now(deployer, second).reason == "nobody looked after it any more"
    assert BUILD.id not in deployer.classes.classified


async def test_nothing_is_measured_while_the_policy_is_out(
    kernel: FakeKernel, deployer: Deployer
) -> None:
    await give_first(kernel, deployer)
    away = [True]
    meter = _Steady(deployer._kernel.instruments, lambda: not away[0])
    assert meter.sample(WEB).own == frozenset()
    away[0] = False
    assert meter.sample(WEB).own == {WEB.cgroup_id}


def test_how_a_class_is_conducted() -> None:
    limits = BreakerLimits()
    turns = CanarySettings("what it gets")
    score = Score(limits, 1.0, 0.3, turns, Objective.LATENCY)
    claim = Claim(WEB, LAYERS, LATENCY, Origin.AUTOMATIC, "why")
    made = class_score(score, claim)
    assert made.canary == replace(turns, metric="what it gets, with its class and without,")
    assert limits.others_wait is not None
    assert made.limits.others_wait == replace(limits.others_wait, windows=2)
    background = class_score(replace(score, canary=None), replace(claim, layer=BACKGROUND))
    assert (background.canary, background.limits.own_wait) == (None, None)
    assert background.limits.throughput is None
    assert background.limits.others_wait is not None


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["give", "take", "harm", "calm", "refuse", "allow", "person", "revert"]),
        st.integers(1, 4),
        st.integers(0, 7),  # windows that pass then
    ),
    max_size=15,
)


@given(STEPS)
@settings(deadline=None, max_examples=60)
async def test_who_has_a_class_is_looked_after_and_nobody_else(
    steps: list[tuple[str, int, int]],
) -> None:
    kernel = FakeKernel()
    deployer = kernel.deployer()
    refusal = MapRefused("scx_layers", "layers", "it is full")
    refused: set[int] = set()  # loaders that once did not do what they were told
    for what, number, windows in steps:
        workload = make_workload(f"/{number}.service", number)
        match what:
            case "give" | "person":
                origin = Origin.MANUAL if what == "person" else Origin.AUTOMATIC
                with suppress(Quarantined, MapRefused):
                    await give(deployer, workload, LATENCY, origin)
            case "take":
                await deployer.declassify(workload, "it ended", linger=True)
            case "harm":
                kernel.meter.harmful.add(number)
            case "calm":
                kernel.meter.harmful.clear()
            case "refuse" | "allow" if kernel.policy:
                kernel.holders[-1].map_refusal = refusal if what == "refuse" else None
                refused.add(len(kernel.holders))
            case "revert":
                await deployer.revert("why")
        await kernel.pass_windows(windows)
        check(deployer)
        if kernel.policy and len(kernel.holders) not in refused:
            check_map(kernel, deployer)
    await deployer.revert("the end")
    check(deployer)
    assert (kernel.policy, len(deployer._trials)) == ("", 0)
    await cancel_all()


def check(deployer: Deployer) -> None:
    """What is on record and what is looked after is the same."""
    given = deployer.classes.classified.values()
    newest = deployer.deployments.newest
    lasting = {one.id for one in newest.values() if one.layer and not one.ended_at}
    assert {one.deployment for one in given} == lasting
    automatic = {one.deployment for one in given if one.claim.origin is Origin.AUTOMATIC}
    if deployer._is_attached():
        assert {one for one in newest if one in deployer._trials} == automatic


def check_map(kernel: FakeKernel, deployer: Deployer) -> None:
    """What is in the map is on record."""
    given, newest = deployer.classes.classified.values(), deployer.deployments.newest
    keys = {one.claim.key for one in given}
    there = {one.claim.key for one in given if newest[one.deployment].state == "attached"}
    assert set(entries(kernel)) <= keys, "nobody has an entry who has no class"
    assert there <= set(entries(kernel)), "who is not on trial has one"
