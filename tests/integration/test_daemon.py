# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole daemon on a private bus, over a simulated machine; ``tests/vm`` has the real one."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import pytest

from integration import client, mock_polkit
from schedcpd.bus import names
from schedcpd.config import load
from schedcpd.daemon import Daemon, Places
from schedcpd.deploy.loader import LoaderSettings
from schedcpd.deploy.probe.probe import ProbeSettings
from schedcpd.deploy.record import open_record
from schedcpd.errors import LedgerDamaged
from schedcpd.model import (
    Deployment,
    DeploymentState,
    LayerClass,
    LayerKind,
    Mode,
    Objective,
    Origin,
    Workload,
    WorkloadProfile,
    WorkloadState,
)
from schedcpd.profile.probes import ChildSettings
from schedcpd.repository.policies import PolicyStore

REPOSITORY = Path(__file__).parents[2]
FAKE_CHILD = REPOSITORY / "tests/unit/fake_child.py"
BATCH = "/system.slice/batch.service"
WEB = "/system.slice/web.service"
PATIENCE_S = 20.0


@dataclass(frozen=True)
class Machine:
    """Folders in the place of /sys, /proc and /etc."""

    places: Places

    def kernel_says(self, state: str, policy: str = "") -> None:
        """Set the state of sched_ext."""
        folder = self.places.sched_ext
        (folder / "state").write_text(state)
        (folder / "root").mkdir(exist_ok=True)
        (folder / "root/ops").write_text(policy)

    def make_cgroup(self, path: str, processes: int = 1) -> None:
        """A cgroup with processes, as systemd makes one."""
        folder = self.places.cgroup / path.lstrip("/")
        folder.mkdir(parents=True)
        (folder / "cgroup.procs").write_text("")
        (folder / "cpu.stat").write_text("usage_usec 0\n")
        self.set_populated(path, bool(processes))

    def set_populated(self, path: str, populated: bool) -> None:
        """Say that a cgroup has processes or has lost its last."""
        events = self.places.cgroup / path.lstrip("/") / "cgroup.events"
        events.write_text(f"populated {int(populated)}\nfrozen 0\n")

    def configure(self, text: str) -> None:
        """Write the configuration."""
        self.places.config.write_text(text)


