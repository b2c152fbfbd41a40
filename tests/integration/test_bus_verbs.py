# SPDX-License-Identifier: GPL-2.0-or-later
"""The verbs: who may, what happens meanwhile, and what the caller hears."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from dbus_next.constants import MessageFlag
from dbus_next.errors import DBusError
from dbus_next.message import Message

from integration import client, samples
from integration.client import Client
from integration.fake_core import FakeCore
from integration.mock_polkit import MockPolkit
from schedclient.bus import plain
from schedcpd.bus import connection, names
from schedcpd.bus.authorisation import Action, Polkit
from schedcpd.bus.members import MOST_CALLS_OF_ONE
from schedcpd.bus.service import BusService, serve
from schedcpd.bus.wire import LARGEST_BODY
from schedcpd.errors import BusUnavailable, Busy, KernelRejected, LimitsSet

WORKLOAD = names.workload_path(78)
ERROR = "org.schedcp.Daemon1.Error."

VERBS: dict[str, tuple[Action, tuple[Any, ...]]] = {
    "Apply": (Action.APPLY, ("osa{sx}", WORKLOAD, "scx_batch", {})),
    "Propose": (
        Action.OPTIMIZE,
        ("osa{sx}ss", WORKLOAD, "scx_batch", {"batch_weight": 2048}, "makespan", "it fits"),
    ),
    "Optimize": (Action.OPTIMIZE, ("o", WORKLOAD)),
    "Profile": (Action.PROFILE, ("os", WORKLOAD, "scheduling")),
    "ReadFile": (Action.READ_FILES, ("osuu", WORKLOAD, "Makefile", 0, 100)),
    "Classify": (Action.APPLY, ("ossuu", WORKLOAD, "scx_batch", "latency", 200, 3000)),
    "Detach": (Action.REVERT, ("o", WORKLOAD)),
    "Revert": (Action.REVERT, ()),
    "Pause": (Action.PAUSE, ()),
    "Resume": (Action.PAUSE, ()),
    "Hold": (Action.HOLD, ("os", WORKLOAD, "a match is on")),
    "Verify": (Action.VERIFY, ("sss", "scx_batch", "", "")),
    "Enroll": (Action.ENROLL, ("sss", "scx_mine", samples.CARD, samples.SOURCE)),
    "Release": (Action.CONFIGURE, ("s", "scx_fair")),
    "Revoke": (Action.CONFIGURE, ("s", "scx_batch")),
    "Reinstate": (Action.CONFIGURE, ("s", "ab" * 32)),
    "Withdraw": (Action.CONFIGURE, ("s", "scx_mine")),
    "Annotate": (Action.ANNOTATE, ("sss", "policy", "scx_batch", "good for xz")),
    "Promote": (Action.CONFIGURE, ("s", "scx_mine")),
    "Retire": (Action.CONFIGURE, ("ss", "scx_batch", "too slow here")),
    "Export": (Action.CONFIGURE, ("u", 0)),
    "Import": (Action.CONFIGURE, ("s", "key signature {}")),
}
# They need something to be there; their own tests show that they ask.
LATER_VERBS = {"ReleaseHold": Action.HOLD, "Cancel": Action.VERIFY}
READ_ONLY = {
    "Events",
    "History",
    "Outcomes",
    "Quarantines",
    "Read",
    "ReadDeployment",
    "Rules",
    "Search",
    "Why",
}
OF_THE_REPOSITORY = {"Annotate", "Promote", "Retire", "Export", "Import"}


@pytest.fixture(autouse=True)
def more_policies(core: FakeCore) -> None:
    core.quarantines = (samples.QUARANTINE,)
    mine = replace(samples.policy("scx_mine"), enrolled=True)
    core.install(*core.policies.values(), mine)


def interface_of(verb: str) -> str:
    """The interface of the root object that a verb is in."""
    return names.REPOSITORY if verb in OF_THE_REPOSITORY else names.MANAGER


def test_every_method_but_those_that_only_read_names_a_polkit_action() -> None:
    from schedcpd.bus.deployment_interface import DeploymentInterface
    from schedcpd.bus.job_interface import JobInterface
    from schedcpd.bus.manager_interface import ManagerInterface
    from schedcpd.bus.policy_interface import PolicyInterface
    from schedcpd.bus.repository_interface import RepositoryInterface
    from schedcpd.bus.workload_interface import WorkloadInterface

    actions = {}
    with_methods = (ManagerInterface, JobInterface, RepositoryInterface)
    for interface in (*with_methods, WorkloadInterface, PolicyInterface, DeploymentInterface):
        for member in vars(interface).values():
            method = getattr(member, "__dict__", {}).get("__DBUS_METHOD")
            if method is not None:
                actions[method.name] = method.fn.polkit_action
    assert {name for name, action in actions.items() if action is None} == READ_ONLY
    assert {name: action for name, action in actions.items() if action} == {
        **{name: action for name, (action, _) in VERBS.items()},
        **LATER_VERBS,
    }


@pytest.mark.parametrize("verb", VERBS)
async def test_a_verb_asks_polkit_about_its_caller(
    verb: str, caller: Client, core: FakeCore, polkit: MockPolkit
) -> None:
    action, arguments = VERBS[verb]
    await caller.call(verb, *arguments, interface=interface_of(verb))
    asked = polkit.asked.get_nowait()
    assert (asked.sender, asked.action) == (caller.unique_name, action)
    assert asked.flags == 0
    assert core.calls[0][0] == verb.lower().removesuffix("with")


@pytest.mark.parametrize("verb", VERBS)
async def test_a_denied_verb_does_nothing(
    verb: str, caller: Client, core: FakeCore, polkit: MockPolkit
) -> None:
    polkit.allowed = False
    action, arguments = VERBS[verb]
    with pytest.raises(DBusError) as refusal:
        await caller.call(verb, *arguments, interface=interface_of(verb))
    assert refusal.value.type == f"{ERROR}NotAuthorized"
    assert action in refusal.value.text
    assert core.calls == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("best", 0, 0), "'best' is no class; there are fair, batch, longest, latency, background"),
        (("fair", 10_001, 0), "the weight is 10001, not from 1 to 10000"),
        (("fair", 0, 99), "the slice is 99, not from 100 to 100000"),
        (("fair", 0, 2**32 - 1), "the slice is 4294967295"),
    ],
)
async def test_a_class_that_there_is_not_is_refused(
    arguments: tuple[Any, ...], words: str, caller: Client, core: FakeCore
) -> None:
    with pytest.raises(DBusError, match=words) as refusal:
        await caller.call("Classify", "ossuu", WORKLOAD, "scx_batch", *arguments)
    assert refusal.value.type == "org.freedesktop.DBus.Error.InvalidArgs"
    assert core.calls == []


async def test_a_class_is_told_of_by_its_objects(caller: Client, core: FakeCore) -> None:
    path = await caller.call("Classify", "ossuu", WORKLOAD, "scx_batch", "batch", 0, 5000)
    everything = await caller.everything()
    layer = {"kind": "batch", "weight": 0, "slice_us": 5000}
    assert plain(everything[path][names.DEPLOYMENT]["Layer"]) == layer
    assert plain(everything[WORKLOAD][names.WORKLOAD]["Layer"]) == layer
    await caller.call("Detach", "o", WORKLOAD)
    assert plain((await caller.everything())[WORKLOAD][names.WORKLOAD]["Layer"]) == {}


async def test_reading_asks_nobody(caller: Client, polkit: MockPolkit) -> None:
    polkit.allowed = False
    await caller.call("Events", "u", 10)
    await caller.everything()
    assert polkit.asked.empty()


@pytest.mark.parametrize(
    ("interactive", "words"), [(False, "did not let polkit ask"), (True, "dialogue was dismissed")]
)
async def test_a_password_is_asked_for_only_when_the_caller_allows_it(
    interactive: bool, words: str, caller: Client, polkit: MockPolkit
) -> None:
    polkit.allowed, polkit.challenge = False, True
    with pytest.raises(DBusError, match=words):
        await caller.call("Revert", interactive=interactive)
    assert polkit.asked.get_nowait().flags == int(interactive)


async def test_apply_returns_the_deployment(caller: Client, core: FakeCore) -> None:
    path = await caller.call("Apply", "osa{sx}", WORKLOAD, "scx_batch", {})
    assert path == names.deployment_path(2)
    assert await caller.get("ActiveDeployment") == path
    assert core.calls == [("apply", "/system.slice/nginx.service", "scx_batch", "")]
    assert await caller.get("Workload", path, names.DEPLOYMENT) == WORKLOAD


async def test_apply_with_parameters(caller: Client, core: FakeCore) -> None:
    chosen = {"slice_us": -7, "fast": 1}
    path = await caller.call("Apply", "osa{sx}", WORKLOAD, "scx_batch", chosen)
    called = ("apply", "/system.slice/nginx.service", "scx_batch", "fast=1, slice_us=-7")
    assert core.calls == [called]
    assert await caller.get("Parameters", path, names.DEPLOYMENT) == chosen
    assert await caller.get("Kind", path, names.DEPLOYMENT) == "bpf"


@pytest.mark.parametrize(
    ("signature", "value"), [("osa{ss}", {"slice_us": "7"}), ("osas", ["--slice-us=7"])]
)
async def test_parameters_are_numbers(
    signature: str, value: object, caller: Client, core: FakeCore
) -> None:
    with pytest.raises(DBusError) as refusal:
        await caller.call("Apply", signature, WORKLOAD, "scx_batch", value)
    assert refusal.value.type == "org.freedesktop.DBus.Error.UnknownMethod"
    assert core.calls == []


@pytest.mark.parametrize(
    ("workload", "policy", "error"),
    [
        ("/", "scx_batch", "NoSuchWorkload"),
        (names.workload_path(5), "scx_batch", "NoSuchWorkload"),
        (names.policy_path("scx_batch"), "scx_batch", "NoSuchWorkload"),
        (WORKLOAD, "scx_nothing", "NoSuchPolicy"),
        (WORKLOAD, "../../evil\n", "NoSuchPolicy"),
    ],
)
async def test_apply_takes_only_what_is_there(
    workload: str, policy: str, error: str, caller: Client, core: FakeCore
) -> None:
    with pytest.raises(DBusError) as refusal:
        await caller.call("Apply", "osa{sx}", workload, policy, {})
    assert refusal.value.type == f"{ERROR}{error}"
    assert core.calls == []


@pytest.mark.parametrize(
    "error",
    [
        Busy("another change is under way"),
        KernelRejected("scx_batch", "load", "bad\nprogram \udcff", "log"),
        LimitsSet("scx_batch", ("nginx.service has cpu.max 50 %",)),
    ],
)
async def test_errors_of_the_core_have_names_and_one_line(
    error: Exception, caller: Client, core: FakeCore
) -> None:
    core.refusal = error
    with pytest.raises(DBusError) as refusal:
        await caller.call("Apply", "osa{sx}", WORKLOAD, "scx_batch", {})
    assert refusal.value.type == f"{ERROR}{type(error).__name__}"
    assert "\n" not in refusal.value.text
    assert "Traceback" not in refusal.value.text


async def test_an_unforeseen_error_is_logged_and_not_told(
    caller: Client, core: FakeCore, caplog: pytest.LogCaptureFixture
) -> None:
    core.refusal = ValueError("/root/secret")
    with pytest.raises(DBusError) as refusal:
        await caller.call("Revert")
    assert refusal.value.type == f"{ERROR}Internal"
    assert "secret" not in refusal.value.text
    assert "/root/secret" in caplog.text


@pytest.mark.parametrize("arguments", [("s", "x"), ("ss", WORKLOAD, "scx_batch"), ()])
async def test_wrong_arguments_are_refused(
    arguments: tuple[str, ...], caller: Client, core: FakeCore
) -> None:
    with pytest.raises(DBusError) as refusal:
        await caller.call("Apply", *arguments)
    assert refusal.value.type == "org.freedesktop.DBus.Error.UnknownMethod"
    assert core.calls == []


async def test_calls_at_once_are_told_apart(
    caller: Client, bus_address: str, core: FakeCore, polkit: MockPolkit
) -> None:
    polkit.gate.clear()
    async with client.connected(bus_address) as other:
        first = asyncio.ensure_future(caller.call("Revert", interactive=True))
        second = asyncio.ensure_future(other.call("Pause"))
        asked = [await asyncio.wait_for(polkit.asked.get(), 10) for _ in range(2)]
        polkit.gate.set()
        await asyncio.gather(first, second)
        assert {(one.sender, one.action, one.flags) for one in asked} == {
            (caller.unique_name, Action.REVERT, 1),
            (other.unique_name, Action.PAUSE, 0),
        }


async def test_others_are_served_while_polkit_thinks(
    caller: Client, core: FakeCore, polkit: MockPolkit
) -> None:
    polkit.gate.clear()
    waiting = asyncio.ensure_future(caller.call("Revert"))
    await asyncio.wait_for(polkit.asked.get(), 10)
    assert await caller.get("Mode") == "auto"
    assert core.calls == []
    polkit.gate.set()
    await waiting
    assert core.calls == [("revert",)]


async def test_a_caller_who_leaves_is_not_obeyed(
    service: BusService, bus_address: str, core: FakeCore, polkit: MockPolkit, caller: Client
) -> None:
    polkit.gate.clear()
    async with client.connected(bus_address) as leaving:
        call = asyncio.ensure_future(leaving.call("Revert", interactive=True))
        asked = await asyncio.wait_for(polkit.asked.get(), 10)
    with pytest.raises((EOFError, DBusError)):
        await call
    assert await asyncio.wait_for(polkit.cancelled.get(), 10) == asked.cancellation
    polkit.gate.set()
    assert await caller.get("Mode") == "auto"
    assert core.calls == []


async def test_a_polkit_that_does_not_answer_is_not_waited_for_for_ever(
    bus_address: str, polkit: MockPolkit
) -> None:
    polkit.gate.clear()
    async with client.connected(bus_address) as asking, client.connected(bus_address) as other:
        authority = Polkit(asking.connection, answer_s=0.05)
        who = connection.Caller(other.unique_name, interactive=False)
        if os.getuid() == 0:
            await authority.require(Action.REVERT, who)
        else:
            with pytest.raises(Exception, match=r"no answer within 0\.05 s"):
                await authority.require(Action.REVERT, who)
        assert await asyncio.wait_for(polkit.cancelled.get(), 10)


class OrdinaryUser(Polkit):
    """Takes no caller for root, whoever runs the test."""

    async def _is_root(self, caller: connection.Caller) -> bool:
        return False


@pytest.fixture
async def without_polkit(
    core: FakeCore, bus_address: str, monkeypatch: pytest.MonkeyPatch
) -> BusService:
    monkeypatch.setattr("schedcpd.bus.service.Polkit", OrdinaryUser)
    return await serve(core, bus_address)


async def test_without_polkit_nobody_may(
    without_polkit: BusService, bus_address: str, core: FakeCore
) -> None:
    async with client.connected(bus_address) as caller:
        with pytest.raises(DBusError, match="polkit cannot be asked") as refusal:
            await caller.call("Revert")
    await without_polkit.close()
    assert refusal.value.type == f"{ERROR}NotAuthorized"
    assert core.calls == []


async def test_without_polkit_root_may(bus_address: str, core: FakeCore) -> None:
    service = await serve(core, bus_address)
    async with client.connected(bus_address) as caller:
        if os.getuid() == 0:
            await caller.call("Revert")
            assert core.calls == [("revert",)]
        else:
            with pytest.raises(DBusError, match="root may do it without"):
                await caller.call("Revert")
    await service.close()


async def test_an_action_that_polkit_does_not_know_is_refused(
    bus_address: str, polkit: MockPolkit, without_polkit: BusService, core: FakeCore
) -> None:
    polkit.failure = "Action org.schedcp.daemon1.revert is not registered"
    async with client.connected(bus_address) as caller:
        with pytest.raises(DBusError, match="is not registered"):
            await caller.call("Revert")
    await without_polkit.close()
    assert core.calls == []


async def test_closing_answers_those_who_wait(
    core: FakeCore, bus_address: str, polkit: MockPolkit
) -> None:
    polkit.gate.clear()
    service = await serve(core, bus_address)
    async with client.connected(bus_address) as caller:
        waiting = asyncio.ensure_future(caller.call("Revert"))
        await asyncio.wait_for(polkit.asked.get(), 10)
        await service.close()
        with pytest.raises(DBusError, match="shutting down"):
            await waiting
    assert service.disconnected.cancelled()
    assert core.calls == []


async def test_the_loss_of_the_bus_is_told(core: FakeCore, tmp_path_factory: object) -> None:
    import tempfile
    from pathlib import Path

    from integration import bus_daemon

    with tempfile.TemporaryDirectory() as folder:
        with bus_daemon.running(Path(folder)) as address:
            service = await serve(core, address)
        reason = await asyncio.wait_for(service.disconnected, 10)
        assert "system bus was lost" in reason
        core.log("kernel", "", "nobody hears this")
        core.remove("/system.slice/batch.service")
        await service.close()


async def test_a_second_daemon_is_refused(
    service: BusService, core: FakeCore, bus_address: str
) -> None:
    with pytest.raises(BusUnavailable, match="another process has the name"):
        await serve(core, bus_address)


async def test_no_bus_is_a_clear_error(core: FakeCore, tmp_path: object) -> None:
    with pytest.raises(BusUnavailable, match="cannot be reached"):
        await serve(core, f"unix:path={tmp_path}/nothing")


async def test_a_message_that_is_too_large_is_refused_unread(caller: Client) -> None:
    body = [[samples.NOW]] * (LARGEST_BODY // 8 + 1)
    with pytest.raises(DBusError, match="too large") as refusal:
        await caller.call("Apply", "a(d)", body)
    assert refusal.value.type == "org.freedesktop.DBus.Error.LimitsExceeded"
    assert await caller.get("Mode") == "auto"


async def test_one_caller_cannot_fill_the_queue(
    caller: Client, bus_address: str, core: FakeCore, polkit: MockPolkit
) -> None:
    polkit.gate.clear()
    calls = [asyncio.ensure_future(caller.call("Revert")) for _ in range(MOST_CALLS_OF_ONE)]
    for _ in calls:
        await asyncio.wait_for(polkit.asked.get(), 10)
    with pytest.raises(DBusError, match="too many requests") as refusal:
        await caller.call("Revert")
    assert refusal.value.type == f"{ERROR}Busy"
    async with client.connected(bus_address) as other:
        waiting = asyncio.ensure_future(other.call("Pause"))
        assert (await asyncio.wait_for(polkit.asked.get(), 10)).sender == other.unique_name
        polkit.gate.set()
        await asyncio.gather(waiting, *calls)
    assert len(core.calls) == MOST_CALLS_OF_ONE + 1


async def test_a_flood_leaves_the_event_loop_to_others(caller: Client, service: BusService) -> None:
    """Between any 17 messages of a flood another task has its turn."""
    beats, seen = 0, []

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0)

    service._connection.add_message_handler(lambda _: seen.append(beats))
    ping = Message(
        destination=names.BUS_NAME,
        path=names.ROOT_PATH,
        interface="org.freedesktop.DBus.Peer",
        member="Ping",
        flags=MessageFlag.NO_REPLY_EXPECTED,
    )
    beating = asyncio.ensure_future(beat())
    for _ in range(1000):
        caller.connection.send(ping)
        ping.serial = 0
    await caller.call("Ping", interface="org.freedesktop.DBus.Peer")
    beating.cancel()
    assert len(seen) == 1001
    assert max(seen.count(turn) for turn in set(seen)) <= connection.MOST_AT_ONCE


async def test_many_signatures_are_not_remembered_for_ever(
    caller: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MOST_SIGNATURES", 70)
    from dbus_next.signature import SignatureTree

    for number in range(150):
        signature = "".join("yn"[number >> bit & 1] for bit in range(11))
        with pytest.raises(DBusError):
            await caller.call("Apply", signature, *([1] * 11))
    assert len(SignatureTree._cache) < 100


OUTSIDER = """
import asyncio, sys
from dbus_next.aio.message_bus import MessageBus
from dbus_next.message import Message
async def run():
    bus = await MessageBus(sys.argv[1]).connect()
    destination, path, interface, member, signature, *body = sys.argv[2:]
    body = [int(one) if code == "u" else one for code, one in zip(signature, body)]
    reply = await bus.call(Message(destination=destination, path=path, interface=interface,
                                   member=member, signature=signature, body=body))
    print(reply.message_type.name, reply.error_name)
