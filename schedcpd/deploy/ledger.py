# SPDX-License-Identifier: GPL-2.0-or-later
"""The ledger: what was done to the machine's scheduler, kept over crashes, in SQLite.

SQLite's journal makes each write atomic; it does not notice when the disk changes a byte of a value
later. Every row therefore carries a checksum, and all of them are read when the ledger is opened:
a file that is not what was written is moved aside and a new one begun, because half a memory of
what did harm is worse than knowing that there is none.
"""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from schedcpd.deploy import entries
from schedcpd.deploy.entries import Entry, KnownGood, Run
from schedcpd.errors import LedgerDamaged
from schedcpd.model import Canary, Deployment, DeploymentState, Quarantine, Transition

__all__ = ["KnownGood", "Ledger"]

VERSION = 1
LOCK_WAIT_S = 2.0  # for a daemon that is on its way out
KEPT_ASIDE = 9  # damaged ledgers
INTERRUPTED = "the daemon or the machine stopped while it was under way"

Value = TypeVar("Value")


class Kind(StrEnum):
    """What a row is."""

    TRANSITION = "transition"
    DEPLOYMENT = "deployment"
    QUARANTINE = "quarantine"
    KNOWN_GOOD = "known-good"
    RUN = "run"
    COUNTER = "counter"


KEPT: Mapping[Kind, int] = {
    Kind.TRANSITION: 2000,
    Kind.DEPLOYMENT: 200,
    Kind.QUARANTINE: 1000,
    Kind.KNOWN_GOOD: 1000,
    Kind.RUN: 1,
    Kind.COUNTER: 1,
}
READERS: Mapping[Kind, Callable[[str], object]] = {
    Kind.TRANSITION: entries.read_transition,
    Kind.DEPLOYMENT: entries.read_deployment,
    Kind.QUARANTINE: entries.read_quarantine,
    Kind.KNOWN_GOOD: entries.read_known_good,
    Kind.RUN: entries.read_run,
    Kind.COUNTER: int,
}
TABLE = (
    "CREATE TABLE records (number INTEGER PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL,"
    " body TEXT NOT NULL, seal INTEGER NOT NULL)"
)
BY_AGE = "CREATE INDEX by_age ON records (kind, number)"
BY_KEY = "CREATE INDEX by_key ON records (kind, key)"
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
ERRORS = (
    sqlite3.Error,
    sqlite3.Warning,
    ValueError,
    OverflowError,
    OSError,
    RecursionError,
    MemoryError,  # a length that was damaged
)


