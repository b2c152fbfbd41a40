# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon has its policies checked: by how many processes, and what it does meanwhile."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from integration import mock_polkit
from integration.client import schedctl
from integration.test_daemon import (
    BATCH,
    FAKE_CHILD,
    REPOSITORY,
    Machine,
    eventually,
    install_shipped,
    machine,
)
from schedcpd import token
from schedcpd.config import load
from schedcpd.daemon import UNCHECKED, Daemon
from schedcpd.kernel.topology import read_topology
from schedcpd.model import DeploymentState, WorkloadState

__all__ = ["machine"]

TYPES = b"the types of a kernel"
# The child as it is, but for the types of a kernel that there may be none of here. It leaves its
# process id, and is lost through two policies.
CHILD = """
import os, sys, time
from pathlib import Path
folder, sys.path = Path(sys.argv[1]), sys.argv[2:]
from schedcpd.deploy import load
(folder / f"child-{os.getpid()}").touch()
load.BTF, admit = folder / "btf", load.admit

def admit_or_be_lost(request):
    if request.policy == "scx_dies":
        os._exit(9)
    if request.policy == "scx_hangs":
        time.sleep(1000)
    return admit(request)

load.admit = admit_or_be_lost
os._exit(load.main())
"""
# Checks nothing before a file is there.
GATED = 'until [ -e "$0" ]; do sleep 0.05; done; exec "$@"'


@asynccontextmanager
async def started(machine: Machine, bus_address: str, **settings: object) -> AsyncIterator[Daemon]:
    """The daemon, with other settings of the loader."""
    loader = replace(machine.places.loader, **settings)  # type: ignore[arg-type]
    running = Daemon(replace(machine.places, loader=loader), load(machine.places.config))
    await running.start(bus_address)
    try:
        yield running
    finally:
        await running.close()


def install(machine: Machine, *names: str) -> None:
    """Policies that differ by their name only."""
    for name in names:
        folder = machine.places.loader.schedulers / name
        folder.mkdir()
        (folder / f"{name}.bpf.o").write_bytes(b"object")
        card = (REPOSITORY / "schedulers/scx_fair/scx_fair.toml").read_text()
        (folder / f"{name}.toml").write_text(card.replace('"scx_fair"', f'"{name}"', 1))


def sign(machine: Machine, folder: Path, *names: str) -> None:
    """A token for each policy."""
    settings = machine.places.loader
    private, public = token.generate_keys()
    settings.public_key.write_bytes(public)
    (folder / "btf").write_bytes(TYPES)
    for name in names:
        place = settings.schedulers / name
        statement = token.Token(
            policy=name,
            object_sha256=token.sha256((place / f"{name}.bpf.o").read_bytes()),
            card_sha256=token.sha256((place / f"{name}.toml").read_bytes()),
            machine=token.read_machine(os.uname().release, TYPES, read_topology()),
            report_sha256="",
            parameters={},
            issued_at=int(time.time()),
            expires_at=int(time.time()) + 1000,
        )
        (settings.tokens / f"{name}.token").write_bytes(token.sign(statement, private))


def standing(daemon: Daemon) -> dict[str, str]:
    """The policies, each with the first words on its token."""
    return {name: one.token[:11] for name, one in daemon.supervisor.policies.items()}


def count_children(folder: Path) -> int:
    """How many there have been."""
    return sum(one.name.startswith("child-") for one in folder.iterdir())


async def test_a_single_process_checks_them_all(
    machine: Machine, tmp_path: Path, bus_address: str, polkit: mock_polkit.MockPolkit
) -> None:
    names = ("scx_batch", "scx_fair", "scx_one", "scx_two")
    install(machine, *names[2:], "scx_unsigned")
    sign(machine, tmp_path, *names)
    argv = (sys.executable, "-c", CHILD, str(tmp_path), *sys.path)
    async with started(machine, bus_address, argv=argv) as daemon:
        await daemon._checked.wait()
        assert standing(daemon) == {
            **dict.fromkeys(names, "valid until"),
            "scx_unsigned": "it has no t",
        }
        admissible = [name for name, one in daemon.supervisor.policies.items() if one.admissible]
        assert admissible == [*names]
    assert count_children(tmp_path) == 1


