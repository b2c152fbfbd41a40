# SPDX-License-Identifier: GPL-2.0-or-later
"""The verbs for agents: proposals, plans, closer looks, files and past deployments."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from dbus_next.errors import DBusError, SignatureBodyMismatchError

from integration import samples
from integration.client import Client
from integration.fake_core import FakeCore
from schedclient.daemon import connected
from schedcpd.bus import names
from schedcpd.bus.errors import INVALID, TOO_LARGE
from schedcpd.errors import ProbeFailed, ProposalRefused, WorkloadGone
from schedcpd.model import DeploymentState

WORKLOAD = names.workload_path(78)
NGINX = "/system.slice/nginx.service"
ERROR = "org.schedcp.Daemon1.Error."
PROPOSAL = ("scx_batch", {"slice_ns": 2_000_000}, "makespan", "few long jobs")


async def test_a_proposal_returns_the_deployment(caller: Client, core: FakeCore) -> None:
    path = await caller.call("Propose", "osa{sx}ss", WORKLOAD, *PROPOSAL)
    assert core.calls == [("propose", NGINX, "scx_batch", "few long jobs")]
    assert await caller.get("Origin", path, names.DEPLOYMENT) == "agent"
    assert await caller.get("Parameters", path, names.DEPLOYMENT) == {"slice_ns": 2_000_000}


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({0: names.workload_path(5)}, f"{ERROR}NoSuchWorkload", "no workload"),
        ({1: "scx_nothing"}, f"{ERROR}NoSuchPolicy", "no policy"),
        ({3: "none"}, INVALID, "'none' is no objective; there are makespan, throughput,"),
        ({3: "speed"}, INVALID, "'speed' is no objective"),
        ({4: "  "}, INVALID, "needs a reason"),
        ({4: "two\nlines"}, INVALID, "needs a reason, on one line"),
        ({4: "\x1b[2J"}, INVALID, "that can be printed"),
        ({4: "x" * 201}, TOO_LARGE, "longer than 200 characters"),
    ],
)
async def test_a_proposal_that_makes_no_sense_is_refused(
    change: dict[int, Any], error: str, words: str, caller: Client, core: FakeCore
) -> None:
    arguments = [change.get(at, value) for at, value in enumerate((WORKLOAD, *PROPOSAL))]
    with pytest.raises(DBusError, match=words) as refusal:
        await caller.call("Propose", "osa{sx}ss", *arguments)
    assert refusal.value.type == error
    assert core.calls == []


async def test_a_proposal_that_is_refused_says_why(caller: Client, core: FakeCore) -> None:
    core.refusal = ProposalRefused("scx_batch", "a person decided on this workload")
    with pytest.raises(DBusError, match="not attached: a person decided") as refusal:
        await caller.call("Propose", "osa{sx}ss", WORKLOAD, *PROPOSAL)
    assert refusal.value.type == f"{ERROR}ProposalRefused"


async def test_a_workload_that_ends_meanwhile_is_told(caller: Client, core: FakeCore) -> None:
    core.gate.clear()
    calls = [
        caller.call("Propose", "osa{sx}ss", WORKLOAD, *PROPOSAL),
        caller.call("Optimize", "o", WORKLOAD),
        caller.call("Profile", "os", WORKLOAD, "summary"),
        caller.call("ReadFile", "osuu", WORKLOAD, "Makefile", 0, 9),
    ]
    answers = asyncio.gather(*calls, return_exceptions=True)
    async with asyncio.timeout(10):
        while len(core.calls) < len(calls):
            await asyncio.sleep(0.01)
    core.remove(NGINX)
    core.refusal = WorkloadGone(NGINX)
    core.gate.set()
    assert [getattr(one, "type", one) for one in await answers] == [f"{ERROR}WorkloadGone"] * 4
    with pytest.raises(DBusError) as refusal:
        await caller.call("Optimize", "o", WORKLOAD)
    assert refusal.value.type == f"{ERROR}NoSuchWorkload"


async def test_optimize_says_what_was_decided(caller: Client) -> None:
    told = await caller.call("Optimize", "o", WORKLOAD)
    assert told == "the kernel default schedules it: no batch"


async def test_a_profile_is_as_deep_as_asked(caller: Client) -> None:
    summary = await caller.call("Profile", "os", WORKLOAD, "summary")
    assert (summary["processes"], summary["scheduling"]) == (40, {})
    assert summary["sentence"].startswith("40 processes of xz")
    closer = await caller.call("Profile", "os", WORKLOAD, "scheduling")
    assert closer["scheduling"]["tasks"] == 40
    assert closer["scheduling"]["mean_wait_ms"] == 0.5
    assert closer["probes"] == {}
    closest = (await caller.call("Profile", "os", WORKLOAD, "probes"))["probes"]
    assert (closest["tasks"], closest["wakeups"], closest["system_calls"]) == (7, 110, 2**40)
    assert closest["off_cpu"]["message"] == [[0] * 23 + [90, 10], 10.0, 1.0]
    assert closest["wakers"][1] == ["interrupt", "", "reader\n", 20]
    with pytest.raises(DBusError, match="'all' is no tier; there are summary, scheduling, probes"):
        await caller.call("Profile", "os", WORKLOAD, "all")


async def test_a_probe_that_fails_says_why(caller: Client, core: FakeCore) -> None:
    core.refusal = ProbeFailed(NGINX, "a policy is on trial")
    with pytest.raises(DBusError, match="was not probed: a policy is on trial") as refusal:
        await caller.call("Profile", "os", WORKLOAD, "probes")
    assert refusal.value.type == f"{ERROR}ProbeFailed"


async def test_a_file_comes_in_parts(caller: Client, core: FakeCore, bus_address: str) -> None:
    async with connected(bus_address) as daemon:
        assert await daemon.read_file(WORKLOAD, "Makefile", 0, 9) == ("all: test", len(core.file))
        core.file = "é" * 20_000 + "\0\udcff"
        text, total = await daemon.read_file(WORKLOAD, "Makefile", 10_000, 16_384)
        assert (text, total) == ("é" * 10_000 + "\N{REPLACEMENT CHARACTER}" * 2, 20_002)


@pytest.mark.parametrize("arguments", [("osuu", WORKLOAD, "a", -1, 1), ("osu", WORKLOAD, "a", 1)])
async def test_reading_takes_what_it_takes(arguments: tuple[Any, ...], caller: Client) -> None:
    with pytest.raises((DBusError, SignatureBodyMismatchError)):
        await caller.call("ReadFile", *arguments)


async def test_a_deployment_can_be_read_when_it_is_no_object_any_more(
    caller: Client, core: FakeCore
) -> None:
    past = replace(
        samples.deployment(7, DeploymentState.EJECTED, ended=samples.STALLED),
        canary=samples.CANARY,
        parameters={"slice_ns": 2_000_000},
    )
    core.past = (past,)
    found = await caller.call("ReadDeployment", "t", 7)
    assert found["parameters"] == {"slice_ns": 2_000_000}
    assert found["canary"]["effect"] == 0.31
    assert (found["id"], found["state"], found["exit_cause"]) == (7, "ejected", "fault")
    assert found["object_sha256"] == ""
    assert found["attach_ms"] == 31.5
    properties = await caller.everything()
    names_of = properties[names.deployment_path(1)][names.DEPLOYMENT]
    assert len(found) == len(names_of) - 1  # the workload's path
    with pytest.raises(DBusError, match="there is no deployment 8") as refusal:
        await caller.call("ReadDeployment", "t", 8)
    assert refusal.value.type == f"{ERROR}NoSuchDeployment"
