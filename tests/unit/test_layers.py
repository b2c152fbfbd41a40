# SPDX-License-Identifier: GPL-2.0-or-later
"""Classes of workloads, as a person gives and takes them, on a simulated machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from schedcpd.deploy.livemaps import encode_cgroup, encode_class
from schedcpd.errors import MapRefused, NoClasses, NoSuchPolicy, NoSuchWorkload, NotApplied
from schedcpd.model import (
    DeploymentState,
    ExitRecord,
    LayerClass,
    LayerKind,
    Mode,
    Origin,
    Workload,
    WorkloadState,
)
from unit.fakes import (
    GOOD,
    HARM,
    cancel_all,
    make_policy,
    make_policy_with_maps,
    make_workload,
)
from unit.test_supervisor import HOTPLUG, Machine

WEB, BUILD = "/system.slice/web.service", "/system.slice/build.service"
IDS = {WEB: 11, BUILD: 22}
LATENCY, BATCH = LayerClass(LayerKind.LATENCY), LayerClass(LayerKind.BATCH, slice_us=5000)


class LayeredMachine(Machine):
    """A machine with two quiet workloads and a policy with classes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.busy.clear()
        self.ids = IDS
        self.stages = replace(self.stages, identify=self.identify)
        self.supervisor = self.start()
        self.supervisor.set_policies([make_policy_with_maps(), make_policy()])

    def identify(self, path: str) -> Workload | None:
        return make_workload(path, self.ids[path])

    def entries(self) -> dict[bytes, bytes]:
        return self.kernel.holders[-1].maps["layers"]

    def layer(self, path: str) -> LayerClass | None:
        return self.supervisor.workloads[path].layer

    async def give_both(self) -> None:
        await self.supervisor.classify(WEB, "scx_layers", LATENCY)
        await self.supervisor.classify(BUILD, "scx_layers", BATCH)
        await self.settle()


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[LayeredMachine]:
    machine = LayeredMachine(tmp_path)
    for path in IDS:
        machine.supervisor.populated(path, True)
    await machine.settle()
    yield machine
    await machine.supervisor.stop()
    assert machine.kernel.policy == ""
    assert not machine.supervisor.yielding
    await cancel_all()


async def test_classes_are_shown_and_told(machine: LayeredMachine) -> None:
    await machine.give_both()
    assert machine.entries() == {
        encode_cgroup(11): encode_class(LATENCY),
        encode_cgroup(22): encode_class(BATCH),
    }
    assert [machine.layer(path) for path in IDS] == [LATENCY, BATCH]
    assert {machine.workload_state(path) for path in IDS} == {WorkloadState.MANAGED}
    assert machine.supervisor.yielding == (BUILD,)
    told = machine.told("class")
    assert told[1].startswith("scx_layers: class batch, slice 5000 us: chosen by a person; set in")
    assert machine.supervisor.why(WEB)[-1] == (
        "scx_layers is attached: class latency: chosen by a person"
    )
    history = machine.supervisor.history("", 10)
    assert [one.workload_id for one in history] == [BUILD, WEB, ""]
    plan = machine.supervisor.workloads[WEB].plan
    assert plan is not None
    assert (plan.policy, plan.layer) == ("scx_layers", LATENCY)


async def test_a_policy_with_classes_is_applied_as_fair(machine: LayeredMachine) -> None:
    made = await machine.supervisor.apply(WEB, "scx_layers")
    assert made.layer == LayerClass(LayerKind.FAIR)
    assert made.workload_id == WEB


async def test_a_workload_that_ends_loses_its_entry(machine: LayeredMachine) -> None:
    await machine.give_both()
    machine.supervisor.populated(WEB, False)
    await machine.settle()
    assert machine.entries() == {encode_cgroup(22): encode_class(BATCH)}
    assert machine.kernel.policy == "scx_layers"
    machine.supervisor.populated(BUILD, False)
    await machine.settle()
    assert machine.kernel.policy == ""
    assert "no longer latency: the workload ended" in machine.told("class")[2]
    assert machine.supervisor.why(WEB)[:2] == (
        "it has ended",
        "scx_layers was taken off: the workload ended",
    )


async def test_a_workload_that_ends_while_the_policy_comes_in(machine: LayeredMachine) -> None:
    machine.kernel.gate.clear()
    giving = asyncio.create_task(machine.supervisor.classify(WEB, "scx_layers", LATENCY))
    await machine.settle()
    machine.supervisor.populated(WEB, False)
    machine.kernel.gate.set()
    await giving
    await machine.settle()
    assert machine.kernel.policy == ""
    assert not machine.entries()


async def test_a_workload_that_came_back_has_no_class(machine: LayeredMachine) -> None:
    await machine.give_both()
    machine.supervisor.populated(WEB, False)
    machine.ids = {**IDS, WEB: 33}
    machine.supervisor.populated(WEB, True)
    await machine.settle()
    assert machine.entries() == {encode_cgroup(22): encode_class(BATCH)}
    assert machine.layer(WEB) is None
    assert machine.workload_state(WEB) is not WorkloadState.MANAGED


async def test_taking_one_class_leaves_the_other(machine: LayeredMachine) -> None:
    await machine.give_both()
    await machine.supervisor.detach(WEB)
    assert machine.workload_state(WEB) is WorkloadState.HELD
    assert (machine.layer(WEB), machine.layer(BUILD)) == (None, BATCH)
    with pytest.raises(NotApplied, match=r"web\.service"):
        await machine.supervisor.detach(WEB)
    await machine.supervisor.detach(BUILD)
    assert machine.kernel.policy == ""
    with pytest.raises(NoSuchWorkload):
        await machine.supervisor.detach("/none.service")


