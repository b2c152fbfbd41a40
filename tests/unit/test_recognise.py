# SPDX-License-Identifier: GPL-2.0-or-later
"""A workload gets a name that it will have again, and a change of its work is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from schedcpd.model import Mode, Objective, Plan, Workload, WorkloadClass, WorkloadProfile
from schedcpd.watch.workloads import identify
from unit.fakes import cancel_all, make_policy, settle
from unit.test_supervisor import Machine, make_profile

NAMED = "/system.slice/batch.service"
NAMELESS = "/system.slice/run-u7.scope"
PROFILE = replace(
    make_profile(1),
    work=WorkloadClass.BUILD,
    command="make -j8 -C /home/me/linux",
    worker_program="cc1",
    sentence="Parallel build",
)


class Recognising(Machine):
    """Its workloads are those of the real rules; ``seen`` is what each look finds."""

    def __init__(self, folder: Path) -> None:
        self.seen = PROFILE
        self.planned: list[Workload] = []
        self.gate = asyncio.Event()  # each look waits for it
        self.gate.set()
        super().__init__(folder)
        self.stages = replace(self.stages, identify=lambda path: identify(path, 7, 1.0))
        self.supervisor = self.start()

    async def profile(self, workload: Workload) -> WorkloadProfile:
        await self.gate.wait()
        return self.seen

    def plan(self, workload: Workload, profile: WorkloadProfile, barred: object) -> Plan:
        self.planned.append(workload)
        return Plan(None, Objective.NONE, "")

    async def look(self, path: str, work: WorkloadClass) -> None:
        """Somebody waits for a CPU, so that the workload is looked at once more."""
        self.seen = replace(PROFILE, work=work, sentence=f"it is {work}")
        self.busy = {path}
        self.supervisor.pressed()
        await settle()

    def identity(self, path: str) -> str:
        return self.supervisor.workloads[path].workload.identity


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Recognising]:
    machine = Recognising(tmp_path)
    yield machine
    await machine.supervisor.stop()
    await cancel_all()


async def test_a_unit_is_known_by_its_name(machine: Recognising) -> None:
    machine.supervisor.populated(NAMED, True)
    assert machine.identity(NAMED) == "unit batch.service"
    await settle()
    assert machine.identity(NAMED) == "unit batch.service"


async def test_what_has_no_name_is_known_by_its_programs(machine: Recognising) -> None:
    machine.supervisor.populated(NAMELESS, True)
    assert machine.identity(NAMELESS) == ""
    await settle()
    assert machine.identity(NAMELESS) == "run make -j# -C linux"
    # The planner already has it, and later programs do not change it.
    assert [one.identity for one in machine.planned] == ["run make -j# -C linux"]
    machine.seen = replace(PROFILE, command="bash")
    await machine.look(NAMELESS, WorkloadClass.BUILD)
    assert machine.identity(NAMELESS) == "run make -j# -C linux"


async def test_no_name_is_made_of_nothing(machine: Recognising) -> None:
    machine.seen = replace(PROFILE, command="", worker_program="")
    machine.supervisor.populated(NAMELESS, True)
    await settle()
    assert machine.identity(NAMELESS) == ""


async def test_one_that_a_person_chose_for_meanwhile_stays_what_it_was(
    machine: Recognising,
) -> None:
    machine.supervisor.set_policies([make_policy()])
    machine.kernel.gate.clear()
    machine.gate.clear()
    machine.supervisor.populated(NAMELESS, True)
    before = machine.supervisor.workloads[NAMELESS].workload
    apply = asyncio.create_task(machine.supervisor.apply(NAMELESS, "scx_batch"))
    await settle()
    machine.gate.set()
    await settle()
    assert machine.supervisor.workloads[NAMELESS].workload is before
    machine.kernel.gate.set()
    await apply
    await settle()
    assert machine.kernel.policy == "scx_batch"


async def test_a_change_of_phase_is_told(machine: Recognising) -> None:
    machine.supervisor.populated(NAMED, True)
    await settle()
    assert machine.told("phase") == []  # it has done nothing else so far
    await machine.look(NAMED, WorkloadClass.COMPUTE)
    await machine.look(NAMED, WorkloadClass.COMPUTE)
    assert machine.told("phase") == ["build until now, compute from now on: it is compute"]
    for work in (WorkloadClass.UNKNOWN, WorkloadClass.IDLE):
        await machine.look(NAMED, work)
    assert len(machine.told("phase")) == 1


async def test_a_paused_machine_is_not_looked_at(machine: Recognising) -> None:
    machine.supervisor.populated(NAMED, True)
    await settle()
    await machine.supervisor.pause()
    assert machine.supervisor.mode is Mode.PAUSED
    await machine.look(NAMED, WorkloadClass.COMPUTE)
    assert machine.told("phase") == []
