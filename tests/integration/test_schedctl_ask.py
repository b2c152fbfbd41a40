# SPDX-License-Identifier: GPL-2.0-or-later
"""What an agent can ask for, asked for with schedctl: parameters, proposals, plans, files."""

from __future__ import annotations

import asyncio
import io
import json
from dataclasses import replace

import pytest

from integration import client, samples
from integration.fake_core import FakeCore
from schedclient.exit import ExitCode
from schedcpd.errors import BadParameter, FileRefused, ProposalRefused
from schedcpd.model import DeploymentState, Origin
from schedctl.__main__ import run
from schedctl.context import Context
from schedctl.parser.build import parse
from schedctl.report import Report

NGINX = "/system.slice/nginx.service"

pytestmark = pytest.mark.usefixtures("service")


def flat(text: str) -> str:
    """The text without its line breaks."""
    return " ".join(text.split())


async def test_parameters_are_set_and_shown(bus_address: str, core: FakeCore) -> None:
    wanted = ("apply", "nginx", "scx_batch", "--set", "slice_ns=2000000", "--set", "bias=-3")
    ran = await client.schedctl(bus_address, *wanted)
    assert (ran.err, ran.code) == ("", 0)
    assert core.calls == [("apply", NGINX, "scx_batch", "bias=-3, slice_ns=2000000")]
    for command in (("status",), ("show", "nginx")):
        assert "bias=-3, slice_ns=2000000" in flat(
            (await client.schedctl(bus_address, *command)).out
        )


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("slice_ns", "a whole number"),
        ("=5", "no tunable ''"),
        ("slice_ns=", "a whole number"),
        ("slice_ns=5ms", "a whole number"),
        ("slice_ns=" + "9" * 19, "a whole number"),
        ("strict=2", "yes or no"),
        ("batch_cgid=5", "no tunable 'batch_cgid'"),
    ],
)
async def test_parameters_that_are_none(
    word: str, told: str, bus_address: str, core: FakeCore
) -> None:
    ran = await client.schedctl(bus_address, "apply", "nginx", "scx_batch", "--set", word)
    assert ran.code == ExitCode.USAGE
    assert told in flat(ran.err)
    assert core.calls == []


async def test_a_class_has_no_parameters(bus_address: str, core: FakeCore) -> None:
    wanted = ("apply", "nginx", "scx_batch", "--class", "batch", "--set", "slice_ns=5")
    ran = await client.schedctl(bus_address, *wanted)
    assert ran.code == ExitCode.USAGE
    assert "--set is for a policy without a --class" in ran.err


async def test_a_parameter_out_of_range_is_told_with_its_range(
    bus_address: str, core: FakeCore
) -> None:
    core.refusal = BadParameter("scx_batch", "bias is 20, not from -20 to 19")
    ran = await client.schedctl(bus_address, "apply", "nginx", "scx_batch", "--set", "bias=20")
    assert ran.code == ExitCode.USAGE
    assert "bias is 20, not from -20 to 19; 'schedctl policies POLICY' shows" in flat(ran.err)


async def test_optimize_tells_what_was_decided(bus_address: str, core: FakeCore) -> None:
    ran = await client.schedctl(bus_address, "optimize", "nginx")
    assert ran.out == "nginx.service: the kernel default schedules it: no batch.\n"
    ran = await client.schedctl(bus_address, "--json", "optimize", "nginx")
    decision = "the kernel default schedules it: no batch"
    assert json.loads(ran.out) == {"workload_id": NGINX, "decision": decision}


async def test_optimize_shows_what_happens_meanwhile(bus_address: str, core: FakeCore) -> None:
    out = io.StringIO()
    shown = Report(out, 80, colour=True)
    context = Context(report=shown, errors=shown, bus_address=bus_address)
    core.gate.clear()
    running = asyncio.ensure_future(run(context, parse(["optimize", "nginx"])))
    async with asyncio.timeout(client.PATIENCE_S):
        while "plan: a batch of jobs" not in out.getvalue():
            await asyncio.sleep(0.01)
    core.gate.set()
    assert await running == ExitCode.OK


async def test_a_proposal_is_made_and_shown(bus_address: str, core: FakeCore) -> None:
    wanted = ("propose", "nginx", "scx_batch", "--set", "slice_ns=2000000")
    why = ("--objective", "makespan", "--reason", "few long jobs")
    ran = await client.schedctl(bus_address, *wanted, *why)
    assert flat(ran.out).startswith("scx_batch with slice_ns=2000000 is attached for nginx.service")
    assert core.calls == [("propose", NGINX, "scx_batch", "few long jobs")]
    assert "an agent's proposal" in flat((await client.schedctl(bus_address, "status")).out)
    core.refusal = ProposalRefused("scx_batch", "mode is paused")
    ran = await client.schedctl(bus_address, *wanted, *why)
    assert ran.code == ExitCode.REFUSED
    assert "mode is paused" in ran.err


async def test_a_file_is_read_whole_and_made_harmless(bus_address: str, core: FakeCore) -> None:
    core.file = "all:\n\techo \x1b[2J\n" + "x" * 40_000 + "\n"
    ran = await client.schedctl(bus_address, "read-file", "nginx", "Makefile")
    assert ran.out == "all:\n        echo \ufffd[2J\n" + "x" * 40_000 + "\n"
    ran = await client.schedctl(bus_address, "--json", "read-file", "nginx", "Makefile")
    assert json.loads(ran.out)["text"] == core.file
    core.refusal = FileRefused("Makefile", "it is no text")
    ran = await client.schedctl(bus_address, "read-file", "nginx", "Makefile")
    assert ran.code == ExitCode.REFUSED
    assert "'Makefile' is not read: it is no text" in ran.err


async def test_show_can_look_now(bus_address: str, core: FakeCore) -> None:
    ran = await client.schedctl(bus_address, "show", "nginx", "--tier", "scheduling")
    assert core.calls == [("profile", NGINX, "scheduling")]
    assert "40 tasks looked at" in flat(ran.out)
    assert "40 processes of xz compete" in flat(ran.out)
    assert "Probes" not in ran.out
    ran = await client.schedctl(bus_address, "show", "nginx", "--tier", "probes")
    assert "Probes 7 tasks used 0.15 CPUs; in 1.0 s 3 migrations; 1 process begun" in flat(ran.out)
    assert "  asleep for a message: 100, 10 ms on average, 1 s in all\n" in ran.out
    assert "  asleep for something else: 1 s in all, without an end\n" in ran.out
    ran = await client.schedctl(bus_address, "--json", "show", "nginx", "--tier", "probes")
    assert json.loads(ran.out)["profile"]["probes"]["calls"] == [["read", 2**40]]


async def test_one_deployment_with_its_trial(bus_address: str, core: FakeCore) -> None:
    past = replace(samples.deployment(7, DeploymentState.REVERTED), canary=samples.CANARY)
    core.past = (replace(past, parameters={"bias": -3}, origin=Origin.AGENT),)
    ran = await client.schedctl(bus_address, "deployment", "7")
    assert "7, reverted, by agent" in ran.out
    assert "scx_batch bias=-3" in ran.out
    assert "+31% completions (+22% to +40%, 6 pairs)" in flat(ran.out)
    assert "scx_batch bias=-3 (agent)" in (await client.schedctl(bus_address, "history")).out
    ran = await client.schedctl(bus_address, "--json", "deployment", "7")
    assert json.loads(ran.out)["canary"]["pairs"] == 6
    ran = await client.schedctl(bus_address, "deployment", "8")
    assert ran.code == ExitCode.NOT_FOUND
