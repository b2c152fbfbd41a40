# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole daemon on a private bus, over a simulated machine; ``tests/vm`` has the real one."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from integration import client, mock_polkit
from schedcpd.bus import names
from schedcpd.config import load
from schedcpd.daemon import Daemon, Places
from schedcpd.deploy.loader import LoaderSettings
from schedcpd.model import DeploymentState, Mode

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


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with sched_ext and both policies installed."""
    places = Places(
        config=tmp_path / "schedcpd.toml",
        cgroup=tmp_path / "cgroup",
        proc=tmp_path / "proc",
        sys=tmp_path / "sys",
        loader=LoaderSettings(
            schedulers=tmp_path / "schedulers",
            tokens=tmp_path / "verify/tokens",
            public_key=tmp_path / "verify/public.key",
            argv=(sys.executable, str(FAKE_CHILD)),
        ),
    )
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
