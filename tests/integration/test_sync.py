# SPDX-License-Identifier: GPL-2.0-or-later
"""Machines that share one memory through a PostgreSQL database, which is a real one."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from integration import mock_polkit, postgres
from integration.client import connected as client_of
from integration.client import schedctl
from integration.fake_core import FakeCore
from integration.postgres import Server
from integration.test_daemon import Machine, machine
from integration.test_repository import ask, sources, started
from schedclient.exit import ExitCode
from schedcpd.errors import BundleRefused, RepositoryDamaged
from schedctl import store

__all__ = ["machine"]
SERVER = postgres.programs()
pytestmark = pytest.mark.skipif(SERVER is None, reason="there is no PostgreSQL here")


@pytest.fixture(scope="module")
def running_server() -> Iterator[Server]:
    assert SERVER is not None
    with postgres.running(SERVER) as found:
        yield found


@pytest.fixture
async def server(running_server: Server) -> Server:
    """The server, with an empty database."""
    await execute(running_server, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    return running_server


async def execute(server: Server, *statements: str, user: str = "fleet") -> list[Any]:
    """The rows of the last statement."""
    psycopg = pytest.importorskip("psycopg")
    connection = await psycopg.AsyncConnection.connect(server.conninfo(user), autocommit=True)
    async with connection, connection.cursor() as cursor:
        for statement in statements:
            await cursor.execute(statement)
        return await cursor.fetchall() if cursor.description else []


async def leave(server: Server, signer: str, *lines: str) -> None:
    """What another machine does."""
    async with store.connected(server.conninfo()) as database:
        await database.put(signer, lines)


async def kept(server: Server) -> list[tuple[str, int, str]]:
    return await execute(server, "SELECT signer, place, line FROM schedcp_bundle ORDER BY 1, 2")


FAKE = pytest.mark.usefixtures("service")
OWN = [("key", 0, "key signature {1}"), ("key", 1, "key signature {2}")]


@FAKE
async def test_each_machine_leaves_what_it_has_and_takes_what_the_others_left(
    bus_address: str, core: FakeCore, server: Server
) -> None:
    ran = await schedctl(bus_address, "sync", server.conninfo())
    assert (ran.code, ran.err) == (ExitCode.OK, "")
    assert ran.out == (
        "2 lines left for the others; 0 other machines found.\nTaken over: nothing new.\n"
    )
    assert await kept(server) == OWN
    assert core.library.taken == []
    await leave(server, "other", "other a {}", "other b {}")
    ran = await schedctl(bus_address, "sync", server.conninfo())
    assert ran.out == (
        "2 lines left for the others; 1 other machine found.\nTaken over: 4 note, 2 policy.\n"
    )
    assert core.library.taken == ["other a {}", "other b {}"], "and none of its own"
    assert await kept(server) == [*OWN, ("other", 0, "other a {}"), ("other", 1, "other b {}")]


@FAKE
async def test_what_it_left_before_is_replaced(
    bus_address: str, core: FakeCore, server: Server
) -> None:
    await schedctl(bus_address, "sync", server.conninfo())
    core.library.lines = ["key signature {3}"]
    await schedctl(bus_address, "sync", server.conninfo())
    assert await kept(server) == [("key", 0, "key signature {3}")]
    core.library.lines = [""]  # as it is where nothing was learnt
    ran = await schedctl(bus_address, "sync", server.conninfo())
    assert ran.out.startswith("Nothing to leave yet; 1 other machine found.")


@FAKE
async def test_what_is_refused_of_one_does_not_keep_the_others_out(
    bus_address: str, core: FakeCore, server: Server
) -> None:
    await leave(server, "bad", "bad a {}", "bad b {}")
    await leave(server, "good", "good a {}")
    take = core.library.take

    def refuse(line: str) -> Any:
        if line.startswith("bad"):
            raise BundleRefused("bad signature: it was changed on its way")
        return take(line)

    core.library.take = refuse  # type: ignore[method-assign]
    ran = await schedctl(bus_address, "sync", server.conninfo())
    assert ran.code == ExitCode.REFUSED
    assert ran.out.endswith("Taken over: 2 note, 1 policy.\n")
    assert (
        ran.err.count("of the machine with the key bad: the bundle is refused: bad signature") == 1
    )
    ran = await schedctl(bus_address, "sync", server.conninfo(), "--json")
    assert ran.code == ExitCode.REFUSED
    told = json.loads(ran.out)
    assert (told["given"], told["machines"]) == (2, 2)
    assert told["taken"] == {"note": 2, "policy": 1}
    assert list(told["refused"]) == ["bad"]


@FAKE
async def test_a_fault_of_the_daemon_ends_it(
    bus_address: str, core: FakeCore, server: Server
) -> None:
    await leave(server, "other", "other a {}")
    core.library.take = broken  # type: ignore[method-assign]
    ran = await schedctl(bus_address, "sync", server.conninfo())
    assert (ran.code, ran.out) == (ExitCode.ERROR, "")
    assert "is the disk full?" in ran.err


def broken(line: str) -> Mapping[str, int]:
    raise RepositoryDamaged("memory.db", "no space left on device")


@FAKE
async def test_nothing_huge_is_fetched(bus_address: str, core: FakeCore, server: Server) -> None:
    await leave(server, "other", "other " + "x" * (400 * 1024), "other b {}")
    await leave(server, "many", *(f"many {number}" for number in range(300)))
    await leave(server, "k" * 300, "long key")
    await execute(server, "INSERT INTO schedcp_bundle VALUES ('many', -1, 'x'), ('many', 999, 'y')")
    await schedctl(bus_address, "sync", server.conninfo())
    taken = core.library.taken
    assert "other b {}" in taken
    assert all(len(line) < 100 for line in taken)
    assert sum(line.startswith("many") for line in taken) == store.MOST_LINES
    assert {"x", "y", "long key"}.isdisjoint(taken)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("signer text, place integer, wrong text", "is not schedcp's"),
        ("signer integer, place integer, line text", "does not serve|is not schedcp's"),
    ],
)
@FAKE
async def test_a_table_of_somebody_else_is_told(
    table: str, words: str, bus_address: str, server: Server
) -> None:
    await execute(server, f"CREATE TABLE schedcp_bundle ({table})")
    ran = await schedctl(bus_address, "sync", server.conninfo())
    assert (ran.code, ran.out) == (ExitCode.ERROR, "")
    assert any(word in ran.err for word in words.split("|")), ran.err
    assert "Traceback" not in ran.err


@FAKE
async def test_rights_that_are_missing_are_told(bus_address: str, server: Server) -> None:
    await execute(
        server,
        "DROP ROLE IF EXISTS reader",
        "CREATE ROLE reader LOGIN",
        "GRANT USAGE ON SCHEMA public TO reader",
    )
    ran = await schedctl(bus_address, "sync", server.conninfo("reader"))
    assert ran.code == ExitCode.ERROR
    assert "permission denied" in ran.err
    assert "GRANT" in ran.err
    await leave(server, "other", "other a {}")
    await execute(server, "GRANT SELECT, INSERT, DELETE ON schedcp_bundle TO reader")
    ran = await schedctl(bus_address, "sync", server.conninfo("reader"))
    assert ran.code == ExitCode.OK, "no right to create is needed where the table is"
    await execute(server, "REVOKE ALL ON schedcp_bundle FROM reader")
    ran = await schedctl(bus_address, "sync", server.conninfo("reader"))
    assert "permission denied" in ran.err


@pytest.mark.parametrize(
    ("database", "code", "words"),
    [
        ("no equals sign", ExitCode.USAGE, "no database is named like that"),
        ("host=db password=hunter2", ExitCode.USAGE, "~/.pgpass"),
        ("postgresql://me:hunter2@db/fleet", ExitCode.USAGE, "~/.pgpass"),
        ("host=/nonexistent dbname=fleet", ExitCode.ERROR, "the database does not serve"),
        ("host=127.0.0.1 port=1 dbname=fleet", ExitCode.ERROR, "the database does not serve"),
    ],
)
@FAKE
async def test_a_database_that_cannot_be_reached_is_told(
    database: str, code: ExitCode, words: str, bus_address: str, core: FakeCore
) -> None:
    ran = await schedctl(bus_address, "sync", database)
    assert (ran.code, ran.out) == (code, "")
    assert words in ran.err
    assert "hunter2" not in ran.err
    assert "Traceback" not in ran.err
    assert core.library.taken == []


@FAKE
async def test_it_says_which_library_is_missing(
    bus_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    ran = await schedctl(bus_address, "sync", "dbname=fleet")
    assert ran.code == ExitCode.ERROR
    assert "sudo apt install python3-psycopg" in ran.err


async def test_two_at_a_time_do_not_mix(server: Server) -> None:
    async with (
        store.connected(server.conninfo()) as one,
        store.connected(server.conninfo()) as other,
    ):
        await one.put("a", ["a 1", "a 2"])
        await other.put("a", ["a 3"])
        await one.put("b", ["b 1"])
        found = [line async for _, line in other.others("b", 100)]
    assert found == ["a 3"]


@asynccontextmanager
async def whole(machine: Machine, bus_address: str) -> AsyncIterator[Machine]:
    """A machine with its whole daemon on the bus."""
    running = await started(machine, bus_address)
    try:
        yield machine
    finally:
        await running.close()


async def test_two_whole_daemons_share_one_memory(
    machine: Machine,
    bus_address: str,
    polkit: mock_polkit.MockPolkit,
    server: Server,
    tmp_path: Path,
) -> None:
    """One after the other, as a bus has one daemon."""
    first = sources(machine)
    conninfo = server.conninfo()
    async with whole(first, bus_address), client_of(bus_address) as client:
        await ask(client, "Annotate", "sss", "policy", "scx_batch", "our jobs are short")
        ran = await schedctl(bus_address, "sync", conninfo)
        assert ran.code == ExitCode.OK, ran.err
    ((signer, _, _),) = await kept(server)
    # Another machine: its own key and memory, and the first one's key among those that it trusts.
    second = Machine(replace(first.places, ledger=tmp_path / "other/ledger.db"))
    trusted = second.places.trusted_keys
    async with whole(second, bus_address):
        ran = await schedctl(bus_address, "sync", conninfo)
        assert ran.code == ExitCode.REFUSED
        assert "not trusted here" in ran.err
        trusted.mkdir(exist_ok=True)
        (trusted / "first.pub").write_text(f"{signer}\n")
        ran = await schedctl(bus_address, "sync", conninfo)
        assert (ran.code, ran.err) == (ExitCode.OK, "")
        assert "Taken over: 1 note." in ran.out
        ran = await schedctl(bus_address, "sync", conninfo)
        assert "Taken over: nothing new." in ran.out
        found = await schedctl(bus_address, "search", "our jobs are short")
        assert "@first" in found.out
        await execute(
            server,
            "UPDATE schedcp_bundle SET line = replace(line, 'short', 'a bomb') "
            f"WHERE signer = '{signer}'",
        )
        ran = await schedctl(bus_address, "sync", conninfo)
        assert ran.code == ExitCode.REFUSED
        assert "changed on its way" in ran.err
