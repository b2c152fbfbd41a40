# SPDX-License-Identifier: GPL-2.0-or-later
"""What the agent did, said and spent: an SQLite file that outlives it."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from schedcpd.agent.configuration import KeepSettings
from schedcpd.agent.money import Usage
from schedcpd.database import ERRORS, Connection, check_schema, open_or_renew
from schedcpd.errors import LedgerDamaged, NoSuchRun

DAY_S = 86_400.0
SPENT_KEPT_S = 40 * DAY_S
SCHEMA_VERSION = 1
# Sorted by name, as check_schema wants them.
SCHEMA = (
    (
        "CREATE TABLE calls (run INTEGER NOT NULL, number INTEGER NOT NULL, role TEXT NOT NULL, "
        "at REAL NOT NULL, seconds REAL NOT NULL, request BLOB NOT NULL, reply BLOB NOT NULL, "
        "PRIMARY KEY (run, number)) WITHOUT ROWID"
    ),
    (
        "CREATE TABLE runs (id INTEGER PRIMARY KEY, workload TEXT NOT NULL, "
        "origin TEXT NOT NULL, started REAL NOT NULL, ended REAL NOT NULL, state TEXT NOT NULL, "
        "sentence TEXT NOT NULL, calls INTEGER NOT NULL, input INTEGER NOT NULL, "
        "output INTEGER NOT NULL, cache_read INTEGER NOT NULL, cache_write INTEGER NOT NULL, "
        "dollars REAL NOT NULL, model_s REAL NOT NULL)"
    ),
    (
        "CREATE TABLE spent (id INTEGER PRIMARY KEY, at REAL NOT NULL, run INTEGER NOT NULL, "
        "workload TEXT NOT NULL, tokens INTEGER NOT NULL, dollars REAL NOT NULL)"
    ),
)


class RunState(StrEnum):
    """How a run stands; from LEFT_ALONE on it is over."""

    RUNNING = "running"
    LEFT_ALONE = "left-alone"  # nothing to gain
    ADVISED = "advised"  # a plan, but the settings or the daemon do not let it be deployed
    DEPLOYED = "deployed"
    REVERTED = "reverted"  # deployed, and taken off again: no gain
    STOPPED = "stopped"  # no budget left
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"  # the agent ended in the middle


@dataclass(frozen=True, slots=True)
class Run:
    """One analysis of a workload, from the request to its end."""

    id: int
    workload: str  # its identity
    origin: str  # person or automatic
    started: float  # seconds since the epoch
    ended: float = 0.0  # 0 while it lasts
    state: RunState = RunState.RUNNING
    sentence: str = ""
    calls: int = 0
    usage: Usage = field(default_factory=Usage)
    dollars: float = 0.0
    model_s: float = 0.0  # waited for the model


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its reply, as they were sent and received."""

    role: str
    at: float
    seconds: float
    request: str
    reply: str


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent on something."""

    tokens: int
    dollars: float


class Store:
    """The file at ``path``; raises LedgerDamaged when it cannot be read or written.

    ``damage`` says what was wrong with a file that was moved aside.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._guarded():
            self._db, self.damage = open_or_renew(path, _check)
            try:
                self._db.execute(
                    "UPDATE runs SET state = ?, sentence = 'the agent ended in the middle', "
                    "ended = started WHERE state = ?",
                    (RunState.INTERRUPTED, RunState.RUNNING),
                )
            except BaseException:
                self._db.close()
                raise

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except ERRORS as error:
            raise LedgerDamaged(str(self._path), str(error)) from error

    # Runs

    def next_run(self) -> int:
        """The number that the next run will have; none is given twice while money counts for it."""
        query = (
            "SELECT max((SELECT coalesce(max(id), 0) FROM runs), "
            "(SELECT coalesce(max(run), 0) FROM spent))"
        )
        with self._guarded():
            return int(self._db.execute(query).fetchone()[0]) + 1

    def begin(self, workload: str, origin: str, at: float) -> Run:
        """A new run."""
        run = Run(self.next_run(), workload, origin, at)
        with self._guarded():
            self._db.execute(
                "INSERT INTO runs VALUES (?, ?, ?, ?, 0, ?, '', 0, 0, 0, 0, 0, 0, 0)",
                (run.id, workload, origin, at, run.state),
            )
        return run

    def save(self, run: Run) -> None:
        """Keep how a run stands now."""
        usage = run.usage
        with self._guarded():
            self._db.execute(
                "UPDATE runs SET ended = ?, state = ?, sentence = ?, calls = ?, input = ?, "
                "output = ?, cache_read = ?, cache_write = ?, dollars = ?, model_s = ? "
                "WHERE id = ?",
                (
                    *(run.ended, run.state, run.sentence, run.calls, usage.input, usage.output),
                    *(usage.cache_read, usage.cache_write, run.dollars, run.model_s, run.id),
                ),
            )

    def runs(self, count: int) -> tuple[Run, ...]:
        """The newest runs, newest first."""
        with self._guarded():
            rows = self._db.execute("SELECT * FROM runs ORDER BY id DESC LIMIT ?", (count,))
            return tuple(_run(row) for row in rows)

    def run(self, number: int) -> Run:
        """One run; raises NoSuchRun."""
        with self._guarded():
            row = self._db.execute("SELECT * FROM runs WHERE id = ?", (number,)).fetchone()
            if row is not None:
                return _run(row)
        raise NoSuchRun(number)

    def last_run_of(self, workload: str) -> float:
        """When a workload was analysed last, in seconds since the epoch; 0 for never."""
        query = "SELECT coalesce(max(started), 0) FROM runs WHERE workload = ?"
        with self._guarded():
            return float(self._db.execute(query, (workload,)).fetchone()[0])

    # Transcripts

    def record(self, run: Run, exchange: Exchange) -> Run:
        """Keep what was said; returns the run with one call more."""
        counted = replace(run, calls=run.calls + 1, model_s=run.model_s + exchange.seconds)
        with self._guarded():
            self._db.execute(
                "INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    *(run.id, counted.calls, exchange.role, exchange.at, exchange.seconds),
                    *(_packed(exchange.request), _packed(exchange.reply)),
                ),
            )
        self.save(counted)
        return counted

    def exchanges(self, run: int) -> tuple[Exchange, ...]:
        """What was said in a run, oldest first."""
        with self._guarded():
            rows = self._db.execute(
                "SELECT role, at, seconds, request, reply FROM calls WHERE run = ? ORDER BY number",
                (run,),
            )
            return tuple(
                Exchange(role, at, seconds, _unpacked(request), _unpacked(reply))
                for role, at, seconds, request, reply in rows
            )

    def tidy(self, keep: KeepSettings, now: float) -> None:
        """Forget what is too old or too much, whole runs at a time, the oldest first."""
        with self._guarded():
            self._db.execute("DELETE FROM spent WHERE at < ?", (now - SPENT_KEPT_S,))
            sizes = self._db.execute(
                "SELECT id, started, ended, (SELECT coalesce(sum(length(request) + length(reply)), "
                "0) FROM calls WHERE run = id) FROM runs ORDER BY id DESC"
            ).fetchall()
            total = 0
            for place, (number, started, ended, size) in enumerate(sizes):
                total += size
                old = started < now - keep.days * DAY_S
                if ended and (old or place >= keep.runs or total > keep.megabytes * 2**20):
                    self._db.execute("DELETE FROM calls WHERE run = ?", (number,))
                    self._db.execute("DELETE FROM runs WHERE id = ?", (number,))

    # Money

    def book(self, run: Run, spent: Spent, at: float) -> int:
        """Count something as spent, before it is; returns the number of the entry."""
        with self._guarded():
            done = self._db.execute(
                "INSERT INTO spent VALUES (NULL, ?, ?, ?, ?, ?)",
                (at, run.id, run.workload, spent.tokens, spent.dollars),
            )
        return int(done.lastrowid or 0)

    def correct(self, entry: int, spent: Spent) -> None:
        """Put what it really was in the place of what was booked."""
        with self._guarded():
            self._db.execute(
                "UPDATE spent SET tokens = ?, dollars = ? WHERE id = ?",
                (spent.tokens, spent.dollars, entry),
            )

    def spent_on_run(self, run: int) -> Spent:
        """What a run has spent."""
        return self._sum("run = ?", run)

    def spent_on_workload(self, workload: str, now: float) -> Spent:
        """What was spent on a workload in the last 24 hours."""
        return self._sum("workload = ? AND at > ?", workload, now - DAY_S)

    def spent(self, now: float) -> Spent:
        """What was spent in the last 24 hours."""
        return self._sum("at > ?", now - DAY_S)

    def _sum(self, where: str, *values: object) -> Spent:
        query = (
            f"SELECT coalesce(sum(tokens), 0), coalesce(sum(dollars), 0) FROM spent WHERE {where}"
        )
        with self._guarded():
            tokens, dollars = self._db.execute(query, values).fetchone()
            return Spent(int(tokens), float(dollars))


def _check(db: Connection) -> None:
    check_schema(db, SCHEMA_VERSION, SCHEMA)


def _run(row: tuple[object, ...]) -> Run:
    number, workload, origin, started, ended, state, sentence, calls, *money = row
    tokens, (dollars, model_s) = [int(str(one)) for one in money[:4]], money[4:]
    return Run(
        int(str(number)),
        str(workload),
        str(origin),
        float(str(started)),
        float(str(ended)),
        RunState(str(state)),
        str(sentence),
        int(str(calls)),
        Usage(*tokens),
        float(str(dollars)),
        float(str(model_s)),
    )


def _packed(text: str) -> bytes:
    return zlib.compress(text.encode(errors="surrogatepass"))


def _unpacked(packed: bytes) -> str:
    return zlib.decompress(packed).decode(errors="surrogatepass")
