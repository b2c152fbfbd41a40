# SPDX-License-Identifier: GPL-2.0-or-later
"""A verification as text."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from schedcpd.model import Check, Finding, Severity, StageOutcome, StageReport, VerifyStage
from schedcpd.model import Report as Verification
from schedctl.report import Report
from schedctl.verdict import optional, place, quantity, rule, verdict, write_stage

FINDING = Finding("SCX101", Severity.REJECT, "the task is lost", "queue it", "enqueue", "a.c", 7)


def written(stage: StageReport, width: int | None = None, source: str = "") -> list[str]:
    out = io.StringIO()
    write_stage(Report(out, width, colour=False), stage, source)
    return out.getvalue().splitlines()


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (120.0, "ms", "120 ms"),
        (123456.7, "", "123457"),
        (99.26, "MB/s", "99.3 MB/s"),
        (0.01234, "s", "0.0123 s"),
        (-4.0, "%", "-4 %"),
        (0.0, "", "0"),
    ],
)
def test_quantities(value: float, unit: str, text: str) -> None:
    assert quantity(value, unit) == text


def test_no_quantity_is_a_dash() -> None:
    assert optional(0.0, "ms") == "-"
    assert optional(0.0, "tasks", always=True) == "0 tasks"


@pytest.mark.parametrize(
    ("file", "line", "source", "text"),
    [
        ("a.c", 7, "", "a.c:7: "),
        ("/sandbox/scx_a.bpf.c", 7, "../mine/scx_a.bpf.c", "../mine/scx_a.bpf.c:7: "),
        ("/sandbox/scx_a.bpf.c", 7, "", "scx_a.bpf.c:7: "),
        ("/scx/common.h", 7, "../mine/scx_a.bpf.c", "/scx/common.h:7: "),
        ("a.c", 0, "", "a.c: "),
        ("", 0, "", "enqueue: "),
    ],
)
def test_places_are_those_that_the_owner_knows(
    file: str, line: int, source: str, text: str
) -> None:
    finding = Finding("SCX101", Severity.REJECT, "", program="enqueue", file=file, line=line)
    assert place(finding, source) == text


def test_a_finding_without_a_place() -> None:
    assert place(Finding("SCX001", Severity.REJECT, "no licence"), "a.c") == ""


def test_what_is_less_than_a_refusal_says_so() -> None:
    assert rule(FINDING) == "SCX101"
    assert rule(Finding("SCX401", Severity.SUSPECT, "")) == "SCX401 (suspect)"


def test_the_verdict_names_the_file_as_its_owner_does() -> None:
    file = "/sandbox/scx_a.bpf.c"
    finding = replace(FINDING, file=file)
    failed = StageOutcome.FAILED
    stage = StageReport(VerifyStage.STATIC, failed, 1, f"{file}:7: lost", (finding,))
    report = Verification("scx_a", "", "", "7.3.4", "", "", 0, (stage,))
    output = Report(io.StringIO(), None, colour=False)
    words = "scx_a was refused on kernel 7.3.4 in 1 s: static: ../scx_a.bpf.c:7: lost"
    assert verdict(output, report, "../scx_a.bpf.c") == words


def test_a_reason_is_not_told_twice() -> None:
    stage = StageReport(
        VerifyStage.STATIC, StageOutcome.FAILED, 1, "SCX101: the task is lost", (FINDING,)
    )
    assert written(stage) == [
        "static    failed      1.0 s",
        "  a.c:7: SCX101: the task is lost",
        "    mend: queue it",
    ]


def test_a_reason_that_nothing_else_tells() -> None:
    stage = StageReport(VerifyStage.DYNAMIC, StageOutcome.FAILED, 1, "the guest hung")
    assert written(stage) == ["dynamic   failed      1.0 s", "  the guest hung"]


def test_a_skipped_stage_is_one_line() -> None:
    stage = StageReport(VerifyStage.COMPILE, StageOutcome.SKIPPED, reason="there is no source")
    assert written(stage) == ["compile   skipped"]


def test_a_narrow_terminal_still_gets_the_words_of_a_failed_check() -> None:
    words = "a task of the fork storm waited for 3.1 seconds before it was run for the first time"
    check = Check("fork-storm", False, words, 3100, "ms", 2000, 40)
    stage = StageReport(VerifyStage.DYNAMIC, StageOutcome.FAILED, 9, "", (), (check,))
    lines = written(stage, 60)
    assert all(len(line) <= 60 for line in lines)
    assert f"fork-storm: {words}" in " ".join(" ".join(lines).split())


def test_words_of_a_stranger_move_no_cursor() -> None:
    hostile = Finding("COMPILE", Severity.REJECT, "\x1b[2J", "\x07", "\u202e", "\x1b.c", 1)
    check = Check("\x1b[1m", False, "\x1b]0;x\x07", 1, "\x1b", 1, 1)
    stage = StageReport(VerifyStage.COMPILE, StageOutcome.FAILED, 1, "\r", (hostile,), (check,))
    assert not set("\x1b\x07\r\u202e") & set("\n".join(written(stage)))