asyncio.run(run())
"""


async def _as_nobody(address: str, *call: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
        *(sys.executable, "-W", "ignore", "-c", OUTSIDER, address, *call),
        stdout=subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), client.PATIENCE_S)
    return out.decode().strip()


@pytest.mark.skipif(os.getuid() != 0, reason="takes root, to become somebody else")
async def test_the_bus_policy_lets_anybody_call_and_only_root_be_the_daemon(
    service: BusService, bus_address: str, core: FakeCore
) -> None:
    daemon = (names.BUS_NAME, names.ROOT_PATH)
    assert await _as_nobody(bus_address, *daemon, names.MANAGER, "Events", "u", "1") == (
        "METHOD_RETURN None"
    )
    assert await _as_nobody(bus_address, *daemon, names.MANAGER, "Revert", "") == (
        "METHOD_RETURN None"
    )
    denied = "ERROR org.freedesktop.DBus.Error.AccessDenied"
    assert await _as_nobody(bus_address, *daemon, "org.example.Other", "Revert", "") == denied
    driver = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
    own = await _as_nobody(bus_address, *driver, "RequestName", "su", names.BUS_NAME, "0")
    assert own == denied


def test_every_action_is_declared() -> None:
    from integration.bus_daemon import DBUS_POLICY

    policy = (DBUS_POLICY / "org.schedcp.daemon1.policy").read_text()
    for action in Action:
        assert f'<action id="{action}">' in policy
    assert policy.count("<action ") == len(Action)
