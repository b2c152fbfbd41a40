# SPDX-License-Identifier: GPL-2.0-or-later
"""The supervisor's decisions, with simulated stages and a simulated kernel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from schedcpd.aftermath import MISSES_TO_LET_GO
from schedcpd.automation import Stages
from schedcpd.errors import (
    Ejected,
    LedgerDamaged,
    NoSuchHold,
    NoSuchPolicy,
    NoSuchWorkload,
    NotEnrolled,
    Quarantined,
    SchedcpError,
    TokenRefused,
    VerifierLost,
    WorkloadGone,
)
from schedcpd.jobs import Jobs
from schedcpd.kernel.sched_ext import exit_cause
from schedcpd.model import (
    Candidate,
    DeploymentState,
    Excerpt,
    ExitRecord,
    JobState,
    Mode,
    Objective,
    Origin,
    Plan,
    Policy,
    Report,
    StageOutcome,
    StageReport,
    Tier,
    VerifyStage,
    Workload,
    WorkloadProfile,
    WorkloadState,
)
from schedcpd.reports import Progress
from schedcpd.repository.bundles import Keys
from schedcpd.repository.memory import Memory
from schedcpd.repository.repository import Repository
from schedcpd.supervisor import Supervisor
from unit.fakes import GOOD, HARM, FakeKernel, cancel_all, make_policy, make_workload
from unit.repository.samples import sources

BATCH = "/system.slice/batch.service"
OTHER = "/system.slice/web.service"
HOTPLUG = ExitRecord(
    66, 0x1000100000000, "unregistered from the main kernel", "cpu 1 going offline"
)

STALL = ExitRecord(1026, 0, "runnable task stall", "xz[4] failed")


def make_profile(processes: int = 40) -> WorkloadProfile:
    return WorkloadProfile(
        1.0, 0.3, processes, processes, float(processes), 2.0, 0.0, 0.9, 0.1, 1.0
    )


class FakeVerifier:
    """Passes everything, once ``gate`` is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    async def verify(
        self,
        policy: str,
        card: str,
        source: str,
        enroll: bool,
        on_progress: Callable[[Progress], None],
    ) -> Report:
        await self.gate.wait()
        stages = tuple(StageReport(stage, StageOutcome.PASSED) for stage in VerifyStage)
        return Report(policy, "0" * 64, "1" * 64, "7.3", "ab", "tcg", 1, stages)


