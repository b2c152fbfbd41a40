# SPDX-License-Identifier: GPL-2.0-or-later
"""The deployer against a simulated kernel; ``tests/vm`` has the real one."""

from __future__ import annotations

import asyncio

import pytest

from schedcpd.deploy.deployer import KEPT_DEPLOYMENTS
from schedcpd.errors import (
    Busy,
    ForeignScheduler,
    KernelRejected,
    LimitsSet,
    NoSchedExt,
    SchedcpError,
)
from schedcpd.model import Deployment, DeploymentState, ExitRecord, Origin
from unit.fakes import FakeKernel, make_card, make_workload

BATCH = make_card()
FAIR = make_card("scx_fair", targeted=False)


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_target_tunables_come_from_the_workload() -> None:
    kernel = FakeKernel()
    await kernel.deployer().deploy(make_workload("/a.slice/b.service", 42), BATCH, Origin.MANUAL)
    assert kernel.holders[0].parameters == {"batch_cgid": 42, "batch_level": 2}


async def test_states_are_told_in_order() -> None:
    kernel = FakeKernel()
    deployer = kernel.deployer()
    told: list[str] = []
    deployer.added.connect(lambda one: told.append(one.state))
    deployer.changed.connect(lambda one: told.append(one.state))
    await deployer.deploy(make_workload(), BATCH, Origin.AUTOMATIC)
    await deployer.revert()
    assert told == ["attaching", "attached", "reverted"]
    assert kernel.holders[0].detached
    assert deployer.active is None


async def test_same_request_again_changes_nothing() -> None:
    kernel = FakeKernel()
    deployer = kernel.deployer()
    first = await deployer.deploy(make_workload(), BATCH, Origin.AUTOMATIC)
    again = await deployer.deploy(make_workload(), BATCH, Origin.MANUAL)
    assert again.id == first.id
    assert len(kernel.holders) == 1


async def test_second_request_while_one_is_under_way_is_refused() -> None:
    kernel = FakeKernel()
    kernel.gate.clear()
    deployer = kernel.deployer()
    first = asyncio.create_task(deployer.deploy(make_workload(), BATCH, Origin.MANUAL))
    await settle()
    with pytest.raises(Busy):
        await deployer.deploy(make_workload(), FAIR, Origin.MANUAL)
    kernel.gate.set()
    assert (await first).state is DeploymentState.ATTACHED
    assert [holder.policy for holder in kernel.holders] == ["scx_batch"]


async def test_another_policy_takes_the_place_of_the_first() -> None:
    kernel = FakeKernel()
    deployer = kernel.deployer()
    first = await deployer.deploy(make_workload(), BATCH, Origin.AUTOMATIC)
    second = await deployer.deploy(make_workload(), FAIR, Origin.MANUAL)
    assert kernel.holders[0].detached
    assert deployer.deployments[first.id].state is DeploymentState.REVERTED
    assert deployer.active == second


@pytest.mark.parametrize(
    ("attribute", "value", "error"),
    [
        ("unusable", "no sched_ext", NoSchedExt),
        ("limits", ("a.slice has cpu.max",), LimitsSet),
    ],
)
async def test_refusal_before_any_change_keeps_what_was_attached(
    attribute: str, value: object, error: type[SchedcpError]
) -> None:
    kernel = FakeKernel()
    deployer = kernel.deployer()
    await deployer.deploy(make_workload(), BATCH, Origin.AUTOMATIC)
    setattr(kernel, attribute, value)
    with pytest.raises(error):
        await deployer.deploy(make_workload(), FAIR, Origin.MANUAL)
    assert kernel.policy == "scx_batch"
    assert not kernel.holders[0].detached


async def test_foreign_scheduler_is_not_touched() -> None:
    kernel = FakeKernel()
    kernel.policy = "rusty"
    with pytest.raises(ForeignScheduler, match="rusty"):
        await kernel.deployer().deploy(make_workload(), BATCH, Origin.MANUAL)
    assert kernel.policy == "rusty"


async def test_rejected_policy_leaves_the_default_and_a_record() -> None:
    kernel = FakeKernel()
    kernel.refusal = KernelRejected("scx_batch", "load", "invalid access", "log")
    deployer = kernel.deployer()
    with pytest.raises(KernelRejected):
        await deployer.deploy(make_workload(), BATCH, Origin.MANUAL)
    (failed,) = deployer.deployments.values()
    assert failed.state is DeploymentState.FAILED
    assert "invalid access" in failed.error
    assert deployer.active is None
    assert kernel.policy == ""


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (ExitRecord(1026, 0, "runnable task stall", "xz[4] failed to run for 3.0s"), "xz[4]"),
        (None, "its process died"),
    ],
)
async def test_end_from_outside_is_told_with_its_reason(
    record: ExitRecord | None, words: str
) -> None:
    kernel = FakeKernel()
    deployer = kernel.deployer()
    told: list[Deployment] = []
    await deployer.deploy(make_workload(), BATCH, Origin.AUTOMATIC)
    deployer.changed.connect(told.append)
    kernel.holders[0].end(record)
    await settle()
    assert [one.state for one in told] == [DeploymentState.EJECTED]
    assert words in told[0].error
    assert told[0].exit == record
    assert deployer.active is None


async def test_counters_are_refreshed() -> None:
    kernel = FakeKernel()
    deployer = kernel.deployer()
    await deployer.refresh()
    deployment = await deployer.deploy(make_workload(), BATCH, Origin.AUTOMATIC)
    await deployer.refresh()
    assert deployer.deployments[deployment.id].counters == {"nr_enqueued": 3}


async def test_old_deployments_are_forgotten() -> None:
    kernel = FakeKernel()
    deployer = kernel.deployer()
    gone: list[int] = []
    deployer.removed.connect(gone.append)
    for _ in range(KEPT_DEPLOYMENTS + 2):
        await deployer.deploy(make_workload(), BATCH, Origin.MANUAL)
        await deployer.revert()
    assert gone == [1, 2]
    assert len(deployer.deployments) == KEPT_DEPLOYMENTS
