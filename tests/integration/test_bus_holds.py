# SPDX-License-Identifier: GPL-2.0-or-later
"""Holds, quarantine and the past on the bus."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

import pytest
from dbus_next.errors import DBusError

from integration import client, samples
from integration.client import Client
from integration.fake_core import FakeCore
from integration.mock_polkit import MockPolkit
from schedcpd.bus import manager_interface, names
from schedcpd.bus.service import BusService
from schedcpd.model import Deployment, DeploymentState

NGINX = "/system.slice/nginx.service"
WORKLOAD = names.workload_path(78)


async def test_a_hold_is_shown_and_released(
    caller: Client, core: FakeCore, service: BusService
) -> None:
    await caller.listen()
    cookie = await caller.call("Hold", "os", WORKLOAD, "a match is on")
    mine = [cookie, caller.unique_name, os.getuid(), NGINX, "a match is on", samples.NOW]
    assert await caller.get("Holds") == [mine]
    everything = await caller.call("Hold", "os", "/", "a benchmark")
    await caller.call("ReleaseHold", "u", cookie)
    await caller.call("ReleaseHold", "u", everything)
    assert core.holds == ()
    told = [[hold[4] for hold in body[1]["Holds"]] for _, _, body in await caller.heard()]
    assert told == [
        ["a match is on"],
        ["a match is on", "a benchmark"],
        ["a benchmark"],
        [],
    ]
    assert service._clients._watches == {}


async def test_a_hold_ends_with_its_client(
    caller: Client, core: FakeCore, bus_address: str, service: BusService
) -> None:
    async with client.connected(bus_address) as leaving:
        await leaving.call("Hold", "os", "/", "a match is on")
        await leaving.call("Hold", "os", WORKLOAD, "a match is on")
        await caller.call("Hold", "os", WORKLOAD, "a benchmark")
        assert len({hold.cookie for hold in core.holds}) == 3
    async with asyncio.timeout(client.PATIENCE_S):
        while len(core.holds) > 1:
            await asyncio.sleep(0.01)
    assert [hold.owner for hold in core.holds] == [caller.unique_name]
    assert core.calls.count(("bus_client_gone", leaving.unique_name)) == 1
    assert set(service._clients._watches) == {caller.unique_name}


async def test_a_client_that_leaves_while_it_is_served_holds_nothing(
    caller: Client, core: FakeCore, bus_address: str
) -> None:
    core.gate.clear()
    async with client.connected(bus_address) as leaving:
        call = asyncio.ensure_future(leaving.call("Hold", "os", "/", "a match is on"))
        async with asyncio.timeout(client.PATIENCE_S):
            while not core.calls:
                await asyncio.sleep(0.01)
    with pytest.raises((EOFError, DBusError)):
        await call
    core.gate.set()
    async with asyncio.timeout(client.PATIENCE_S):
        while ("bus_client_gone", leaving.unique_name) not in core.calls:
            await asyncio.sleep(0.01)
    assert core.holds == ()


async def test_nobody_releases_what_another_holds(
    caller: Client, core: FakeCore, bus_address: str
) -> None:
    cookie = await caller.call("Hold", "os", "/", "a match is on")
    async with client.connected(bus_address) as other:
        with pytest.raises(DBusError, match="no hold 1 of yours") as refusal:
            await other.call("ReleaseHold", "u", cookie)
    assert refusal.value.type == "org.schedcp.Daemon1.Error.NoSuchHold"
    assert len(core.holds) == 1


@pytest.mark.parametrize("member", ["Hold", "ReleaseHold"])
async def test_polkit_is_asked(
    member: str, caller: Client, core: FakeCore, polkit: MockPolkit
) -> None:
    polkit.allowed = False
    arguments = ("os", "/", "why") if member == "Hold" else ("u", 1)
    with pytest.raises(DBusError, match="not authorised"):
        await caller.call(member, *arguments)
    assert polkit.asked.get_nowait().action == "org.schedcp.daemon1.hold"
    assert core.calls == []


@pytest.mark.parametrize(
    ("path", "reason", "words"),
    [
        (names.workload_path(5), "why", "there is no workload"),
        (names.ROOT_PATH, "why", "there is no workload"),
        ("/", " ", "a hold needs a reason"),
        ("/", "x" * 201, "longer than 200 characters"),
    ],
)
async def test_what_cannot_be_held(
    path: str, reason: str, words: str, caller: Client, core: FakeCore
) -> None:
    with pytest.raises(DBusError, match=words):
        await caller.call("Hold", "os", path, reason)
    assert core.calls == []


async def test_holds_are_few(
    caller: Client, core: FakeCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager_interface, "MOST_HOLDS", 2)
    for _ in range(2):
        await caller.call("Hold", "os", "/", "why")
    with pytest.raises(DBusError, match="too many") as refusal:
        await caller.call("Hold", "os", "/", "why")
    assert refusal.value.type == "org.schedcp.Daemon1.Error.Busy"


async def test_no_user_takes_all_holds(
    caller: Client, core: FakeCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager_interface, "MOST_HOLDS_OF_ONE", 1)
    await caller.call("Hold", "os", "/", "why")
    with pytest.raises(DBusError, match="too many"):
        await caller.call("Hold", "os", "/", "why")
    mine = core.holds[0]
    core.holds = (replace(mine, uid=mine.uid + 1),)
    await caller.call("Hold", "os", "/", "why")


async def test_quarantine(caller: Client, core: FakeCore) -> None:
    core.quarantines = (samples.QUARANTINE,)
    one = samples.QUARANTINE
    assert await caller.call("Quarantines") == [
        ["scx_fair", one.object_sha256, one.kernel_release, "", one.since, one.reason]
    ]
    with pytest.raises(DBusError, match="'scx_batch' is not in quarantine"):
        await caller.call("Release", "s", "scx_batch")
    await caller.call("Release", "s", "scx_fair")
    assert core.calls == [("release", "scx_fair")]
    assert await caller.call("Quarantines") == []


async def test_why(caller: Client, core: FakeCore) -> None:
    core.reasons[NGINX] = ("nothing to gain", "a bad name \udcff")
    assert await caller.call("Why", "s", NGINX) == ["nothing to gain", "a bad name \ufffd"]
    with pytest.raises(DBusError, match="there is no workload"):
        await caller.call("Why", "s", "/nothing")
    with pytest.raises(DBusError, match="longer than"):
        await caller.call("Why", "s", "x" * 5000)


def past(number: int, workload_id: str) -> Deployment:
    ended = samples.deployment(number, DeploymentState.TRIPPED, workload_id)
    return replace(ended, reason="others waited", revert_ms=4.5, canary=samples.CANARY)


async def test_history(caller: Client, core: FakeCore) -> None:
    core.past = (past(7, NGINX), past(6, "/gone.scope"), samples.deployment(5))
    everything = await caller.call("History", "su", "", 2**32 - 1)
    assert [line[0] for line in everything] == [7, 6, 5]
    assert everything[0][1:5] == [NGINX, "scx_batch", "automatic", "tripped"]
    assert everything[0][8:11] == [4.5, "others waited", ""]
    assert everything[0][11]["decision"] == "promote"
    assert everything[2][11] == {}
    assert [line[0] for line in await caller.call("History", "su", "/gone.scope", 10)] == [6]
    assert len(await caller.call("History", "su", "", 2)) == 2
