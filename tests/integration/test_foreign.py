# SPDX-License-Identifier: GPL-2.0-or-later
"""Foreign schedulers: the whole daemon and their real runner, over a simulated kernel."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from integration import client, mock_polkit
from integration.client import schedctl
from integration.test_daemon import BATCH, REPOSITORY, Machine, eventually, make_places
from schedclient.exit import ExitCode
from schedcpd.config import load
from schedcpd.daemon import Daemon, ForeignPlaces
from schedcpd.deploy.loader import Loader
from schedcpd.errors import (
    BadParameter,
    DigestRefused,
    ForeignScheduler,
    LimitsSet,
    LoaderLost,
    ProgramFailed,
    Quarantined,
    SchedcpError,
)
from schedcpd.model import Deployment, DeploymentState, PolicyKind, WorkloadState

NAME = "scx_sim"
OPS = "sim_1.0_x86"
CARD = """
name = "scx_sim"
program = "{program}"
sha256 = "{sha256}"
ops = "sim"
version = "1.0"
title = "simulated"
summary = "Schedules nothing."
suits = ["tests"]
fails = ["everywhere else"]
honours = []
ignores = ["cpu.max"]

[arguments.module]
flag = "-m"
type = "choice"
choices = ["simulated_scheduler"]
default = "simulated_scheduler"
description = "what makes a scheduler of an interpreter"

[arguments.slice_us]
flag = "--slice-us"
type = "integer"
unit = "us"
default = 5000
min = 500
max = 20000
description = "how long a task runs"

[arguments.verbose]
flag = "--verbose"
type = "bool"
default = false
description = "whether it says more"

[arguments.behave]
flag = "--behave"
type = "choice"
choices = ["well", "dies", "silent", "misnamed", "deaf"]
default = "well"
description = "what is wrong with it"
"""
RUNNER = (
    'exec 3<kmsg; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=connection:kmsg exec "$0" -m '
    "schedcpd.deploy.foreign --cards cards"
)


def put(path: Path, text: str) -> None:
    """Change a file at once."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    new.replace(path)


class Foreign(Machine):
    """A machine with a foreign scheduler installed."""

    @property
    def folder(self) -> Path:
        """Where the simulated kernel and the program are."""
        return self.places.sys / "kernel"

    @property
    def program(self) -> Path:
        """The program."""
        return self.folder / "bin" / NAME

    @property
    def card(self) -> Path:
        """Its card."""
        return self.places.foreign.cards / f"{NAME}.toml"

    def enroll(self, **changes: str) -> None:
        """Write its card, whole at once."""
        sha256 = hashlib.sha256(self.program.read_bytes()).hexdigest()
        text = CARD.format(program=self.program, sha256=sha256)
        for old, new in changes.items():
            text = text.replace(old, new)
        put(self.card, text)

    def kernel_says(self, state: str, policy: str = "") -> None:
        """Set the state of sched_ext, a file at once: they are read all the time."""
        put(self.places.sched_ext / "root/ops", policy)
        put(self.places.sched_ext / "state", state)

    def state(self) -> str:
        """The simulated kernel's state."""
        return (self.places.sched_ext / "state").read_text()

    def log(self, text: str) -> None:
        """Have the kernel say something."""
        with (self.folder / "kmsg").open("a") as file:
            file.write(f"3,7,7,-;{text}\n SUBSYSTEM=none\n")