class FakeRegistry:
    """Notes what is asked of it; ``meanwhile`` happens before it answers."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.failure: SchedcpError | None = None
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    async def revoke(self, object_sha256: str) -> None:
        await self._do("revoke", object_sha256)

    async def reinstate(self, object_sha256: str) -> None:
        await self._do("reinstate", object_sha256)

    async def withdraw(self, policy: str) -> None:
        await self._do("withdraw", policy)

    async def _do(self, what: str, whom: str) -> None:
        self.asked.append((what, whom))
        if self.meanwhile is not None:
            await self.meanwhile()
        if self.failure is not None:
            raise self.failure


class Machine:
    """A supervisor whose world the test moves; ``ticks`` lets the look-after loop go round."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.library: Repository | None = None
        self.kernel = FakeKernel()
        self.busy: set[str] = {BATCH}
        self.fits = True
        self.disobeys = False  # the planner chooses what is out of the question
        self.forgiven: list[str] = []
        self.learnt: list[tuple[DeploymentState, str, Objective]] = []
        self.gone: set[str] = set()
        self.fault: OSError | None = None  # of every look
        self.looks = 0
        self.examined: list[tuple[str, Tier]] = []
        self.ticks = asyncio.Semaphore(0)
        stages = Stages(
            identify=lambda path: make_workload(path) if path.endswith(".service") else None,
            pressed=self.pressed,
            profile=self.profile,
            examine=self.examine,
            plan=self.plan,
            still_fits=lambda profile, plan: self.fits,
            learn=lambda deployment, workload, plan: self.learnt.append(
                (deployment.state, workload.id, plan.objective)
            ),
            forgive=self.forgiven.append,
            kernel=self.kernel.state,
            unusable=lambda: self.kernel.unusable,
            unwanted=self.unwanted,
            exit_cause=exit_cause,
            clock=lambda: self.kernel.now,
            sleep=self.sleep,
        )
        self.stages = stages
        self.verifier = FakeVerifier()
        self.registry = FakeRegistry()
        self.supervisor = self.start()

    def start(self) -> Supervisor:
        """A daemon on this machine."""
        jobs = Jobs(self.verifier, lambda: self.kernel.now)
        if self.library is not None:
            self.library.close()  # else its file is locked
        self.library = Repository(
            Memory(self.folder / "repository.db"),
            sources(self.folder, installed=lambda: self.supervisor.policies),
            Keys(self.folder / "key", self.folder / "trusted"),
            "here",
            lambda: self.kernel.now,
        )
        supervisor = Supervisor(
            *(
                "1",
                "7.3",
                Mode.AUTO,
                self.stages,
                self.kernel.deployer(),
                10.0,
                jobs,
                self.registry,
                tuple,
                self,
                self.library,
            )
        )
        supervisor.begin("boot")
        supervisor.set_policies([make_policy(), make_policy("scx_fair")])
        return supervisor

    def unwanted(self, policy: Policy) -> str:
        return self.supervisor.library.objection(policy)

    def pressed(self, workloads: Iterable[Workload]) -> tuple[Workload, ...]:
        return tuple(one for one in workloads if one.id in self.busy)

    async def profile(self, workload: Workload) -> WorkloadProfile:
        self.looks += 1
        if self.fault is not None:
            raise self.fault
        if workload.id in self.gone:
            raise WorkloadGone(workload.id)
        return make_profile(40 if workload.id in self.busy else 1)

    async def examine(self, workload: Workload, tier: Tier) -> WorkloadProfile:
        self.examined.append((workload.id, tier))
        return await self.profile(workload)

    async def read(self, workload: Workload, path: str, offset: int, length: int) -> Excerpt:
        return Excerpt(f"{path} of {workload.id}"[offset : offset + length], 99)

    def plan(self, workload: Workload, profile: WorkloadProfile, barred: Mapping[str, str]) -> Plan:
        reason = f"{profile.processes} processes"
        if profile.processes <= 20:
            return Plan(None, Objective.NONE, reason)
        if "scx_batch" not in barred or self.disobeys:
            return Plan("scx_batch", Objective.MAKESPAN, reason)
        wanted = Candidate("scx_batch", 0.22, "its card", barred["scx_batch"])
        return Plan(None, Objective.MAKESPAN, reason, candidates=(wanted,))

    async def sleep(self, seconds: float) -> None:
        await self.ticks.acquire()

    async def settle(self) -> None:
        for _ in range(60):
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

    async def win_canary(self) -> None:
        """The canary of the batch's policy ends, and it is attached for good."""
        await self.kernel.pass_windows(4)
        assert self.supervisor.active is not None
        assert self.supervisor.active.state is DeploymentState.ATTACHED

    def told(self, kind: str) -> list[str]:
        """What was logged of one kind."""
        return [one.message for one in self.supervisor.events(999) if one.kind == kind]


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    await machine.supervisor.stop()
    assert machine.kernel.policy == ""
    assert machine.kernel.ledger.closed
    await cancel_all()


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
    assert machine.supervisor.active is not None


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
    assert "scx_batch is in quarantine" in machine.supervisor.events(1)[0].message
    (ended,) = machine.supervisor.deployments.values()
    assert ended.state is DeploymentState.EJECTED


async def test_hotplug_is_no_fault(machine: Machine) -> None:
    await machine.start_batch()
    machine.kernel.holders[0].end(HOTPLUG)
    await machine.settle()
    assert machine.supervisor.active is not None
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
    assert machine.told("refuse") == ["not attached: no token"]
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


