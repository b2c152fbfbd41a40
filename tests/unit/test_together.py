# SPDX-License-Identifier: GPL-2.0-or-later
"""Several workloads at once, each with a class by itself, on a simulated machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from schedcpd.aftermath import MISSES_TO_LET_GO
from schedcpd.company import MOVE_DWELL_S
from schedcpd.deploy.livemaps import encode_cgroup, encode_class
from schedcpd.errors import KernelRejected
from schedcpd.learn.outcomes import teaches
from schedcpd.model import (
    Deployment,
    DeploymentState,
    ExitRecord,
    Fit,
    LayerClass,
    LayerKind,
    Mode,
    Objective,
    Origin,
    OutcomeKind,
    Plan,
    Workload,
    WorkloadClass,
    WorkloadProfile,
    WorkloadState,
)
from schedcpd.plan import planner, rules
from schedcpd.plan.planner import Situation
from unit.fakes import GOOD, HARM, cancel_all, make_policy, make_policy_with_maps, make_workload
from unit.test_planner import BATCH as JOBS
from unit.test_planner import SERVICE
from unit.test_supervisor import HOTPLUG, Machine

BATCH, WEB = "/system.slice/batch.service", "/system.slice/web.service"
NICE, SHOP = "/system.slice/nice.service", "/system.slice/shop.service"
IDS = {BATCH: 22, WEB: 11, NICE: 33, SHOP: 44}
RUNS = {
    BATCH: replace(JOBS, sentence="forty jobs"),
    WEB: SERVICE,
    NICE: replace(JOBS, work=WorkloadClass.BACKGROUND, runnable=2.0, workers=2.0),
    SHOP: SERVICE,
}
NOTHING = replace(JOBS, work=WorkloadClass.IDLE, runnable=0.0, workers=0.0, pressure_some=0.0)
FITS = {
    WorkloadClass.BATCH: Fit(0.15, Objective.MAKESPAN, "measured"),
    WorkloadClass.LATENCY: Fit(0.25, Objective.LATENCY, "measured"),
    WorkloadClass.BACKGROUND: Fit(0.05, Objective.THROUGHPUT, "calculated"),
}
OF_BATCH, OF_WEB = LayerClass(LayerKind.BATCH), LayerClass(LayerKind.LATENCY)
CANARY_WINDOWS = 4
SLOW = replace(GOOD, throughput=0.1)
STALL = ExitRecord(1026, 0, "runnable task stall", "xz[4] failed")


class Crowd(Machine):
    """A machine on which the built-in planner decides."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.runs = dict(RUNS)
        self.taught: list[tuple[str, OutcomeKind]] = []
        self.stages = replace(
            self.stages,
            identify=lambda path: make_workload(path, IDS[path]),
            profile=self.look,
            plan=self.decide,
            still_fits=lambda seen, plan: rules.still_fits(
                seen, 2, None, plan.work if plan else WorkloadClass.UNKNOWN
            ),
            learn=self.learn,
        )
        self.supervisor = self.start()
        layers = make_policy_with_maps()
        layers = replace(layers, card=replace(layers.card, fits=FITS))
        self.supervisor.set_policies([make_policy(), layers])
        self.busy = set(IDS)

    async def look(self, workload: Workload) -> WorkloadProfile:
        await asyncio.sleep(0)
        return self.runs[workload.id]

    def decide(
        self, workload: Workload, profile: WorkloadProfile, barred: Mapping[str, str]
    ) -> Plan:
        known = self.supervisor.policies
        return planner.plan(Situation(workload.id, profile, 2, known, barred=barred))

    def learn(self, deployment: Deployment, workload: Workload, plan: Plan) -> None:
        kind = teaches(deployment, plan.objective)
        if kind is not None:
            self.taught.append((workload.id, kind))

    def classes(self) -> dict[bytes, bytes]:
        return self.kernel.holders[-1].maps["layers"]

    def layer(self, path: str) -> LayerClass | None:
        return self.supervisor.workloads[path].layer

    def classified(self) -> set[str]:
        return set(self.supervisor._deployer.classes.classified)

    def refusal(self, path: str) -> str:
        return self.supervisor._refused.get(path, "")

    async def begin(self, path: str) -> None:
        self.supervisor.populated(path, True)
        await self.settle()

    async def press(self) -> None:
        self.supervisor.pressed()
        await self.settle()

    async def prove(self) -> None:
        """Windows pass until everything has proved itself, or has not."""
        for _ in range(60):
            if not self.supervisor._deployer.proving:
                return
            await self.kernel.pass_windows()
        raise AssertionError("it is still being tried")

    async def both(self) -> None:
        """The batch has had its own policy for a while, then the service comes."""
        await self.begin(BATCH)
        await self.prove()
        assert self.kernel.policy == "scx_batch"
        self.kernel.now += 11
        await self.begin(WEB)

    async def settled(self) -> None:
        """Both have a class that has proved itself."""
        await self.both()
        await self.prove()
        assert self.classified() == {BATCH, WEB}


