# SPDX-License-Identifier: GPL-2.0-or-later
"""The supervisor's decisions, with simulated stages and a simulated kernel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import pytest

from schedcpd.errors import NoSuchPolicy, NoSuchWorkload, TokenRefused, WorkloadGone
from schedcpd.kernel.sched_ext import exit_cause
from schedcpd.model import (
    DeploymentState,
    ExitRecord,
    Mode,
    Objective,
    Plan,
    Workload,
    WorkloadProfile,
    WorkloadState,
)
from schedcpd.supervisor import MISSES_TO_LET_GO, Stages, Supervisor
from unit.fakes import FakeKernel, make_policy, make_workload

BATCH = "/system.slice/batch.service"
OTHER = "/system.slice/web.service"
HOTPLUG = ExitRecord(
    66, 0x1000100000000, "unregistered from the main kernel", "cpu 1 going offline"
)


def make_profile(processes: int = 40) -> WorkloadProfile:
    return WorkloadProfile(
        1.0, 0.3, processes, processes, float(processes), 2.0, 0.0, 0.9, 0.1, 1.0
    )


class Machine:
    """A supervisor whose world the test moves; ``ticks`` lets the look-after loop go round."""

    def __init__(self) -> None:
        self.kernel = FakeKernel()
        self.busy: set[str] = {BATCH}
        self.fits = True
        self.gone: set[str] = set()
        self.looks = 0
        self.ticks = asyncio.Semaphore(0)
        stages = Stages(
            identify=lambda path: make_workload(path) if path.endswith(".service") else None,
            pressed=self.pressed,
            profile=self.profile,
            plan=self.plan,
            still_fits=lambda profile: self.fits,
            kernel=self.kernel.state,
            unusable=lambda: self.kernel.unusable,
            exit_cause=exit_cause,
            clock=lambda: self.kernel.now,
            sleep=self.sleep,
        )
        self.supervisor = Supervisor("1", "7.3", Mode.AUTO, stages, self.kernel.deployer(), 10.0)
        self.supervisor.set_policies([make_policy(), make_policy("scx_fair")])

    def pressed(self, workloads: Iterable[Workload]) -> tuple[Workload, ...]:
        return tuple(one for one in workloads if one.id in self.busy)

    async def profile(self, workload: Workload) -> WorkloadProfile:
        self.looks += 1
        if workload.id in self.gone:
            raise WorkloadGone(workload.id)
        return make_profile(40 if workload.id in self.busy else 1)

    def plan(self, profile: WorkloadProfile) -> Plan:
        policy = "scx_batch" if profile.processes > 20 else None
        return Plan(policy, Objective.NONE, f"{profile.processes} processes")

    async def sleep(self, seconds: float) -> None:
        await self.ticks.acquire()

    async def settle(self) -> None:
        for _ in range(30):
            await asyncio.sleep(0)

    async def tick(self, times: int = 1) -> None:
        for _ in range(times):
            self.ticks.release()
            await self.settle()

    def workload_state(self, path: str = BATCH) -> WorkloadState:
        return self.supervisor.workloads[path].state

    async def start_batch(self) -> None:
        self.supervisor.populated(BATCH, True)
        await self.settle()


@pytest.fixture
async def machine() -> AsyncIterator[Machine]:
    machine = Machine()
    yield machine
    await machine.supervisor.stop()
    assert machine.kernel.policy == ""


async def test_batch_gets_its_policy_and_loses_it_at_its_end(machine: Machine) -> None:
    await machine.start_batch()
    assert machine.kernel.policy == "scx_batch"
    assert machine.workload_state() is WorkloadState.MANAGED
    machine.supervisor.populated(BATCH, False)
    await machine.settle()
    assert machine.kernel.policy == ""
    assert BATCH not in machine.supervisor.workloads


async def test_other_cgroups_are_no_workloads(machine: Machine) -> None:
    machine.supervisor.populated("/system.slice", True)
    assert not machine.supervisor.workloads


async def test_quiet_workload_is_left_alone_until_it_is_pressed(machine: Machine) -> None:
    machine.busy.clear()
    await machine.start_batch()
    assert machine.workload_state() is WorkloadState.LEFT_ALONE
    assert not machine.supervisor.events(10), "leaving alone is not news"
    machine.busy.add(BATCH)
    machine.supervisor.pressed()
    await machine.settle()
    assert machine.workload_state() is WorkloadState.MANAGED


async def test_policy_is_let_go_after_some_misses_only(machine: Machine) -> None:
    await machine.start_batch()
    machine.fits = False
    await machine.tick(MISSES_TO_LET_GO - 1)
    machine.fits = True
    await machine.tick()
    machine.fits = False
    await machine.tick(MISSES_TO_LET_GO - 1)
    assert machine.kernel.policy == "scx_batch"
    await machine.tick()
    assert machine.kernel.policy == ""


async def test_dwell_keeps_automation_off_for_a_while(machine: Machine) -> None:
    await machine.start_batch()
    machine.fits = False
    await machine.tick(MISSES_TO_LET_GO)
    machine.supervisor.pressed()
    await machine.settle()
    assert machine.workload_state() is WorkloadState.ADVISED
    machine.kernel.now += 11
    machine.supervisor.pressed()
    await machine.settle()
    assert machine.workload_state() is WorkloadState.MANAGED


async def test_reverting_by_hand_holds_the_workload(machine: Machine) -> None:
    await machine.start_batch()
    await machine.supervisor.revert()
    machine.supervisor.pressed()
    await machine.settle()
    assert machine.workload_state() is WorkloadState.HELD
    assert machine.kernel.policy == ""


async def test_pause_reverts_and_resume_decides_again(machine: Machine) -> None:
    await machine.start_batch()
    await machine.supervisor.pause()
    machine.supervisor.pressed()
    await machine.settle()
    assert machine.kernel.policy == ""
    await machine.supervisor.resume()
    machine.supervisor.pressed()
    await machine.settle()
    assert machine.kernel.policy == "scx_batch"


async def test_advise_mode_says_and_does_not(machine: Machine) -> None:
    machine.supervisor.configure(Mode.ADVISE, 10.0)
    await machine.start_batch()
    assert machine.workload_state() is WorkloadState.ADVISED
    assert "mode is advise" in machine.supervisor.events(1)[0].message
    assert machine.kernel.policy == ""


async def test_manual_choice_displaces_automation(machine: Machine) -> None:
    await machine.start_batch()
    machine.busy.discard(OTHER)
    machine.supervisor.populated(OTHER, True)
    await machine.settle()
    await machine.supervisor.apply(OTHER, "scx_fair")
    assert machine.kernel.policy == "scx_fair"
    machine.kernel.now += 100
    machine.supervisor.pressed()
    await machine.settle()
    assert machine.kernel.policy == "scx_fair"
    assert machine.workload_state() is WorkloadState.ADVISED
    machine.fits = False
    await machine.tick(MISSES_TO_LET_GO + 1)
    assert machine.kernel.policy == "scx_fair", "only its end or a person ends a manual choice"


async def test_unknown_names_are_refused(machine: Machine) -> None:
    await machine.start_batch()
    with pytest.raises(NoSuchWorkload):
        await machine.supervisor.apply("/nowhere", "scx_batch")
    with pytest.raises(NoSuchPolicy):
        await machine.supervisor.apply(BATCH, "scx_nothing")


async def test_stall_quarantines_the_policy(machine: Machine) -> None:
    await machine.start_batch()
    machine.kernel.holders[0].end(ExitRecord(1026, 0, "runnable task stall", "xz[4] failed"))
    await machine.settle()
    assert machine.workload_state() is WorkloadState.HELD
    machine.supervisor.populated(OTHER, True)
    machine.busy.add(OTHER)
    machine.supervisor.pressed()
    await machine.settle()
    assert machine.kernel.policy == ""
    assert "ejected by this kernel before" in machine.supervisor.events(1)[0].message
    (ended,) = machine.supervisor.deployments.values()
    assert ended.state is DeploymentState.EJECTED


async def test_hotplug_is_no_fault(machine: Machine) -> None:
    await machine.start_batch()
    machine.kernel.holders[0].end(HOTPLUG)
    await machine.settle()
    assert machine.kernel.policy == "scx_batch"
    assert len(machine.kernel.holders) == 2


async def test_operator_exit_pauses(machine: Machine) -> None:
    await machine.start_batch()
    machine.kernel.holders[0].end(ExitRecord(67, 0, "disabled by sysrq-S", ""))
    await machine.settle()
    assert machine.supervisor.mode is Mode.PAUSED


async def test_dead_loader_holds_the_workload(machine: Machine) -> None:
    await machine.start_batch()
    machine.kernel.holders[0].end(None)
    await machine.settle()
    assert machine.workload_state() is WorkloadState.HELD
    assert "process died" in machine.supervisor.events(1)[0].message


async def test_limits_set_while_attached_revert(machine: Machine) -> None:
    await machine.start_batch()
    machine.supervisor.limits_changed()
    await machine.settle()
    assert machine.kernel.policy == "scx_batch"
    machine.kernel.limits = ("a.slice: cpu.max is 20000 100000",)
    machine.supervisor.limits_changed()
    await machine.settle()
    assert machine.kernel.policy == ""
    assert any("20000" in event.message for event in machine.supervisor.events(10))


async def test_refusal_is_told_once(machine: Machine) -> None:
    machine.kernel.refusal = TokenRefused("scx_batch", "the object does not match its token")
    await machine.start_batch()
    machine.supervisor.pressed()
    await machine.settle()
    refusals = [one for one in machine.supervisor.events(99) if one.kind == "refuse"]
    assert len(refusals) == 1
    assert machine.workload_state() is WorkloadState.ADVISED


async def test_inadmissible_policy_is_not_tried(machine: Machine) -> None:
    machine.supervisor.set_policies([make_policy(admissible=False)])
    await machine.start_batch()
    assert "no token" in machine.supervisor.events(1)[0].message
    assert not machine.kernel.holders


async def test_workload_that_ends_while_looked_at(machine: Machine) -> None:
    machine.gone.add(BATCH)
    await machine.start_batch()
    assert machine.workload_state() is WorkloadState.NEW
    machine.supervisor.vanished(BATCH)
    assert not machine.supervisor.workloads


async def test_kernel_without_sched_ext_advises(machine: Machine) -> None:
    machine.kernel.unusable = "this kernel has no sched_ext"
    await machine.start_batch()
    assert machine.workload_state() is WorkloadState.ADVISED
    assert machine.supervisor.unusable() == "this kernel has no sched_ext"