class Ledger:
    """Every method that writes is one transaction: durable when it returns, or not done at all.

    All methods raise LedgerDamaged when the file cannot be read or written, and nothing else.
    ``clock`` gives seconds since the epoch. Not for use from several threads.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        """Open or create the ledger; a damaged one is moved aside to ``.damaged-N``."""
        self._path = path
        self._clock = clock
        self._damage = ""
        self._rebooted = False
        with self._told():
            try:
                self._db = _opened(path)
            except ERRORS as error:
                if not _is_damage(error, path):
                    raise
                aside = _move_aside(path)
                self._damage = f"{error}; the damaged ledger is now {aside}"
                self._db = _opened(path)

    @property
    def damage(self) -> str:
        """What was found wrong at opening, and where the old file is now; empty when sound."""
        return self._damage

    @property
    def rebooted(self) -> bool:
        """Whether the machine was booted since the run before; known after ``open_run``."""
        return self._rebooted

    def close(self) -> None:
        """Close the file; the run stays open (``close_run`` ends it)."""
        with self._told():
            self._db.close()

    def probe(self) -> None:
        """Raise LedgerDamaged unless something can be written now."""
        with self._transaction():
            self._db.execute(f"PRAGMA user_version = {VERSION}")

    # Runs

    def open_run(self, boot_id: str) -> bool:
        """Begin a run of the daemon; whether the one before was closed (or there was none).

        False as well when the ledger was damaged: then nobody knows. Deployments that were under
        way in a run that was not closed are ended in the record, and are not known to be good any
        more: they may be why it was not closed.
        """
        last = next(iter(self._newest(Kind.RUN, entries.read_run, 1)), None)
        abandoned = [one for one in self.deployments(KEPT[Kind.DEPLOYMENT]) if not one.ended_at]
        now = self._clock()
        with self._transaction():
            for deployment in abandoned:
                ended = replace(
                    deployment, state=DeploymentState.EJECTED, ended_at=now, error=INTERRUPTED
                )
                self._put(Kind.DEPLOYMENT, str(ended.id), ended)
                self._forget_good(deployment.object_sha256, deployment.workload_id)
            self._put(Kind.RUN, "", Run(boot_id, now, closed=False))
        self._rebooted = last is not None and last.boot_id != boot_id
        return not self._damage and (last is None or last.closed)

    def close_run(self) -> None:
        """The daemon ends in order."""
        with self._transaction():
            for run in self._newest(Kind.RUN, entries.read_run, 1):
                self._put(Kind.RUN, "", replace(run, closed=True))

    # Transitions and deployments

    def record_transition(self, transition: Transition) -> None:
        """Write down one step of the state machine."""
        with self._transaction():
            body = entries.encode(transition)
            entries.read_transition(body)  # as in _store
            self._append(Kind.TRANSITION, "", body)

    def transitions(self, limit: int = 100) -> tuple[Transition, ...]:
        """The newest ``limit`` transitions, oldest first."""
        return self._newest(Kind.TRANSITION, entries.read_transition, limit)

    def next_deployment_id(self) -> int:
        """A number that no deployment had before, from 1."""
        with self._transaction():
            number = 1 + max(self._newest(Kind.COUNTER, int, 1), default=0)
            self._store(Kind.COUNTER, "", str(number))
        return number

    def save_deployment(self, deployment: Deployment) -> None:
        """Write a deployment down, in place of what was known of it."""
        with self._transaction():
            self._put(Kind.DEPLOYMENT, str(deployment.id), deployment)

    def deployments(
        self, limit: int = 100, workload_id: str | None = None
    ) -> tuple[Deployment, ...]:
        """The newest ``limit`` deployments (of one workload), oldest first."""
        if workload_id is None:
            return self._newest(Kind.DEPLOYMENT, entries.read_deployment, limit)
        everything = self._newest(Kind.DEPLOYMENT, entries.read_deployment, KEPT[Kind.DEPLOYMENT])
        found = [one for one in everything if one.workload_id == workload_id]
        return tuple(found[-limit:]) if limit > 0 else ()

    # What did harm, and what did good

    def quarantine(self, entry: Quarantine) -> None:
        """Put a policy into quarantine; it is no longer known to be good."""
        with self._transaction():
            key = _key(entry.object_sha256, entry.kernel_release, entry.workload_id)
            self._put(Kind.QUARANTINE, key, entry)
            self._forget_good(entry.object_sha256, entry.workload_id)

    def quarantined(
        self, object_sha256: str, kernel_release: str, workload_id: str
    ) -> Quarantine | None:
        """Why this object must not be attached on this kernel for this workload, or None."""
        for scope in ("", workload_id):
            key = _key(object_sha256, kernel_release, scope)
            entry = self._find(Kind.QUARANTINE, key, entries.read_quarantine)
            if entry is not None:
                return entry
        return None

    def quarantines(self) -> tuple[Quarantine, ...]:
        """All of them, oldest first."""
        return self._newest(Kind.QUARANTINE, entries.read_quarantine, KEPT[Kind.QUARANTINE])

    def release(self, policy: str) -> int:
        """Let a policy out of quarantine everywhere; how many entries there were."""
        with self._transaction():
            released = [entry for entry in self.quarantines() if entry.policy == policy]
            for entry in released:
                key = _key(entry.object_sha256, entry.kernel_release, entry.workload_id)
                self._drop(Kind.QUARANTINE, key)
        return len(released)

    def promote(
        self,
        workload_id: str,
        kernel_release: str,
        object_sha256: str,
        policy: str,
        canary: Canary | None,
    ) -> None:
        """Remember that a policy won its canary."""
        good = KnownGood(workload_id, kernel_release, object_sha256, policy, self._clock(), canary)
        with self._transaction():
            self._put(Kind.KNOWN_GOOD, _key(workload_id, kernel_release), good)

    def known_good(self, workload_id: str, kernel_release: str) -> KnownGood | None:
        """The policy that won last for this workload on this kernel, or None."""
        key = _key(workload_id, kernel_release)
        return self._find(Kind.KNOWN_GOOD, key, entries.read_known_good)

    def _forget_good(self, object_sha256: str, workload_id: str) -> None:
        """Forget that an object is good for a workload, or for any; on whatever kernel."""
        everything = self._newest(Kind.KNOWN_GOOD, entries.read_known_good, KEPT[Kind.KNOWN_GOOD])
        for good in everything:
            if good.object_sha256 == object_sha256 and workload_id in ("", good.workload_id):
                self._drop(Kind.KNOWN_GOOD, _key(good.workload_id, good.kernel_release))

    # Rows

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except ERRORS as error:
            raise LedgerDamaged(str(self._path), str(error)) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
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

    def _newest(self, kind: Kind, read: Callable[[str], Value], limit: int) -> tuple[Value, ...]:
        with self._told():
            rows = self._db.execute(
                "SELECT body FROM records WHERE kind = ? ORDER BY number DESC LIMIT ?",
                (kind, max(0, limit)),
            ).fetchall()
            return tuple(read(body) for (body,) in reversed(rows))

    def _find(self, kind: Kind, key: str, read: Callable[[str], Value]) -> Value | None:
        with self._told():
            row = self._db.execute(
                "SELECT body FROM records WHERE kind = ? AND key = ?", (kind, key)
            ).fetchone()
            return None if row is None else read(row[0])

    def _put(self, kind: Kind, key: str, entry: Entry) -> None:
        self._store(kind, key, entries.encode(entry))

    def _store(self, kind: Kind, key: str, body: str) -> None:
        """Replace the row with that key, which keeps its place, or append one."""
        READERS[kind](body)  # what cannot be read back would be taken for damage
        changed = self._db.execute(
            "UPDATE records SET body = ?, seal = ? WHERE kind = ? AND key = ?",
            (body, _seal(kind, key, body), kind, key),
        )
        if not changed.rowcount:
            self._append(kind, key, body)

    def _append(self, kind: Kind, key: str, body: str) -> None:
        self._db.execute(
            "INSERT INTO records (kind, key, body, seal) VALUES (?, ?, ?, ?)",
            (kind, key, body, _seal(kind, key, body)),
        )
        self._db.execute(
            "DELETE FROM records WHERE kind = ?1 AND number <= (SELECT number FROM records"
            " WHERE kind = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
            (kind, KEPT[kind]),
        )

    def _drop(self, kind: Kind, key: str) -> None:
        self._db.execute("DELETE FROM records WHERE kind = ? AND key = ?", (kind, key))


class _Unsound(ValueError):
    """The file can be read, and is not what was written."""


def _opened(path: Path) -> sqlite3.Connection:
    """A checked connection to the ledger, which is created if there is none."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    start = os.read(file, len(MAGIC))
    os.close(file)
    if start not in (b"", MAGIC):  # SQLite takes a fragment for an empty file
        raise _Unsound("it is not a database")
    db = sqlite3.connect(path, timeout=LOCK_WAIT_S, isolation_level=None)
    try:
        # One process at a time, and no shared memory file beside it.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        _check(db)
    except BaseException:
        db.close()
        raise
    return db


