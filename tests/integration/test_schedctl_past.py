# SPDX-License-Identifier: GPL-2.0-or-later
"""``schedctl why``, ``history``, ``hold``, ``quarantine`` and ``release``."""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import pytest

from integration import client, samples
from integration.client import schedctl, schedctl_process, schedctl_started
from integration.fake_core import FakeCore
from integration.mock_polkit import MockPolkit
from schedclient.exit import ExitCode
from schedcpd.bus.service import serve
from schedcpd.errors import Held, LedgerDamaged, NotVerified, Quarantined, VerifierLost
from schedcpd.model import Candidate, DeploymentState, Mode, Objective, Plan

NGINX = "/system.slice/nginx.service"
TRIPPED = replace(
    samples.deployment(7, DeploymentState.TRIPPED, "/system.slice/gone.service"),
    reason="others waited",
    canary=samples.CANARY,
    revert_ms=4.5,
)


@pytest.fixture(autouse=True)
def quarantined(core: FakeCore) -> None:
    core.quarantines = (samples.QUARANTINE,)


@pytest.mark.usefixtures("service")
async def test_why(bus_address: str, core: FakeCore) -> None:
    core.reasons[NGINX] = ("it is a server", "scx_batch was refused: \x1b[2J")
    ran = await schedctl(bus_address, "why", "nginx")
    assert ran.out == (
        f"Workload    {NGINX}\n"
        "Why         it is a server\n"
        "            scx_batch was refused: \ufffd[2J\n"
    )
    shown = json.loads((await schedctl(bus_address, "why", "nginx", "--json")).out)
    nothing = dict.fromkeys(("advice", "objective", "reason", "sentence"), "")
    why = list(core.reasons[NGINX])
    assert shown == {
        "workload_id": NGINX,
        "why": why,
        "profile": {},
        "candidates": [],
        **nothing,
    }
    core.reasons[NGINX] = ()
    assert "nothing has been decided" in (await schedctl(bus_address, "why", "78")).out


@pytest.mark.usefixtures("service")
async def test_why_shows_what_was_weighed(bus_address: str, core: FakeCore) -> None:
    card = "+22% for a batch, by its card: \x1b[2J and a long list of what was measured"
    weighed = (
        Candidate("scx_batch", 0.22, card, "in quarantine"),
        Candidate("", 0.0, "what every policy is compared with"),
        Candidate("scx_fair", -0.031, "-3% in 1 canary here"),
    )
    plan = Plan(None, Objective.MAKESPAN, "A batch, but in quarantine", candidates=weighed)
    known = samples.record(NGINX, 78, profiled=samples.profile(), plan=plan)
    core.workloads[NGINX] = known
    core.workload_changed.emit(known)
    core.reasons[NGINX] = ("plan: A batch, but in quarantine",)
    ran = await schedctl(bus_address, "why", "nginx")
    assert f"Seen        {samples.profile().sentence}" in ran.out
    assert "Features    40 processes with 40 threads, 39.5 runnable" in ran.out
    assert ran.out.endswith(
        "\n"
        "CANDIDATE          GAIN  EVIDENCE\n"
        "scx_batch        +22.0%  +22% for a batch, by its card: \ufffd[2J and a long list of\n"
        "                         what was measured\n"
        "kernel default        0  what every policy is compared with\n"
        "scx_fair          -3.1%  -3% in 1 canary here\n"
        "\n"
        "Rejected    scx_batch: in quarantine\n"
    )
    shown = json.loads((await schedctl(bus_address, "why", "nginx", "--json")).out)
    assert shown["candidates"][0] == {
        "policy": "scx_batch",
        "score": 0.22,
        "evidence": card,
        "objection": "in quarantine",
    }
    assert (shown["advice"], shown["objective"]) == ("", "makespan")
    assert shown["profile"]["processes"] == 40


@pytest.mark.usefixtures("service")
async def test_why_of_a_workload_whose_name_is_no_text(bus_address: str, core: FakeCore) -> None:
    name = "/a\udcff.service"
    core.put(samples.record(name, 99))
    core.reasons[name] = ("nothing to gain",)
    assert "nothing to gain" in (await schedctl(bus_address, "why", "99")).out
    assert (await schedctl(bus_address, "history", "99")).code == ExitCode.OK


@pytest.mark.parametrize("wanted", ["gone.service", "/system.slice/gone.service"])
@pytest.mark.usefixtures("service")
async def test_why_of_a_workload_that_has_ended(
    wanted: str, bus_address: str, core: FakeCore
) -> None:
    core.past = (TRIPPED,)
    core.reasons[TRIPPED.workload_id] = ("others waited",)
    assert "others waited" in (await schedctl(bus_address, "why", wanted)).out
    ran = await schedctl(bus_address, "why", "gone")
    assert (ran.code, ran.out) == (ExitCode.NOT_FOUND, "")