async def test_automation_proves_itself_first(machine: Machine) -> None:
    await machine.start_batch()
    assert machine.supervisor.active is not None
    assert machine.supervisor.active.state is DeploymentState.CANARY
    assert "takes turns with the kernel default" in machine.told("canary")[0]
    await machine.win_canary()
    assert "not clearly worse" in machine.told("promote")[0]
    assert machine.workload_state() is WorkloadState.MANAGED
    assert len(machine.told("canary")) == 1


async def test_lost_canary_is_not_repeated(machine: Machine) -> None:
    machine.kernel.meter.candidate = replace(GOOD, throughput=0.1)
    await machine.start_batch()
    await machine.kernel.pass_windows(4)
    assert machine.workload_state() is WorkloadState.LEFT_ALONE
    machine.kernel.now += 1000
    machine.supervisor.pressed()
    await machine.settle()
    assert machine.workload_state() is WorkloadState.ADVISED
    assert "lost its canary" in machine.told("refuse")[0]
    assert len(machine.kernel.holders) == 1
    assert any("canary: it is worse" in line for line in machine.supervisor.why(BATCH))


@pytest.mark.parametrize("disobeys", [False, True])
async def test_planner_does_without_what_is_out_of_the_question(
    machine: Machine, disobeys: bool
) -> None:
    machine.disobeys = disobeys
    machine.supervisor.set_policies([make_policy("scx_batch", admissible=False)])
    await machine.start_batch()
    assert machine.workload_state() is WorkloadState.ADVISED
    assert machine.told("refuse") == ["not attached: no token"]
    assert not machine.kernel.holders
    machine.supervisor.set_policies([make_policy()])
    machine.supervisor.pressed()
    await machine.settle()
    assert machine.kernel.policy == "scx_batch"


async def test_planner_does_without_what_ignores_a_limit(machine: Machine) -> None:
    machine.kernel.limits = ("a.slice: cpu.max is 20000 100000",)
    await machine.start_batch()
    assert machine.workload_state() is WorkloadState.ADVISED
    plan = machine.supervisor.workloads[BATCH].plan
    assert plan is not None
    assert plan.policy is None
    assert "a.slice: cpu.max is 20000 100000" in plan.candidates[0].objection
    assert "a.slice: cpu.max" in machine.told("refuse")[0]
    machine.kernel.limits = ()
    machine.supervisor.pressed()
    await machine.settle()
    assert machine.kernel.policy == "scx_batch"


async def test_limits_are_not_looked_for_where_nothing_is_attached(machine: Machine) -> None:
    machine.supervisor.configure(Mode.ADVISE, 10.0)
    await machine.start_batch()
    assert machine.kernel.limit_looks == []


async def test_kernel_without_sched_ext_gets_advice_on_what_it_could_not_load(
    machine: Machine,
) -> None:
    machine.kernel.unusable = "no sched_ext"
    machine.supervisor.set_policies([make_policy("scx_batch", admissible=False)])
    await machine.start_batch()
    plan = machine.supervisor.workloads[BATCH].plan
    assert plan is not None
    assert plan.policy == "scx_batch"
    assert machine.told("refuse") == ["not attached: no sched_ext"]


async def test_what_came_of_a_deployment_is_learnt(machine: Machine) -> None:
    await machine.start_batch()
    assert machine.learnt == []
    await machine.win_canary()
    learnt = [(DeploymentState.ATTACHED, BATCH, Objective.MAKESPAN)]
    assert machine.learnt == learnt
    machine.supervisor.populated(BATCH, False)
    await machine.settle()
    assert machine.learnt == learnt, "that a workload ends says nothing of its policy"


async def test_lost_canary_is_learnt(machine: Machine) -> None:
    machine.kernel.meter.candidate = replace(GOOD, throughput=0.1)
    await machine.start_batch()
    await machine.kernel.pass_windows(4)
    assert machine.learnt == [(DeploymentState.REVERTED, BATCH, Objective.MAKESPAN)]


async def test_harm_is_learnt(machine: Machine) -> None:
    await machine.start_batch()
    machine.kernel.meter.candidate = HARM
    await machine.kernel.pass_windows(2)
    assert machine.learnt == [(DeploymentState.TRIPPED, BATCH, Objective.MAKESPAN)]


