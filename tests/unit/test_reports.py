# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from schedcpd import reports
from schedcpd.fields import BadField, Fields
from schedcpd.model import (
    Check,
    Finding,
    Report,
    Severity,
    StageOutcome,
    StageReport,
    VerifyStage,
)
from schedcpd.reports import Progress

FINDING = Finding("SCX101", Severity.REJECT, "a task is lost", "queue it", "enqueue", "x.c", 7)
CHECK = Check("pinned", True, "no task waited", 12.5, "ms", 2000.0, 3.0)
STAGES = (
    StageReport(VerifyStage.COMPILE, StageOutcome.SKIPPED),
    StageReport(VerifyStage.STATIC, StageOutcome.PASSED, 0.25, "", (FINDING,)),
    StageReport(VerifyStage.KERNEL, StageOutcome.PASSED, 3.0, "", (), (CHECK,)),
    StageReport(VerifyStage.DYNAMIC, StageOutcome.PASSED, 20.0, "", (), (CHECK,)),
)
REPORT = Report("scx_a", "a" * 64, "b" * 64, "7.3.4", "c0ffee", "tcg", 1_800_000_000, STAGES)


def through_json(value: dict[str, object]) -> Fields:
    return Fields(json.loads(json.dumps(value)))


def test_a_report_survives_its_journey() -> None:
    assert reports.decode_report(through_json(reports.encode_report(REPORT))) == REPORT
    document = reports.encode_report(REPORT)
    assert (document["passed"], document["reason"]) == (True, "")


@pytest.mark.parametrize(
    "step",
    [
        Progress(VerifyStage.STATIC),
        Progress(VerifyStage.DYNAMIC, check=CHECK),
        Progress(VerifyStage.STATIC, report=STAGES[1]),
    ],
)
def test_progress_survives_its_journey(step: Progress) -> None:
    assert reports.decode_progress(through_json(reports.encode_progress(step))) == step


def test_nobody_passes_by_saying_so() -> None:
    document = reports.encode_report(REPORT) | {"stages": [], "passed": True}
    assert not reports.decode_report(through_json(document)).passed


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"checked_at": "now"}, "checked_at is not a whole number"),
        ({"checked_at": 1e9}, "checked_at is not a whole number"),
        ({"cached": 1}, "cached is neither true nor false"),
        ({"stages": [{}] * 5}, "stages has more than 4 entries"),
        ({"stages": [7]}, r"stages\[0\] is not a table"),
        ({"policy": "x" * 300}, "policy is longer"),
        ({"more": 1}, "unknown field 'more'"),
    ],
)
def test_reports_that_are_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BadField, match=complaint):
        reports.decode_report(through_json(reports.encode_report(REPORT) | change))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"outcome": "splendid"}, "outcome must be one of"),
        ({"stage": "deploy"}, "stage must be one of"),
        ({"seconds": -1}, "seconds is -1"),
        ({"seconds": True}, "seconds is not a number"),
        ({"findings": {}}, "findings is not a list"),
        ({"checks": [{"name": 1}]}, r"checks\[0\]\.name is not text"),
    ],
)
def test_stages_that_are_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BadField, match=complaint):
        reports.decode_stage(through_json(reports.encode_stage(STAGES[2]) | change))


def test_a_figure_that_is_no_number_is_refused() -> None:
    document = reports.encode_check(CHECK) | {"figure": float("nan")}
    with pytest.raises(BadField, match="figure"):
        reports.decode_check(Fields(document))


def test_texts_of_strangers_are_made_harmless() -> None:
    nasty = Finding("COMPILE", Severity.WARNING, "\x1b[31m red\nline" + "x" * 2000)
    findings = (nasty, *[FINDING] * 20)
    stage = StageReport(VerifyStage.COMPILE, StageOutcome.PASSED, findings=findings)
    decoded = reports.decode_stage(through_json(reports.encode_stage(stage)))
    assert decoded.findings[1:] == (FINDING,) * 20
    assert decoded.findings[0].message.isprintable()
    assert len(decoded.findings[0].message) == reports.TEXT_LIMIT
    assert decoded.findings[0].message.endswith("…")


def test_a_report_of_strangers_words_stays_small() -> None:
    # JSON writes each of these as twelve bytes.
    name = "\U0001f600" * 2000
    nasty = Finding("SCX101", Severity.REJECT, name, name, name, name, 1)
    check = Check("load", False, name)
    stage = StageReport(VerifyStage.STATIC, StageOutcome.FAILED, 0.0, name, (nasty,) * 100)
    tried = StageReport(VerifyStage.KERNEL, StageOutcome.FAILED, 0.0, name, (), (check,) * 64)
    report = replace(REPORT, stages=(stage, stage, tried, tried))
    encoded = json.dumps(reports.encode_report(report))
    decoded = reports.decode_report(Fields(json.loads(encoded)))
    assert decoded.stages[1].findings
    assert decoded.stages[2].checks
    # Fifty of them, with their stages a second time, in one message of the system bus.
    assert 2 * 50 * len(encoded) < 32 << 20


def test_progress_that_is_none() -> None:
    with pytest.raises(BadField, match="event must be one of"):
        reports.decode_progress(Fields({"event": "boast"}))