def _check(db: sqlite3.Connection) -> None:
    """Set up an empty file; of any other read every row."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    schema = tuple(sql for (sql,) in db.execute("SELECT sql FROM sqlite_schema ORDER BY name"))
    if not version and not schema:
        statements = ("BEGIN IMMEDIATE", TABLE, BY_AGE, BY_KEY, f"PRAGMA user_version = {VERSION}")
        db.executescript("; ".join((*statements, "COMMIT")))
        return
    if (version, schema) != (VERSION, (BY_AGE, BY_KEY, TABLE)):
        raise _Unsound(f"its version is {version} and not {VERSION}, or its tables are others")
    [(verdict,)] = db.execute("PRAGMA integrity_check(1)").fetchall()
    if verdict != "ok":
        raise _Unsound(str(verdict))
    rows = db.execute("SELECT number, kind, key, body, seal FROM records")
    for number, kind, key, body, seal in rows:
        if seal != _seal(kind, key, body):
            raise _Unsound(f"record {number} is not what was written")
        READERS[Kind(kind)](body)
    db.execute(f"PRAGMA user_version = {VERSION}")  # whether it can be written


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
    """Rename the ledger and its journal, the journal first: it must not meet a new ledger."""
    names = (Path(f"{path}.damaged-{number}") for number in range(1, KEPT_ASIDE + 1))
    aside = next((name for name in names if not name.exists()), None)
    aside = aside or Path(f"{path}.damaged-{KEPT_ASIDE}")
    for suffix in ("-wal", "-shm", ""):
        Path(f"{aside}{suffix}").unlink(missing_ok=True)
        part = Path(f"{path}{suffix}")
        if part.exists():
            part.rename(f"{aside}{suffix}")
    return aside


def _key(*parts: str) -> str:
    return json.dumps(parts)


def _seal(kind: object, key: object, body: object) -> int:
    """The checksum of a row, whatever the types of its values have become."""
    return zlib.crc32(ascii((str(kind), key, body)).encode())