@pytest.mark.parametrize(("exit_record", "learnt"), [(HOTPLUG, False), (STALL, True)])
async def test_only_a_fault_is_learnt_of_an_ejected_policy(
    machine: Machine, exit_record: ExitRecord, learnt: bool
) -> None:
    await machine.start_batch()
    machine.kernel.holders[0].end(exit_record)
    await machine.settle()
    assert [state for state, *_ in machine.learnt] == [DeploymentState.EJECTED] * learnt


async def test_end_of_the_workload_in_the_middle_of_its_canary(machine: Machine) -> None:
    await machine.start_batch()
    await machine.kernel.pass_windows()
    machine.supervisor.populated(BATCH, False)
    await machine.settle()
    assert machine.supervisor.active is None
    assert machine.supervisor.history("", 1)[0].reason == "the workload ended"


async def test_stop_in_the_middle_of_a_canary(machine: Machine) -> None:
    await machine.start_batch()
    await machine.kernel.pass_windows()
    await machine.supervisor.stop()
    assert machine.kernel.policy == ""
    assert machine.kernel.ledger.clean
    assert machine.kernel.ledger.steps[-1].after == "default"
    assert machine.supervisor.history(BATCH, 1)[0].reason == "the daemon stops"


async def test_hotplug_in_the_middle_of_a_canary(machine: Machine) -> None:
    await machine.start_batch()
    await machine.kernel.pass_windows()
    machine.kernel.holders[0].end(HOTPLUG)
    await machine.settle()
    assert len(machine.kernel.holders) == 2
    assert machine.supervisor.active is not None
    assert machine.supervisor.active.state is DeploymentState.CANARY
    assert not machine.supervisor.quarantines


async def test_hotplug_keeps_a_manual_choice(machine: Machine) -> None:
    machine.busy.clear()
    await machine.start_batch()
    await machine.supervisor.apply(BATCH, "scx_fair")
    machine.kernel.holders[0].end(HOTPLUG)
    await machine.settle()
    active = machine.supervisor.active
    assert active is not None
    assert (active.policy, active.origin) == ("scx_fair", Origin.MANUAL)
    assert "a CPU came or went" in active.reason


async def test_trip_falls_back_to_what_did_good(machine: Machine) -> None:
    await machine.start_batch()
    await machine.win_canary()
    await machine.supervisor.apply(BATCH, "scx_fair")
    machine.kernel.meter.candidate = HARM
    await machine.kernel.pass_windows(2)
    machine.kernel.meter.candidate = GOOD
    await machine.settle()
    active = machine.supervisor.active
    assert active is not None
    assert (active.policy, active.state) == ("scx_batch", DeploymentState.ATTACHED)
    assert "scx_fair did harm" in active.reason
    assert "the kernel default was back in" in machine.told("trip")[0]
    with pytest.raises(Quarantined, match="other workloads waited"):
        await machine.supervisor.apply(BATCH, "scx_fair")


async def test_trip_without_a_known_good_stays_on_the_default(machine: Machine) -> None:
    await machine.start_batch()
    await machine.win_canary()
    machine.kernel.meter.candidate = HARM
    await machine.kernel.pass_windows(2)
    await machine.settle()
    assert machine.supervisor.active is None
    machine.kernel.now += 1000
    machine.supervisor.pressed()
    await machine.settle()
    assert machine.supervisor.active is None
    assert any("taken off by the circuit breaker" in one for one in machine.supervisor.why(BATCH))
    await machine.supervisor.release("scx_batch")
    assert not machine.supervisor.quarantines
    assert machine.forgiven == ["scx_batch"]
    machine.kernel.meter.candidate = GOOD
    machine.supervisor.pressed()
    await machine.settle()
    assert machine.supervisor.active is not None


async def test_release_of_what_is_not_in_quarantine(machine: Machine) -> None:
    with pytest.raises(NoSuchPolicy):
        await machine.supervisor.release("scx_batch")


