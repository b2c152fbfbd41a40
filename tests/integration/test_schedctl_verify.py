# SPDX-License-Identifier: GPL-2.0-or-later
"""``schedctl verify`` and ``enroll``: what a person sees, and what a script gets."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from integration import client, samples
from integration.client import schedctl, schedctl_process
from integration.fake_core import FakeCore
from integration.mock_polkit import MockPolkit
from schedclient.exit import ExitCode
from schedcpd.bus.service import serve
from schedcpd.errors import Busy, VerifierLost
from schedcpd.model import JobState, StageOutcome, StageReport, VerifyStage
from schedctl.__main__ import run
from schedctl.context import Context
from schedctl.parser.build import parse
from schedctl.report import Report

SKIPPED = StageReport(VerifyStage.KERNEL, StageOutcome.SKIPPED)
UNDONE = StageReport(VerifyStage.KERNEL, StageOutcome.BROKEN, 0.1, "there is no QEMU")
REFUSED = samples.report(samples.COMPILED, samples.LOST, SKIPPED)
BROKEN = samples.report(samples.COMPILED, samples.READ, UNDONE)

STAGES_TEXT = """\
compile   passed      1.2 s
static    passed      0.3 s
  {path}:41: SCX404 (warning): the weight of a task is never read
    mend: scale the slice by p->scx.weight
kernel    passed      6.5 s
      CHECK  FIGURE  BOUND  DEFAULT  WHAT
  ok  load    38 ms      -        -  the kernel's verifier took it
dynamic   passed     21.4 s
      CHECK         FIGURE    BOUND    DEFAULT  WHAT
  ok  runnable      120 ms  2000 ms      80 ms  the longest wait of a task
  ok  throughput  102 MB/s        -  99.2 MB/s  work done
"""
PASSED = "\nscx_mine passed on kernel 7.3.4-cloud-amd64 (kvm) in 29 s.\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A source with its card beside it."""
    (tmp_path / "scx_mine.toml").write_text(samples.CARD)
    path = tmp_path / "scx_mine.bpf.c"
    path.write_text(samples.SOURCE)
    return path


@pytest.fixture
def largest(source: Path) -> Path:
    """A source and a card of the greatest size."""
    source.write_text(samples.SOURCE.ljust(256 * 1024, "/"))
    (source.parent / "scx_mine.toml").write_text("#" * 64 * 1024)
    return source


@pytest.mark.usefixtures("service")
async def test_an_installed_policy_that_passes(bus_address: str, core: FakeCore) -> None:
    ran = await schedctl(bus_address, "verify", "scx_batch")
    assert (ran.code, ran.err) == (ExitCode.OK, "")
    assert ran.out == STAGES_TEXT.format(path="scx_mine.bpf.c") + PASSED
    assert core.verifier.asked == [("scx_batch", "", "", False)]


@pytest.mark.usefixtures("service")
async def test_a_file_that_passes_without_a_terminal(
    bus_address: str, core: FakeCore, source: Path
) -> None:
    ran = await schedctl_process(bus_address, "verify", str(source))
    advice = f"'sudo schedctl enroll {source}' puts it in the repository.\n"
    assert (ran.code, ran.err) == (ExitCode.OK, "")
    assert ran.out == STAGES_TEXT.format(path=source) + PASSED + advice
    assert core.verifier.asked == [("scx_mine", samples.CARD, samples.SOURCE, False)]


@pytest.mark.usefixtures("service")
async def test_a_policy_that_is_refused(bus_address: str, core: FakeCore, source: Path) -> None:
    core.verifier.report = REFUSED
    ran = await schedctl_process(bus_address, "verify", str(source))
    assert ran.code == ExitCode.REFUSED
    lost = "SCX101: a path through enqueue queues the task nowhere"
    assert ran.out.splitlines() == [
        "compile   passed      1.2 s",
        "static    failed      0.3 s",
        f"  {source}:57: {lost}",
        "    mend: end each path with scx_bpf_dsq_insert",
        "kernel    skipped",
        "",
        f"scx_mine was refused on kernel 7.3.4-cloud-amd64 (kvm) in 2 s: static: {lost}",
        "'schedctl verify --rules' explains each rule.",
    ]


