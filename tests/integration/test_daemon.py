# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole daemon on a private bus, over a simulated machine; ``tests/vm`` has the real one."""

from __future__ import annotations

import asyncio
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
from schedcpd.model import Deployment, DeploymentState, Mode, Objective, Origin
from schedcpd.repository.policies import PolicyStore

REPOSITORY = Path(__file__).parents[2]
FAKE_CHILD = REPOSITORY / "tests/unit/fake_child.py"
BATCH = "/system.slice/batch.service"
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
        probe=ProbeSettings(objects=tmp_path / "probes", argv=("/bin/false",)),
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
    """The daemon, started and known on the bus."""
    running = Daemon(machine.places, load(machine.places.config))
    await running.start(bus_address)
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
        await caller.call("Apply", "os", path, "scx_batch")
    active = daemon.supervisor.active
    assert active is not None
    assert (active.policy, active.state) == ("scx_batch", DeploymentState.ATTACHED)
    assert active.reason == "chosen by a person"
    machine.set_populated(BATCH, False)
    ended = DeploymentState.REVERTED
    await eventually(lambda: daemon.supervisor.deployments[active.id].state is ended)


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
        return any("not measured" in event.message for event in daemon.supervisor.events(20))

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