@pytest.mark.parametrize("held", ["", BATCH])
async def test_hold_blocks_automation_and_not_people(machine: Machine, held: str) -> None:
    if held:
        machine.busy.clear()
        await machine.start_batch()
        machine.busy.add(BATCH)
    hold = await machine.supervisor.hold(":1.7", 1000, held, "a measurement")
    await machine.start_batch()
    machine.supervisor.pressed()
    await machine.settle()
    assert machine.workload_state() is WorkloadState.ADVISED
    assert machine.told("refuse") == ["not attached: the scheduler is held: a measurement"]
    assert any("a measurement" in line for line in machine.supervisor.why(BATCH))
    assert machine.supervisor.holds == (hold,)
    await machine.supervisor.apply(BATCH, "scx_batch")
    assert machine.kernel.policy == "scx_batch"
    with pytest.raises(NoSuchHold):
        await machine.supervisor.release_hold(hold.cookie, ":1.8")
    await machine.supervisor.release_hold(hold.cookie, ":1.7")
    assert not machine.supervisor.holds


async def test_hold_of_another_workload_is_none_of_its_business(machine: Machine) -> None:
    machine.supervisor.populated(OTHER, True)
    await machine.supervisor.hold(":1.7", 1000, OTHER, "a measurement")
    await machine.start_batch()
    assert machine.kernel.policy == "scx_batch"
    with pytest.raises(NoSuchWorkload):
        await machine.supervisor.hold(":1.7", 1000, "/nowhere", "a measurement")


async def test_hold_dies_with_its_holder(machine: Machine) -> None:
    await machine.supervisor.hold(":1.7", 1000, "", "a measurement")
    await machine.start_batch()
    machine.supervisor.bus_client_gone(":1.8")
    await machine.settle()
    assert machine.workload_state() is WorkloadState.ADVISED
    machine.supervisor.bus_client_gone(":1.7")
    await machine.settle()
    assert machine.kernel.policy == "scx_batch", "nobody has to wait for the next pressure"


async def test_safe_mode_until_resume(machine: Machine) -> None:
    await machine.start_batch()
    machine.kernel.policy = ""  # killed: the loader died with the daemon
    await cancel_all()
    supervisor = machine.supervisor = machine.start()
    assert supervisor.mode == "safe"
    assert "scx_batch was" in machine.told("mode")[0]
    await machine.start_batch()
    supervisor.pressed()
    await machine.settle()
    assert machine.workload_state() is WorkloadState.ADVISED
    assert "safe mode" in machine.told("refuse")[0]
    assert any("'schedctl resume'" in line for line in supervisor.why(BATCH))
    await supervisor.apply(BATCH, "scx_fair")
    assert machine.kernel.policy == "scx_fair", "people may"
    await supervisor.revert()
    assert supervisor.mode == "safe"
    await supervisor.resume()
    assert supervisor.mode == "auto"
    assert "safe mode ended" in machine.told("mode")[-1]


async def test_without_a_ledger_automation_advises(machine: Machine) -> None:
    machine.kernel.ledger.full = True
    machine.supervisor = machine.start()
    await machine.supervisor.resume()
    await machine.start_batch()
    assert machine.workload_state() is WorkloadState.ADVISED
    assert "disk is full" in machine.told("refuse")[0]
    assert any("nothing can be written down" in one for one in machine.told("mode"))
    with pytest.raises(LedgerDamaged):
        await machine.supervisor.apply(BATCH, "scx_batch")
    assert not machine.kernel.holders
    machine.kernel.ledger.full = False
    machine.supervisor.pressed()
    await machine.settle()
    assert machine.kernel.holders, "a disk is not full for ever"