def make_places(tmp_path: Path) -> Places:
    """Where everything is below a folder."""
    return Places(
        config=tmp_path / "schedcpd.toml",
        cgroup=tmp_path / "cgroup",
        proc=tmp_path / "proc",
        sys=tmp_path / "sys",
        loader=LoaderSettings(
            schedulers=tmp_path / "schedulers",
            enrolled=tmp_path / "verify/enrolled",
            tokens=tmp_path / "verify/tokens",
            public_key=tmp_path / "verify/public.key",
            argv=(sys.executable, str(FAKE_CHILD)),
        ),
        ledger=tmp_path / "state/ledger.db",
        verifier=tmp_path / "verify.sock",
        reader=tmp_path / "read.sock",
        probe=ProbeSettings(objects=tmp_path / "probes", argv=("/bin/false",)),
        measure=ChildSettings(objects=tmp_path / "probes", argv=("/bin/false",)),
    )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with sched_ext and both policies installed."""
    places = make_places(tmp_path)
    for folder in (places.cgroup, places.proc, places.sched_ext, places.loader.tokens):
        folder.mkdir(parents=True)
    (places.sys / "kernel/btf").mkdir()
    (places.sys / "kernel/btf/vmlinux").touch()
    for name in ("scx_fair", "scx_batch"):
        folder = places.loader.schedulers / name
        folder.mkdir(parents=True)
        (folder / f"{name}.bpf.o").write_bytes(b"object")
        card = (REPOSITORY / "schedulers" / name / f"{name}.toml").read_text()
        (folder / f"{name}.toml").write_text(card)
    places.boot_id.parent.mkdir(parents=True)
    places.boot_id.write_text("7e0b9e1a-0000-4000-8000-000000000000\n")
    places.config.write_text(
        "[breaker]\nbaseline_s = 0.1\n[canary]\nwindow_s = 0.5\nsettle_s = 0\n"
    )
    made = Machine(places)
    made.kernel_says("disabled")
    return made


@pytest.fixture
async def daemon(
    machine: Machine, bus_address: str, polkit: mock_polkit.MockPolkit
) -> AsyncIterator[Daemon]:
    """The daemon, known on the bus and with its policies checked."""
    running = Daemon(machine.places, load(machine.places.config))
    await running.start(bus_address)
    await running._checked.wait()
    yield running
    await running.close()


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


async def test_workload_comes_and_goes(machine: Machine, daemon: Daemon) -> None:
    machine.make_cgroup(BATCH)
    await eventually(lambda: BATCH in daemon.supervisor.workloads)
    machine.set_populated(BATCH, False)
    await eventually(lambda: not daemon.supervisor.workloads)


async def test_apply_over_the_bus_and_the_end_of_the_workload(
    machine: Machine, daemon: Daemon, bus_address: str
) -> None:
    machine.make_cgroup(BATCH)
    await eventually(lambda: BATCH in daemon.supervisor.workloads)
    path = names.workload_path(daemon.supervisor.workloads[BATCH].workload.cgroup_id)
    async with client.connected(bus_address) as caller:
        await caller.call("Apply", "osa{sx}", path, "scx_batch", {"sip_percent": 7})
    active = daemon.supervisor.active
    assert active is not None
    assert (active.policy, active.state) == ("scx_batch", DeploymentState.ATTACHED)
    assert active.reason == "chosen by a person"
    assert active.parameters == {"sip_percent": 7}
    machine.set_populated(BATCH, False)
    ended = DeploymentState.REVERTED
    await eventually(lambda: daemon.supervisor.deployments[active.id].state is ended)


async def test_a_proposal_over_the_bus(machine: Machine, daemon: Daemon, bus_address: str) -> None:
    machine.make_cgroup(BATCH)
    state = WorkloadState.LEFT_ALONE
    supervisor = daemon.supervisor
    await eventually(
        lambda: BATCH in supervisor.workloads and supervisor.workloads[BATCH].state is state
    )
    wanted = ("propose", "batch", "scx_fair", "--objective", "latency", "--reason", "it waits")
    async with client.connected(bus_address) as caller:
        ran = await client.schedctl(bus_address, *wanted, "--set", "slice_ns=499999")
        assert "slice_ns is 499999, not from 500000 to 20000000 ns" in ran.err
        assert not supervisor.deployments
        ran = await client.schedctl(bus_address, *wanted, "--set", "slice_ns=500000")
        assert (ran.err, ran.code) == ("", 0)
        active = supervisor.active
        assert active is not None
        found = await caller.call("ReadDeployment", "t", active.id)
        assert (found["origin"], found["state"]) == ("agent", "canary")
        assert found["parameters"] == {"slice_ns": 500_000}
    ran = await client.schedctl(bus_address, "optimize", "batch")
    assert "scx_fair is canary for it already" in ran.out
    machine.set_populated(BATCH, False)
    await eventually(lambda: supervisor.active is None)
    (past,) = supervisor.history(BATCH, 5)
    assert (past.origin, past.parameters) == (Origin.AGENT, {"slice_ns": 500_000})


async def test_a_file_that_nobody_reads(machine: Machine, daemon: Daemon, bus_address: str) -> None:
    machine.make_cgroup(BATCH)
    (machine.places.cgroup / BATCH.lstrip("/") / "cgroup.procs").write_text("4711\n")
    await eventually(lambda: BATCH in daemon.supervisor.workloads)
    ran = await client.schedctl(bus_address, "read-file", "batch", "Makefile")
    assert f"{machine.places.reader}: No such file" in " ".join(ran.err.split())


def install_layers(machine: Machine) -> None:
    """A policy with classes, and news of a token for it."""
    folder = machine.places.loader.schedulers / "scx_layers"
    folder.mkdir()
    (folder / "scx_layers.bpf.o").write_bytes(b"object")
    card = (REPOSITORY / "schedulers/scx_fair/scx_fair.toml").read_text()
    card = card.replace('name = "scx_fair"', 'name = "scx_layers"', 1)
    (folder / "scx_layers.toml").write_text(f'{card}\n[maps.layers]\nrole = "classes"\n')
    (machine.places.loader.tokens / "scx_layers.token").touch()


def machine_policy(daemon: Daemon) -> str:
    """The policy that is attached for the whole machine."""
    active = daemon.supervisor.active
    return active.policy if active is not None and not active.workload_id else ""


async def test_classes_over_the_bus_and_the_end_of_the_workloads(
    machine: Machine, daemon: Daemon, bus_address: str
) -> None:
    install_layers(machine)
    supervisor = daemon.supervisor
    for path in (BATCH, WEB):
        machine.make_cgroup(path)
    await eventually(lambda: {BATCH, WEB} <= supervisor.workloads.keys())
    await eventually(lambda: "scx_layers" in supervisor.policies)
    for unit, kind in (("web", "latency"), ("batch", "batch")):
        ran = await client.schedctl(bus_address, "apply", unit, "scx_layers", "--class", kind)
        assert (ran.err, ran.code) == ("", 0)
    assert machine_policy(daemon) == "scx_layers"
    assert supervisor.yielding == (BATCH,)
    assert "Classes     web.service: latency" in (await client.schedctl(bus_address, "status")).out
    machine.set_populated(BATCH, False)
    await eventually(lambda: not supervisor.yielding)
    assert machine_policy(daemon) == "scx_layers"
    ran = await client.schedctl(bus_address, "revert", "web")
    assert ran.out.startswith("web.service is on its own. The kernel default schedules.")
    assert machine_policy(daemon) == ""
    history = (await client.schedctl(bus_address, "history")).out
    assert history.count("scx_layers") == 3
    assert "the whole m" in history


async def test_a_second_workload_gets_a_class_and_the_first_one_too(
    machine: Machine, daemon: Daemon, bus_address: str
) -> None:
    install_shipped(machine, "scx_layers")
    supervisor = daemon.supervisor
    await eventually(lambda: "scx_layers" in supervisor.policies)

    async def profile(workload: Workload) -> WorkloadProfile:
        return batch_profile()  # there is no probe here that says how long a service waits

    supervisor.configure(Mode.AUTO, 0.0)  # the first one needs not have had its policy for long
    supervisor._stages = replace(supervisor._stages, profile=profile)
    machine.make_cgroup(BATCH)
    await eventually(lambda: is_attached(daemon, "scx_batch"))
    machine.make_cgroup(WEB)
    await eventually(lambda: is_attached(daemon, "scx_layers"))
    given = {supervisor.workloads[path].layer for path in (BATCH, WEB)}
    assert given == {LayerClass(LayerKind.BATCH)}
    await eventually(lambda: not supervisor._deployer.proving)
    ran = await client.schedctl(bus_address, "why", "batch")
    assert "moved from scx_batch, by which it gains 22%" in ran.out
    ran = await client.schedctl(bus_address, "status", "--json")
    assert [one["kind"] for one in json.loads(ran.out)["classes"]] == ["batch", "batch"]
    machine.set_populated(WEB, False)
    machine.set_populated(BATCH, False)
    await eventually(lambda: not supervisor._deployer.classes.classified)
    assert is_attached(daemon, "scx_layers"), "for a while"


def install_shipped(machine: Machine, name: str) -> None:
    """A policy of the package by its own card, and news of a token for it."""
    folder = machine.places.loader.schedulers / name
    folder.mkdir()
    (folder / f"{name}.bpf.o").write_bytes(b"object")
    shutil.copy(REPOSITORY / "schedulers" / name / f"{name}.toml", folder)
    (machine.places.loader.tokens / f"{name}.token").touch()


def is_attached(daemon: Daemon, policy: str) -> bool:
    """Whether a policy has got through its canary, if it had one."""
    active = daemon.supervisor.active
    running = active is not None and active.state is DeploymentState.ATTACHED
    return running and active is not None and active.policy == policy


async def test_bus_that_goes_away_ends_the_daemon_and_its_policy(
    machine: Machine, daemon: Daemon, bus_address: str
) -> None:
    machine.make_cgroup(BATCH)
    await eventually(lambda: BATCH in daemon.supervisor.workloads)
    await daemon.supervisor.apply(BATCH, "scx_fair")
    os.kill(bus_pid(bus_address), signal.SIGKILL)
    async with asyncio.timeout(PATIENCE_S):
        assert "bus" in await daemon.lost()
    await daemon.close()
    assert daemon.supervisor.active is None


def bus_pid(address: str) -> int:
    """The process that serves a private bus."""
    folder = address.removeprefix("unix:path=").partition("/bus")[0]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and folder in (entry / "cmdline").read_text(errors="replace"):
            return int(entry.name)
    raise AssertionError(f"no process serves {address}")


async def test_token_that_comes_later_is_noticed(machine: Machine, daemon: Daemon) -> None:
    (machine.places.loader.schedulers / "scx_fair/scx_fair.bpf.o").write_bytes(b"other")
    before = daemon.supervisor.policies["scx_fair"].object_sha256
    (machine.places.loader.tokens / "scx_fair.token").touch()
    await eventually(lambda: daemon.supervisor.policies["scx_fair"].object_sha256 != before)


async def test_bad_configuration_changes_nothing(machine: Machine, daemon: Daemon) -> None:
    machine.configure('[daemon]\nmode = "perhaps"\n')
    daemon.reload()
    assert daemon.supervisor.mode is Mode.AUTO
    assert "schedcpd.toml:2" in daemon.supervisor.events(1)[0].message
    machine.configure('[daemon]\nmode = "advise"\n')
    daemon.reload()
    mode: Mode = daemon.supervisor.mode
    assert mode is Mode.ADVISE


async def test_foreign_scheduler_is_told_at_the_start(
    machine: Machine, bus_address: str, polkit: mock_polkit.MockPolkit
) -> None:
    machine.kernel_says("enabled", "rusty")
    running = Daemon(machine.places, load(machine.places.config))
    await running.start(bus_address)
    try:
        assert any("rusty" in event.message for event in running.supervisor.events(10))
        assert running.supervisor.kernel().policy == "rusty"
    finally:
        await running.close()


async def running_batch(machine: Machine, daemon: Daemon) -> Deployment:
    """A batch whose policy takes turns with the kernel default."""
    machine.make_cgroup(BATCH)
    supervisor = daemon.supervisor
    await eventually(lambda: BATCH in supervisor.workloads)
    workload, policy = supervisor.workloads[BATCH].workload, supervisor.policies["scx_batch"]
    deployer = supervisor._deployer
    return await deployer.deploy(workload, policy, Origin.AUTOMATIC, Objective.MAKESPAN, "a batch")


async def test_canary_from_its_beginning_to_its_end(machine: Machine, daemon: Daemon) -> None:
    deployment = await running_batch(machine, daemon)
    assert deployment.state is DeploymentState.CANARY

    def attached() -> bool:
        active = daemon.supervisor.active
        return active is not None and active.state is DeploymentState.ATTACHED

    await eventually(attached)
    steps = [step.after for step in daemon.supervisor.transitions(50)]
    assert steps.count("canary-off") >= 1
    assert steps[-1] == "attached"
    known = daemon.supervisor._deployer.deployments.known_good(BATCH)
    assert known is not None
    assert known.policy == "scx_batch"


def batch_profile() -> WorkloadProfile:
    """What a batch looks like on a machine with as many CPUs as this one."""
    cpus = os.cpu_count() or 1
    crowd = 10.0 * cpus
    return WorkloadProfile(
        *(time.time(), 0.3, 10 * cpus, 10 * cpus, crowd, float(cpus), 0.0, 0.99, 0.0, 9.0),
        workers=crowd,
        worker_share=0.97,
        worker_threads=1.0,
        worker_age_s=3.2,
        worker_program="xz",
    )


async def test_plan_is_made_from_the_cards_and_from_what_was_learnt(
    machine: Machine, daemon: Daemon
) -> None:
    machine.make_cgroup(BATCH)
    supervisor = daemon.supervisor
    await eventually(lambda: BATCH in supervisor.workloads)
    workload = supervisor.workloads[BATCH].workload
    plan = daemon._plan(workload, batch_profile(), {})
    assert (plan.policy, plan.objective) == ("scx_batch", Objective.MAKESPAN)
    assert daemon._still_fits(batch_profile(), plan)
    assert daemon._plan(workload, batch_profile(), {"scx_batch": "no token"}).policy is None
    tripped = Deployment(
        *(1, BATCH, "scx_batch", Origin.AUTOMATIC, DeploymentState.TRIPPED, 1.0),
        object_sha256=supervisor.policies["scx_batch"].object_sha256,
        reason="others waited",
    )
    daemon._outcomes.learn(tripped, workload, plan)
    after = daemon._plan(workload, batch_profile(), {})
    assert after.policy is None
    assert "did harm once here (others waited)" in after.candidates[-1].evidence
    daemon._outcomes.forgive("scx_batch")
    assert daemon._plan(workload, batch_profile(), {}).policy == "scx_batch"


async def test_stop_in_the_middle_of_a_canary(
    machine: Machine, bus_address: str, polkit: mock_polkit.MockPolkit
) -> None:
    running = Daemon(machine.places, load(machine.places.config))
    await running.start(bus_address)
    await running_batch(machine, running)
    await running.close()
    again = Daemon(machine.places, load(machine.places.config))
    await again.start(bus_address)
    try:
        assert again.supervisor.mode is Mode.AUTO, "it was stopped in order"
        (ended,) = again.supervisor.history("", 5)
        assert (ended.state, ended.reason) == (DeploymentState.REVERTED, "the daemon stops")
    finally:
        await again.close()


async def test_safe_mode_after_the_machine_went_down(
    machine: Machine, bus_address: str, polkit: mock_polkit.MockPolkit, tmp_path: Path
) -> None:
    """The ledger as it was at the moment of a power cut, found at the next boot."""
    running = Daemon(machine.places, load(machine.places.config))
    await running.start(bus_address)
    await running_batch(machine, running)
    after = tmp_path / "after"
    shutil.copytree(machine.places.ledger.parent, after)
    await running.close()
    machine.places.boot_id.write_text("00000000-0000-4000-8000-000000000000\n")
    again = Daemon(replace(machine.places, ledger=after / "ledger.db"), load(machine.places.config))
    await again.start(bus_address)
    try:
        assert again.supervisor.mode == "safe"
        assert "when the machine went down" in again.supervisor.events(10)[0].message
        assert again.supervisor.history("", 1)[0].ended_at > 0
        async with client.connected(bus_address) as caller:
            await caller.call("Resume")
        assert again.supervisor.mode == "auto"
    finally:
        await again.close()


# Deploys for the batch, again and again, until it is killed.
DAEMON_TO_KILL = """
import asyncio, sys
from pathlib import Path
from integration.test_daemon import BATCH, make_places
from schedcpd.config import load
from schedcpd.daemon import Daemon
from schedcpd.model import Objective, Origin