@pytest.mark.usefixtures("service")
async def test_a_failed_check_is_told_in_full(bus_address: str, core: FakeCore) -> None:
    words = "a task of the fork storm waited 3.1 s, which is more than the card allows for it here"
    check = replace(samples.TRIED.checks[0], passed=False, message=words)
    stage = replace(samples.TRIED, outcome=StageOutcome.FAILED, reason=words, checks=(check,))
    core.verifier.report = samples.report(samples.COMPILED, samples.READ, samples.LOADED, stage)
    ran = await schedctl(bus_address, "verify", "scx_batch")
    assert ran.code == ExitCode.REFUSED
    assert "\n  fail  runnable" in ran.out
    assert f"runnable: {words}" in " ".join(ran.out.split())
    assert all(len(line) <= 80 for line in ran.out.splitlines())


@pytest.mark.usefixtures("service")
async def test_a_verifier_that_cannot_do_its_work_says_nothing_about_the_policy(
    bus_address: str, core: FakeCore
) -> None:
    core.verifier.report = BROKEN
    ran = await schedctl(bus_address, "verify", "scx_batch")
    assert ran.code == ExitCode.ERROR
    assert "could not be verified" in ran.out
    assert "there is no QEMU" in ran.out
    assert "says nothing about the policy" in ran.out
    core.verifier.failure = VerifierLost("/run/schedcp-verify.sock: Connection refused")
    ran = await schedctl(bus_address, "verify", "scx_batch")
    assert ran.code == ExitCode.ERROR
    assert "Connection refused" in ran.err
    assert "journalctl" in ran.err


@pytest.mark.usefixtures("service")
async def test_a_verdict_from_before_says_so(bus_address: str, core: FakeCore) -> None:
    core.verifier.report = samples.report(cached=True)
    ran = await schedctl(bus_address, "verify", "scx_batch")
    assert "as found on 2025-10-09" in " ".join(ran.out.split())


@pytest.mark.parametrize("report", [samples.report(), REFUSED], ids=["passed", "refused"])
@pytest.mark.usefixtures("service")
async def test_json_is_the_report_and_nothing_else(
    report: object, bus_address: str, core: FakeCore
) -> None:
    core.verifier.report = report  # type: ignore[assignment]
    ran = await schedctl(bus_address, "verify", "scx_batch", "--json")
    shown = json.loads(ran.out)
    assert shown["policy"] == "scx_mine"
    assert shown["passed"] == (ran.code == ExitCode.OK)
    assert [stage["stage"] for stage in shown["stages"]][:2] == ["compile", "static"]
    assert shown["stages"][1]["findings"][0]["line"] in (41, 57)


@pytest.mark.usefixtures("service")
async def test_enroll(bus_address: str, core: FakeCore, polkit: MockPolkit, source: Path) -> None:
    card = source.with_name("other.toml")
    card.write_text("# another\n")
    ran = await schedctl(bus_address, "enroll", str(source), "--card", str(card))
    assert ran.code == ExitCode.OK
    assert ran.out.endswith("It is in the repository: 'schedctl policies scx_mine' shows it.\n")
    assert core.verifier.asked == [("scx_mine", "# another\n", samples.SOURCE, True)]
    assert polkit.asked.get_nowait().action == "org.schedcp.daemon1.enroll"


@pytest.mark.usefixtures("service")
async def test_the_largest_source_fits(bus_address: str, core: FakeCore, largest: Path) -> None:
    assert (await schedctl(bus_address, "verify", str(largest))).code == ExitCode.OK
    ((_, card, source, _),) = core.verifier.asked
    assert (len(card), len(source)) == (64 * 1024, 256 * 1024)


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"scx_mine.bpf.c": b"/" * (256 * 1024 + 1)}, 2, "is larger than 256 KiB"),
        ({"scx_mine.toml": b"#" * (64 * 1024 + 1)}, 2, "is larger than 64 KiB"),
        ({"scx_mine.bpf.c": b"\xff\xfe"}, 2, "is not UTF-8 text"),
        ({"scx_mine.bpf.c": b"int a;\0"}, 2, "has a NUL byte"),
        ({"scx_mine.bpf.c": b" \n"}, 2, "is empty"),
        ({"scx_mine.toml": None}, 9, "there is no card"),
        ({"scx_mine.bpf.c": None}, 9, "there is no file"),
    ],
)
@pytest.mark.usefixtures("service")
async def test_what_cannot_be_sent_is_refused_before(
    change: dict[str, bytes | None],
    code: int,
    words: str,
    bus_address: str,
    core: FakeCore,
    source: Path,
) -> None:
    for name, data in change.items():
        if data is None:
            source.with_name(name).unlink()
        else:
            source.with_name(name).write_bytes(data)
    ran = await schedctl(bus_address, "verify", str(source))
    assert (ran.code, ran.out) == (code, "")
    assert words in ran.err
    assert core.calls == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("verify",), 2, "Give a FILE.bpf.c or the name of a policy"),
        (("verify", "/etc/passwd"), 2, "is called scx_NAME.bpf.c"),
        (("verify", "./mine.bpf.c"), 2, "is called scx_NAME.bpf.c"),
        (("verify", "scx_TOO_BIG.bpf.c"), 2, "is called scx_NAME.bpf.c"),
        (("verify", "scx_batch", "--card", "x"), 2, "--card goes with a FILE"),
        (("verify", "scx_none"), 9, "there are: scx_batch, scx_fair"),
        (("enroll",), 2, "FILE"),
        (("enroll", "scx_batch"), 2, "is called scx_NAME.bpf.c"),
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
async def test_one_too_many_is_told_to_wait(bus_address: str, core: FakeCore) -> None:
    core.refusal = Busy("2 verifications are under way already")
    ran = await schedctl(bus_address, "verify", "scx_batch")
    assert ran.code == ExitCode.BUSY
    assert "under way already; try again" in ran.err


