# SPDX-License-Identifier: GPL-2.0-or-later
"""Verification reports and their progress as they travel and are kept: JSON, typed and bounded.

Texts come from a compiler that read a stranger's source, or from a guest that ran a stranger's
policy: they are cut to size and made printable when they are written, so that every reader can take
them as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from schedcpd.fields import Fields
from schedcpd.model import (
    Check,
    Finding,
    Report,
    Severity,
    StageOutcome,
    StageReport,
    VerifyStage,
)

FINDING_LIMIT = 200  # of one stage
CHECK_LIMIT = 64
# Of the findings of one stage, and of its checks, as JSON: the daemon keeps the newest fifty
# reports, and whoever asks for its objects gets them all in one message of at most 32 MiB.
STAGE_BYTES = 32 << 10
TEXT_LIMIT = 1000
NAME_LIMIT = 200
FIGURE_LIMIT = 1e15
LINE_MAX = 2**31 - 1
END_OF_CALENDAR = 253402300799  # the last second of the year 9999

REPORT_FIELDS = (
    *("policy", "object_sha256", "card_sha256", "kernel_release", "kernel_build_id"),
    *("accelerator", "checked_at", "stages", "cached", "passed", "reason"),
)
STAGE_FIELDS = ("stage", "outcome", "seconds", "reason", "findings", "checks")
FINDING_FIELDS = ("rule", "severity", "message", "mend", "program", "file", "line")
CHECK_FIELDS = ("name", "passed", "message", "figure", "unit", "bound", "baseline")


@dataclass(frozen=True, slots=True)
class Progress:
    """A step of a verification: a stage begins, one of its checks is done, or it has ended."""

    stage: VerifyStage
    check: Check | None = None
    report: StageReport | None = None  # when it has ended


def printable(text: str, limit: int = TEXT_LIMIT) -> str:
    """The text on one line, without control characters, cut to ``limit`` characters."""
    shown = "".join(char if char.isprintable() else " " for char in text[: limit + 1])
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


def encode_finding(finding: Finding) -> dict[str, object]:
    """A finding as JSON has it."""
    return _encoded(asdict(finding))


def encode_check(check: Check) -> dict[str, object]:
    """A check as JSON has it."""
    return _encoded(asdict(check))


def _encoded(values: Mapping[str, object]) -> dict[str, object]:
    return {
        name: printable(value) if isinstance(value, str) else value
        for name, value in values.items()
    }


def _fitting(entries: Iterable[dict[str, object]]) -> list[dict[str, object]]:
    """The first of them, as many as there is room for, and at least one."""
    kept: list[dict[str, object]] = []
    size = 0
    for entry in entries:
        size += len(json.dumps(entry))
        if kept and size > STAGE_BYTES:
            break
        kept.append(entry)
    return kept


def encode_stage(stage: StageReport) -> dict[str, object]:
    """A stage's report as JSON has it."""
    return {
        "stage": str(stage.stage),
        "outcome": str(stage.outcome),
        "seconds": round(stage.seconds, 3),
        "reason": printable(stage.reason),
        "findings": _fitting(map(encode_finding, stage.findings[:FINDING_LIMIT])),
        "checks": _fitting(map(encode_check, stage.checks[:CHECK_LIMIT])),
    }


def encode_report(report: Report) -> dict[str, object]:
    """A report as JSON has it; ``passed`` and ``reason`` are there for those who only read."""
    return {
        "policy": report.policy,
        "object_sha256": report.object_sha256,
        "card_sha256": report.card_sha256,
        "kernel_release": report.kernel_release,
        "kernel_build_id": report.kernel_build_id,
        "accelerator": report.accelerator,
        "checked_at": report.checked_at,
        "stages": [encode_stage(one) for one in report.stages],
        "cached": report.cached,
        "passed": report.passed,
        "reason": printable(report.reason),
    }


def _finding(fields: Fields) -> Finding:
    fields.only(*FINDING_FIELDS)
    return Finding(
        rule=fields.text("rule", NAME_LIMIT),
        severity=Severity(fields.choice("severity", Severity)),
        message=fields.text("message"),
        mend=fields.text("mend"),
        program=fields.text("program", TEXT_LIMIT),
        file=fields.text("file", TEXT_LIMIT),
        line=fields.integer("line", 0, LINE_MAX),
    )


def decode_check(fields: Fields) -> Check:
    """The check in ``fields``; BadField."""
    fields.only(*CHECK_FIELDS)
    return Check(
        name=fields.text("name", NAME_LIMIT),
        passed=fields.truth("passed"),
        message=fields.text("message"),
        figure=fields.number("figure", -FIGURE_LIMIT, FIGURE_LIMIT),
        unit=fields.text("unit", NAME_LIMIT),
        bound=fields.number("bound", -FIGURE_LIMIT, FIGURE_LIMIT),
        baseline=fields.number("baseline", -FIGURE_LIMIT, FIGURE_LIMIT),
    )


def decode_stage(fields: Fields) -> StageReport:
    """The stage's report in ``fields``; BadField."""
    fields.only(*STAGE_FIELDS)
    return StageReport(
        stage=VerifyStage(fields.choice("stage", VerifyStage)),
        outcome=StageOutcome(fields.choice("outcome", StageOutcome)),
        seconds=fields.number("seconds"),
        reason=fields.text("reason"),
        findings=tuple(_finding(one) for one in fields.tables("findings", FINDING_LIMIT)),
        checks=tuple(decode_check(one) for one in fields.tables("checks", CHECK_LIMIT)),
    )


def decode_report(fields: Fields) -> Report:
    """The report in ``fields``; BadField. Whether it passed is what its stages say."""
    fields.only(*REPORT_FIELDS)
    return Report(
        policy=fields.text("policy", NAME_LIMIT),
        object_sha256=fields.text("object_sha256", NAME_LIMIT),
        card_sha256=fields.text("card_sha256", NAME_LIMIT),
        kernel_release=fields.text("kernel_release", NAME_LIMIT),
        kernel_build_id=fields.text("kernel_build_id", NAME_LIMIT),
        accelerator=fields.text("accelerator", NAME_LIMIT),
        checked_at=fields.integer("checked_at", 0, END_OF_CALENDAR),
        stages=tuple(decode_stage(one) for one in fields.tables("stages", len(VerifyStage))),
        cached=fields.truth("cached"),
    )


def encode_progress(progress: Progress) -> dict[str, object]:
    """One line of a verification that is under way."""
    if progress.report is not None:
        return {"event": "stage", "stage": encode_stage(progress.report)}
    if progress.check is not None:
        check = encode_check(progress.check)
        return {"event": "check", "stage": str(progress.stage), "check": check}
    return {"event": "stage-started", "stage": str(progress.stage)}


def decode_progress(fields: Fields) -> Progress:
    """The step in ``fields``, whose event is stage-started, check or stage; BadField."""
    event = fields.choice("event", ("stage-started", "check", "stage"))
    if event == "stage":
        report = decode_stage(fields.table("stage"))
        return Progress(report.stage, report=report)
    stage = VerifyStage(fields.choice("stage", VerifyStage))
    if event == "check":
        return Progress(stage, check=decode_check(fields.table("check")))
    return Progress(stage)