async def test_nothing_runs_while_nothing_is_attached(machine: Machine) -> None:
    await machine.start_batch()
    await machine.win_canary()
    assert asyncio.all_tasks() - {asyncio.current_task()}
    await machine.supervisor.revert()
    await machine.tick()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_why_says_it_all(machine: Machine) -> None:
    with pytest.raises(NoSuchWorkload):
        machine.supervisor.why("/nowhere")
    await machine.start_batch()
    await machine.kernel.pass_windows(2)
    lines = machine.supervisor.why(BATCH)
    assert lines[0] == "a policy schedules for it"
    assert "plan: 40 processes" in lines
    assert any(line.startswith("canary: 1 pairs") for line in lines)
    machine.supervisor.vanished(BATCH)
    await machine.settle()
    assert machine.supervisor.why(BATCH)[0] == "it has ended"


async def test_steps_of_the_machine_can_be_read(machine: Machine) -> None:
    await machine.start_batch()
    newest = machine.supervisor.transitions(1)
    assert [(step.deployment, step.after) for step in newest] == [(1, "canary-on")]


async def test_jobs_pass_through(machine: Machine) -> None:
    supervisor = machine.supervisor
    with pytest.raises(NoSuchPolicy):
        await supervisor.verify("scx_nothing", "", "", False)
    job = await supervisor.verify("scx_batch", "", "", False)
    other = await supervisor.verify("scx_mine", "card", "source", True)
    assert supervisor.jobs[job.id].state is JobState.RUNNING
    supervisor.cancel(other.id)
    machine.verifier.gate.set()
    await machine.settle()
    assert supervisor.jobs[job.id].state is JobState.PASSED
    assert machine.told("verify") == ["passed"]
    assert machine.told("enroll") == ["cancelled"]


async def test_revocation_takes_the_policy_off_first(machine: Machine) -> None:
    await machine.start_batch()
    digest = machine.supervisor.policies["scx_batch"].object_sha256
    attached: list[str] = []

    async def look() -> None:
        attached.append(machine.kernel.policy)

    machine.registry.meanwhile = look
    await machine.supervisor.revoke("scx_batch")
    assert machine.registry.asked == [("revoke", digest)]
    assert attached == [""]
    assert not machine.supervisor.policies["scx_batch"].admissible
    assert machine.supervisor.deployments[1].reason == "it was revoked"
    assert machine.told("revoke") == ["revoked by a person: its object is signed no more"]
    machine.kernel.now += 1000
    machine.supervisor.pressed()
    await machine.settle()
    assert machine.supervisor.active is None
    assert machine.workload_state() is WorkloadState.ADVISED
    await machine.supervisor.reinstate(digest)
    assert machine.registry.asked[1:] == [("reinstate", digest)]
    assert digest in machine.told("revoke")[-1]


async def test_revocation_leaves_another_policy_alone(machine: Machine) -> None:
    await machine.start_batch()
    await machine.supervisor.revoke("scx_fair")
    assert machine.kernel.policy == "scx_batch"


async def test_what_is_attached_during_a_revocation_is_taken_off(machine: Machine) -> None:
    machine.busy.clear()
    await machine.start_batch()
    machine.registry.meanwhile = lambda: machine.supervisor.apply(BATCH, "scx_fair")
    await machine.supervisor.revoke("scx_fair")
    assert machine.supervisor.deployments[1].policy == "scx_fair"
    assert machine.supervisor.active is None
    assert machine.kernel.policy == ""


async def test_failed_revocation_is_told_and_undone(machine: Machine) -> None:
    before = machine.supervisor.policies["scx_batch"]
    machine.registry.failure = VerifierLost("nobody listens")
    with pytest.raises(VerifierLost):
        await machine.supervisor.revoke("scx_batch")
    assert machine.supervisor.policies["scx_batch"] is before
    assert machine.told("revoke") == []
    checked = replace(before, token="valid until tomorrow")

    async def check_again() -> None:
        machine.supervisor.set_policies([checked])

    machine.registry.meanwhile = check_again
    with pytest.raises(VerifierLost):
        await machine.supervisor.revoke("scx_batch")
    assert machine.supervisor.policies["scx_batch"] is checked, "what was found since then counts"