async def under_way(address: str, core: FakeCore) -> asyncio.subprocess.Process:
    """``schedctl verify``, which has shown the first stage and waits for the last."""
    core.verifier.gate.clear()
    process = await asyncio.create_subprocess_exec(
        *client.command("verify", "scx_batch"),
        env=client.environment(address),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), client.PATIENCE_S)
    assert line == b"compile   passed      1.2 s\n"
    return process


@pytest.mark.usefixtures("service")
async def test_interrupted_it_cancels_the_job(bus_address: str, core: FakeCore) -> None:
    process = await under_way(bus_address, core)
    async with asyncio.timeout(client.PATIENCE_S):
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    assert (process.returncode, err) == (ExitCode.INTERRUPTED, b"")
    assert core.verifier.cancelled == 1
    assert core.jobs[1].state is JobState.CANCELLED


@pytest.mark.usefixtures("service")
async def test_killed_it_leaves_no_job_behind(bus_address: str, core: FakeCore) -> None:
    process = await under_way(bus_address, core)
    process.kill()
    await process.communicate()
    async with asyncio.timeout(client.PATIENCE_S):
        while core.jobs[1].state is JobState.RUNNING:
            await asyncio.sleep(0.01)
    assert core.jobs[1].state is JobState.CANCELLED
    assert core.verifier.cancelled == 1


@pytest.mark.usefixtures("service")
async def test_a_job_that_somebody_else_cancels(bus_address: str, core: FakeCore) -> None:
    core.verifier.gate.clear()
    running = asyncio.ensure_future(schedctl(bus_address, "verify", "scx_batch"))
    async with asyncio.timeout(client.PATIENCE_S):
        while not core.verifier.asked:
            await asyncio.sleep(0.01)
    core.cancel(1)
    ran = await running
    assert ran.code == ExitCode.ERROR
    assert "the verification of scx_batch was cancelled" in ran.err


async def test_a_daemon_that_ends_meanwhile(
    bus_address: str, core: FakeCore, polkit: MockPolkit
) -> None:
    service = await serve(core, bus_address)
    process = await under_way(bus_address, core)
    await service.close()
    _, err = await asyncio.wait_for(process.communicate(), client.PATIENCE_S)
    assert process.returncode == ExitCode.NOT_RUNNING
    assert b"schedcpd ended before it answered" in err


@pytest.mark.usefixtures("service")
async def test_a_terminal_shows_what_is_done_now(bus_address: str) -> None:
    out = io.StringIO()
    report = Report(out, 80, colour=True)
    context = Context(report, report, bus_address=bus_address)
    assert await run(context, parse(["verify", "scx_batch"])) == ExitCode.OK
    clear = "\r\x1b[K"
    assert out.getvalue().count(clear) == out.getvalue().count(" ...")
    assert "\x1b[32mpassed" in out.getvalue()


@pytest.mark.usefixtures("service")
async def test_rules(bus_address: str) -> None:
    ran = await schedctl(bus_address, "verify", "--rules")
    assert ran.out == (
        "SCX101  enqueue loses the task (reject)\n"
        "  Catches   a path through enqueue that queues the task nowhere\n"
        "  Why       the task never runs again\n"
        "  Example   if (p->prio > 120)\n"
        "                return;\n"
        "  Mend      end each path with scx_bpf_dsq_insert\n"
        "\n"
        "SCX404  weights are ignored (warning)\n"
        "  Catches   no use of weight\n"
    )
    shown = json.loads((await schedctl(bus_address, "verify", "--rules", "--json")).out)
    assert [rule["id"] for rule in shown] == ["SCX101", "SCX404"]