@pytest.fixture
async def crowd(tmp_path: Path) -> AsyncIterator[Crowd]:
    crowd = Crowd(tmp_path)
    yield crowd
    await crowd.supervisor.stop()
    assert crowd.kernel.policy == ""
    await cancel_all()


def entries(**layers: LayerClass) -> dict[bytes, bytes]:
    ids = {"batch": IDS[BATCH], "web": IDS[WEB], "nice": IDS[NICE], "shop": IDS[SHOP]}
    return {encode_cgroup(ids[name]): encode_class(layer) for name, layer in layers.items()}


async def test_a_second_workload_moves_the_machine(crowd: Crowd) -> None:
    await crowd.both()
    assert crowd.kernel.policy == "scx_layers"
    assert crowd.classes() == entries(batch=OF_BATCH, web=OF_WEB)
    assert (crowd.layer(BATCH), crowd.layer(WEB)) == (OF_BATCH, OF_WEB)
    assert {crowd.workload_state(path) for path in (BATCH, WEB)} == {WorkloadState.MANAGED}
    await crowd.prove()
    assert crowd.classified() == {BATCH, WEB}
    assert (BATCH, OutcomeKind.HARMLESS) in crowd.taught
    assert (WEB, OutcomeKind.EFFECT) in crowd.taught
    assert len(crowd.kernel.holders) == 2
    why = crowd.supervisor.why(BATCH)
    assert any("both gain 40%" in line for line in why)
    assert why[1].startswith("plan: moved from scx_batch, by which it gains 22%")
    assert why[1].endswith("; as batch in scx_layers")


async def test_who_comes_and_goes_changes_only_the_map(crowd: Crowd) -> None:
    await crowd.settled()
    for _ in range(3):
        crowd.supervisor.populated(WEB, False)
        await crowd.settle()
        assert crowd.classes() == entries(batch=OF_BATCH)
        await crowd.begin(WEB)
        await crowd.prove()
        assert crowd.classified() == {BATCH, WEB}
    assert len(crowd.kernel.holders) == 2


async def test_the_policy_goes_after_the_last_class_and_a_while(crowd: Crowd) -> None:
    await crowd.settled()
    for path in (BATCH, WEB):
        crowd.supervisor.populated(path, False)
        await crowd.settle()
    assert crowd.kernel.policy == "scx_layers"
    assert not crowd.classes()
    await crowd.tick(8)
    assert crowd.kernel.policy == ""
    assert "nobody has needed it for 10 s" in crowd.told("revert")[-1]


async def test_another_phase_of_a_workload_takes_its_class(crowd: Crowd) -> None:
    await crowd.settled()
    crowd.runs[WEB] = NOTHING
    await crowd.tick(4 * MISSES_TO_LET_GO)
    assert crowd.layer(WEB) is None
    assert crowd.workload_state(WEB) is WorkloadState.LEFT_ALONE
    assert crowd.layer(BATCH) == OF_BATCH
    crowd.runs[WEB] = SERVICE
    await crowd.press()
    assert crowd.refusal(WEB) == "its policy was let go a moment ago"
    crowd.kernel.now += 11
    await crowd.press()
    assert crowd.layer(WEB) == OF_WEB


async def test_who_gains_nothing_by_its_class_does_without(crowd: Crowd) -> None:
    await crowd.settled()
    crowd.kernel.meter.classed[IDS[SHOP]] = SLOW
    await crowd.begin(SHOP)
    await crowd.prove()
    assert crowd.classified() == {BATCH, WEB}
    assert (SHOP, OutcomeKind.EFFECT) in crowd.taught
    crowd.kernel.now += 100
    await crowd.press()
    assert crowd.workload_state(SHOP) is WorkloadState.ADVISED
    assert "lost its canary" in crowd.refusal(SHOP)
    assert len(crowd.kernel.holders) == 2