async def test_detaching_a_policy_of_one_workload(machine: LayeredMachine) -> None:
    await machine.supervisor.apply(WEB, "scx_batch")
    with pytest.raises(NotApplied):
        await machine.supervisor.detach(BUILD)
    assert machine.kernel.policy == "scx_batch"
    await machine.supervisor.detach(WEB)
    assert machine.kernel.policy == ""
    assert machine.workload_state(WEB) is WorkloadState.HELD


async def test_reverting_holds_everybody_who_had_a_class(machine: LayeredMachine) -> None:
    await machine.give_both()
    await machine.supervisor.revert()
    assert {machine.workload_state(path) for path in IDS} == {WorkloadState.HELD}
    assert {machine.layer(path) for path in IDS} == {None}


async def test_refusals(machine: LayeredMachine) -> None:
    with pytest.raises(NoSuchWorkload):
        await machine.supervisor.classify("/none.service", "scx_layers", LATENCY)
    with pytest.raises(NoSuchPolicy):
        await machine.supervisor.classify(WEB, "scx_none", LATENCY)
    with pytest.raises(NoClasses):
        await machine.supervisor.classify(WEB, "scx_batch", LATENCY)
    await machine.supervisor.classify(WEB, "scx_layers", LATENCY)
    machine.kernel.holders[0].map_refusal = MapRefused("scx_layers", "layers", "it is full")
    with pytest.raises(MapRefused):
        await machine.supervisor.classify(BUILD, "scx_layers", BATCH)
    assert "it is full" in machine.told("refuse")[-1]
    assert machine.layer(BUILD) is None
    assert machine.workload_state(BUILD) is WorkloadState.LEFT_ALONE


async def test_a_cpu_that_comes_or_goes_costs_nobody_a_class(machine: LayeredMachine) -> None:
    await machine.give_both()
    machine.kernel.holders[0].end(HOTPLUG)
    await machine.settle()
    assert len(machine.kernel.holders) == 2
    assert machine.entries() == {
        encode_cgroup(11): encode_class(LATENCY),
        encode_cgroup(22): encode_class(BATCH),
    }
    assert [machine.layer(path) for path in IDS] == [LATENCY, BATCH]
    assert {machine.workload_state(path) for path in IDS} == {WorkloadState.MANAGED}


async def test_automatic_classes_are_decided_anew_after_that(machine: LayeredMachine) -> None:
    record = machine.supervisor.workloads[WEB]
    policy = machine.supervisor.policies["scx_layers"]
    deployer = machine.supervisor._deployer
    await deployer.classify(record.workload, policy, LATENCY, Origin.AUTOMATIC, reason="why")
    machine.kernel.holders[0].end(HOTPLUG)
    await machine.settle()
    assert machine.kernel.policy == ""
    assert machine.workload_state(WEB) is WorkloadState.LEFT_ALONE


@pytest.mark.parametrize("verb", ["revert", "pause"])
async def test_a_person_wins_over_giving_classes_again(machine: LayeredMachine, verb: str) -> None:
    await machine.give_both()
    machine.kernel.holders[0].end(HOTPLUG)
    while machine.supervisor.active is not None:
        await asyncio.sleep(0)
    await getattr(machine.supervisor, verb)()
    await machine.settle()
    assert machine.kernel.policy == ""
    assert {machine.workload_state(path) for path in IDS} == {WorkloadState.HELD}


@pytest.mark.parametrize(
    ("record", "mode"),
    [
        (ExitRecord(1026, 0, "runnable task stall", "xz[4] failed to run"), Mode.AUTO),
        (ExitRecord(67, 0, "disabled by sysrq-S", ""), Mode.PAUSED),
        (None, Mode.AUTO),
    ],
)
async def test_everybody_is_held_when_the_policy_is_lost(
    machine: LayeredMachine, record: ExitRecord | None, mode: Mode
) -> None:
    await machine.give_both()
    machine.kernel.holders[0].end(record)
    await machine.settle()
    assert machine.supervisor.mode is mode
    assert {machine.workload_state(path) for path in IDS} == {WorkloadState.HELD}
    assert {machine.layer(path) for path in IDS} == {None}
    assert len(machine.kernel.holders) == 1


async def test_a_trip_is_told_of_everybody(machine: LayeredMachine) -> None:
    await machine.give_both()
    machine.kernel.meter.candidate = HARM
    await machine.kernel.pass_windows(2)
    machine.kernel.meter.candidate = GOOD
    await machine.settle()
    assert machine.kernel.policy == ""
    assert len(machine.told("trip")) == 1
    assert {machine.workload_state(path) for path in IDS} == {WorkloadState.HELD}
    (entry,) = machine.supervisor.quarantines
    assert entry.workload_id == ""
    states = [one.state for one in machine.supervisor.history(WEB, 1)]
    assert states == [DeploymentState.TRIPPED]
    assert any("in quarantine for every workload" in line for line in machine.supervisor.why(WEB))


async def test_counters_are_read_while_it_is_attached(machine: LayeredMachine) -> None:
    await machine.give_both()
    await machine.tick(2)
    active = machine.supervisor.active
    assert active is not None
    assert active.counters == {"nr_enqueued": 3}
