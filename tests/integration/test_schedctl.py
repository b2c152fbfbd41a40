# SPDX-License-Identifier: GPL-2.0-or-later
"""schedctl as a process, against the service on a private bus."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
from dataclasses import replace

import pytest

from integration import client, samples
from integration.client import schedctl, schedctl_process, schedctl_started
from integration.fake_core import FakeCore
from integration.mock_polkit import MockPolkit
from schedclient.exit import ExitCode
from schedcpd.bus.service import BusService, serve
from schedcpd.errors import (
    Busy,
    Ejected,
    ForeignScheduler,
    KernelRejected,
    LimitsSet,
    MapRefused,
    NoClasses,
    NoSchedExt,
    NotApplied,
    TokenRefused,
)
from schedcpd.model import DeploymentState, KernelState, SchedulingProfile, WorkloadClass

EVERY_READER = (("status",), ("list",), ("show", "77"), ("policies",), ("log",), ("doctor",))
EVERY_VERB = (
    ("apply", "77", "scx_batch"),
    ("apply", "77", "scx_batch", "--class", "batch"),
    ("optimize", "77"),
    ("propose", "77", "scx_batch", "--objective", "latency", "--reason", "it waits"),
    ("read-file", "77", "Makefile"),
    ("revert",),
    ("revert", "77"),
    ("pause",),
    ("resume",),
)


@pytest.mark.usefixtures("service")
async def test_status(bus_address: str) -> None:
    ran = await schedctl(bus_address, "status")
    assert ran.err == ""
    assert ran.code == ExitCode.OK
    assert "Scheduler   scx_batch, attached " in ran.out
    assert "for batch.service" in ran.out
    assert "39.5 threads are runnable on 2 CPUs." in ran.out
    assert "schedcpd 0.1.0, mode auto" in ran.out
    assert "2: 2 managed" in ran.out
    assert "Attention   scx_fair may not be loaded: no token" in ran.out


@pytest.mark.usefixtures("service")
async def test_status_tells_of_an_ejection(bus_address: str, core: FakeCore) -> None:
    core.end(core.deployments[1], DeploymentState.EJECTED, samples.STALLED)
    ran = await schedctl(bus_address, "status")
    assert "Scheduler   the kernel default" in ran.out
    assert "ejected" in ran.out
    assert "xz[4242] failed to run for 3.001s" in ran.out


@pytest.mark.usefixtures("service")
async def test_status_names_a_foreign_scheduler(bus_address: str, core: FakeCore) -> None:
    core.active = None
    core.kernel_state = KernelState(True, "enabled", "lavd_1.0.5", 9, 0, 0)
    ran = await schedctl(bus_address, "status")
    assert "'lavd_1.0.5', attached by somebody else" in ran.out


@pytest.mark.parametrize("command", EVERY_READER)
@pytest.mark.usefixtures("service")
async def test_every_reader_prints_json(command: tuple[str, ...], bus_address: str) -> None:
    for arguments in ((*command, "--json"), ("--json", *command)):
        ran = await schedctl(bus_address, *arguments)
        assert ran.err == ""
        shown = (
            [json.loads(line) for line in ran.out.splitlines()]
            if command == ("log",)
            else (json.loads(ran.out))
        )
        assert shown


@pytest.mark.parametrize("command", [*EVERY_READER[1:-1], *EVERY_VERB])
async def test_without_the_daemon_every_command_says_how_to_start_it(
    command: tuple[str, ...], bus_address: str
) -> None:
    ran = await schedctl(bus_address, *command)
    assert ran.code == ExitCode.NOT_RUNNING
    assert ran.out == ""
    assert ran.err == (
        "schedctl: schedcpd is not running; start it with: sudo systemctl start schedcpd\n"
    )


async def test_without_the_daemon_status_shows_the_kernel(bus_address: str) -> None:
    ran = await schedctl(bus_address, "status")
    assert ran.code == ExitCode.NOT_RUNNING
    assert ran.out.startswith("Scheduler   ")
    assert f"Kernel      {os.uname().release}" in ran.out
    assert "sudo systemctl start schedcpd" in ran.out
    shown = json.loads((await schedctl(bus_address, "status", "--json")).out)
    assert shown["daemon"] is None
    assert shown["kernel"]["release"] == os.uname().release


async def test_without_a_bus(tmp_path: object) -> None:
    ran = await schedctl(f"unix:path={tmp_path}/nothing", "list")
    assert ran.code == ExitCode.NOT_RUNNING
    assert "the system bus cannot be reached" in ran.err
    assert "Traceback" not in ran.err
    assert (await schedctl("nonsense", "list")).code == ExitCode.NOT_RUNNING


@pytest.mark.usefixtures("service")
async def test_list_and_show(bus_address: str) -> None:
    ran = await schedctl(bus_address, "list")
    assert ran.out.splitlines()[0].split()[:3] == ["WORKLOAD", "STATE", "POLICY"]
    assert "batch.service" in ran.out
    names = await schedctl(bus_address, "list", "--names")
    assert names.out == "/system.slice/batch.service\n/system.slice/nginx.service\n"
    shown = await schedctl(bus_address, "show", "batch")
    assert "Why         39.5 threads are runnable on 2 CPUs." in shown.out
    assert "History     1: scx_batch attached" in shown.out


@pytest.mark.usefixtures("service")
async def test_show_tells_what_the_scheduler_did(bus_address: str, core: FakeCore) -> None:
    figures = (2.5, 36.0, 40.0, 25.0, 0.125, 12.0, 300.0, 0.5, 0.04, 0.0, 0.25, 16.7)
    seen = SchedulingProfile(0.5, 32, 1.9, 28.0, *figures)
    profile = samples.profile(work=WorkloadClass.BATCH, command="make -j40", scheduling=seen)
    known = samples.record(profiled=profile)
    known = replace(known, workload=replace(known.workload, identity="unit batch.service"))
    core.workloads[known.workload.id] = known
    core.workload_changed.emit(known)
    ran = await schedctl(bus_address, "show", "batch")
    assert "Known as    unit batch.service" in ran.out
    assert "Work        batch" in ran.out
    told = " ".join(ran.out.partition("Tasks")[2].partition("Programs")[0].split())
    assert told == (
        "32 tasks looked at, ran 2.5 ms at a time, waited 36.0 ms, slept 12 times a second, "
        "preempted 300 times a second, 40 processes began a second, half of those that ended lived "
        "under 125 ms, asleep 50% for storage and 25% for a time, woke up every 16.7 ms"
    )
    shown = json.loads((await schedctl(bus_address, "show", "batch", "--json")).out)
    assert shown["identity"] == "unit batch.service"
    assert (shown["profile"]["work"], shown["profile"]["command"]) == ("batch", "make -j40")
    assert shown["profile"]["scheduling"]["mean_wait_ms"] == 36.0
    assert shown["profile"]["scheduling"]["tasks"] == 32


@pytest.mark.usefixtures("service")
async def test_show_without_a_closer_look(bus_address: str) -> None:
    shown = json.loads((await schedctl(bus_address, "show", "batch", "--json")).out)
    assert shown["profile"]["scheduling"] == {}
    assert "Tasks" not in (await schedctl(bus_address, "show", "batch")).out


@pytest.mark.usefixtures("service")
async def test_policies(bus_address: str) -> None:
    ran = await schedctl(bus_address, "policies")
    assert ran.out.splitlines()[1].split()[:3] == ["scx_batch", "1.0", "one"]
    one = await schedctl(bus_address, "policies", "scx_batch")
    assert "Fails       servers that answer to people" in one.out
    assert "slice_ns = 5000000 ns, 1000000 to 4294967295" in one.out
    names = await schedctl(bus_address, "policies", "--names")
    assert names.out == "scx_batch\nscx_fair\n"


@pytest.mark.usefixtures("service")
async def test_verbs(bus_address: str, core: FakeCore) -> None:
    applied = await schedctl(bus_address, "apply", "nginx", "scx_batch")
    assert applied.out == "scx_batch is attached for nginx.service (deployment 2, 32 ms).\n"
    reverted = await schedctl(bus_address, "revert")
    assert reverted.out == "The kernel default schedules. schedcp is in mode auto.\n"
    paused = await schedctl(bus_address, "pause")
    assert "mode paused. 'schedctl resume' ends the pause." in paused.out
    resumed = await schedctl(bus_address, "resume", "--json")
    assert json.loads(resumed.out)["mode"] == "auto"
    assert core.calls == [
        ("apply", "/system.slice/nginx.service", "scx_batch", ""),
        ("revert",),
        ("pause",),
        ("resume",),
    ]


@pytest.mark.usefixtures("service")
async def test_classes(bus_address: str, core: FakeCore) -> None:
    layers = samples.policy("scx_layers")
    core.install(*core.policies.values(), layers)
    first = await schedctl(bus_address, "apply", "nginx", "scx_layers", "--class", "latency")
    assert first.out == "nginx.service is latency in scx_layers (deployment 3, set in 1.3 ms).\n"
    more = ("--class=batch", "--weight=300", "--slice=5000", "--json")
    second = json.loads((await schedctl(bus_address, "apply", "77", "scx_layers", *more)).out)
    assert second["layer"] == {"kind": "batch", "weight": 300, "slice_us": 5000}
    status = (await schedctl(bus_address, "status")).out
    assert re.search(r"Scheduler   scx_layers, attached .* ago for the whole machine", status)
    assert re.search(r"Classes     nginx.service: latency, since .* ago, set in 1.3 ms\n", status)
    assert "            batch.service: batch, weight 300, slice 5000 us, since" in status
    shown = json.loads((await schedctl(bus_address, "status", "--json")).out)["classes"]
    assert [(one["workload_id"], one["kind"], one["set_ms"]) for one in shown] == [
        ("/system.slice/nginx.service", "latency", 1.26),
        ("/system.slice/batch.service", "batch", 1.26),
    ]
    shown_one = (await schedctl(bus_address, "show", "77")).out
    assert "Class       batch, weight 300, slice 5000 us" in shown_one
    assert re.search(r"4: scx_layers attached .* ago; set in 1.3 ms", shown_one)
    taken = await schedctl(bus_address, "revert", "77")
    assert taken.out == "batch.service is on its own. scx_layers is attached.\n"
    assert "Class" not in (await schedctl(bus_address, "show", "77")).out
    assert "Classes     nginx.service: latency" in (await schedctl(bus_address, "status")).out
    assert core.calls == [
        ("classify", "/system.slice/nginx.service", "scx_layers", "latency"),
        (
            *("classify", "/system.slice/batch.service", "scx_layers"),
            "batch, weight 300, slice 5000 us",
        ),
        ("detach", "/system.slice/batch.service"),
    ]


@pytest.mark.usefixtures("service")
async def test_many_classes_are_counted(bus_address: str, core: FakeCore) -> None:
    for number in range(100, 112):
        core.put(samples.record(f"/w{number}.service", number))
        ran = await schedctl(bus_address, "apply", str(number), "scx_batch", "--class", "fair")
        assert ran.code == ExitCode.OK
    status = (await schedctl(bus_address, "status")).out
    assert "w107.service: fair" in status
    assert "w108.service" not in status
    assert "and 4 more; 'schedctl show' tells of each" in status


@pytest.mark.usefixtures("service")
async def test_history_of_the_whole_machine(bus_address: str, core: FakeCore) -> None:
    core.past = (samples.deployment(1, workload_id=""),)
    assert "the whole machine" in (await schedctl(bus_address, "history")).out


@pytest.mark.usefixtures("service")
async def test_not_authorised(bus_address: str, core: FakeCore, polkit: MockPolkit) -> None:
    polkit.allowed, polkit.challenge = False, True
    for verb in EVERY_VERB:
        ran = await schedctl(bus_address, *verb)
        assert ran.code == ExitCode.NOT_AUTHORISED
        assert "with sudo" in ran.err
        assert polkit.asked.get_nowait().flags == 1
    assert core.calls == []


@pytest.mark.parametrize(
    ("error", "code", "advice"),
    [
        (NoSchedExt("none in this kernel"), ExitCode.NO_SCHED_EXT, "trixie-backports"),
        (ForeignScheduler("lavd"), ExitCode.FOREIGN_SCHEDULER, "stop it first"),
        (TokenRefused("scx_batch", "expired"), ExitCode.REFUSED, "start schedcp-verify"),
        (LimitsSet("scx_batch", ("x has cpu.max",)), ExitCode.REFUSED, "CPU limits"),
        (KernelRejected("scx_batch", "load", "no"), ExitCode.REFUSED, "journalctl"),
        (Ejected("scx_batch", 1026, "stall"), ExitCode.REFUSED, "journalctl"),
        (Busy("another change is under way"), ExitCode.BUSY, "try again"),
        (NoClasses("scx_batch"), ExitCode.USAGE, "attach it without one"),
        (NotApplied("/a.service"), ExitCode.NOT_FOUND, "'schedctl status' shows"),
        (MapRefused("scx_layers", "layers", "it is full"), ExitCode.ERROR, "it is full"),
        (ValueError("a bug"), ExitCode.ERROR, "journalctl -u schedcpd"),
    ],
)
@pytest.mark.usefixtures("service")
async def test_each_error_has_its_code_and_says_what_to_do(
    error: Exception, code: ExitCode, advice: str, bus_address: str, core: FakeCore
) -> None:
    core.refusal = error
    ran = await schedctl(bus_address, "apply", "77", "scx_batch")
    assert ran.code == code
    assert advice in ran.err
    assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "COMMAND"),
        (("frobnicate",), 2, "invalid choice"),
        (("stat",), 2, "invalid choice"),
        (("status", "extra"), 2, "unrecognized arguments"),
        (("apply",), 2, "WORKLOAD"),
        (("apply", "77"), 2, "POLICY"),
        (("apply", "77", "scx_batch", "--class", "best"), 2, "invalid choice: 'best'"),
        (("apply", "77", "scx_batch", "--weight", "9"), 2, "go with a --class"),
        (("apply", "77", "scx_batch", "--class=fair", "--weight=0"), 2, "not a number from 1 to"),
        (("apply", "77", "scx_batch", "--class=fair", "--slice=99"), 2, "not a number from 100"),
        (("apply", "77", "scx_batch", "--class=fair", "--slice=many"), 2, "not a number from"),
        (("revert", "nothing"), 9, "'schedctl list' shows"),
        (("log", "-n", "-1"), 2, ""),
        (("log", "-n", "many"), 2, "not a number from 0 to 1000"),
        (("log", "-n", "1001"), 2, "not a number from 0 to 1000"),
        (("show", "service"), 9, "could be any of 2 workloads"),
        (("show", ""), 9, "there is no workload ''"),
        (("show", "nothing"), 9, "'schedctl list' shows"),
        (("apply", "77", "scx_none"), 9, "there are: scx_batch, scx_fair"),
        (("policies", "\x1b[31mred"), 9, "there is no policy '\\x1b[31mred'"),
    ],
)
@pytest.mark.usefixtures("service")
async def test_wrong_input(
    arguments: tuple[str, ...], code: int, words: str, bus_address: str, core: FakeCore
) -> None:
    ran = await schedctl(bus_address, *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert words in ran.err
    assert core.calls == []


@pytest.mark.usefixtures("service")
async def test_hostile_names_do_not_reach_the_terminal(bus_address: str, core: FakeCore) -> None:
    name = "/a\x1b[2J\u202egnp\x07\udcff.service"
    core.put(samples.record(name, 99))
    core.log("workload", name, f"saw {name}")
    for arguments in (("list",), ("show", "99"), ("log",), ("list", "--names"), ("list", "--json")):
        ran = await schedctl(bus_address, *arguments)
        assert ran.code == ExitCode.OK
        assert not set("\x1b\u202e\x07") & set(ran.out)
    assert (await schedctl(bus_address, "apply", "99", "scx_batch")).code == ExitCode.OK


@pytest.mark.usefixtures("service")
async def test_the_process_gives_its_status_and_keeps_quiet_otherwise(bus_address: str) -> None:
    ran = await schedctl_process(bus_address, "list", "--names")
    assert (ran.code, ran.err) == (ExitCode.OK, "")
    assert ran.out == "/system.slice/batch.service\n/system.slice/nginx.service\n"
    assert (await schedctl_process(bus_address, "show", "nothing")).code == ExitCode.NOT_FOUND
    assert (await schedctl_process(bus_address, "--json")).code == ExitCode.USAGE


async def _line(stream: asyncio.StreamReader | None) -> str:
    assert stream is not None
    return (await asyncio.wait_for(stream.readline(), client.PATIENCE_S)).decode().strip()


@pytest.mark.usefixtures("service")
async def test_empty_log_says_so(bus_address: str, core: FakeCore) -> None:
    core.logged.clear()
    ran = await client.schedctl(bus_address, "log")
    assert ran.out == "Nothing has happened since the daemon started.\n"


@pytest.mark.usefixtures("service")
async def test_log_follows_until_interrupted(bus_address: str, core: FakeCore) -> None:
    async with schedctl_started(bus_address, "log", "-f") as process:
        assert (await _line(process.stdout)).endswith("batch.service: scx_batch is attached")
        core.log("revert", "", "the workload ended")
        assert await _line(process.stdout) == "2025-10-09 08:53:20  revert      the workload ended"
        process.send_signal(signal.SIGINT)
        out, err = await asyncio.wait_for(process.communicate(), client.PATIENCE_S)
        assert (process.returncode, out, err) == (ExitCode.OK, b"", b"")


async def test_log_follows_across_a_restart(
    bus_address: str, core: FakeCore, polkit: MockPolkit
) -> None:
    service = await serve(core, bus_address)
    async with schedctl_started(bus_address, "log", "-f", "--json", "-n", "1") as process:
        assert json.loads(await _line(process.stdout))["kind"] == "attach"
        await service.close()
        assert "has left the bus" in await _line(process.stderr)
        service = await serve(core, bus_address)
        assert "is back" in await _line(process.stderr)
        core.log("mode", "", "resumed")
        assert json.loads(await _line(process.stdout))["message"] == "resumed"
    await service.close()


@pytest.mark.usefixtures("service")
async def test_a_reader_that_has_seen_enough_is_no_error(bus_address: str, core: FakeCore) -> None:
    for number in range(1000):
        core.log("workload", "", f"line {number} " + "x" * 200)
    process = await asyncio.create_subprocess_exec(
        *client.command("log", "-n", "1000"),
        env=client.environment(bus_address),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        limit=256,
    )
    process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
    assert process.stderr is not None
    assert await asyncio.wait_for(process.stderr.read(), client.PATIENCE_S) == b""
    assert await process.wait() == ExitCode.BROKEN_PIPE


async def test_a_daemon_that_dies_meanwhile(
    bus_address: str, core: FakeCore, polkit: MockPolkit
) -> None:
    service: BusService = await serve(core, bus_address)
    polkit.gate.clear()
    running = asyncio.ensure_future(schedctl(bus_address, "revert"))
    await asyncio.wait_for(polkit.asked.get(), client.PATIENCE_S)
    service._connection.disconnect()  # type: ignore[no-untyped-call]
    ran = await running
    assert ran.code == ExitCode.NOT_RUNNING
    assert "schedcpd ended before it answered" in ran.err
    polkit.gate.set()
    await service.close()


@pytest.mark.usefixtures("service")
async def test_doctor(bus_address: str, core: FakeCore) -> None:
    core.reason = "cpu.max is set on nginx.service"
    ran = await schedctl(bus_address, "doctor")
    assert ran.code == ExitCode.ERROR
    assert "ok    daemon      schedcpd answers, in mode auto" in ran.out
    assert "fail  attaching   cpu.max is set on nginx.service" in ran.out
    assert "warn  policies    scx_fair: no token" in ran.out
    checks = json.loads((await schedctl(bus_address, "doctor", "--json")).out)
    assert {"check": "attaching", "result": "fail", "message": core.reason} in checks


def test_names_are_those_of_the_daemon() -> None:
    from schedclient import names as ours
    from schedcpd.bus import names as theirs

    for name in ("BUS_NAME", "ERROR_PREFIX", "MANAGER", "WORKLOAD", "POLICY", "DEPLOYMENT"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.workload_path(7) == theirs.workload_path(7)