async def test_a_child_that_is_lost_costs_one_policy(
    machine: Machine, tmp_path: Path, bus_address: str, polkit: mock_polkit.MockPolkit
) -> None:
    names = ("scx_batch", "scx_fair", "scx_good", "scx_last")
    install(machine, "scx_dies", "scx_good", "scx_hangs", "scx_last")
    sign(machine, tmp_path, *names)
    argv = (sys.executable, "-c", CHILD, str(tmp_path), *sys.path)
    async with started(machine, bus_address, argv=argv, attach_timeout_s=4.0) as daemon:
        await daemon._checked.wait()
        policies = daemon.supervisor.policies
        assert {name for name, one in policies.items() if one.admissible} == {*names}
        assert "ended with status 9 before the policy was checked" in policies["scx_dies"].token
        assert "said nothing in 4 s" in policies["scx_hangs"].token


async def test_it_answers_and_watches_before_they_are_checked(
    machine: Machine, tmp_path: Path, bus_address: str, polkit: mock_polkit.MockPolkit
) -> None:
    gate = tmp_path / "gate"
    argv = ("/bin/sh", "-c", GATED, str(gate), sys.executable, str(FAKE_CHILD))
    machine.make_cgroup(BATCH)
    async with started(machine, bus_address, argv=argv) as daemon:
        supervisor = daemon.supervisor
        assert {one.token for one in supervisor.policies.values()} == {UNCHECKED}
        assert not any(one.admissible for one in supervisor.policies.values())
        assert UNCHECKED in (await schedctl(bus_address, "policies", "scx_fair")).out
        assert supervisor.workloads[BATCH].state is WorkloadState.NEW
        assert not daemon._checked.is_set()
        gate.touch()
        left = WorkloadState.LEFT_ALONE  # an idle one
        await eventually(lambda: supervisor.workloads[BATCH].state is left)
        assert all(one.admissible for one in supervisor.policies.values())
        assert not [one for one in supervisor.events(50) if one.kind == "refuse"]


async def test_a_person_need_not_wait_for_it(
    machine: Machine, tmp_path: Path, bus_address: str, polkit: mock_polkit.MockPolkit
) -> None:
    """What attaches a policy checks it; only the first child waits, which is to check them all."""
    gate = tmp_path / "gate"
    once = f'[ -e "$0.first" ] && exec "$@"; touch "$0.first"; {GATED}'
    argv = ("/bin/sh", "-c", once, str(gate), sys.executable, str(FAKE_CHILD))
    machine.make_cgroup(BATCH)
    async with started(machine, bus_address, argv=argv) as daemon:
        await eventually(gate.with_name("gate.first").exists)
        assert (await schedctl(bus_address, "apply", "batch", "scx_fair")).code == 0
        assert daemon.supervisor.active is not None
        assert daemon.supervisor.active.state is DeploymentState.ATTACHED
        assert not daemon._checked.is_set()


async def test_a_bad_card_is_told_once(
    machine: Machine, bus_address: str, polkit: mock_polkit.MockPolkit
) -> None:
    card = machine.places.loader.schedulers / "scx_fair/scx_fair.toml"
    card.write_text("name = 3\n")
    async with started(machine, bus_address) as daemon:
        supervisor = daemon.supervisor

        def told() -> int:
            return sum(one.kind == "refuse" for one in supervisor.events(50))

        assert told() == 1
        await daemon._policies_checked()
        assert (told(), [*supervisor.policies]) == (1, ["scx_batch"])
        card.write_text("this is no card")
        await daemon._policies_checked()
        assert told() == 2
        shutil.rmtree(card.parent)
        install_shipped(machine, "scx_fair")
        await daemon._policies_checked()
        assert (told(), {*supervisor.policies}) == (2, {"scx_batch", "scx_fair"})