async def main():
    places = make_places(Path(sys.argv[1]))
    daemon = Daemon(places, load(places.config))
    supervisor, deployer = daemon.supervisor, daemon.supervisor._deployer
    supervisor.begin(sys.argv[2])
    await daemon._check_policies()
    supervisor.populated(BATCH, True)
    workload, policy = supervisor.workloads[BATCH].workload, supervisor.policies["scx_batch"]
    print("ready", flush=True)
    while True:
        await deployer.deploy(workload, policy, Origin.AUTOMATIC, Objective.MAKESPAN)
        await asyncio.sleep(0.3)
        await deployer.revert("again")

asyncio.run(main())
"""


@pytest.mark.parametrize("moment", range(8))
def test_killed_at_any_moment(machine: Machine, tmp_path: Path, moment: int) -> None:
    """The next start knows whether something was under way, and no child is left."""
    machine.make_cgroup(BATCH)
    machine.configure("[breaker]\nbaseline_s = 0.1\n[canary]\nwindow_s = 0.5\nsettle_s = 0\n")
    argv = [sys.executable, "-c", DAEMON_TO_KILL, str(tmp_path), "boot"]
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=environment) as victim:
        try:
            assert victim.stdout is not None
            assert victim.stdout.readline() == b"ready\n"
            time.sleep(Random(moment).uniform(0, 0.8))
        finally:
            victim.kill()
    record = open_record(machine.places.ledger)
    last = (record.transitions(1) or (None,))[-1]
    reason = record.begin("boot")
    assert not record.unusable
    assert bool(reason) is (last is not None and last.after != "default")
    assert all(one.ended_at for one in record.deployments(50))
    record.end()
    again = open_record(machine.places.ledger)
    assert again.transitions(1) == ((last,) if last else ())
    again.end()


async def test_ledger_that_cannot_be_opened_means_advice(
    machine: Machine, bus_address: str, polkit: mock_polkit.MockPolkit
) -> None:
    machine.places.ledger.parent.write_text("a file, not a folder")
    running = Daemon(machine.places, load(machine.places.config))
    await running.start(bus_address)
    try:
        machine.make_cgroup(BATCH)
        await eventually(lambda: BATCH in running.supervisor.workloads)
        assert any("written down" in event.message for event in running.supervisor.events(10))
        with pytest.raises(LedgerDamaged):
            await running.supervisor.apply(BATCH, "scx_fair")
    finally:
        await running.close()


async def test_missing_probe_is_told(daemon: Daemon) -> None:
    def told() -> bool:
        said = " ".join(event.message for event in daemon.supervisor.events(20))
        return "is not measured" in said and "is not learnt" in said

    await eventually(told)


async def test_enrolled_policy_is_there_beside_the_packaged(
    machine: Machine, bus_address: str, polkit: mock_polkit.MockPolkit
) -> None:
    folder = machine.places.loader.enrolled / "scx_mine"
    folder.mkdir(parents=True)
    (folder / "scx_mine.bpf.o").write_bytes(b"object")
    card = (REPOSITORY / "schedulers/scx_fair/scx_fair.toml").read_text()
    (folder / "scx_mine.toml").write_text(card.replace('"scx_fair"', '"scx_mine"'))
    running = Daemon(machine.places, load(machine.places.config))
    await running.start(bus_address)
    try:
        assert set(running.supervisor.policies) == {"scx_batch", "scx_fair", "scx_mine"}
    finally:
        await running.close()


async def test_rules_of_the_analysis_can_be_read(daemon: Daemon) -> None:
    assert {"SCX101", "SCX301"} <= {rule.id for rule in daemon.supervisor.rules}


async def test_unreadable_card_is_left_out_and_told(
    machine: Machine, bus_address: str, polkit: mock_polkit.MockPolkit
) -> None:
    (machine.places.loader.schedulers / "scx_fair/scx_fair.toml").write_text("name = 3\n")
    running = Daemon(replace(machine.places), load(machine.places.config))
    await running.start(bus_address)
    try:
        assert set(running.supervisor.policies) == {"scx_batch"}
        assert any("scx_fair.toml" in event.message for event in running.supervisor.events(10))
    finally:
        await running.close()


async def test_policy_that_is_removed_while_it_is_checked(
    machine: Machine,
    bus_address: str,
    polkit: mock_polkit.MockPolkit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(PolicyStore, "names", lambda _: ("scx_batch", "scx_gone"))
    running = Daemon(machine.places, load(machine.places.config))
    await running.start(bus_address)
    try:
        assert set(running.supervisor.policies) == {"scx_batch"}
    finally:
        await running.close()