@pytest.mark.usefixtures("service")
async def test_history(bus_address: str, core: FakeCore) -> None:
    assert (await schedctl(bus_address, "history")).out == "No policy has been attached yet.\n"
    core.past = (TRIPPED, samples.deployment(6, workload_id=NGINX))
    ran = await schedctl_process(bus_address, "history")
    title, first, second = (line.split() for line in ran.out.splitlines())
    assert title == ["ID", "STARTED", "LASTED", "POLICY", "STATE", "EFFECT", "WORKLOAD", "WHY"]
    assert first[0] == "7"
    assert first[-6:] == ["scx_batch", "tripped", "+31%", "gone.service", "others", "waited"]
    assert second[-5:] == ["scx_batch", "attached", "-", "nginx.service", "-"]
    narrow = await schedctl(bus_address, "history")
    assert all(len(line) <= 80 for line in narrow.out.splitlines())
    shown = json.loads((await schedctl(bus_address, "history", "nginx", "--json")).out)
    assert [one["id"] for one in shown] == [6]
    shown = json.loads((await schedctl(bus_address, "history", "-n", "1", "--json")).out)
    assert (shown[0]["revert_ms"], shown[0]["canary"]["pairs"]) == (4.5, 6)


@pytest.mark.usefixtures("service")
async def test_quarantine_and_release(bus_address: str, core: FakeCore, polkit: MockPolkit) -> None:
    ran = await schedctl_process(bus_address, "quarantine")
    assert ran.out.splitlines()[1].split()[0] == "scx_fair"
    assert ran.out.splitlines()[1].endswith("every workload  others waited 40 ms, 2 ms before")
    assert (await schedctl(bus_address, "quarantine", "--names")).out == "scx_fair\n"
    shown = json.loads((await schedctl(bus_address, "quarantine", "--json")).out)
    assert shown[0]["policy"] == "scx_fair"
    wrong = await schedctl(bus_address, "release", "scx_batch")
    assert wrong.code == ExitCode.NOT_FOUND
    assert "'schedctl quarantine' shows" in wrong.err
    assert polkit.asked.empty()
    ran = await schedctl(bus_address, "release", "scx_fair")
    assert ran.out == "scx_fair is out of quarantine; it may be attached again.\n"
    assert polkit.asked.get_nowait().action == "org.schedcp.daemon1.configure"
    assert (await schedctl(bus_address, "quarantine")).out == "No policy is in quarantine.\n"


def holding(address: str, *words: str) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    """``schedctl hold``, which the test ends."""
    return schedctl_started(address, "hold", "--reason", "a match", *words)


async def held(core: FakeCore, number: int) -> None:
    """Wait until so many holds are there."""
    async with asyncio.timeout(client.PATIENCE_S):
        while len(core.holds) != number:
            await asyncio.sleep(0.01)


@pytest.mark.usefixtures("service")
async def test_hold_until_interrupted(bus_address: str, core: FakeCore) -> None:
    async with holding(bus_address, "nginx") as process:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), client.PATIENCE_S)
        assert line == b"schedcp decides nothing for nginx.service until Ctrl-C.\n"
        (hold,) = core.holds
        assert (hold.workload_id, hold.reason) == (NGINX, "a match")
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.wait(), client.PATIENCE_S)
        assert process.returncode == ExitCode.OK
    await held(core, 0)


@pytest.mark.usefixtures("service")
async def test_a_hold_ends_with_a_killed_client(bus_address: str, core: FakeCore) -> None:
    async with holding(bus_address) as process:
        await held(core, 1)
        assert core.holds[0].workload_id == ""
        process.kill()
        await held(core, 0)


@pytest.mark.parametrize(
    ("command", "code", "out", "err"),
    [
        (("sh", "-c", "echo done; exit 5"), 5, "done\n", ""),
        (("true",), 0, "", ""),
        (("sh", "-c", "kill -TERM $$"), 128 + signal.SIGTERM, "", ""),
        (("/nonexistent/x",), 127, "", "there is no command '/nonexistent/x'"),
        (("/etc/passwd",), 126, "", "cannot be run"),
    ],
)
@pytest.mark.usefixtures("service")
async def test_hold_ends_with_the_status_of_its_command(
    command: tuple[str, ...], code: int, out: str, err: str, bus_address: str, core: FakeCore
) -> None:
    ran = await schedctl_process(bus_address, "hold", "--reason", "a match", "--", *command)
    assert (ran.code, ran.out) == (code, out)
    assert err in ran.err
    assert bool(err) == bool(ran.err)
    assert ("hold", "", "a match") in core.calls
    await held(core, 0)


