# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import schedcpd
from schedcpd.model import StageOutcome
from schedcpd.verify import cache
from schedcpd.verify.cache import Subject, Verdicts, method_digest
from unit.test_reports import REPORT

SUBJECT = Subject(REPORT.object_sha256, REPORT.card_sha256, REPORT.kernel_build_id, "m" * 64)
NOW = REPORT.checked_at


def test_remembered(tmp_path: Path) -> None:
    verdicts = Verdicts(tmp_path)
    assert verdicts.recall(SUBJECT, NOW) is None
    verdicts.remember(SUBJECT, REPORT)
    assert verdicts.recall(SUBJECT, NOW) == replace(REPORT, cached=True)


@pytest.mark.parametrize(
    "other",
    [
        {"object_sha256": "d" * 64},
        {"card_sha256": "d" * 64},
        {"kernel_build_id": "beef"},
        {"method_sha256": "n" * 64},
    ],
)
def test_every_part_of_the_subject_counts(tmp_path: Path, other: dict[str, str]) -> None:
    verdicts = Verdicts(tmp_path)
    verdicts.remember(SUBJECT, REPORT)
    assert verdicts.recall(replace(SUBJECT, **other), NOW) is None


def test_a_verdict_under_the_name_of_another_is_not_believed(tmp_path: Path) -> None:
    verdicts = Verdicts(tmp_path)
    verdicts.remember(SUBJECT, REPORT)
    other = replace(SUBJECT, object_sha256="d" * 64)
    (tmp_path / f"{SUBJECT.key}.json").rename(tmp_path / f"{other.key}.json")
    assert verdicts.recall(other, NOW) is None


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", "[" * 100_000, "\xff"])
def test_a_damaged_verdict_is_none(tmp_path: Path, damage: str) -> None:
    (tmp_path / f"{SUBJECT.key}.json").write_text(damage, encoding="latin-1")
    assert Verdicts(tmp_path).recall(SUBJECT, NOW) is None


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    verdicts = Verdicts(tmp_path)
    verdicts.remember(SUBJECT, REPORT)
    path = tmp_path / f"{SUBJECT.key}.json"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to("elsewhere")
    assert verdicts.recall(SUBJECT, NOW) is None


def test_old_verdicts_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "COUNT_LIMIT", 2)
    verdicts = Verdicts(tmp_path)
    subjects = [replace(SUBJECT, method_sha256=str(number)) for number in range(3)]
    for age, subject in enumerate(subjects):
        verdicts.remember(subject, REPORT)
        os.utime(tmp_path / f"{subject.key}.json", (age, age))
    verdicts.remember(SUBJECT, REPORT)
    kept = [one for one in (*subjects, SUBJECT) if verdicts.recall(one, NOW)]
    assert kept == [subjects[2], SUBJECT]


@pytest.mark.parametrize(
    ("kernel", "kept"),
    [
        (StageOutcome.SKIPPED, False),
        (StageOutcome.BROKEN, False),
        (StageOutcome.FAILED, True),
    ],
)
def test_only_what_a_machine_found_is_kept(
    tmp_path: Path, kernel: StageOutcome, kept: bool
) -> None:
    stages = [replace(stage, outcome=StageOutcome.SKIPPED) for stage in REPORT.stages]
    stages[2] = replace(stages[2], outcome=kernel)
    verdicts = Verdicts(tmp_path)
    verdicts.remember(SUBJECT, replace(REPORT, stages=tuple(stages)))
    assert bool(verdicts.recall(SUBJECT, NOW)) is kept


def test_the_method_is_all_that_judges(tmp_path: Path) -> None:
    package = Path(schedcpd.__file__).parent
    copy = tmp_path / "schedcpd"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    same = method_digest(b"trial", package)
    assert method_digest(b"trial", copy) == same
    assert method_digest(b"other", copy) != same
    with (copy / "verify/serve.py").open("a") as file:
        file.write("#\n")
    assert method_digest(b"trial", copy) == same
    for name in ("verify/trial.py", "verify/pipeline.py", "kernel/objects.py"):
        with (copy / name).open("a") as file:
            file.write("#\n")
        before, same = same, method_digest(b"trial", copy)
        assert same != before
    (copy / "verify/analysis/another.py").write_text("")
    assert method_digest(b"trial", copy) != same
