# SPDX-License-Identifier: GPL-2.0-or-later
"""What is remembered when the ledger works, fails, or is not there; with the real ledger."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from schedcpd.deploy.ledger import Ledger
from schedcpd.deploy.record import Record, open_record
from schedcpd.errors import LedgerDamaged
from schedcpd.model import Deployment, DeploymentState, Origin, Quarantine, Transition
from unit.fakes import FakeLedger

ENTRY = Quarantine("ab", "scx_batch", "7.3", "/a.service", 5.0, "it did harm")
STEP = Transition(1.0, 1, "default", "attaching", "a batch")
DEPLOYMENT = Deployment(
    *(1, "/a.service", "scx_batch", Origin.MANUAL, DeploymentState.ATTACHING, 1.0),
    object_sha256="ab",
)


def kill(record: Record) -> None:
    """The process ends without a word, and its lock on the file with it."""
    assert record._ledger is not None
    record._ledger.close()


def test_power_cut_between_two_boots(tmp_path: Path) -> None:
    path = tmp_path / "schedcp/ledger.db"
    record = open_record(path)
    assert record.begin("one") == ""
    record.transition(STEP)
    record.deployment(DEPLOYMENT)
    kill(record)
    again = open_record(path)
    assert again.begin("two") == "scx_batch was attaching when the machine went down"
    (ended,) = again.deployments(5)
    assert ended.ended_at > 0
    again.transition(Transition(2.0, 0, "default", "safe", "cut off"))
    again.end()
    clean = open_record(path)
    assert clean.begin("two") == "cut off", "until a person says go on"
    clean.end()


def test_quarantine_and_known_good_outlive_the_daemon(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    record = open_record(path)
    record.begin("one")
    record.promote(DEPLOYMENT, "7.3", None)
    record.quarantine(ENTRY)
    record.end()
    again = open_record(path)
    assert again.quarantines() == (ENTRY,)
    assert again.quarantined("ab", "7.3", "/a.service") == ENTRY
    assert again.quarantined("ab", "7.3", "/b.service") is None
    assert again.release("scx_batch") == 1
    assert again.quarantines() == ()
    again.end()


def test_ledger_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    record = open_record(tmp_path / "file/ledger.db")
    assert record.unusable
    assert record.begin("one") == ""
    assert (record.deployments(5), record.transitions(5), record.quarantines()) == ((), (), ())
    assert record.known_good("/a.service", "7.3") is None
    with pytest.raises(LedgerDamaged):
        record.next_id()
    with pytest.raises(LedgerDamaged):
        record.quarantined("ab", "7.3", "/a.service")
    with pytest.raises(LedgerDamaged):
        record.release("scx_batch")
    record.end()


def test_damaged_ledger_is_told_and_means_safe_mode(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"SQLite format 3\0" + b"rubbish" * 1000)
    record = open_record(path)
    assert not record.unusable
    assert "nobody knows what was under way" in record.begin("one")
    record.end()


def test_harm_that_cannot_be_written_down_is_not_forgotten() -> None:
    ledger = FakeLedger()
    record = Record(cast(Ledger, ledger))
    ledger.full = True
    record.quarantine(ENTRY)
    assert "disk is full" in record.unusable
    assert record.quarantined("ab", "7.3", "/a.service") == ENTRY
    assert record.quarantined("ab", "7.4", "/a.service") is None
    assert record.quarantined("cd", "7.3", "/a.service") is None
    assert record.quarantines() == (ENTRY,)
    ledger.full = False
    assert record.release("scx_batch") == 1
    assert record.quarantines() == ()


def test_ledger_that_works_again() -> None:
    ledger = FakeLedger()
    record = Record(cast(Ledger, ledger))
    ledger.full = True
    with pytest.raises(LedgerDamaged):
        record.transition(STEP)
    assert record.unusable
    assert "disk is full" in record.check()
    ledger.full = False
    assert record.check() == ""
    record.transition(STEP)
    ledger.full = True
    record.end()
    assert ledger.closed, "whatever it says"