async def test_who_does_harm_loses_its_class_and_nobody_else(crowd: Crowd) -> None:
    await crowd.settled()
    crowd.kernel.meter.harmful = {IDS[SHOP]}
    await crowd.begin(SHOP)
    await crowd.prove()
    assert crowd.classified() == {BATCH, WEB}
    assert crowd.kernel.policy == "scx_layers"
    assert (SHOP, OutcomeKind.FAILURE) in crowd.taught
    assert len(crowd.told("trip")) == 1
    assert "is in quarantine" in crowd.refusal(SHOP)


async def test_a_move_that_fails_is_not_tried_again_soon(crowd: Crowd) -> None:
    await crowd.begin(BATCH)
    await crowd.prove()
    crowd.kernel.now += 11
    crowd.kernel.refusal = KernelRejected("scx_layers", "load", "invalid access", "log")
    await crowd.begin(WEB)
    assert "invalid access" in crowd.refusal(WEB)
    crowd.kernel.refusal = None
    await crowd.press()
    assert crowd.kernel.policy == "scx_batch", "the first is back with its own"
    crowd.kernel.now += 30
    await crowd.press()
    assert crowd.kernel.policy == "scx_batch"
    assert "one was moved less than 300 s ago" in crowd.refusal(WEB)
    crowd.kernel.now += MOVE_DWELL_S
    await crowd.press()
    assert crowd.kernel.policy == "scx_layers"


async def test_a_move_that_loses_gives_the_first_its_own_back(crowd: Crowd) -> None:
    await crowd.both()
    crowd.kernel.meter.candidate = SLOW
    await crowd.prove()
    crowd.kernel.meter.candidate = GOOD
    assert crowd.kernel.policy == "scx_batch"
    assert crowd.workload_state(BATCH) is WorkloadState.MANAGED
    crowd.kernel.now += MOVE_DWELL_S
    await crowd.press()
    assert crowd.kernel.policy == "scx_batch"
    assert "lost its canary" in crowd.refusal(WEB)


async def test_nobody_is_moved_while_something_is_tried(crowd: Crowd) -> None:
    await crowd.begin(BATCH)
    await crowd.begin(WEB)
    assert crowd.kernel.policy == "scx_batch"
    assert crowd.refusal(WEB) == "scx_batch is still being tried on another workload"
    assert crowd.workload_state(WEB) is WorkloadState.ADVISED


async def test_a_hold_on_the_first_keeps_it_where_it_is(crowd: Crowd) -> None:
    await crowd.begin(BATCH)
    await crowd.prove()
    crowd.kernel.now += 11
    await crowd.supervisor.hold(":1.7", 1000, BATCH, "a measurement")
    await crowd.begin(WEB)
    assert crowd.kernel.policy == "scx_batch"
    assert "batch.service cannot be moved: it is held: a measurement" in crowd.refusal(WEB)


async def test_background_work_joins_and_is_not_what_keeps_the_policy(crowd: Crowd) -> None:
    await crowd.begin(NICE)
    assert crowd.kernel.policy == ""
    assert crowd.refusal(NICE) == "it would make way for nobody: no other workload has a class"
    await crowd.begin(WEB)
    await crowd.prove()
    await crowd.press()
    assert crowd.layer(NICE) == LayerClass(LayerKind.BACKGROUND)
    assert crowd.workload_state(NICE) is WorkloadState.MANAGED
    crowd.supervisor.populated(WEB, False)
    await crowd.settle()
    await crowd.tick(6)
    assert crowd.kernel.policy == ""
    assert crowd.layer(NICE) is None


async def test_a_service_alone_gets_a_class_too(crowd: Crowd) -> None:
    await crowd.begin(WEB)
    assert crowd.kernel.policy == "scx_layers"
    assert crowd.classes() == entries(web=OF_WEB)
    await crowd.prove()
    await crowd.begin(BATCH)
    await crowd.prove()
    assert crowd.classes() == entries(web=OF_WEB, batch=OF_BATCH)
    assert len(crowd.kernel.holders) == 1


async def test_a_person_s_choice_stands(crowd: Crowd) -> None:
    await crowd.settled()
    given = await crowd.supervisor.classify(WEB, "scx_layers", LayerClass(LayerKind.FAIR))
    assert given.origin is Origin.MANUAL
    crowd.runs[WEB] = NOTHING
    await crowd.tick(4 * MISSES_TO_LET_GO)
    assert crowd.layer(WEB) == LayerClass(LayerKind.FAIR), "only its end or a person ends it"
    await crowd.supervisor.detach(BATCH)
    assert crowd.workload_state(BATCH) is WorkloadState.HELD
    crowd.kernel.now += 100
    await crowd.press()
    assert crowd.layer(BATCH) is None
    await crowd.supervisor.apply(BATCH, "scx_batch")
    assert crowd.kernel.policy == "scx_batch"
    assert crowd.workload_state(WEB) is WorkloadState.HELD
    crowd.kernel.now += 1000
    await crowd.begin(SHOP)
    assert crowd.kernel.policy == "scx_batch"
    assert crowd.refusal(SHOP) == "another workload has scx_batch, chosen by a person"


