# SPDX-License-Identifier: GPL-2.0-or-later
"""SQLite files that outlive crashes: opened and checked, or moved aside when they are damaged."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

Connection = sqlite3.Connection

LOCK_WAIT_S = 2.0  # for a daemon that is on its way out
KEPT_ASIDE = 9  # damaged files
MAGIC = b"SQLite format 3\0"
# What is wrong with the place of the file, not with the file.
ENVIRONMENT = frozenset(
    {
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
    }
)
# All that using a database can raise.
ERRORS = (
    sqlite3.Error,
    sqlite3.Warning,
    ValueError,
    OverflowError,
    OSError,
    RecursionError,
    MemoryError,  # a length that was damaged
)


class Unsound(ValueError):
    """The file can be read, and is not what was written."""


def open_database(path: Path, check: Callable[[Connection], None]) -> Connection:
    """A connection to the file, which is created if there is none; raises one of ERRORS.

    ``check`` sets up an empty database and raises Unsound for one that is not what was written.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    start = os.read(file, len(MAGIC))
    os.close(file)
    if start not in (b"", MAGIC):  # SQLite takes a fragment for an empty file
        raise Unsound("it is not a database")
    db = sqlite3.connect(path, timeout=LOCK_WAIT_S, isolation_level=None)
    try:
        # One process at a time, and no shared memory file beside it.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        check(db)
    except BaseException:
        db.close()
        raise
    return db


def open_or_renew(path: Path, check: Callable[[Connection], None]) -> tuple[Connection, str]:
    """The same, with a new file in place of a damaged one; and what was damaged, if it was."""
    try:
        return open_database(path, check), ""
    except ERRORS as error:
        if not _is_damage(error, path):
            raise
        damage = f"{error}; the damaged file is now {_move_aside(path)}"
    return open_database(path, check), damage


def open_scratch() -> Connection:
    """A connection to a database of its own, which is gone when it is closed.

    What does not fit into a cache of two megabytes is in a file without a name.
    """
    return sqlite3.connect("", isolation_level=None)


def check_schema(db: Connection, version: int, statements: tuple[str, ...]) -> None:
    """Set up an empty database by ``statements``, sorted by the names that they create.

    Raises Unsound when there is another schema, or SQLite finds the file damaged.
    """
    (found,) = db.execute("PRAGMA user_version").fetchone()
    schema = tuple(sql for (sql,) in db.execute("SELECT sql FROM sqlite_schema ORDER BY name"))
    if not found and not schema:
        # A table comes before its indices, whatever their names.
        ordered = sorted(statements, key=lambda sql: not sql.startswith("CREATE TABLE"))
        db.executescript(
            "; ".join(("BEGIN IMMEDIATE", *ordered, f"PRAGMA user_version = {version}", "COMMIT"))
        )
        return
    if (found, schema) != (version, statements):
        raise Unsound(f"its version is {found} and not {version}, or its tables are others")
    [(verdict,)] = db.execute("PRAGMA integrity_check(1)").fetchall()
    if verdict != "ok":
        raise Unsound(str(verdict))


def _is_damage(error: Exception, path: Path) -> bool:
    """Whether the file is to blame, so that a new one would do better."""
    if isinstance(error, OSError):
        return False
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code == sqlite3.SQLITE_READONLY:
            return os.access(path, os.W_OK)
        return code not in ENVIRONMENT
    return True


def _move_aside(path: Path) -> Path:
    """Rename the file and its journal, the journal first: it must not meet a new file."""
    names = (Path(f"{path}.damaged-{number}") for number in range(1, KEPT_ASIDE + 1))
    aside = next((name for name in names if not name.exists()), None)
    aside = aside or Path(f"{path}.damaged-{KEPT_ASIDE}")
    for suffix in ("-wal", "-shm", ""):
        Path(f"{aside}{suffix}").unlink(missing_ok=True)
        part = Path(f"{path}{suffix}")
        if part.exists():
            part.rename(f"{aside}{suffix}")
    return aside
