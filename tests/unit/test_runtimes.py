# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import logging
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from schedcpd.learn import runtimes as module
from schedcpd.learn.commands import make_command
from schedcpd.learn.estimates import Known, Sample
from schedcpd.learn.runtimes import KEPT_ALIKE, KEPT_REPEATS, KEPT_S, Run, Runtimes


class Clock:
    now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state/runtimes.db"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def runtimes(path: Path, clock: Clock) -> Iterator[Runtimes]:
    with closing(Runtimes(path, clock)) as made:
        yield made


def run(name: bytes, cpu_ns: int = 7, size: int = 0) -> Run:
    words = b"xz\0" + name + b".log\0"
    return Run(make_command("batch", b"xz", words, whole=True), Sample(cpu_ns, size))


def test_nothing_is_known_at_first(runtimes: Runtimes) -> None:
    assert runtimes.known(run(b"a").command) == Known()


def test_a_run_is_remembered_for_its_command_and_its_shape(runtimes: Runtimes) -> None:
    runtimes.record([run(b"a", 1, 10), run(b"b", 2, 20)])
    samples = (Sample(1, 10), Sample(2, 20))
    assert runtimes.known(run(b"a").command) == Known(samples[:1], samples)
    assert runtimes.known(run(b"c").command) == Known((), samples)


def test_a_command_that_was_cut_counts_for_its_shape(runtimes: Runtimes) -> None:
    cut = Run(make_command("batch", b"xz", b"xz\0a.log\0", whole=False), Sample(1, 10))
    runtimes.record([cut])
    assert runtimes.known(cut.command) == Known((), (Sample(1, 10),))


def test_it_survives_a_restart(path: Path, clock: Clock) -> None:
    with closing(Runtimes(path, clock)) as runtimes:
        runtimes.record([run(b"a", 2**63 - 1, 2**70)])  # absurd sizes are cut
    assert path.stat().st_mode & 0o77 == 0
    with closing(Runtimes(path, clock)) as runtimes:
        assert runtimes.known(run(b"a").command).repeats == (Sample(2**63 - 1, 2**63 - 1),)


def test_only_the_newest_runs_are_kept(runtimes: Runtimes) -> None:
    runtimes.record([run(b"a", number) for number in range(100)])
    known = runtimes.known(run(b"a").command)
    assert [one.cpu_ns for one in known.repeats] == list(range(100 - KEPT_REPEATS, 100))
    assert [one.cpu_ns for one in known.alike] == list(range(100 - KEPT_ALIKE, 100))


def test_the_oldest_commands_go_when_there_are_too_many(
    runtimes: Runtimes, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_KEYS", 10)
    monkeypatch.setattr(module, "TRIM_EVERY", 4)
    for number in range(30):
        clock.now += 1
        runtimes.record([run(b"%d" % number)])
    there = [bool(runtimes.known(run(b"%d" % number).command).repeats) for number in range(30)]
    assert there[-8:] == [True] * 8
    assert sum(there) < 14


def test_what_is_old_is_forgotten(path: Path, clock: Clock) -> None:
    with closing(Runtimes(path, clock)) as runtimes:
        runtimes.record([run(b"a")])
    clock.now += KEPT_S + 1
    with closing(Runtimes(path, clock)) as runtimes:
        assert runtimes.known(run(b"a").command) == Known()


@pytest.mark.parametrize("damage", [b"not a database at all", b"SQLite format 3\0" + b"x" * 5000])
def test_a_damaged_file_is_set_aside(path: Path, clock: Clock, damage: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(damage)
    with closing(Runtimes(path, clock)) as runtimes:
        runtimes.record([run(b"a")])
        assert runtimes.known(run(b"a").command).repeats
    assert path.with_name("runtimes.db.damaged-1").read_bytes() == damage


def test_a_file_of_another_version_is_set_aside(path: Path, clock: Clock) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    with closing(Runtimes(path, clock)) as runtimes:
        runtimes.record([run(b"a")])
        assert runtimes.known(run(b"a").command).repeats
    assert path.with_name("runtimes.db.damaged-1").exists()


def test_any_byte_may_change(path: Path, clock: Clock, tmp_path: Path) -> None:
    with closing(Runtimes(path, clock)) as runtimes:
        runtimes.record([run(b"%d" % number, number) for number in range(50)])
    random = Random(3)
    for number in range(40):
        copy = tmp_path / f"copy-{number}.db"
        raw = bytearray(path.read_bytes())
        raw[random.randrange(len(raw))] ^= 1 << random.randrange(8)
        copy.write_bytes(raw)
        with closing(Runtimes(copy, clock)) as runtimes:
            assert len(runtimes.known(run(b"7").command).alike) <= KEPT_ALIKE
            runtimes.record([run(b"new", 5)])
            assert runtimes.known(run(b"new").command).repeats == (Sample(5, 0),)


def test_a_kill_at_any_time_leaves_a_sound_file(path: Path, clock: Clock, tmp_path: Path) -> None:
    with closing(Runtimes(path, clock)) as runtimes:
        for number in range(20):
            runtimes.record([run(b"a", number)])
            copy = tmp_path / f"copy-{number}.db"
            for suffix in ("", "-wal"):
                shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
            with closing(Runtimes(copy, clock)) as revived:
                assert revived.known(run(b"a").command) == runtimes.known(run(b"a").command)
                assert not copy.with_name(f"{copy.name}.damaged-1").exists()


def test_a_row_that_makes_no_sense_is_nothing(path: Path, clock: Clock) -> None:
    with closing(Runtimes(path, clock)) as runtimes:
        runtimes.record([run(b"a", 1), run(b"b", 2)])
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE runtimes SET samples = 'text'")
        db.commit()
    with closing(Runtimes(path, clock)) as runtimes:
        assert runtimes.known(run(b"a").command) == Known()
        runtimes.record([run(b"a", 3)])
        assert runtimes.known(run(b"a").command).repeats == (Sample(3, 0),)


def test_what_cannot_be_opened_is_told_and_nothing_fails(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("a file")
    runtimes = Runtimes(tmp_path / "state/runtimes.db", clock)
    runtimes.record([run(b"a")])
    assert runtimes.known(run(b"a").command) == Known()
    runtimes.close()
    [told] = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert "not remembered" in told.getMessage()


def test_a_failing_disk_is_told_once_and_used_again_when_it_recovers(
    path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(Runtimes(path, clock)) as runtimes:
        assert runtimes._db is not None
        runtimes._db.execute("PRAGMA query_only = ON")
        runtimes.record([run(b"a")])
        runtimes.record([run(b"a")])
        assert len([one for one in caplog.records if one.levelno == logging.ERROR]) == 1
        runtimes._db.execute("PRAGMA query_only = OFF")
        runtimes.record([run(b"a", 9)])
        assert runtimes.known(run(b"a").command).repeats == (Sample(9, 0),)


def test_closed_twice(path: Path, clock: Clock) -> None:
    runtimes = Runtimes(path, clock)
    runtimes.close()
    runtimes.close()
    runtimes.record([run(b"a")])
    assert runtimes.known(run(b"a").command) == Known()
    assert [place.name for place in path.parent.iterdir()] == ["runtimes.db"]
