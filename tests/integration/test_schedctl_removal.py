# SPDX-License-Identifier: GPL-2.0-or-later
"""``schedctl revoke`` and ``withdraw``: on the fake core, and through daemon and verifier."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

import pytest
from dbus_next.errors import DBusError

from integration import samples
from integration.client import REPOSITORY, Client, schedctl
from integration.fake_core import FakeCore
from integration.mock_polkit import MockPolkit
from integration.test_daemon import Machine, eventually, machine
from schedclient.exit import ExitCode
from schedcpd.config import load
from schedcpd.daemon import Daemon
from schedcpd.errors import VerifierLost
from schedcpd.verify import host, serve

__all__ = ["machine"]
CONFIGURE = "org.schedcp.daemon1.configure"
DIGEST = "ab" * 32
FAIR = REPOSITORY / "schedulers/scx_fair/scx_fair.toml"
# As the real child, which is not installed where the tests run.
CHECK = (
    f"import sys; sys.path[0] = {str(REPOSITORY)!r}; from schedcpd.deploy import load; load.main()"
)


@pytest.fixture(autouse=True)
def enrolled(core: FakeCore) -> None:
    mine = replace(samples.policy("scx_mine"), enrolled=True)
    core.install(*core.policies.values(), mine)


@pytest.mark.usefixtures("service")
async def test_revoke_and_undo(bus_address: str, core: FakeCore, polkit: MockPolkit) -> None:
    ran = await schedctl(bus_address, "revoke", "scx_batch")
    assert ran.out == (
        "scx_batch is revoked and cannot be attached; "
        "'schedctl revoke --undo scx_batch' takes that back.\n"
    )
    assert polkit.asked.get_nowait().action == CONFIGURE
    shown = " ".join((await schedctl(bus_address, "policies", "scx_batch")).out.split())
    assert "Loadable no: it was revoked; 'schedctl revoke --undo scx_batch' takes that" in shown
    ran = await schedctl(bus_address, "revoke", "--undo", "scx_batch")
    assert ran.out == (
        "scx_batch is not revoked any more; 'schedctl verify scx_batch' gives it its token.\n"
    )
    assert polkit.asked.get_nowait().action == CONFIGURE
    ran = await schedctl(bus_address, "revoke", "--undo", "cd" * 32)
    assert ran.out == "The object is not revoked any more.\n"
    assert core.calls == [
        ("revoke", "scx_batch"),
        ("reinstate", DIGEST),
        ("reinstate", "cd" * 32),
    ]


@pytest.mark.usefixtures("service")
async def test_withdraw(bus_address: str, core: FakeCore, polkit: MockPolkit) -> None:
    shown = " ".join((await schedctl(bus_address, "policies", "scx_mine")).out.split())
    assert "From enrolled on this machine" in shown
    ran = await schedctl(bus_address, "withdraw", "scx_mine")
    assert ran.out == "scx_mine is withdrawn: it is not in the repository any more.\n"
    assert polkit.asked.get_nowait().action == CONFIGURE
    assert (await schedctl(bus_address, "policies", "--names")).out == "scx_batch\nscx_fair\n"
    ran = await schedctl(bus_address, "withdraw", "scx_batch")
    assert ran.code == ExitCode.ERROR
    assert "scx_batch came with the package and cannot be withdrawn; 'schedctl revoke" in ran.err


@pytest.mark.parametrize(
    ("arguments", "policy"),
    [
        (("revoke", "scx_mine"), "scx_mine"),
        (("revoke", "--undo", "scx_mine"), "scx_mine"),
        (("revoke", "--undo", DIGEST), ""),
        (("withdraw", "scx_mine"), "scx_mine"),
    ],
)
@pytest.mark.usefixtures("service")
async def test_json(arguments: tuple[str, ...], policy: str, bus_address: str) -> None:
    ran = await schedctl(bus_address, *arguments, "--json")
    assert json.loads(ran.out) == {"policy": policy, "object_sha256": DIGEST}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("revoke",), 2, "POLICY"),
        (("withdraw",), 2, "POLICY"),
        (("withdraw", "--undo", "scx_mine"), 2, "unrecognized arguments"),
        (("revoke", "scx_none"), 9, "there are: scx_batch, scx_fair, scx_mine"),
        (("revoke", "--undo", "scx_none"), 9, "there are: scx_batch"),
        (("revoke", "--undo", "AB" * 32), 9, "there is no policy"),
        (("revoke", DIGEST), 9, "there is no policy"),
        (("withdraw", "../../etc"), 9, "there is no policy"),
    ],
)
@pytest.mark.usefixtures("service")
async def test_wrong_input(
    arguments: tuple[str, ...],
    code: int,
    words: str,
    bus_address: str,
    core: FakeCore,
    polkit: MockPolkit,
) -> None:
    ran = await schedctl(bus_address, *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert words in ran.err
    assert core.calls == []
    assert polkit.asked.empty(), "nobody is asked for a password in vain"


@pytest.mark.parametrize(
    "arguments", [("revoke", "scx_mine"), ("revoke", "--undo", DIGEST), ("withdraw", "scx_mine")]
)
@pytest.mark.usefixtures("service")
async def test_a_denied_caller(
    arguments: tuple[str, ...], bus_address: str, core: FakeCore, polkit: MockPolkit
) -> None:
    polkit.allowed = False
    ran = await schedctl(bus_address, *arguments)
    assert (ran.code, ran.out) == (ExitCode.NOT_AUTHORISED, "")
    assert CONFIGURE in ran.err
    assert core.calls == []


@pytest.mark.parametrize(
    ("member", "argument", "words"),
    [
        ("Revoke", "scx_none", "there is no policy 'scx_none'"),
        ("Revoke", "../../etc/x\n", "there is no policy"),
        ("Revoke", DIGEST, "there is no policy"),
        ("Withdraw", "", "there is no policy ''"),
        ("Reinstate", "scx_batch", "'scx_batch' is not a SHA-256 digest"),
        ("Reinstate", DIGEST + "\n", "is not a SHA-256 digest"),
        ("Reinstate", "x" * 60_000, "is not a SHA-256 digest"),
    ],
)
async def test_wrong_names_on_the_bus(
    member: str, argument: str, words: str, caller: Client, core: FakeCore
) -> None:
    with pytest.raises(DBusError, match=words) as refusal:
        await caller.call(member, "s", argument)
    assert len(refusal.value.text) < 9000
    assert core.calls == []


@pytest.mark.usefixtures("service")
async def test_a_verifier_that_does_not_answer(bus_address: str, core: FakeCore) -> None:
    core.refusal = VerifierLost("/run/schedcp-verify.sock: Connection refused")
    ran = await schedctl(bus_address, "revoke", "scx_batch")
    assert (ran.code, ran.out) == (ExitCode.ERROR, "")
    assert "the verifier failed: /run/schedcp-verify.sock: Connection refused" in ran.err


# ── the daemon, with the verifier's own code behind its socket


class Answers(serve.Connection):
    """Keeps the lines of an answer."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def say(self, event: Mapping[str, object]) -> None:
        self._writer.write(json.dumps(event).encode() + b"\n")