@pytest.mark.usefixtures("service")
async def test_hold_passes_an_end_on_and_waits(bus_address: str, core: FakeCore) -> None:
    script = "trap 'echo ended; exit 3' TERM; echo begun; while :; do sleep 0.05; done"
    async with holding(bus_address, "nginx", "--", "sh", "-c", script) as process:
        assert process.stdout is not None
        async with asyncio.timeout(client.PATIENCE_S):
            assert await process.stdout.readline() == b"begun\n"
            assert len(core.holds) == 1
            process.send_signal(signal.SIGTERM)
            assert await process.stdout.readline() == b"ended\n"
            assert await process.wait() == 3


async def test_a_command_goes_on_without_the_daemon(
    bus_address: str, core: FakeCore, polkit: MockPolkit
) -> None:
    service = await serve(core, bus_address)
    async with holding(bus_address, "--", "sh", "-c", "read line; exit 4") as process:
        await held(core, 1)
        await service.close()
        assert process.stderr is not None
        line = await asyncio.wait_for(process.stderr.readline(), client.PATIENCE_S)
        assert line == b"schedctl: schedcpd has ended, and the hold with it\n"
        await asyncio.wait_for(process.communicate(b"end\n"), client.PATIENCE_S)
        assert process.returncode == 4


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("hold",), 2, "--reason"),
        (("hold", "--reason", " "), 2, "a hold needs a reason"),
        (("hold", "--reason", "x" * 300), 2, "longer than 200 characters"),
        (("hold", "--reason", "x", "nothing"), 9, "there is no workload"),
        (("status", "--", "make"), 2, "unrecognized arguments"),
        (("history", "-n", "x"), 2, "not a number"),
        (("why",), 2, "WORKLOAD"),
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


@pytest.mark.parametrize(
    ("error", "code", "advice"),
    [
        (Quarantined("scx_fair", "others waited"), ExitCode.REFUSED, "schedctl release scx_fair"),
        (NotVerified("scx_fair", "SCX101"), ExitCode.REFUSED, "'schedctl verify' shows"),
        (Held("a match"), ExitCode.BUSY, "'schedctl status' shows by whom"),
        (VerifierLost("no socket"), ExitCode.ERROR, "journalctl"),
        (LedgerDamaged("/var/lib/schedcp/ledger", "disk full"), ExitCode.ERROR, "is the disk full"),
    ],
)
@pytest.mark.usefixtures("service")
async def test_each_error_says_what_to_do(
    error: Exception, code: ExitCode, advice: str, bus_address: str, core: FakeCore
) -> None:
    core.refusal = error
    ran = await schedctl(bus_address, "apply", "77", "scx_batch")
    assert ran.code == code
    assert advice in ran.err
    assert len(ran.err.splitlines()) == 1


@pytest.mark.usefixtures("service")
async def test_status_shows_trial_and_holds(bus_address: str, core: FakeCore) -> None:
    core.change(replace(core.deployments[1], state=DeploymentState.CANARY, canary=samples.CANARY))
    core.active = core.deployments[1]
    await core.hold(":1.99", 1000, "", "a match")
    ran = await schedctl(bus_address, "status")
    assert "scx_batch, on trial for batch.service" in ran.out
    assert "Held        the whole machine, by user 1000" in ran.out
    shown = json.loads((await schedctl(bus_address, "status", "--json")).out)
    assert shown["holds"][0]["reason"] == "a match"
    assert shown["active"]["canary"]["decision"] == "promote"


@pytest.mark.usefixtures("service")
async def test_safe_mode_is_told_with_its_reason(bus_address: str, core: FakeCore) -> None:
    core.mode, core.safe = Mode.SAFE, "it ended while scx_batch was attached"
    ran = await schedctl(bus_address, "status")
    assert "Attention   safe mode: it ended while scx_batch was attached" in ran.out
    shown = json.loads((await schedctl(bus_address, "status", "--json")).out)
    assert shown["daemon"] == {"version": "0.1.0", "mode": "safe", "safe": core.safe}
    ran = await schedctl(bus_address, "doctor")
    assert "fail  daemon      in safe mode: it ended while scx_batch was attached" in ran.out


@pytest.mark.usefixtures("service")
async def test_doctor_tells_of_holds(bus_address: str, core: FakeCore) -> None:
    await core.hold(":1.99", 1000, "", "a match")
    ran = await schedctl(bus_address, "doctor")
    assert "warn  holds       automation is kept off by user 1000: a match" in ran.out
    assert core.mode is Mode.AUTO
