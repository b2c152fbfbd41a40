# SPDX-License-Identifier: GPL-2.0-or-later
"""The deployer against a simulated kernel; ``tests/vm`` has the real one."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import pytest

from schedcpd.deploy.deployments import KEPT_DEPLOYMENTS
from schedcpd.deploy.record import Record
from schedcpd.deploy.states import MachineState
from schedcpd.errors import (
    Busy,
    Ejected,
    ForeignScheduler,
    KernelRejected,
    LedgerDamaged,
    LimitsSet,
    NoSchedExt,
    Quarantined,
    SchedcpError,
    TokenRefused,
)
from schedcpd.model import Deployment, DeploymentState, ExitRecord, Origin, Quarantine
from unit.fakes import FakeKernel, cancel_all, make_policy, make_workload, settle

BATCH = make_policy()
FAIR = make_policy("scx_fair")
STALL = ExitRecord(1026, 0, "runnable task stall", "xz[4] failed to run for 3.0s")


@pytest.fixture(autouse=True)
async def end_of_the_world() -> AsyncIterator[None]:
    """A test may end with a policy attached."""
    yield
    await cancel_all()


async def test_target_tunables_come_from_the_workload() -> None:
    kernel = FakeKernel()
    await kernel.deployer().deploy(make_workload("/a.slice/b.service", 42), BATCH, Origin.MANUAL)
    assert kernel.holders[0].parameters == {"batch_cgid": 42, "batch_level": 2}
    assert kernel.holders[0].object_sha256 == BATCH.object_sha256


async def test_states_are_told_in_order() -> None:
    kernel = FakeKernel()
    deployer = kernel.deployer()
    told: list[str] = []
    deployer.deployments.added.connect(lambda one: told.append(one.state))
    deployer.deployments.changed.connect(lambda one: told.append(one.state))
    await deployer.deploy(make_workload(), BATCH, Origin.MANUAL)
    await deployer.revert("a person said so")
    assert told == ["attaching", "attached", "reverted"]
    assert kernel.holders[0].detached
    assert deployer.active is None


async def test_same_request_again_changes_nothing() -> None:
    kernel = FakeKernel()
    deployer = kernel.deployer()
    first = await deployer.deploy(make_workload(), BATCH, Origin.MANUAL)
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
    first = await deployer.deploy(make_workload(), BATCH, Origin.MANUAL)
    second = await deployer.deploy(make_workload(), FAIR, Origin.MANUAL)
    assert kernel.holders[0].detached
    assert deployer.deployments.newest[first.id].state is DeploymentState.REVERTED
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
    await deployer.deploy(make_workload(), BATCH, Origin.MANUAL)
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


@pytest.mark.parametrize("state", ["enabling", "disabling"])
async def test_kernel_in_the_middle_of_a_change(state: str) -> None:
    kernel = FakeKernel()
    kernel.changing = state
    deployer = kernel.deployer()
    with pytest.raises(Busy, match="at this moment"):
        await deployer.deploy(make_workload(), BATCH, Origin.MANUAL)
    kernel.changing = ""
    await deployer.deploy(make_workload(), BATCH, Origin.MANUAL)
    kernel.changing = state
    instead = await deployer.deploy(make_workload(), FAIR, Origin.MANUAL)
    assert instead.state is DeploymentState.ATTACHED, "a turn of its own canary is no obstacle"


async def test_scheduler_that_came_in_a_turn_of_the_kernel_default() -> None:
    kernel = FakeKernel()
    deployer = kernel.deployer()
    await deployer.deploy(make_workload(), BATCH, Origin.MANUAL)
    kernel.policy = "rusty"
    with pytest.raises(ForeignScheduler, match="rusty"):
        await deployer.deploy(make_workload(), FAIR, Origin.MANUAL)
    await deployer.stop()


async def test_rejected_policy_leaves_the_default_and_a_record() -> None:
    kernel = FakeKernel()
    kernel.refusal = KernelRejected("scx_batch", "load", "invalid access", "log")
    deployer = kernel.deployer()
    with pytest.raises(KernelRejected):
        await deployer.deploy(make_workload(), BATCH, Origin.MANUAL)
    (failed,) = deployer.deployments.newest.values()
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
    await deployer.deploy(make_workload(), BATCH, Origin.MANUAL)
    deployer.deployments.changed.connect(told.append)
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
    deployment = await deployer.deploy(make_workload(), BATCH, Origin.MANUAL)
    await deployer.refresh()
    assert deployer.deployments.newest[deployment.id].counters == {"nr_enqueued": 3}


async def test_old_deployments_are_forgotten() -> None:
    kernel = FakeKernel()
    deployer = kernel.deployer()
    gone: list[int] = []
    deployer.deployments.removed.connect(gone.append)
    for _ in range(KEPT_DEPLOYMENTS + 2):
        await deployer.deploy(make_workload(), BATCH, Origin.MANUAL)
        await deployer.revert("a person said so")
    assert gone == [1, 2]
    assert len(deployer.deployments.newest) == KEPT_DEPLOYMENTS


async def test_every_step_is_written_down_before_it_is_made() -> None:
    kernel = FakeKernel()
    deployer = kernel.deployer()
    seen: list[tuple[str, str]] = []
    kernel.gate.clear()
    attaching = asyncio.create_task(deployer.deploy(make_workload(), BATCH, Origin.MANUAL))
    await settle()
    assert kernel.ledger.steps[-1].after == "attaching", "before anything is in the kernel"
    assert kernel.policy == ""
    kernel.gate.set()
    await attaching
    assert kernel.ledger.steps[-1].after == "attached"
    kernel.detaching = lambda: seen.append((kernel.ledger.steps[-1].after, kernel.policy))
    await deployer.revert("a person said so")
    assert seen == [("detaching", "scx_batch")]
    assert [step.after for step in kernel.ledger.steps[-2:]] == ["detaching", "default"]
    assert kernel.ledger.steps[-1].reason == "a person said so"
    (ended,) = kernel.ledger.saved.values()
    assert (ended.state, ended.reason) == (DeploymentState.REVERTED, "a person said so")


async def test_what_cannot_be_written_down_is_not_attached() -> None:
    kernel = FakeKernel()
    kernel.ledger.full = True
    deployer = kernel.deployer()
    with pytest.raises(LedgerDamaged, match="disk is full"):
        await deployer.deploy(make_workload(), BATCH, Origin.MANUAL)
    assert not kernel.holders
    assert deployer.state is MachineState.DEFAULT
    kernel.ledger.full = False
    await deployer.deploy(make_workload(), BATCH, Origin.MANUAL)
    assert kernel.policy == "scx_batch"


async def test_ledger_that_fails_while_a_policy_settles() -> None:
    kernel = FakeKernel()
    kernel.gate.clear()
    deployer = kernel.deployer()
    attaching = asyncio.create_task(deployer.deploy(make_workload(), BATCH, Origin.MANUAL))
    await settle()
    kernel.ledger.full = True
    kernel.gate.set()
    with pytest.raises(LedgerDamaged):
        await attaching
    assert kernel.holders[0].detached
    assert (kernel.policy, deployer.active, deployer.state) == ("", None, MachineState.DEFAULT)


async def test_full_disk_keeps_no_policy_in_the_kernel() -> None:
    kernel = FakeKernel()
    deployer = kernel.deployer()
    await deployer.deploy(make_workload(), BATCH, Origin.MANUAL)
    kernel.ledger.full = True
    await deployer.revert("a person said so")
    assert (kernel.policy, deployer.state) == ("", MachineState.DEFAULT)
    assert "disk is full" in deployer.record.unusable


async def test_without_a_ledger_nothing_is_attached() -> None:
    kernel = FakeKernel()
    deployer = kernel.deployer(Record(None, "permission denied"))
    with pytest.raises(LedgerDamaged, match="permission denied"):
        await deployer.deploy(make_workload(), BATCH, Origin.MANUAL)
    assert not kernel.holders


async def test_cancelled_attach_leaves_the_default_and_a_record() -> None:
    kernel = FakeKernel()
    kernel.gate.clear()
    deployer = kernel.deployer()
    attaching = asyncio.create_task(deployer.deploy(make_workload(), BATCH, Origin.MANUAL))
    await settle()
    attaching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attaching
    (failed,) = deployer.deployments.newest.values()
    assert (failed.state, failed.reason) == (DeploymentState.FAILED, "it was given up halfway")
    assert deployer.state is MachineState.DEFAULT
    assert not deployer.changing


async def test_cancelled_revert_goes_on_to_its_end() -> None:
    kernel = FakeKernel()
    deployer = kernel.deployer()
    await deployer.deploy(make_workload(), BATCH, Origin.MANUAL)
    reverting = asyncio.create_task(deployer.revert("a person said so"))
    await asyncio.sleep(0)
    reverting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reverting
    assert kernel.holders[0].detached
    assert (deployer.active, deployer.state) == (None, MachineState.DEFAULT)


async def test_revert_that_is_cancelled_twice_goes_on_to_its_end() -> None:
    kernel = FakeKernel()
    deployer = kernel.deployer()
    await deployer.deploy(make_workload(), BATCH, Origin.MANUAL)
    kernel.lingers = 1
    reverting = asyncio.create_task(deployer.revert("a person said so"))
    await settle()
    for _ in range(2):
        reverting.cancel()
        await settle()
    assert deployer.changing, "nobody else may begin yet"
    await kernel.pass_windows()
    with pytest.raises(asyncio.CancelledError):
        await reverting
    assert (deployer.active, deployer.state) == (None, MachineState.DEFAULT)


async def test_what_took_the_place_of_a_deployment_is_not_reverted_with_it() -> None:
    kernel = FakeKernel()
    deployer = kernel.deployer()
    first = await deployer.deploy(make_workload(), BATCH, Origin.MANUAL)
    second = await deployer.deploy(make_workload(), FAIR, Origin.MANUAL)
    assert await deployer.revert("it is not needed", first.id) is None
    assert deployer.active == second
    assert await deployer.revert("it is not needed", second.id) == second
    assert await deployer.revert("it is not needed") is None


@pytest.mark.parametrize(("workload", "elsewhere"), [("", True), (make_workload().id, False)])
async def test_quarantine_holds_for_people_too(workload: str, elsewhere: bool) -> None:
    kernel = FakeKernel()
    sha256 = BATCH.object_sha256
    kernel.ledger.entries.append(
        Quarantine(sha256, "scx_batch", "7.3", workload, 1.0, "it stalled")
    )
    deployer = kernel.deployer()
    with pytest.raises(Quarantined, match="it stalled"):
        await deployer.deploy(make_workload(), BATCH, Origin.MANUAL)
    other = make_workload("/a.slice/other.service")
    if elsewhere:
        with pytest.raises(Quarantined):
            await deployer.deploy(other, BATCH, Origin.MANUAL)
    else:
        await deployer.deploy(other, BATCH, Origin.MANUAL)
    await deployer.revert("")


@pytest.mark.parametrize("when", ["settling", "attached", "leaving"])
async def test_kernel_error_quarantines_for_every_workload(when: str) -> None:
    kernel = FakeKernel()
    deployer = kernel.deployer()
    if when == "settling":
        kernel.refusal = Ejected("scx_batch", 1026, STALL.message, STALL)
        with pytest.raises(Ejected):
            await deployer.deploy(make_workload(), BATCH, Origin.MANUAL)
    else:
        await deployer.deploy(make_workload(), BATCH, Origin.MANUAL)
    if when == "attached":
        kernel.holders[0].end(STALL)
        await settle()
    if when == "leaving":
        kernel.holders[0].leaves_with = STALL
        await deployer.revert("a person said so")
    (entry,) = kernel.ledger.entries
    assert (entry.policy, entry.workload_id, entry.kernel_release) == ("scx_batch", "", "7.3")
    assert "xz[4] failed to run" in entry.reason
    (ended,) = deployer.deployments.newest.values()
    failed = DeploymentState.FAILED if when == "settling" else DeploymentState.EJECTED
    assert (ended.state, ended.exit) == (failed, STALL)
    assert "xz[4]" in ended.reason
    assert deployer.state is MachineState.DEFAULT


async def test_dead_loader_is_no_fault_of_the_policy() -> None:
    kernel = FakeKernel()
    deployer = kernel.deployer()
    await deployer.deploy(make_workload(), BATCH, Origin.MANUAL)
    kernel.holders[0].end(None)
    await settle()
    assert not kernel.ledger.entries
    assert kernel.ledger.steps[-1].after == "default"


@pytest.mark.parametrize(("looks", "told"), [(3, 0), (10_000, 1)])
async def test_policy_that_is_slow_to_leave_is_waited_for(
    looks: int, told: int, caplog: pytest.LogCaptureFixture
) -> None:
    kernel = FakeKernel()
    deployer = kernel.deployer()
    await deployer.deploy(make_workload(), BATCH, Origin.MANUAL)
    kernel.lingers = looks
    reverting = asyncio.create_task(deployer.revert("a person said so"))
    await settle()
    assert not reverting.done()
    while not reverting.done():
        await kernel.pass_windows()
    assert deployer.state is MachineState.DEFAULT
    assert len([one for one in caplog.records if "still in the kernel" in one.message]) == told
    (ended,) = deployer.deployments.newest.values()
    assert ("still in the kernel" in ended.error) is bool(told)


async def test_kernel_upgrade_stays_on_the_default_until_verified_again() -> None:
    kernel = FakeKernel()
    kernel.refusal = TokenRefused("scx_batch", "it is for the kernel 7.2.13, this is 7.3.4")
    deployer = kernel.deployer()
    with pytest.raises(TokenRefused, match=r"7\.2\.13"):
        await deployer.deploy(make_workload(), BATCH, Origin.MANUAL)
    assert not kernel.ledger.entries, "an old token is no harm that it did"
    assert kernel.policy == ""


async def test_history_has_earlier_runs_too() -> None:
    kernel = FakeKernel()
    await kernel.deployer().deploy(make_workload(), BATCH, Origin.MANUAL)
    deployer = kernel.deployer()
    kernel.policy = ""
    await deployer.deploy(make_workload(), FAIR, Origin.MANUAL)
    await deployer.refresh()
    newest, oldest = deployer.deployments.history(5)
    assert (newest.id, newest.policy, newest.counters) == (2, "scx_fair", {"nr_enqueued": 3})
    assert (oldest.id, oldest.policy) == (1, "scx_batch")
    assert deployer.deployments.history(1) == (newest,)
    assert deployer.deployments.history(5, "/nowhere") == ()
    await deployer.revert("")


@pytest.mark.parametrize("state", ["attaching", "attached", "canary-on", "canary-off", "detaching"])
async def test_safe_mode_after_a_run_that_was_cut_off(state: str) -> None:
    kernel = FakeKernel()
    await cut_off(kernel, state)
    deployer = kernel.deployer()
    deployer.begin("boot")
    assert deployer.safe == f"scx_batch was {state} when the daemon was killed"
    assert (deployer.state, kernel.ledger.steps[-1].after) == (MachineState.SAFE, "safe")
    assert all(one.ended_at for one in kernel.ledger.saved.values())


async def cut_off(kernel: FakeKernel, state: str) -> None:
    """A run that ends without a word while a policy was there."""
    earlier = kernel.deployer()
    earlier.begin("boot")
    await earlier.deploy(make_workload(), BATCH, Origin.MANUAL)
    kernel.ledger.steps[-1] = dataclasses.replace(kernel.ledger.steps[-1], after=state)
    kernel.policy = ""


async def test_killed_with_nothing_under_way_is_no_reason_for_safe_mode() -> None:
    kernel = FakeKernel()
    earlier = kernel.deployer()
    earlier.begin("boot")
    await earlier.deploy(make_workload(), BATCH, Origin.MANUAL)
    await earlier.revert("a person said so")
    deployer = kernel.deployer()
    deployer.begin("boot")
    assert (deployer.safe, deployer.state) == ("", MachineState.DEFAULT)


async def test_safe_mode_lasts_until_a_person_ends_it() -> None:
    kernel = FakeKernel()
    await cut_off(kernel, "attached")
    for _ in range(2):  # over a clean stop as well
        deployer = kernel.deployer()
        deployer.begin("boot")
        assert "when the daemon was killed" in deployer.safe
        await deployer.stop()
    deployer = kernel.deployer()
    deployer.begin("boot")
    await deployer.deploy(make_workload(), BATCH, Origin.MANUAL)
    await deployer.revert("a person said so")
    assert deployer.state is MachineState.SAFE, "a policy by hand does not end it"
    deployer.confirm()
    state: MachineState = deployer.state
    assert (deployer.safe, state) == ("", MachineState.DEFAULT)
    await deployer.stop()
    again = kernel.deployer()
    again.begin("boot")
    assert again.safe == ""


async def test_reboot_is_told_from_a_kill() -> None:
    kernel = FakeKernel()
    await cut_off(kernel, "attached")
    kernel.ledger.rebooted = True
    deployer = kernel.deployer()
    deployer.begin("another boot")
    assert deployer.safe == "scx_batch was attached when the machine went down"


async def test_ledger_that_was_damaged_means_safe_mode() -> None:
    kernel = FakeKernel()
    kernel.ledger.damage = "the old one is now ledger.db.damaged-1"
    deployer = kernel.deployer()
    deployer.begin("boot")
    assert "damaged-1" in deployer.safe


async def test_ledger_that_cannot_be_written_at_the_start() -> None:
    kernel = FakeKernel()
    kernel.ledger.full = True
    deployer = kernel.deployer()
    deployer.begin("boot")
    assert "disk is full" in deployer.safe
    assert "disk is full" in deployer.record.unusable
    assert deployer.state is MachineState.SAFE


async def test_policy_of_ours_that_nobody_holds_is_foreign() -> None:
    """No loader outlives the daemon: whatever is attached at the start is somebody else's."""
    kernel = FakeKernel()
    kernel.policy = "scx_batch"
    deployer = kernel.deployer()
    deployer.begin("boot")
    with pytest.raises(ForeignScheduler, match="scx_batch"):
        await deployer.deploy(make_workload(), BATCH, Origin.MANUAL)


async def test_conduct_that_fails_takes_the_policy_with_it() -> None:
    kernel = FakeKernel()
    deployer = kernel.deployer()
    await deployer.deploy(make_workload(), BATCH, Origin.MANUAL)
    kernel.meter.candidate = None  # type: ignore[assignment]
    await kernel.pass_windows()
    assert kernel.policy == ""
    (ended,) = deployer.deployments.newest.values()
    assert ended.reason == "nobody looked after it any more"
