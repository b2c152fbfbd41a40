# SPDX-License-Identifier: GPL-2.0-or-later
"""The ledger when it is killed, when the disk is full, and when its file is damaged."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import tempfile
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedcpd import database
from schedcpd.deploy.ledger import Ledger
from schedcpd.errors import LedgerDamaged
from unit.ledger_samples import (
    BATCH,
    EMPTY,
    KERNEL,
    NOW,
    ODD,
    WON,
    State,
    clock,
    copy_of,
    deployment,
    full_disk,
    harm,
    opened,
    state_of,
    step,
    write_everything,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


# Kills


def test_a_kill_at_any_statement_leaves_the_state_before_or_after(
    path: Path, tmp_path: Path
) -> None:
    ledger = Ledger(path, clock)
    copies: list[tuple[Path, int]] = []
    states = [state_of(ledger)]

    def snapshot(statement: str) -> None:
        if statement.startswith(("BEGIN", "UPDATE", "INSERT", "DELETE", "COMMIT")):
            place = tmp_path / f"copy-{len(copies)}"
            copies.append((copy_of(path, place), len(states) - 1))

    ledger._records._db.set_trace_callback(snapshot)
    for operate in write_everything(ledger):
        operate()
        ledger._records._db.set_trace_callback(None)
        states.append(state_of(ledger))
        ledger._records._db.set_trace_callback(snapshot)
    ledger._records._db.set_trace_callback(None)
    ledger.close()
    assert len(copies) > 40
    for copy, before in copies:
        with opened(copy) as revived:
            assert revived.damage == ""
            assert state_of(revived) in states[before : before + 2]


def test_a_torn_journal_leaves_a_state_there_was(path: Path, tmp_path: Path) -> None:
    ledger = Ledger(path, clock)
    states = [state_of(ledger)]
    for operate in write_everything(ledger):
        operate()
        states.append(state_of(ledger))
    length = Path(f"{path}-wal").stat().st_size
    random = Random(1)
    seen: set[int] = set()
    for number in range(40):
        copy = copy_of(path, tmp_path / f"copy-{number}")
        os.truncate(f"{copy}-wal", random.randrange(length + 1))
        with opened(copy) as revived:
            state = state_of(revived)
            assert state in states or revived.damage  # no header was there yet: it may be empty
            seen.add(states.index(state))
    ledger.close()
    assert len(seen) > 5


def test_two_daemons_do_not_share_a_ledger(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOCK_WAIT_S", 0.01)
    with opened(path) as ledger:
        ledger.record_transition(step(1))
        with pytest.raises(LedgerDamaged, match="locked"):
            Ledger(path, clock)
        ledger.record_transition(step(2))
        assert ledger.transitions() == (step(1), step(2))
    assert [place.name for place in path.parent.iterdir()] == ["ledger.db"]


# Full disks


def test_a_full_disk_is_told_and_nothing_is_half_written(path: Path) -> None:
    with opened(path) as ledger:
        ledger.open_run("boot 1")
        ledger.promote(BATCH, KERNEL, harm().object_sha256, "scx_batch", WON)
        before = state_of(ledger)
        with full_disk(path):
            for _ in range(2):
                with pytest.raises(LedgerDamaged, match=r"ledger\.db: "):
                    ledger.quarantine(harm())
            with pytest.raises(LedgerDamaged):
                ledger.probe()
            assert state_of(ledger) == before
        ledger.probe()  # there is room again
        ledger.quarantine(harm())
        after = state_of(ledger)
        assert after != before
    with opened(path) as ledger:
        assert state_of(ledger) == after
        assert ledger.damage == ""


def test_a_database_that_may_not_grow(path: Path) -> None:
    with opened(path) as ledger:
        (pages,) = ledger._records._db.execute("PRAGMA page_count").fetchone()
        ledger._records._db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(LedgerDamaged, match="full"):
            ledger.save_deployment(replace(deployment(1), reason="x" * 100_000))
        ledger._records._db.execute("PRAGMA max_page_count = 1000000")
        ledger.save_deployment(deployment(500))


def test_a_new_ledger_on_a_full_disk(path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(LedgerDamaged):
            Ledger(path, clock)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with opened(path) as ledger:
        assert ledger.damage == ""


def test_a_place_that_is_no_place(tmp_path: Path) -> None:
    with pytest.raises(LedgerDamaged, match="directory"):
        Ledger(tmp_path, clock)
    with pytest.raises(LedgerDamaged, match="No such file"):
        Ledger(tmp_path / "missing" / "ledger.db", clock)


# Damage


def filled(path: Path) -> State:
    with opened(path) as ledger:
        ledger.open_run("boot 1")
        for number in range(1, 9):
            ledger.record_transition(step(number))
            ledger.save_deployment(deployment(number, ended_at=NOW))
        ledger.quarantine(harm())
        ledger.promote(ODD, KERNEL, "c" * 64, "scx_fair", WON)
        return state_of(ledger)


def check_damaged(path: Path, sound: set[State] | list[State]) -> bool:
    """Open what may be damaged; whether it was moved aside."""
    with opened(path) as ledger:
        state = state_of(ledger)
        if ledger.damage:
            assert state == EMPTY
            assert not ledger.open_run("boot 2")
            ledger.record_transition(step(1))
            return True
        assert state in sound
        assert not ledger.open_run("boot 2")
        return False


def test_a_damaged_ledger_is_moved_aside_and_told(path: Path) -> None:
    for number in (1, 2):
        path.write_bytes(b"not a database at all, " * 100)
        with opened(path) as ledger:
            assert state_of(ledger) == EMPTY
            assert ledger.damage.endswith(f"the damaged file is now {path}.damaged-{number}")
            assert Path(f"{path}.damaged-{number}").read_bytes().startswith(b"not a database")
            ledger.record_transition(step(1))
    with opened(path) as ledger:
        assert ledger.damage == ""
        assert ledger.transitions() == (step(1),)


def test_only_so_many_damaged_ones_are_kept(path: Path) -> None:
    for _ in range(12):
        path.write_bytes(b"not a database at all, " * 100)
        Ledger(path, clock).close()
    assert len(list(path.parent.iterdir())) == 1 + 9


def test_an_old_journal_goes_with_its_ledger(path: Path) -> None:
    ledger = Ledger(path, clock)
    ledger.quarantine(harm())
    wal = Path(f"{path}-wal").read_bytes()
    ledger.close()
    path.write_bytes(b"not a database at all, " * 100)
    Path(f"{path}-wal").write_bytes(wal)
    with opened(path) as ledger:
        assert ledger.damage
        assert state_of(ledger) == EMPTY
        assert Path(f"{path}.damaged-1-wal").read_bytes() == wal


@pytest.mark.parametrize(
    "spoil",
    [
        "PRAGMA user_version = 2",
        "UPDATE records SET body = replace(body, 'sha of', 'oha of') WHERE kind = 'quarantine'",
        "UPDATE records SET key = 'x' WHERE kind = 'quarantine'",
        "UPDATE records SET kind = 'nonsense' WHERE kind = 'run'",
        "UPDATE records SET body = x'ff'",
        "UPDATE records SET seal = seal + 1 WHERE number = 1",
        "DROP TABLE records",
        "ALTER TABLE records RENAME COLUMN seal TO other",
        "DROP INDEX by_key",
    ],
)
def test_what_is_not_as_it_was_written(path: Path, spoil: str) -> None:
    state = filled(path)
    db = sqlite3.connect(path)
    db.execute(spoil)
    db.commit()
    db.close()
    assert check_damaged(path, [state])


def test_one_flipped_byte_anywhere(tmp_path: Path) -> None:
    sound = filled(tmp_path / "ledger.db")
    data = (tmp_path / "ledger.db").read_bytes()
    random = Random(5)
    places = [*range(16, 100), *(random.randrange(len(data)) for _ in range(80))]
    moved = 0
    for number, place in enumerate(places):
        where = tmp_path / f"copy-{number}"
        where.mkdir()
        spoilt = bytearray(data)
        spoilt[place] ^= random.randrange(1, 256)
        (where / "ledger.db").write_bytes(spoilt)
        moved += check_damaged(where / "ledger.db", [sound])
        shutil.rmtree(where)
    assert moved > 40


@given(data=st.data())
@settings(max_examples=30, deadline=None, derandomize=True)
def test_many_flipped_bytes_in_ledger_and_journal(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "ledger.db"
        ledger = Ledger(path, clock)
        states = [state_of(ledger)]
        for operate in write_everything(ledger):
            operate()
            states.append(state_of(ledger))
        copy = copy_of(path, Path(name) / "copy")
        ledger.close()
        for suffix in ("", "-wal"):
            part = Path(f"{copy}{suffix}")
            spoilt = bytearray(part.read_bytes())
            for _ in range(data.draw(st.integers(0, 3))):
                place = data.draw(st.integers(0, len(spoilt) - 1))
                spoilt[place] ^= data.draw(st.integers(1, 255))
            part.write_bytes(spoilt[: data.draw(st.integers(0, len(spoilt)))])
        with opened(copy) as revived:
            assert state_of(revived) in (states if not revived.damage else [EMPTY])
            revived.record_transition(step(1))
            assert revived.transitions(1) == (step(1),)


@given(st.binary(max_size=5000))
@settings(max_examples=40, deadline=None)
def test_any_bytes_at_all(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "ledger.db"
        path.write_bytes(content)
        with opened(path) as ledger:
            assert state_of(ledger) == EMPTY
            assert bool(ledger.damage) == bool(content)
