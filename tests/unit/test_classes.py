# SPDX-License-Identifier: GPL-2.0-or-later
"""Classes of workloads in a policy for the whole machine, and hints, with a simulated kernel."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedcpd.deploy.classes import MACHINE
from schedcpd.deploy.deployer import Deployer
from schedcpd.deploy.deployments import KEPT_DEPLOYMENTS
from schedcpd.deploy.livemaps import ENTRIES_AT_ONCE, encode_cgroup, encode_class
from schedcpd.deploy.states import MachineState
from schedcpd.errors import (
    Busy,
    KernelRejected,
    LedgerDamaged,
    LoaderLost,
    MapRefused,
    NoClasses,
    Quarantined,
)
from schedcpd.model import (
    Deployment,
    DeploymentState,
    ExitRecord,
    LayerClass,
    LayerKind,
    Origin,
    Workload,
)
from unit.fakes import (
    GOOD,
    HARM,
    FakeKernel,
    cancel_all,
    make_policy,
    make_policy_with_maps,
    make_workload,
    settle,
)

STALL = ExitRecord(1026, 0, "runnable task stall", "xz[4] failed to run for 3.0s")
LATENCY, BATCH = LayerClass(LayerKind.LATENCY, 300), LayerClass(LayerKind.BATCH)
WEB, BUILD = make_workload("/web.service", 11), make_workload("/build.service", 22)
LAYERS = make_policy_with_maps()


@pytest.fixture(autouse=True)
async def end_of_the_world() -> AsyncIterator[None]:
    """A test may end with a policy attached."""
    yield
    await cancel_all()


@pytest.fixture
def kernel() -> FakeKernel:
    return FakeKernel()


@pytest.fixture
async def deployer(kernel: FakeKernel) -> Deployer:
    return kernel.deployer()


async def classify(
    deployer: Deployer,
    workload: Workload = WEB,
    layer: LayerClass = LATENCY,
    origin: Origin = Origin.MANUAL,
) -> Deployment:
    return await deployer.classify(workload, LAYERS, layer, origin, reason="why")


def entries(kernel: FakeKernel) -> dict[bytes, bytes]:
    return kernel.holders[-1].maps.get("layers", {})


def state_of(deployer: Deployer) -> str:
    return str(deployer.active.state) if deployer.active is not None else ""


def of(**layers: LayerClass) -> dict[bytes, bytes]:
    ids = {"web": WEB.cgroup_id, "build": BUILD.cgroup_id}
    return {encode_cgroup(ids[name]): encode_class(layer) for name, layer in layers.items()}


async def test_the_first_attaches_and_the_others_change_a_map(
    kernel: FakeKernel, deployer: Deployer
) -> None:
    first = await classify(deployer)
    machine = deployer.active
    assert machine is not None
    assert (machine.workload_id, machine.layer, machine.state) == ("", None, "attached")
    assert (first.workload_id, first.layer, first.state) == (WEB.id, LATENCY, "attached")
    assert "class latency, weight 300: why" in first.reason
    steps = len(kernel.ledger.steps)
    second = await classify(deployer, BUILD, BATCH)
    assert deployer.active == machine
    assert (len(kernel.holders), len(kernel.ledger.steps)) == (1, steps), "no change of its state"
    assert entries(kernel) == of(web=LATENCY, build=BATCH)
    assert kernel.ledger.saved[second.id] == second
    assert deployer.classes.yielding() == (BUILD.id,)


@pytest.mark.parametrize(
    ("layer", "yields"),
    [
        (LayerClass(LayerKind.FAIR), False),
        (LayerClass(LayerKind.FAIR, 99), True),
        (LayerClass(LayerKind.LATENCY, 100), False),
        (LayerClass(LayerKind.BATCH, 10_000), True),
        (LayerClass(LayerKind.LONGEST), True),
        (LayerClass(LayerKind.BACKGROUND), True),
    ],
)
async def test_who_is_to_wait_for_others(
    deployer: Deployer, layer: LayerClass, yields: bool
) -> None:
    await classify(deployer, layer=layer)
    assert deployer.classes.yielding() == ((WEB.id,) if yields else ())


async def test_another_class_takes_the_place_of_the_first(
    kernel: FakeKernel, deployer: Deployer
) -> None:
    first = await classify(deployer)
    assert await classify(deployer) == first, "asked again, nothing changes"
    assert kernel.holders[0].updates == 1
    second = await classify(deployer, layer=BATCH)
    assert entries(kernel) == of(web=BATCH)
    ended = deployer.deployments.newest[first.id]
    assert (ended.state, ended.reason) == ("reverted", "another class takes its place")
    assert ended.ended_at
    assert not second.ended_at


async def test_the_time_that_it_took_is_kept(
    kernel: FakeKernel, deployer: Deployer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await classify(deployer)
    update = kernel.holders[0].update_map

    async def slowly(*arguments: object) -> None:
        kernel.now += 0.00125
        await update(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(kernel.holders[0], "update_map", slowly)
    made = await classify(deployer, BUILD)
    assert made.attach_ms == 1.25
    await deployer.declassify(BUILD, "why")
    assert deployer.deployments.newest[made.id].revert_ms == 1.25


async def test_the_policy_leaves_with_the_last_class(
    kernel: FakeKernel, deployer: Deployer
) -> None:
    await classify(deployer)
    await classify(deployer, BUILD, BATCH)
    assert await deployer.declassify(WEB, "it ended")
    assert entries(kernel) == of(build=BATCH)
    assert kernel.policy == "scx_layers"
    assert not await deployer.declassify(WEB, "it ended")
    assert not await deployer.declassify(replace(BUILD, cgroup_id=23), "one of its name ended")
    assert kernel.policy == "scx_layers"
    assert await deployer.declassify(BUILD, "it ended")
    assert kernel.policy == ""
    assert deployer.state is MachineState.DEFAULT
    states = [one.state for one in deployer.deployments.newest.values()]
    assert states == [DeploymentState.REVERTED] * 3
    assert not await deployer.declassify(BUILD, "it ended")


async def test_a_cgroup_made_anew_under_a_name_is_another(
    kernel: FakeKernel, deployer: Deployer
) -> None:
    await classify(deployer)
    again = replace(WEB, cgroup_id=BUILD.cgroup_id)
    await classify(deployer, again)
    assert entries(kernel) == of(build=LATENCY)
    assert not await deployer.declassify(WEB, "the old one ended")
    assert await deployer.declassify(again, "the new one ended")


async def test_a_policy_without_classes(kernel: FakeKernel, deployer: Deployer) -> None:
    with pytest.raises(NoClasses, match="scx_batch has no classes"):
        await deployer.classify(WEB, make_policy(), BATCH, Origin.MANUAL)
    assert not kernel.holders


async def test_no_policy_stays_for_a_class_that_was_not_taken(
    kernel: FakeKernel, deployer: Deployer, monkeypatch: pytest.MonkeyPatch
) -> None:
    attach = kernel.attach

    async def attach_full(*arguments: object) -> object:
        holder = await attach(*arguments)  # type: ignore[arg-type]
        holder.map_refusal = MapRefused("scx_layers", "layers", "it is full")
        return holder

    monkeypatch.setattr(kernel, "attach", attach_full)
    with pytest.raises(MapRefused):
        await classify(kernel.deployer())
    assert (kernel.policy, len(kernel.holders)) == ("", 1)


async def test_a_class_that_is_not_taken_changes_nothing(
    kernel: FakeKernel, deployer: Deployer
) -> None:
    first = await classify(deployer)
    kernel.holders[0].map_refusal = MapRefused("scx_layers", "layers", "it is full")
    with pytest.raises(MapRefused):
        await classify(deployer, BUILD)
    with pytest.raises(MapRefused):
        await classify(deployer, layer=BATCH)
    assert deployer.deployments.newest[first.id] == first
    assert entries(kernel) == of(web=LATENCY)
    assert kernel.policy == "scx_layers"


async def test_what_cannot_be_written_down_is_undone(
    kernel: FakeKernel, deployer: Deployer
) -> None:
    await classify(deployer)
    kernel.ledger.full = True
    with pytest.raises(LedgerDamaged):
        await classify(deployer, BUILD)
    with pytest.raises(LedgerDamaged):
        await classify(deployer, layer=BATCH)
    assert entries(kernel) == of(web=LATENCY)
    kernel.ledger.full = False
    await classify(deployer, BUILD, BATCH)
    assert entries(kernel) == of(web=LATENCY, build=BATCH)


async def test_refusals_of_attaching_are_those_of_any_policy(
    kernel: FakeKernel, deployer: Deployer
) -> None:
    kernel.refusal = KernelRejected("scx_layers", "load", "invalid access", "log")
    with pytest.raises(KernelRejected):
        await classify(deployer)
    assert not deployer.classes.classified
    kernel.refusal = None
    kernel.gate.clear()
    attaching = asyncio.create_task(classify(deployer))
    await settle()
    with pytest.raises(Busy):
        await classify(deployer, BUILD)
    kernel.gate.set()
    await attaching


async def test_classes_at_the_same_time_wait_for_each_other(
    kernel: FakeKernel, deployer: Deployer
) -> None:
    await classify(deployer)
    await asyncio.gather(classify(deployer, BUILD, BATCH), classify(deployer, layer=BATCH))
    assert entries(kernel) == of(web=BATCH, build=BATCH)


async def test_a_class_that_waits_for_a_revert_is_refused(
    kernel: FakeKernel, deployer: Deployer
) -> None:
    await classify(deployer)
    reverting = asyncio.create_task(deployer.revert("a person said so"))
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await classify(deployer, BUILD)
    await reverting
    assert kernel.policy == ""
    assert not deployer.classes.classified


@pytest.mark.parametrize("record", [STALL, None])
async def test_classes_end_with_the_policy(
    kernel: FakeKernel, deployer: Deployer, record: ExitRecord | None
) -> None:
    made = [await classify(deployer), await classify(deployer, BUILD, BATCH)]
    kernel.holders[0].end(record)
    await settle()
    assert not deployer.classes.classified
    assert deployer.classes.yielding() == ()
    for one in made:
        ended = deployer.deployments.newest[one.id]
        assert (ended.state, ended.exit) == (DeploymentState.EJECTED, record)
        assert ended.error
    if record is not None:
        with pytest.raises(Quarantined):
            await classify(deployer)


async def test_a_trip_is_for_the_whole_machine(kernel: FakeKernel, deployer: Deployer) -> None:
    made = await classify(deployer)
    kernel.meter.candidate = HARM
    await kernel.pass_windows(2)
    kernel.meter.candidate = GOOD
    assert kernel.policy == ""
    ended = deployer.deployments.newest[made.id]
    assert (ended.state, bool(ended.reason)) == (DeploymentState.TRIPPED, True)
    assert [one.workload_id for one in kernel.ledger.entries] == [MACHINE.id]
    with pytest.raises(Quarantined):
        await classify(deployer, BUILD)


async def test_a_dead_loader_takes_no_class_away_twice(
    kernel: FakeKernel, deployer: Deployer
) -> None:
    await classify(deployer)
    kernel.holders[0].map_refusal = LoaderLost("scx_layers", "it died")
    assert await deployer.declassify(WEB, "it ended")
    assert kernel.policy == ""


async def test_another_policy_takes_the_place_of_all_classes(
    kernel: FakeKernel, deployer: Deployer
) -> None:
    made = await classify(deployer)
    await deployer.deploy(BUILD, make_policy(), Origin.MANUAL)
    assert deployer.deployments.newest[made.id].state is DeploymentState.REVERTED
    assert not deployer.classes.classified
    await classify(deployer)
    assert kernel.policy == "scx_layers"


async def test_a_person_does_not_wait_for_a_canary_and_nobody_loses_a_class(
    kernel: FakeKernel, deployer: Deployer
) -> None:
    await classify(deployer, BUILD, BATCH, Origin.AUTOMATIC)
    assert state_of(deployer) == "canary"
    await kernel.pass_windows(1)
    await classify(deployer, WEB, LATENCY, Origin.AUTOMATIC)
    assert len(kernel.holders) == 1, "automation waits, and its classes are kept over the turns"
    assert entries(kernel) == of(web=LATENCY, build=BATCH)
    await classify(deployer, WEB, BATCH, Origin.MANUAL)
    assert state_of(deployer) == "attached"
    assert len(kernel.holders) == 2
    assert set(deployer.classes.classified) == {WEB.id, BUILD.id}
    assert entries(kernel)[encode_cgroup(WEB.cgroup_id)] == encode_class(BATCH)


async def test_a_class_is_given_though_the_asker_leaves(
    kernel: FakeKernel, deployer: Deployer
) -> None:
    await classify(deployer)
    asking = asyncio.create_task(classify(deployer, BUILD, BATCH))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert entries(kernel) == of(web=LATENCY, build=BATCH)
    assert set(deployer.classes.classified) == {WEB.id, BUILD.id}


async def test_what_lasts_is_not_forgotten(deployer: Deployer) -> None:
    first = await classify(deployer)
    for number in range(1, KEPT_DEPLOYMENTS + 10):
        await classify(deployer, BUILD, replace(BATCH, weight=number))
    assert deployer.active is not None
    assert deployer.deployments.newest[first.id].state is DeploymentState.ATTACHED
    assert len(deployer.deployments.newest) == KEPT_DEPLOYMENTS
    assert await deployer.declassify(WEB, "it ended")


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["classify", "declassify", "fail", "unwritable", "revert", "eject"]),
        st.integers(1, 4),
        st.sampled_from(LayerKind),
    ),
    max_size=25,
)


@given(STEPS)
@settings(deadline=None, max_examples=60)
async def test_the_map_has_what_the_record_says(steps: list[tuple[str, int, LayerKind]]) -> None:
    kernel = FakeKernel()
    deployer = kernel.deployer()
    wanted: dict[int, LayerClass] = {}
    for what, number, kind in steps:
        workload = make_workload(f"/{number}.service", number)
        layer = LayerClass(kind)
        match what:
            case "classify":
                await classify(deployer, workload, layer)
                wanted[number] = layer
            case "declassify":
                assert await deployer.declassify(workload, "why") == (number in wanted)
                wanted.pop(number, None)
            case "fail" if wanted:
                kernel.holders[-1].map_refusal = MapRefused("scx_layers", "layers", "why")
                if wanted.get(number) != layer:
                    with pytest.raises(MapRefused):
                        await classify(deployer, workload, layer)
                kernel.holders[-1].map_refusal = None
            case "unwritable" if wanted and wanted.get(number) != layer:
                kernel.ledger.full = True
                with pytest.raises(LedgerDamaged):
                    await classify(deployer, workload, layer)
                kernel.ledger.full = False
            case "revert":
                await deployer.revert("why")
                wanted.clear()
            case "eject" if wanted:
                kernel.holders[-1].end(None)
                await settle()
                wanted.clear()
        classified = {
            int(key[1:-8]): one.claim.layer for key, one in deployer.classes.classified.items()
        }
        assert classified == wanted
        assert bool(kernel.policy) == bool(wanted)
        if wanted:
            assert entries(kernel) == {
                encode_cgroup(key): encode_class(one) for key, one in wanted.items()
            }
        last = {one.id: one for one in deployer.deployments.newest.values() if not one.ended_at}
        assert sorted(one.workload_id for one in last.values() if one.layer) == sorted(
            f"/{key}.service" for key in wanted
        )
    await cancel_all()


# Hints


def hint(tgid: int) -> bytes:
    return struct.pack("=I", tgid)


async def test_hints_reach_the_policy_that_takes_them(
    kernel: FakeKernel, deployer: Deployer
) -> None:
    policy = make_policy_with_maps("scx_longest")
    await deployer.deploy(WEB, policy, Origin.MANUAL)
    await deployer.update_hints({7: 5_000_000_000, 8: 1})
    await deployer.update_hints({9: 2}, [8, 1234])
    hints = kernel.holders[0].maps["hints"]
    assert hints == {hint(7): struct.pack("=Q", 5_000_000_000), hint(9): struct.pack("=Q", 2)}
    await deployer.update_hints(dict.fromkeys(range(10_000), 1), range(20_000, 20_010))
    assert len(hints) == 10_000
    assert kernel.holders[0].updates == 2 + -(-10_010 // ENTRIES_AT_ONCE)


async def test_hints_for_nobody_cost_nothing(kernel: FakeKernel, deployer: Deployer) -> None:
    await deployer.update_hints({7: 5})
    await deployer.deploy(WEB, make_policy(), Origin.MANUAL)
    await deployer.update_hints({7: 5}, [8])
    assert kernel.holders[0].updates == 0
    assert not kernel.holders[0].maps


@pytest.mark.parametrize(
    "error", [MapRefused("p", "hints", "it is full"), LoaderLost("p", "it died")]
)
async def test_hints_that_are_not_taken_are_only_advice(
    kernel: FakeKernel, deployer: Deployer, error: MapRefused | LoaderLost
) -> None:
    await classify(deployer)
    kernel.holders[0].map_refusal = error
    await deployer.update_hints({7: 5})
    assert deployer.active is not None