async def run_for_each_connection(listening: socket.socket, folder: Path) -> None:
    """What systemd does for schedcp-foreign.socket."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    runners = []
    try:
        while True:
            connection, _ = await asyncio.get_running_loop().sock_accept(listening)
            words = ("sh", "-c", RUNNER, sys.executable)
            with connection:
                runners.append(
                    await asyncio.create_subprocess_exec(
                        *words,
                        stdin=connection.fileno(),
                        stdout=connection.fileno(),
                        cwd=folder,
                        env=environment,
                    )
                )
    finally:
        for runner in runners:
            async with asyncio.timeout(20):
                await runner.wait()


@pytest.fixture
async def machine(tmp_path: Path, no_leaks: None) -> AsyncIterator[Foreign]:
    """A machine with sched_ext, a foreign scheduler that is enrolled, and who runs it."""
    places = make_places(tmp_path)
    folder = places.sys / "kernel"
    for one in (folder / "bin", folder / "cards", folder / "btf", places.sched_ext / "root"):
        one.mkdir(parents=True)
    for one in (places.cgroup, places.proc, places.boot_id.parent, places.loader.schedulers):
        one.mkdir(parents=True)
    (folder / "btf/vmlinux").touch()
    (folder / "kmsg").touch()
    (places.sched_ext / "enable_seq").write_text("1")
    places.boot_id.write_text("7e0b9e1a-0000-4000-8000-000000000000\n")
    places.config.write_text("[breaker]\nbaseline_s = 0.1\n[deploy]\nsettle_s = 0.1\n")
    shutil.copy(sys.executable, folder / "bin" / NAME)
    shutil.copy(client.REPOSITORY / "tests/integration/simulated_scheduler.py", folder)
    # The name of a socket has room for some 100 characters.
    with (
        tempfile.TemporaryDirectory(prefix="schedcp-") as short,
        socket.socket(socket.AF_UNIX) as listening,
    ):
        path = Path(short) / "foreign.sock"
        listening.bind(str(path))
        listening.listen()
        listening.setblocking(False)
        foreign = ForeignPlaces(folder / "cards", (folder / "bin",), path)
        loader = replace(places.loader, sched_ext=places.sched_ext)
        made = Foreign(replace(places, foreign=foreign, loader=loader))
        made.kernel_says("disabled")
        made.enroll()
        systemd = asyncio.create_task(run_for_each_connection(listening, folder))
        yield made
        systemd.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await systemd


@pytest.fixture
async def daemon(
    machine: Foreign, bus_address: str, polkit: mock_polkit.MockPolkit
) -> AsyncIterator[Daemon]:
    """The daemon, with a workload."""
    running = Daemon(machine.places, load(machine.places.config))
    await running.start(bus_address)
    machine.make_cgroup(BATCH)
    await eventually(lambda: BATCH in running.supervisor.workloads)
    yield running
    await running.close()
    assert machine.state() == "disabled"


async def apply(daemon: Daemon, **parameters: int) -> Deployment:
    return await daemon.supervisor.apply(BATCH, NAME, parameters)


async def ended(daemon: Daemon, ident: int) -> Deployment:
    await eventually(lambda: bool(daemon.supervisor.deployments[ident].ended_at))
    return daemon.supervisor.deployments[ident]


async def test_applied_with_typed_arguments_over_the_bus(
    machine: Foreign, daemon: Daemon, bus_address: str
) -> None:
    words = ("apply", BATCH, NAME, "--set", "slice_us=750", "--set", "verbose=yes")
    ran = await schedctl(bus_address, *words)
    assert (ran.err, ran.code) == ("", ExitCode.OK)
    shown = json.loads((await schedctl(bus_address, "status", "--json")).out)
    assert (shown["kernel"]["policy"], shown["kernel"]["owner"]) == (OPS, "schedcp")
    assert shown["active"]["kind"] == "foreign"
    assert shown["active"]["parameters"] == {"slice_us": 750, "verbose": 1}
    assert json.loads((machine.folder / "argv").read_text()) == [
        *(str(machine.program), "-m", "simulated_scheduler"),
        *("--slice-us=750", "--verbose", "--behave=well"),
    ]
    status = (await schedctl(bus_address, "status")).out
    assert "a foreign scheduler that nobody has verified" in " ".join(status.split())
    why = (await schedctl(bus_address, "why", BATCH)).out
    assert "verbose=1, a foreign scheduler, is attached" in " ".join(why.split())
    assert (await schedctl(bus_address, "revert")).code == ExitCode.OK
    assert machine.state() == "disabled"
    last = daemon.supervisor.deployments[1]
    assert (last.state, last.error) == (DeploymentState.REVERTED, "")
    assert last.exit is not None
    assert (last.exit.kind, last.exit.reason) == (64, "unregistered from user space")


async def test_the_program_gets_neither_the_connection_nor_the_log(
    machine: Foreign, daemon: Daemon
) -> None:
    await apply(daemon)
    seen = json.loads((machine.folder / "seen").read_text())
    assert len(seen) == 4  # the standard ones, and the folder that it reads for that


async def test_other_arguments_start_it_again(machine: Foreign, daemon: Daemon) -> None:
    first = await apply(daemon)
    assert (await apply(daemon)).id == first.id
    second = await apply(daemon, slice_us=800)
    assert second.id != first.id
    assert "--slice-us=800" in (machine.folder / "argv").read_text()
    assert machine.state() == "enabled"


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"slice_us": 499}, "slice_us is 499, not from 500 to 20000"),
        ({"slice_us": 2**62}, "not from 500"),
        ({"--kconfig": 1}, "no parameter '--kconfig'"),
        ({"behave": 5}, "behave is 5, not from 0 to 4"),
        ({"behave": -1}, "behave is -1"),
        ({"verbose": 2}, "verbose is 2"),
    ],
)
async def test_arguments_that_the_card_does_not_allow(
    machine: Foreign, daemon: Daemon, parameters: Mapping[str, int], words: str
) -> None:
    with pytest.raises(BadParameter, match=words):
        await daemon.supervisor.apply(BATCH, NAME, parameters)
    assert machine.state() == "disabled"
    # Nor does the runner take them from a daemon that would.
    settings = machine.places.foreign.settings(machine.places.loader)
    with pytest.raises(DigestRefused, match=words):
        await Loader.attach(settings, NAME, parameters)
    assert not (machine.folder / "argv").exists()


async def test_a_program_that_was_changed_is_not_run(machine: Foreign, daemon: Daemon) -> None:
    with machine.program.open("ab") as file:
        file.write(b"!")
    assert daemon.supervisor.policies[NAME].admissible  # as far as the daemon knows
    with pytest.raises(DigestRefused, match="its program was changed since it was enrolled"):
        await apply(daemon)
    assert not (machine.folder / "argv").exists()
    machine.enroll()
    sha256 = hashlib.sha256(machine.program.read_bytes()).hexdigest()
    await eventually(lambda: daemon.supervisor.policies[NAME].object_sha256 == sha256)
    await apply(daemon)
    assert machine.state() == "enabled"


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("dies", "its program ended with status 3 before it had attached anything"),
        ("misnamed", "its scheduler is 'another'; by 'ops' in its card: sim"),
    ],
)
async def test_a_program_that_does_not_do_what_its_card_says(
    machine: Foreign, daemon: Daemon, behaviour: str, words: str
) -> None:
    wrong = ("well", "dies", "silent", "misnamed", "deaf").index(behaviour)
    with pytest.raises(ProgramFailed, match=words):
        await apply(daemon, behave=wrong)
    assert machine.state() == "disabled"
    assert daemon.supervisor.deployments[1].state is DeploymentState.FAILED
    assert not daemon.supervisor.quarantines


async def test_a_program_that_does_not_end_is_killed(machine: Foreign, daemon: Daemon) -> None:
    await apply(daemon, behave=4)
    await daemon.supervisor.revert()
    assert machine.state() == "disabled"
    assert daemon.supervisor.deployments[1].state is DeploymentState.REVERTED


async def test_the_kernel_throws_it_out(machine: Foreign, daemon: Daemon) -> None:
    deployment = await apply(daemon)
    machine.log(f'sched_ext: BPF scheduler "{OPS}" disabled (runnable task stall)')
    machine.log("something else at the same time")
    machine.log(f"sched_ext: {OPS}: xz[42] failed to run for 5.1s")
    machine.kernel_says("disabled")
    last = await ended(daemon, deployment.id)
    assert last.state is DeploymentState.EJECTED
    assert last.exit is not None
    assert (last.exit.kind, last.exit.message) == (1026, "xz[42] failed to run for 5.1s")
    with pytest.raises(Quarantined, match="xz"):
        await apply(daemon)


async def test_a_cpu_that_comes_or_goes_is_no_fault(machine: Foreign, daemon: Daemon) -> None:
    first = await apply(daemon, slice_us=900)
    put(machine.places.sched_ext / "hotplug_seq", "1")
    machine.log(f'sched_ext: BPF scheduler "{OPS}" disabled (unregistered from the main kernel)')
    machine.kernel_says("disabled")
    await ended(daemon, first.id)
    await eventually(lambda: daemon.supervisor.active is not None)
    again = daemon.supervisor.active
    assert again is not None
    assert (again.policy, again.parameters) == (NAME, {"slice_us": 900})
    await eventually(lambda: machine.state() == "enabled")


async def test_a_scheduler_that_hides_why_it_left_is_at_fault(
    machine: Foreign, daemon: Daemon
) -> None:
    deployment = await apply(daemon)
    machine.kernel_says("disabled")
    last = await ended(daemon, deployment.id)
    assert last.exit is not None
    assert (last.exit.kind, last.exit.reason) == (1024, "it left the kernel and does not say why")


def running_program(machine: Foreign) -> int:
    """The process that runs the program; the simulated kernel is its child, of the same name."""
    wanted = str(machine.program).encode()
    for folder in sorted(Path("/proc").glob("[0-9]*"), key=lambda one: int(one.name)):
        with contextlib.suppress(OSError):
            if (folder / "cmdline").read_bytes().startswith(wanted):
                return int(folder.name)
    raise AssertionError("it does not run")


async def test_somebody_kills_the_program(machine: Foreign, daemon: Daemon) -> None:
    deployment = await apply(daemon)
    os.kill(running_program(machine), signal.SIGKILL)
    last = await ended(daemon, deployment.id)
    assert last.state is DeploymentState.EJECTED
    assert "its program was ended by SIGKILL" in last.error
    assert not daemon.supervisor.quarantines
    assert daemon.supervisor.workloads[BATCH].state is WorkloadState.HELD


async def test_somebody_elses_scheduler_is_respected(machine: Foreign, daemon: Daemon) -> None:
    machine.kernel_says("enabled", "simple")
    with pytest.raises(ForeignScheduler, match="simple"):
        await apply(daemon)
    machine.kernel_says("disabled")


async def test_limits_that_it_would_ignore(machine: Foreign, daemon: Daemon) -> None:
    (machine.places.cgroup / "cgroup.subtree_control").write_text("cpu\n")
    batch = machine.places.cgroup / BATCH.lstrip("/")
    (batch.parent / "cgroup.subtree_control").write_text("cpu\n")
    (batch / "cpu.max").write_text("50000 100000\n")
    (batch / "cpu.weight").write_text("100\n")
    (batch / "cpu.idle").write_text("0\n")
    with pytest.raises(LimitsSet):
        await apply(daemon)


async def test_a_card_that_is_removed_takes_the_policy_off(
    machine: Foreign, daemon: Daemon
) -> None:
    deployment = await apply(daemon)
    machine.card.unlink()
    last = await ended(daemon, deployment.id)
    assert last.reason == "it is not enrolled any more as it was"
    policy = daemon.supervisor.policies[NAME]
    assert (policy.enrolled, policy.admissible) == (False, False)
    assert policy.token.endswith(f"sudo schedctl enroll-foreign {machine.program}")
    with pytest.raises(DigestRefused, match="not enrolled"):
        await apply(daemon)


async def test_it_ends_with_the_connection(machine: Foreign) -> None:
    settings = machine.places.foreign.settings(machine.places.loader)
    loader = await Loader.attach(settings, NAME, {})
    assert loader.attached.ops == OPS
    assert machine.state() == "enabled"
    loader._process.kill()  # as the death of the daemon does
    await eventually(lambda: machine.state() == "disabled")
    assert (await loader.ended()).exit is None
    with pytest.raises(LoaderLost, match="it hung up"):
        await loader.suspend()


async def test_turns_with_the_kernel_default(machine: Foreign) -> None:
    settings = machine.places.foreign.settings(machine.places.loader)
    loader = await Loader.attach(settings, NAME, {"slice_us": 700})
    for _ in range(2):
        await loader.suspend()
        assert machine.state() == "disabled"
        resumed = await loader.resume()
        assert (resumed.ops, machine.state()) == (OPS, "enabled")
    assert "--slice-us=700" in (machine.folder / "argv").read_text()
    assert resumed.enable_seq == 4
    await loader.suspend()
    machine.kernel_says("enabled", "simple")
    with pytest.raises(ForeignScheduler, match="simple"):
        await loader.resume()
    machine.kernel_says("disabled")


async def test_without_who_runs_it(machine: Foreign, daemon: Daemon) -> None:
    daemon._places = replace(
        machine.places, foreign=replace(machine.places.foreign, socket=machine.folder / "none")
    )
    with pytest.raises(LoaderLost, match="none: "):
        await apply(daemon)


@pytest.mark.parametrize("verb", ["revoke", "withdraw", "verify"])
async def test_what_goes_with_a_verification_only(
    machine: Foreign, daemon: Daemon, bus_address: str, verb: str
) -> None:
    ran = await schedctl(bus_address, verb, NAME)
    assert ran.code == ExitCode.REFUSED
    assert "to withdraw it: sudo rm /etc/schedcp/foreign.d/scx_sim.toml" in ran.err


async def test_listed_with_its_kind(machine: Foreign, daemon: Daemon, bus_address: str) -> None:
    shutil.copy(machine.program, machine.program.with_name("scx_other"))
    shutil.copy(machine.program, machine.program.with_name("scx_loader"))
    daemon._check_policies_again()
    await eventually(lambda: "scx_other" in daemon.supervisor.policies)
    listed = (await schedctl(bus_address, "policies")).out
    assert "scx_sim" in listed
    assert "scx_loader" not in listed
    assert "not enrolled" in listed
    shown = (await schedctl(bus_address, "policies", NAME)).out
    assert "slice_us = 5000 us, 500 to 20000: how long a task runs" in shown
    assert "verbose = no, yes or no" in shown
    assert "behave = well, one of well, dies" in shown
    assert "a foreign scheduler, enrolled by root" in shown
    status = (await schedctl(bus_address, "status")).out
    assert "scx_other (foreign, not enrolled)" in status
    assert "Attention" not in status
    ran = await schedctl(bus_address, "apply", BATCH, "scx_other")
    assert ran.code == ExitCode.REFUSED
    assert "sudo schedctl enroll-foreign" in ran.err
    kinds = {
        one["name"]: one["kind"]
        for one in json.loads((await schedctl(bus_address, "policies", "--json")).out)
    }
    assert kinds == {NAME: "foreign", "scx_other": "foreign"}


async def test_a_bad_card_is_told(machine: Foreign, daemon: Daemon) -> None:
    machine.enroll(**{'type = "bool"': 'type = "text"'})
    await eventually(lambda: NAME not in daemon.supervisor.policies)
    told = [one.message for one in daemon.supervisor.events(20) if one.kind == "refuse"]
    assert any("arguments.verbose.type must be one of" in one for one in told)


async def test_one_of_ours_hides_a_foreign_one_of_its_name(
    machine: Foreign, bus_address: str, polkit: mock_polkit.MockPolkit
) -> None:
    folder = machine.places.loader.schedulers / "scx_fair"
    folder.mkdir()
    (folder / "scx_fair.bpf.o").write_bytes(b"object")
    shutil.copy(REPOSITORY / "schedulers/scx_fair/scx_fair.toml", folder)
    shutil.copy(machine.program, machine.program.with_name("scx_fair"))
    running = Daemon(machine.places, load(machine.places.config))
    await running.start(bus_address)
    assert running.supervisor.policies["scx_fair"].card.kind is PolicyKind.BPF
    await running.close()


async def test_automation_never_weighs_it(machine: Foreign, daemon: Daemon) -> None:
    await eventually(lambda: daemon.supervisor.workloads[BATCH].plan is not None)
    plan = daemon.supervisor.workloads[BATCH].plan
    assert plan is not None
    assert NAME not in {one.policy for one in plan.candidates}


def test_every_refusal_of_the_runner_is_one_of_ours() -> None:
    for error in (DigestRefused, ProgramFailed):
        assert str(error("scx_sim", "why")).startswith("scx_sim ")
        assert issubclass(error, SchedcpError)
