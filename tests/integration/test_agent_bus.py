# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent as a process on a private bus, beside the real daemon, asked by schedctl."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dbus_next.errors import DBusError
from dbus_next.message import Message

from integration import client, messages_api
from integration.agent_fixtures import KEY, make_places
from integration.agent_scripts import NOTHING, by_role
from integration.bus_daemon import DBUS_POLICY
from integration.client import schedctl
from integration.messages_api import Fault, MessagesApi
from integration.mock_polkit import MockPolkit
from integration.test_bus_objects import members_of
from integration.test_daemon import BATCH, Machine, daemon, eventually, machine
from schedclient.bus import plain
from schedclient.exit import ExitCode
from schedcpd.agent.interface import AGENT, BUS_NAME, PATH, AgentAction, AgentInterface
from schedcpd.bus.wire import result_of
from schedcpd.daemon import Daemon

__all__ = ["daemon", "machine"]  # fixtures

PATIENCE_S = 30.0
VERBS: dict[str, tuple[AgentAction, str, tuple[Any, ...]]] = {
    "Analyse": (AgentAction.ANALYSE, "s", ("batch.service",)),
    "Cancel": (AgentAction.ANALYSE, "u", (1,)),
    "Preview": (AgentAction.READ, "s", ("batch.service",)),
    "History": (AgentAction.READ, "u", (5,)),
    "Show": (AgentAction.READ, "uu", (1, 0)),
}
OPEN = {"Budget"}


@dataclass
class Running:
    """The agent's process, the server it asks, and its folder."""

    process: asyncio.subprocess.Process
    api: MessagesApi
    folder: Path


@pytest.fixture
async def agent(tmp_path: Path, bus_address: str, polkit: MockPolkit) -> AsyncIterator[Running]:
    """The agent, known on the bus."""
    folder = tmp_path / "agent"
    folder.mkdir()
    async with messages_api.running(by_role(profile=NOTHING)) as (api, base_url):
        places = make_places(folder, base_url)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schedcpd.agent"),
            *("--config", str(places.configuration), "--state", str(places.state)),
            env={
                **client.environment(bus_address),
                "CREDENTIALS_DIRECTORY": str(places.credentials),
            },
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with client.connected(bus_address) as watcher:
                async with asyncio.timeout(PATIENCE_S):
                    while not await watcher.connection.call_driver("NameHasOwner", "s", BUS_NAME):
                        assert process.returncode is None
                        await asyncio.sleep(0.05)
            yield Running(process, api, folder)
        finally:
            if process.returncode is None:
                process.terminate()
            _, said = await process.communicate()
            assert process.returncode == 0, said.decode()
            assert KEY not in said.decode()
            assert "Traceback" not in said.decode()


async def call(bus_address: str, member: str, signature: str, *body: Any) -> Any:
    """Call a method of the agent; raises DBusError."""
    async with client.connected(bus_address) as caller:
        message = Message(BUS_NAME, PATH, AGENT, member, signature=signature, body=list(body))
        return plain(result_of(await asyncio.wait_for(caller.connection.call(message), 20)))


def test_every_method_but_one_names_a_polkit_action() -> None:
    actions = {}
    for member in vars(AgentInterface).values():
        method = getattr(member, "__dict__", {}).get("__DBUS_METHOD")
        if method is not None:
            actions[method.name] = method.fn.polkit_action
    assert {name for name, action in actions.items() if action is None} == OPEN
    asked = {name: action for name, action in actions.items() if action}
    assert asked == {name: action for name, (action, _, _) in VERBS.items()}


def test_the_actions_are_declared_and_the_agent_may_ask() -> None:
    declared = (DBUS_POLICY / "org.schedcp.agent1.policy").read_text()
    for action in AgentAction:
        assert f'<action id="{action}">' in declared
    owner = 'policykit.owner">unix-user:schedcp-agent<'
    assert declared.count(owner) == len(AgentAction)


async def test_committed_introspection_is_that_of_the_live_object(
    agent: Running, bus_address: str
) -> None:
    async with client.connected(bus_address) as caller:
        introspect = "org.freedesktop.DBus.Introspectable"
        message = Message(BUS_NAME, PATH, introspect, "Introspect")
        live = result_of(await caller.connection.call(message))
    committed = (DBUS_POLICY / "interfaces" / f"{AGENT}.xml").read_text()
    assert members_of(committed, AGENT) == members_of(live, AGENT)