async def test_withdrawal(machine: Machine) -> None:
    machine.busy.clear()
    mine = replace(make_policy("scx_mine"), enrolled=True)
    machine.supervisor.set_policies([make_policy(), mine])
    await machine.start_batch()
    await machine.supervisor.apply(BATCH, "scx_mine")
    await machine.supervisor.withdraw("scx_mine")
    assert machine.registry.asked == [("withdraw", "scx_mine")]
    assert machine.kernel.policy == ""
    assert set(machine.supervisor.policies) == {"scx_batch"}
    assert machine.told("withdraw") == ["withdrawn by a person"]


async def test_a_packaged_policy_cannot_be_withdrawn(machine: Machine) -> None:
    await machine.start_batch()
    with pytest.raises(NotEnrolled, match="came with the package and cannot be withdrawn"):
        await machine.supervisor.withdraw("scx_batch")
    assert machine.kernel.policy == "scx_batch", "what is refused changes nothing"
    for verb in (machine.supervisor.revoke, machine.supervisor.withdraw):
        with pytest.raises(NoSuchPolicy):
            await verb("scx_nothing")
    assert machine.registry.asked == []


async def attaching(machine: Machine) -> None:
    """The batch's policy is on its way into the kernel."""
    machine.kernel.gate.clear()
    await machine.start_batch()
    assert machine.supervisor.active is None


async def attached(machine: Machine) -> None:
    machine.kernel.gate.set()
    await machine.settle()


async def test_workload_that_ends_while_its_policy_is_attached(machine: Machine) -> None:
    await attaching(machine)
    machine.supervisor.populated(BATCH, False)
    await machine.settle()
    await attached(machine)
    assert machine.kernel.holders
    assert (machine.kernel.policy, machine.supervisor.active) == ("", None)
    assert "the workload ended" in machine.told("revert")[0]


async def test_another_workload_of_that_name_is_not_the_one_attached_for(machine: Machine) -> None:
    await attaching(machine)
    machine.supervisor.populated(BATCH, False)
    machine.busy.clear()
    machine.supervisor.populated(BATCH, True)
    await machine.settle()
    await attached(machine)
    assert machine.kernel.policy == ""


async def test_limits_set_while_a_policy_is_attached(machine: Machine) -> None:
    await attaching(machine)
    machine.kernel.limits = ("a.slice: cpu.max is 20000 100000",)
    machine.supervisor.limits_changed()
    await machine.settle()
    await attached(machine)
    assert machine.kernel.holders
    assert machine.kernel.policy == ""


async def test_limits_of_a_cgroup_count_when_it_gets_its_first_process(machine: Machine) -> None:
    await machine.start_batch()
    machine.supervisor.limits_changed()  # it was set on an empty cgroup
    await machine.settle()
    assert machine.kernel.policy == "scx_batch"
    machine.kernel.limits = ("a.slice: cpu.max is 20000 100000",)
    machine.kernel.limit_looks.clear()
    machine.supervisor.populated("/a.slice", True)
    await machine.settle()
    assert machine.kernel.policy == ""
    assert machine.kernel.limit_looks == ["/a.slice"]


async def test_only_what_changed_is_looked_at_and_once(machine: Machine) -> None:
    await machine.start_batch()
    machine.kernel.limit_looks.clear()
    for path in ("/b", "/a", "/b", "/a"):
        machine.supervisor.limits_changed(path)
    await machine.settle()
    assert machine.kernel.limit_looks == ["/a", "/b"]
    machine.kernel.limit_looks.clear()
    for path in ("/b", "/"):
        machine.supervisor.limits_changed(path)
    await machine.settle()
    assert machine.kernel.limit_looks == ["/"]


async def test_reverting_by_hand_while_a_policy_is_attached_holds_the_workload(
    machine: Machine,
) -> None:
    await attaching(machine)
    reverting = asyncio.create_task(machine.supervisor.revert())
    await machine.settle()
    await attached(machine)
    await reverting
    machine.supervisor.pressed()
    await machine.settle()
    assert machine.workload_state() is WorkloadState.HELD
    assert machine.kernel.policy == ""


