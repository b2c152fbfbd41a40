# SPDX-License-Identifier: GPL-2.0-or-later
"""A PostgreSQL database in which the machines of a fleet leave their bundles for each other.

Its one table has a row for each line of a bundle. Nothing that is read there is trusted: the daemon
checks the signature of each line. What is here only bounds how much is fetched.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from schedclient.errors import ClientError
from schedclient.exit import ExitCode
from schedclient.text import visible

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Error

TABLE = "schedcp_bundle"
MOST_LINES = 256  # of a machine; all that a daemon keeps fills a quarter of them
MOST_ROWS = 10_000
_LOCK = 0x7363686564  # of the transaction that writes; nothing but ours
_DEFAULTS: Mapping[str, str] = {
    "application_name": "schedctl",
    "connect_timeout": "10",
    "options": "-c statement_timeout=60s -c lock_timeout=30s",
}
_CREATE = f"""
    CREATE TABLE {TABLE} (
        signer text NOT NULL,
        place integer NOT NULL,
        line text NOT NULL,
        written timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (signer, place)
    )
"""
_OTHERS = f"""
    SELECT signer, line FROM {TABLE}
    WHERE signer <> %s AND place >= 0 AND place < %s AND octet_length(signer) <= %s
      AND octet_length(line) <= %s
    ORDER BY signer, place LIMIT %s
"""
_SIGNER_LIMIT = 200


class Store:
    """An open database."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def put(self, signer: str, lines: Sequence[str]) -> None:
        """Leave the bundle of a machine in the place of its last one; raises ClientError."""
        with _told():
            async with self._connection.transaction(), self._connection.cursor() as cursor:
                await cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
                await cursor.execute("SELECT to_regclass(%s) IS NULL", (TABLE,))
                if (await cursor.fetchone() or (False,))[0]:
                    await cursor.execute(_CREATE)
                await cursor.execute(f"DELETE FROM {TABLE} WHERE signer = %s", (signer,))
                await cursor.executemany(
                    f"INSERT INTO {TABLE} (signer, place, line) VALUES (%s, %s, %s)",
                    [(signer, place, line) for place, line in enumerate(lines)],
                )

    async def others(self, signer: str, longest_line: int) -> AsyncGenerator[tuple[str, str], None]:
        """The lines of the other machines, each with its signer, signer by signer.

        Longer ones are left where they are. Raises ClientError.
        """
        with _told():
            async with (
                self._connection.transaction(),
                self._connection.cursor("others") as cursor,  # on the server: few are held here
            ):
                cursor.itersize = 10
                limits = (MOST_LINES, _SIGNER_LIMIT, longest_line, MOST_ROWS)
                await cursor.execute(_OTHERS, (signer, *limits))
                async for row in cursor:
                    yield row[0], row[1]


@asynccontextmanager
async def connected(conninfo: str) -> AsyncIterator[Store]:
    """The database that a connection string or URI of PostgreSQL names; raises ClientError."""
    try:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict, make_conninfo
    except ImportError as error:
        told = "PostgreSQL needs a library that is missing; install it with: "
        raise ClientError(f"{told}sudo apt install python3-psycopg") from error
    try:
        settings = conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError as error:
        example = "'host=db.example dbname=fleet' or 'postgresql://db.example/fleet'"
        raise ClientError(
            f"no database is named like that; try {example}", ExitCode.USAGE
        ) from error
    if "password" in settings:
        raise ClientError(
            "everybody on this machine can read a password on a command line; "
            "put it into ~/.pgpass or $PGPASSWORD",
            ExitCode.USAGE,
        )
    missing = {name: value for name, value in _DEFAULTS.items() if name not in settings}
    with _told():
        connection = await psycopg.AsyncConnection.connect(
            make_conninfo(conninfo, **missing), autocommit=True
        )
    async with connection:
        yield Store(connection)


@contextmanager
def _told() -> Iterator[None]:
    """What PostgreSQL objects to, in words for a person."""
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        raise ClientError(_sentence(error)) from error


def _sentence(error: Error) -> str:
    from psycopg import errors

    reason = visible(" ".join(str(error.diag.message_primary or error).split()))
    match error:
        case errors.InsufficientPrivilege():
            return f"{reason}; whoever owns the database can GRANT what is missing"
        case errors.UndefinedColumn() | errors.DatatypeMismatch() | errors.UndefinedFunction():
            return f"the table {TABLE} of this database is not schedcp's: {reason}"
    return f"the database does not serve: {reason}"