@pytest.mark.parametrize("verb", VERBS)
async def test_who_is_not_authorised_gets_nothing(
    verb: str, agent: Running, bus_address: str, polkit: MockPolkit
) -> None:
    action, signature, arguments = VERBS[verb]
    polkit.allowed = False
    with pytest.raises(DBusError) as refused:
        await call(bus_address, verb, signature, *arguments)
    assert refused.value.type.endswith(".NotAuthorized")
    assert (await polkit.asked.get()).action == action
    assert not agent.api.received


@pytest.mark.parametrize(
    ("verb", "arguments", "error"),
    [
        ("Analyse", ("x" * 5000,), "LimitsExceeded"),
        ("Preview", ("x" * 5000,), "LimitsExceeded"),
        ("Cancel", (7,), "NoSuchRun"),
        ("Show", (7, 0), "NoSuchRun"),
    ],
)
async def test_bad_arguments(
    verb: str, arguments: tuple[Any, ...], error: str, agent: Running, bus_address: str
) -> None:
    with pytest.raises(DBusError) as refused:
        await call(bus_address, verb, VERBS[verb][1], *arguments)
    assert refused.value.type.endswith(error)


async def test_without_the_daemon_it_stays_and_says_so(agent: Running, bus_address: str) -> None:
    ran = await schedctl(bus_address, "agent", "analyse", "batch.service")
    assert ran.code != 0
    assert "schedcpd is not running" in ran.err
    status = json.loads((await schedctl(bus_address, "agent", "--json")).out)
    assert (status["state"], status["mode"], status["run"]) == ("idle", "ask", 0)


async def test_without_the_agent_schedctl_says_what_to_do(bus_address: str) -> None:
    ran = await schedctl(bus_address, "agent")
    assert ran.code == ExitCode.NOT_RUNNING
    assert "sudo systemctl start schedcp-agent" in ran.err


@pytest.mark.parametrize(
    "words", [("analyse",), ("show",), ("preview",), ("cancel", "x"), ("status", "x"), ("dance",)]
)
async def test_wrong_command_lines(
    words: tuple[str, ...], agent: Running, bus_address: str
) -> None:
    assert (await schedctl(bus_address, "agent", *words)).code == ExitCode.USAGE


async def test_an_analysis_from_schedctl_to_the_real_daemon_and_back(
    agent: Running, daemon: Daemon, machine: Machine, bus_address: str
) -> None:
    machine.make_cgroup(BATCH)
    await eventually(lambda: BATCH in daemon.supervisor.workloads)
    shown = json.loads((await schedctl(bus_address, "agent", "preview", BATCH, "--json")).out)
    assert not agent.api.received
    assert shown["tokens_at_most"] < 8000
    begun = await schedctl(bus_address, "agent", "analyse", BATCH)
    assert begun.out == "Run 1 has begun; 'schedctl agent' shows what it does.\n"
    runs = await over(bus_address)
    assert (runs[0]["state"], runs[0]["origin"]) == ("left-alone", "person")
    assert agent.api.received[0].headers["authorization"] == f"Bearer {KEY}"
    transcript = json.loads((await schedctl(bus_address, "agent", "show", "1", "--json")).out)
    assert transcript["calls"][0]["request"] == agent.api.received[0].body.decode()
    for words, said in {
        ("history",): "left-alone",
        ("show", "1"): "hand_over_profile",
        ("budget",): "of $4.00",
        ("status",): "idle",
        ("preview", BATCH): '"model": "claude-sonnet-5-5"',
    }.items():
        ran = await schedctl(bus_address, "agent", *words)
        assert (ran.code, said in ran.out) == (0, True), ran


async def test_cancelling_and_ending_in_the_middle(
    agent: Running, daemon: Daemon, machine: Machine, bus_address: str
) -> None:
    agent.api.script = lambda _: Fault(turn=NOTHING, drip_s=60)
    machine.make_cgroup(BATCH)
    await eventually(lambda: BATCH in daemon.supervisor.workloads)
    for end in ("cancelled", "interrupted"):
        assert (await schedctl(bus_address, "agent", "analyse", BATCH)).code == 0
        await eventually(lambda: bool(agent.api.received))
        agent.api.received.clear()
        if end == "cancelled":
            assert (await schedctl(bus_address, "agent", "cancel", "1")).code == 0
            assert (await over(bus_address))[0]["state"] == end
    agent.process.terminate()
    assert await agent.process.wait() == 0


async def over(bus_address: str) -> list[dict[str, Any]]:
    """The runs, once none goes on."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            ran = await schedctl(bus_address, "agent", "history", "--json")
            runs: list[dict[str, Any]] = json.loads(ran.out)
            if all(one["state"] != "running" for one in runs):
                return runs
            await asyncio.sleep(0.05)