@pytest.mark.parametrize("verb", ["revert", "pause"])
async def test_a_person_ends_all_of_it(crowd: Crowd, verb: str) -> None:
    await crowd.both()
    await getattr(crowd.supervisor, verb)()
    crowd.kernel.now += 1000
    await crowd.press()
    await crowd.tick(4)
    assert crowd.kernel.policy == ""
    assert not crowd.classified()
    if verb == "revert":
        assert {crowd.workload_state(path) for path in (BATCH, WEB)} == {WorkloadState.HELD}
        return
    assert crowd.supervisor.mode is Mode.PAUSED
    await crowd.supervisor.resume()
    await crowd.press()
    assert crowd.kernel.policy


async def test_the_first_ends_while_the_second_is_tried(crowd: Crowd) -> None:
    await crowd.both()
    await crowd.kernel.pass_windows(1)
    crowd.supervisor.populated(BATCH, False)
    await crowd.prove()
    assert crowd.classes() == entries(web=OF_WEB)
    assert crowd.kernel.policy == "scx_layers"


async def test_the_second_ends_while_it_is_tried(crowd: Crowd) -> None:
    await crowd.both()
    await crowd.kernel.pass_windows(1)
    crowd.supervisor.populated(WEB, False)
    await crowd.settle()
    await crowd.press()
    assert crowd.kernel.policy == "scx_batch", "alone again, it has its own"


async def test_a_stall_ends_all_classes_and_is_learnt(crowd: Crowd) -> None:
    await crowd.settled()
    crowd.kernel.holders[-1].end(STALL)
    await crowd.settle()
    states = {crowd.workload_state(path) for path in (BATCH, WEB)}
    assert states == {WorkloadState.HELD}
    assert {path for path, kind in crowd.taught if kind is OutcomeKind.FAILURE} == {BATCH, WEB}
    assert [one.workload_id for one in crowd.supervisor.quarantines] == [""]


async def test_classes_come_back_after_a_cpu_did(crowd: Crowd) -> None:
    await crowd.settled()
    crowd.kernel.holders[-1].end(HOTPLUG)
    await crowd.settle()
    assert crowd.classes() == entries(batch=OF_BATCH, web=OF_WEB)
    assert len(crowd.kernel.holders) == 3
    states = [crowd.supervisor.history(path, 1)[0].state for path in (BATCH, WEB)]
    assert states == [DeploymentState.ATTACHED] * 2, "they have proved themselves"
    assert not any(kind is OutcomeKind.FAILURE for _, kind in crowd.taught)


async def test_two_of_a_kind_wait_for_each_other(crowd: Crowd) -> None:
    await crowd.settled()
    await crowd.begin(SHOP)
    crowd.runs[NICE] = SERVICE
    await crowd.begin(NICE)
    assert crowd.refusal(NICE) == "scx_layers is still being tried on another workload"
    await crowd.prove()
    await crowd.settle()
    assert crowd.layer(NICE) == OF_WEB, "it is looked at as soon as that is over"
    assert len(crowd.kernel.holders) == 2


async def test_a_batch_alone_gets_a_class_where_limits_count(crowd: Crowd) -> None:
    crowd.kernel.limits = ("a.slice: cpu.max is 20000 100000",)
    await crowd.begin(BATCH)
    assert crowd.kernel.policy == "scx_layers"
    assert crowd.classes() == entries(batch=OF_BATCH)


async def test_harm_of_a_policy_is_not_followed_by_one_with_classes(crowd: Crowd) -> None:
    await crowd.settled()
    await crowd.supervisor.apply(BATCH, "scx_batch")
    crowd.kernel.meter.candidate = HARM
    await crowd.kernel.pass_windows(2)
    crowd.kernel.meter.candidate = GOOD
    await crowd.kernel.pass_windows(2)
    assert crowd.workload_state(BATCH) is WorkloadState.HELD
    assert crowd.layer(BATCH) is None


async def test_nothing_of_it_is_left_when_the_daemon_stops(crowd: Crowd) -> None:
    await crowd.settled()
    await crowd.supervisor.stop()
    assert crowd.kernel.policy == ""
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert crowd.kernel.ledger.closed
