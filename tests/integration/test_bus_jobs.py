# SPDX-License-Identifier: GPL-2.0-or-later
"""Jobs on the bus: what may be submitted, how they show, who ends them."""

from __future__ import annotations

import asyncio
import json

import pytest
from dbus_next.errors import DBusError

from integration import client, samples
from integration.client import Client
from integration.fake_core import FakeCore
from integration.mock_polkit import MockPolkit
from schedcpd.bus import names
from schedcpd.bus.requests import LARGEST_CARD, LARGEST_SOURCE
from schedcpd.bus.service import BusService
from schedcpd.bus.wire import LARGEST_TEXTS
from schedcpd.fields import Fields
from schedcpd.model import JobState, Report
from schedcpd.reports import decode_report

JOB = names.job_path(1)
MINE = ("scx_mine", samples.CARD, samples.SOURCE)


async def finished(caller: Client, core: FakeCore) -> None:
    """Let the job run to its end; its last signal has been sent then."""
    core.verifier.gate.set()
    while await caller.get("State", JOB, names.JOB) == "running":
        pass


async def test_a_job_shows_its_stages_and_its_report(caller: Client, core: FakeCore) -> None:
    await caller.listen()
    assert await caller.call("Verify", "sss", *MINE) == JOB
    await finished(caller, core)
    assert core.verifier.asked == [(*MINE, False)]
    added, *changes = await caller.heard()
    assert added[:2] == (names.ROOT_PATH, "InterfacesAdded")
    assert added[2][1][names.JOB]["State"] == "running"
    told = [body[1] for path, member, body in changes if path == JOB]
    assert [len(json.loads(one["Stages"])) for one in told if "Stages" in one] == [1, 2, 3, 4]
    assert {"Now": "compiling it"} in told
    assert told[-1]["State"] == "passed"
    report: Report = decode_report(Fields(json.loads(told[-1]["Report"])))
    assert report == samples.report()
    shown = await caller.get("Subject", JOB, names.JOB)
    assert (shown, await caller.get("Kind", JOB, names.JOB)) == ("scx_mine", "verify")


async def test_an_installed_policy_is_verified_by_name(caller: Client, core: FakeCore) -> None:
    await caller.call("Verify", "sss", "scx_batch", "", "")
    await finished(caller, core)
    assert core.verifier.asked == [("scx_batch", "", "", False)]


async def test_old_jobs_leave_the_bus(caller: Client, core: FakeCore) -> None:
    await caller.call("Verify", "sss", *MINE)
    core.job_removed.emit(1)
    assert await caller.everything(f"{names.ROOT_PATH}/job") == {}


async def test_cancel(caller: Client, core: FakeCore, polkit: MockPolkit) -> None:
    core.verifier.gate.clear()
    await caller.call("Verify", "sss", *MINE)
    polkit.asked.get_nowait()
    polkit.allowed = False
    with pytest.raises(DBusError, match="not authorised"):
        await caller.call("Cancel", path=JOB, interface=names.JOB)
    assert ("cancel", "1") not in core.calls
    assert polkit.asked.get_nowait().action == "org.schedcp.daemon1.verify"
    polkit.allowed = True
    await caller.call("Cancel", path=JOB, interface=names.JOB)
    await finished(caller, core)
    assert await caller.get("State", JOB, names.JOB) == "cancelled"
    assert core.verifier.cancelled == 1


async def test_to_cancel_the_job_of_another_takes_more(
    caller: Client, core: FakeCore, polkit: MockPolkit, bus_address: str
) -> None:
    core.verifier.gate.clear()
    await caller.call("Enroll", "sss", *MINE)
    async with client.connected(bus_address) as other:
        await other.call("Cancel", path=JOB, interface=names.JOB)
    asked = [polkit.asked.get_nowait().action.rpartition(".")[2] for _ in range(3)]
    assert asked == ["enroll", "verify", "configure"]


async def test_a_job_ends_with_its_client(
    caller: Client, core: FakeCore, bus_address: str, service: BusService
) -> None:
    core.verifier.gate.clear()
    async with client.connected(bus_address) as leaving:
        await leaving.call("Verify", "sss", *MINE)
        cookie = await leaving.call("Hold", "os", "/", "a match is on")
        await leaving.call("ReleaseHold", "u", cookie)
    await caller.call("Verify", "sss", *MINE)
    async with asyncio.timeout(client.PATIENCE_S):
        while not core.jobs[1].ended_at:
            await asyncio.sleep(0.01)
    states = [job.state for job in core.jobs.values()]
    assert states == [JobState.CANCELLED, JobState.RUNNING]
    assert set(service._clients._watches) == {caller.unique_name}
    await caller.call("Cancel", path=names.job_path(2), interface=names.JOB)
    while not core.jobs[2].ended_at:
        await asyncio.sleep(0)
    assert service._clients._watches == {}


async def test_who_holds_is_watched_beyond_the_end_of_a_job(
    caller: Client, core: FakeCore, service: BusService
) -> None:
    await caller.call("Hold", "os", "/", "a match is on")
    await caller.call("Verify", "sss", *MINE)
    await finished(caller, core)
    assert set(service._clients._watches) == {caller.unique_name}


@pytest.mark.parametrize(
    ("member", "arguments", "words"),
    [
        ("Verify", ("scx_none", "", ""), "there is no policy 'scx_none'"),
        ("Verify", ("../../etc", "", ""), "is not the name of a policy"),
        ("Verify", ("scx_mine\n", "card", "source"), "is not the name of a policy"),
        ("Verify", ("scx_much_too_long", "card", "source"), "is not the name of a policy"),
        ("Verify", ("scx_mine", "card", ""), "the source of scx_mine is missing"),
        ("Verify", ("scx_mine", "", "source"), "the card of scx_mine is missing"),
        ("Verify", ("scx_mine", "c", "s" * (LARGEST_SOURCE + 1)), "larger than 256 KiB"),
        ("Verify", ("scx_mine", "c", "\N{EURO SIGN}" * (LARGEST_SOURCE // 3 + 1)), "256 KiB"),
        ("Verify", ("scx_mine", "c" * (LARGEST_CARD + 1), "s"), "larger than 64 KiB"),
        ("Verify", ("scx_mine", "c", "s" * LARGEST_TEXTS), "the message is too large"),
        ("Enroll", ("scx_batch", "", ""), "nothing to enroll"),
    ],
)
async def test_what_cannot_be_a_policy_is_refused(
    member: str, arguments: tuple[str, ...], words: str, caller: Client, core: FakeCore
) -> None:
    with pytest.raises(DBusError, match=words):
        await caller.call(member, "sss", *arguments)
    assert core.calls == []


async def test_the_largest_policy_passes_and_other_messages_stay_small(
    caller: Client, core: FakeCore
) -> None:
    await caller.call("Verify", "sss", "scx_mine", "c" * LARGEST_CARD, "s" * LARGEST_SOURCE)
    await finished(caller, core)
    assert [len(one) for one in core.verifier.asked[0][1:3]] == [LARGEST_CARD, LARGEST_SOURCE]
    for signature, body in (("ss", ["s" * 70_000, "s"]), ("asss", [["s"] * 20_000, "s", "s"])):
        with pytest.raises(DBusError, match="too large"):
            await caller.call("Verify", signature, *body)


async def test_rules(caller: Client) -> None:
    first, second = await caller.call("Rules")
    assert first[:3] == ["SCX101", "reject", "enqueue loses the task"]
    assert first[5] == "if (p->prio > 120)\n    return;"
    assert second[0] == "SCX404"
