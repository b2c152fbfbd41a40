# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows of JSON in an SQLite file, by kind and key, each sealed; the oldest of each kind go first.

SQLite's journal makes each write atomic; it does not notice when the disk changes a byte of a value
later. Every row therefore carries a checksum, and all of them are read when the file is opened: one
that is not what was written is moved aside and a new one begun.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from schedcpd.database import ERRORS, Connection, Unsound, check_schema, open_or_renew
from schedcpd.errors import SchedcpError

Value = TypeVar("Value")

TABLE = (
    "CREATE TABLE records (number INTEGER PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL,"
    " body TEXT NOT NULL, seal INTEGER NOT NULL)"
)
BY_AGE = "CREATE INDEX by_age ON records (kind, number)"
BY_KEY = "CREATE INDEX by_key ON records (kind, key)"


@dataclass(frozen=True, slots=True)
class Shape:
    """What a file holds: its version, and for each kind how many rows are kept and their reader.

    A reader raises ValueError for what it cannot have written.
    """

    version: int
    kept: Mapping[Any, int]  # by kind, which is text
    readers: Mapping[Any, Callable[[str], object]]


class Records:
    """Every method raises the error that ``damaged`` makes of path and reason, and nothing else.

    Writes belong in a ``transaction``: durable when it is over, or not done at all. Not for use
    from several threads.
    """

    def __init__(
        self, path: Path, shape: Shape, damaged: Callable[[str, str], SchedcpError]
    ) -> None:
        """Open or create the file; a damaged one is moved aside to ``.damaged-N``."""
        self._path = path
        self._shape = shape
        self._damaged = damaged
        with self._told():
            self._db, self.damage = open_or_renew(path, self._check)

    def close(self) -> None:
        """Close the file."""
        with self._told():
            self._db.close()

    def probe(self) -> None:
        """Raise unless something can be written now."""
        with self.transaction():
            self._db.execute(f"PRAGMA user_version = {self._shape.version}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is written inside is written whole or not at all."""
        with self._told():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                # A full disk can have ended the transaction already.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def newest(self, kind: str, read: Callable[[str], Value], limit: int) -> tuple[Value, ...]:
        """The newest ``limit`` of a kind, oldest first."""
        with self._told():
            rows = self._db.execute(
                "SELECT body FROM records WHERE kind = ? ORDER BY number DESC LIMIT ?",
                (kind, max(0, limit)),
            ).fetchall()
            return tuple(read(body) for (body,) in reversed(rows))

    def every(self, kind: str, read: Callable[[str], Value]) -> tuple[Value, ...]:
        """All of a kind, oldest first."""
        return self.newest(kind, read, self._shape.kept[kind])

    def find(self, kind: str, key: str, read: Callable[[str], Value]) -> Value | None:
        """The one with that key."""
        with self._told():
            row = self._db.execute(
                "SELECT body FROM records WHERE kind = ? AND key = ?", (kind, key)
            ).fetchone()
            return None if row is None else read(row[0])

    def store(self, kind: str, key: str, body: str) -> None:
        """Replace the row with that key, which keeps its place, or append one."""
        self._shape.readers[kind](body)  # what cannot be read back would be taken for damage
        changed = self._db.execute(
            "UPDATE records SET body = ?, seal = ? WHERE kind = ? AND key = ?",
            (body, _seal(kind, key, body), kind, key),
        )
        if not changed.rowcount:
            self._append(kind, key, body)

    def append(self, kind: str, body: str) -> None:
        """Append a row without a key."""
        self._shape.readers[kind](body)  # as in store
        self._append(kind, "", body)

    def drop(self, kind: str, key: str) -> None:
        """Remove the row with that key, if there is one."""
        self._db.execute("DELETE FROM records WHERE kind = ? AND key = ?", (kind, key))

    def _append(self, kind: str, key: str, body: str) -> None:
        self._db.execute(
            "INSERT INTO records (kind, key, body, seal) VALUES (?, ?, ?, ?)",
            (kind, key, body, _seal(kind, key, body)),
        )
        self._db.execute(
            "DELETE FROM records WHERE kind = ?1 AND number <= (SELECT number FROM records"
            " WHERE kind = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
            (kind, self._shape.kept[kind]),
        )

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except ERRORS as error:
            raise self._damaged(str(self._path), str(error)) from error

    def _check(self, db: Connection) -> None:
        """Set up an empty file; of any other read every row."""
        shape = self._shape
        db.execute("PRAGMA synchronous = FULL")
        check_schema(db, shape.version, (BY_AGE, BY_KEY, TABLE))
        rows = db.execute("SELECT number, kind, key, body, seal FROM records")
        for number, kind, key, body, seal in rows:
            if seal != _seal(kind, key, body) or kind not in shape.readers:
                raise Unsound(f"record {number} is not what was written")
            shape.readers[kind](body)
        db.execute(f"PRAGMA user_version = {shape.version}")  # whether it can be written


def key_of(*parts: str) -> str:
    """One key made of several parts."""
    return json.dumps(parts)


def _seal(kind: object, key: object, body: object) -> int:
    """The checksum of a row, whatever the types of its values have become."""
    return zlib.crc32(ascii((str(kind), key, body)).encode())