async def test_end_of_a_workload_leaves_alone_what_takes_its_place(machine: Machine) -> None:
    await machine.start_batch()
    machine.supervisor.populated(OTHER, True)
    await machine.settle()
    machine.kernel.lingers = 1
    applying = asyncio.create_task(machine.supervisor.apply(OTHER, "scx_fair"))
    await machine.settle()
    machine.supervisor.populated(BATCH, False)
    await machine.kernel.pass_windows()
    await applying
    await machine.settle()
    assert machine.kernel.policy == "scx_fair"


@pytest.mark.parametrize("verb", ["pause", "revert"])
async def test_person_wins_over_attaching_again(machine: Machine, verb: str) -> None:
    machine.busy.clear()
    await machine.start_batch()
    await machine.supervisor.apply(BATCH, "scx_fair")
    machine.kernel.lingers = 1
    machine.kernel.holders[0].end(HOTPLUG)
    await machine.settle()
    asking = asyncio.create_task(getattr(machine.supervisor, verb)())
    await machine.settle()
    await machine.kernel.pass_windows()
    await asking
    await machine.settle()
    assert machine.kernel.policy == ""


async def test_lost_canary_of_a_workload_that_has_ended_is_forgotten(machine: Machine) -> None:
    await machine.start_batch()
    machine.kernel.lingers = 1
    machine.kernel.meter.candidate = replace(GOOD, throughput=0.1)
    await machine.kernel.pass_windows(4)
    machine.supervisor.populated(BATCH, False)
    await machine.kernel.pass_windows()
    await machine.settle()
    assert machine.kernel.policy == ""
    await machine.start_batch()
    assert machine.kernel.policy == "scx_batch"


async def test_workload_that_a_person_decided_on_is_held(machine: Machine) -> None:
    machine.supervisor.populated(OTHER, True)
    await machine.start_batch()
    await machine.supervisor.apply(BATCH, "scx_fair")
    await machine.supervisor.apply(OTHER, "scx_fair")
    machine.supervisor.populated(OTHER, False)
    await machine.settle()
    machine.supervisor.pressed()
    await machine.settle()
    assert machine.kernel.policy == ""
    assert machine.workload_state() is WorkloadState.HELD


async def test_clock_that_was_set_back_lets_nobody_rest_for_ever(machine: Machine) -> None:
    await machine.start_batch()
    machine.fits = False
    await machine.tick(MISSES_TO_LET_GO)
    machine.kernel.now -= 500
    machine.supervisor.pressed()
    await machine.settle()
    assert machine.workload_state() is WorkloadState.MANAGED


async def test_hotplug_between_two_turns_is_no_fault(machine: Machine) -> None:
    """The object that was kept knows the CPUs of before, so the kernel takes it out at once."""
    await machine.start_batch()
    while machine.supervisor.active is not None and machine.kernel.policy:
        await machine.kernel.pass_windows()
    refusal = Ejected("scx_batch", HOTPLUG.kind, HOTPLUG.message, HOTPLUG)
    machine.kernel.holders[0].refusal = refusal
    await machine.kernel.pass_windows(2)
    await machine.settle()
    assert len(machine.kernel.holders) == 2
    assert machine.supervisor.active is not None
    assert machine.supervisor.active.state is DeploymentState.CANARY
    assert not machine.supervisor.quarantines


async def test_workload_that_cannot_be_looked_at_for_once_is_looked_after(machine: Machine) -> None:
    await machine.start_batch()
    machine.fault = OSError(24, "too many open files")
    await machine.tick()
    machine.fault = None
    machine.fits = False
    await machine.tick(MISSES_TO_LET_GO)
    assert machine.kernel.policy == ""


async def test_workload_whose_policy_is_on_its_way_in_is_not_looked_at(machine: Machine) -> None:
    await attaching(machine)
    looks = machine.looks
    machine.supervisor.pressed()
    await machine.settle()
    assert (machine.looks, machine.workload_state()) == (looks, WorkloadState.NEW)
    await attached(machine)
    assert machine.workload_state() is WorkloadState.MANAGED
    assert not machine.told("refuse")