@pytest.fixture
async def daemon(machine: Machine, bus_address: str, polkit: MockPolkit) -> AsyncIterator[Daemon]:
    """The daemon with its real check of tokens, with one enrolled policy, and the verifier."""
    settings = replace(machine.places.loader, argv=(sys.executable, "-c", CHECK))
    places = host.Places(schedulers=settings.schedulers, state=settings.tokens.parent)
    folder = places.enrolled / "scx_mine"
    folder.mkdir(parents=True)
    (folder / "scx_mine.bpf.o").write_bytes(b"my object")
    (folder / "scx_mine.toml").write_text(FAIR.read_text().replace("scx_fair", "scx_mine"))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = serve.parse_request(await reader.readline())
        serve.serve(request, Answers(writer), places, "7.3.4")
        writer.close()

    running = Daemon(replace(machine.places, loader=settings), load(machine.places.config))
    async with await asyncio.start_unix_server(answer, str(machine.places.verifier)):
        await running.start(bus_address)
        yield running
        await running.close()


def token(daemon: Daemon, name: str) -> str:
    """What is said of a policy's token."""
    return daemon.supervisor.policies[name].token


async def test_from_the_command_to_the_verifier_and_back(
    machine: Machine, daemon: Daemon, bus_address: str
) -> None:
    supervisor, state = daemon.supervisor, machine.places.loader.tokens.parent
    assert [name for name, one in supervisor.policies.items() if one.enrolled] == ["scx_mine"]
    (state / "tokens/scx_mine.token").write_text("a token")
    assert (await schedctl(bus_address, "revoke", "scx_mine")).code == ExitCode.OK
    assert not (state / "tokens/scx_mine.token").exists()
    told = "it was revoked; 'schedctl revoke --undo scx_mine' takes that back"
    await eventually(
        lambda: token(daemon, "scx_mine").endswith(f"gave it no token: static: {told}")
    )
    digest = supervisor.policies["scx_mine"].object_sha256
    assert (state / "revoked").read_text() == f"{digest}\n"
    assert (await schedctl(bus_address, "revoke", "--undo", "scx_mine")).code == ExitCode.OK
    await eventually(lambda: token(daemon, "scx_mine").startswith("it has no token"))
    assert (state / "revoked").read_text() == ""
    assert (await schedctl(bus_address, "withdraw", "scx_fair")).code == ExitCode.ERROR
    assert (await schedctl(bus_address, "withdraw", "scx_mine")).code == ExitCode.OK
    assert set(supervisor.policies) == {"scx_batch", "scx_fair"}
    assert not list((state / "enrolled").iterdir())
    kinds = [event.kind for event in supervisor.events(10)]
    assert kinds[-3:] == ["revoke", "revoke", "withdraw"]
    left = await schedctl(bus_address, "policies", "--names")
    assert left.out == "scx_batch\nscx_fair\n"
