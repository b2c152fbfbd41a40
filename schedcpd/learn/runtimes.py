# SPDX-License-Identifier: GPL-2.0-or-later
"""How long commands took, kept over restarts in SQLite: of the very same, and of their shape.

What is lost costs a guess, so nothing here fails: an error is told once, and then nothing is known
or remembered until the disk plays along again. Writing waits for no disk (synchronous = NORMAL): a
crash of the machine may take the last runs with it, and leaves the file sound. A byte that the disk
changed later makes one estimate wrong, which is bounded like any other.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from schedcpd.database import ERRORS, Connection, check_schema, open_or_renew
from schedcpd.learn.commands import Command
from schedcpd.learn.estimates import Known, Sample

log = logging.getLogger(__name__)

VERSION = 1
KEPT_KEYS = 20_000  # some 6 MB
KEPT_S = 90 * 24 * 3600
KEPT_REPEATS = 8  # runs of one command
KEPT_ALIKE = 32  # runs of one shape
TRIM_EVERY = 500  # keys written
TABLE = (
    "CREATE TABLE runtimes (key BLOB PRIMARY KEY, samples BLOB NOT NULL, at INTEGER NOT NULL)"
    " WITHOUT ROWID"
)
BY_AGE = "CREATE INDEX by_age ON runtimes (at)"
_SAMPLE = struct.Struct("<QQ")
_FIELD_LIMIT = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Run:
    """One process that has ended."""

    command: Command
    sample: Sample


class Runtimes:
    """What is remembered; ``clock`` gives seconds since the epoch."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._written = 0
        self._failing = ""
        self._db: Connection | None = None
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._db, damage = open_or_renew(path, _check)
            if damage:
                log.warning("what commands took before is forgotten: %s", damage)
            self._trim(self._db)
        except ERRORS as error:
            self._fail(error)

    def close(self) -> None:
        """Close the file."""
        db, self._db = self._db, None
        if db is not None:
            db.close()

    def known(self, command: Command) -> Known:
        """What is remembered of a command."""
        return Known(self._read(command.exact), self._read(command.shape))

    def record(self, runs: Sequence[Run]) -> None:
        """Remember what processes took, all at once."""
        if self._db is None or not runs:
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for run in runs:
                    self._add(self._db, run.command.exact, run.sample, KEPT_REPEATS)
                    self._add(self._db, run.command.shape, run.sample, KEPT_ALIKE)
                if self._written >= TRIM_EVERY:
                    self._trim(self._db)
                self._db.execute("COMMIT")
            except BaseException:
                # A full disk can have ended the transaction already.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except ERRORS as error:
            self._fail(error)
        else:
            self._failing = ""

    def _read(self, key: bytes) -> tuple[Sample, ...]:
        if self._db is None or not key:
            return ()
        try:
            row = self._db.execute("SELECT samples FROM runtimes WHERE key = ?", (key,)).fetchone()
            return _unpacked(row[0]) if row else ()
        except ERRORS as error:
            self._fail(error)
            return ()

    def _add(self, db: Connection, key: bytes, sample: Sample, kept: int) -> None:
        if not key:
            return
        row = db.execute("SELECT samples FROM runtimes WHERE key = ?", (key,)).fetchone()
        samples = (*(_unpacked(row[0]) if row else ()), sample)[-kept:]
        db.execute(
            "INSERT OR REPLACE INTO runtimes VALUES (?, ?, ?)",
            (key, _packed(samples), int(self._clock())),
        )
        self._written += 1

    def _trim(self, db: Connection) -> None:
        """Forget what is old, and the oldest of what is too much."""
        self._written = 0
        db.execute("DELETE FROM runtimes WHERE at < ?", (int(self._clock()) - KEPT_S,))
        db.execute(
            "DELETE FROM runtimes WHERE key IN"
            " (SELECT key FROM runtimes ORDER BY at DESC LIMIT -1 OFFSET ?)",
            (KEPT_KEYS,),
        )

    def _fail(self, error: Exception) -> None:
        if self._failing != str(error):
            self._failing = str(error)
            log.error("%s: what commands take is not remembered: %s", self._path, error)


def _check(db: Connection) -> None:
    db.execute("PRAGMA synchronous = NORMAL")
    check_schema(db, VERSION, (BY_AGE, TABLE))


def _packed(samples: Sequence[Sample]) -> bytes:
    return b"".join(
        _SAMPLE.pack(min(max(0, one.cpu_ns), _FIELD_LIMIT), min(max(0, one.size), _FIELD_LIMIT))
        for one in samples
    )


def _unpacked(raw: object) -> tuple[Sample, ...]:
    """The samples of a row; none when the disk has changed it."""
    if not isinstance(raw, bytes) or len(raw) % _SAMPLE.size:
        return ()
    return tuple(Sample(cpu_ns, size) for cpu_ns, size in _SAMPLE.iter_unpack(raw))
