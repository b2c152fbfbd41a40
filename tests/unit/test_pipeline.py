# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from schedcpd.kernel.topology import Topology
from schedcpd.model import (
    Card,
    Check,
    Finding,
    Severity,
    StageOutcome,
    StageReport,
    VerifyStage,
)
from schedcpd.reports import Progress
from schedcpd.token import Machine, sha256
from schedcpd.verify.cache import Verdicts
from schedcpd.verify.compile import Compiled, CompilerMissing
from schedcpd.verify.host import Host
from schedcpd.verify.pipeline import OnCheck, Tools, Unready, Verifier
from schedcpd.verify.trial import TrialResult
from unit.made_objects import CARD

NAME = "scx_batch"
NOW = 1_800_000_000
MACHINE = Machine("7.3.4", "0" * 64, Topology("0-1", "0", {}))
BUILD_ID = "c0ffee"
REJECTION = Finding("SCX101", Severity.REJECT, "a task is lost", file="a.c", line=3)
SUSPICION = Finding("SCX401", Severity.SUSPECT, "kernel threads may wait")
CHECK = Check("load", True, "it was taken")


def stage(which: VerifyStage, outcome: StageOutcome, reason: str = "") -> StageReport:
    return StageReport(which, outcome, 1.0, reason)


KERNEL = stage(VerifyStage.KERNEL, StageOutcome.PASSED)
REFUSED = stage(VerifyStage.KERNEL, StageOutcome.FAILED, "rejected")
DYNAMIC = stage(VerifyStage.DYNAMIC, StageOutcome.PASSED)


@dataclass
class Fakes:
    """The four stages, as the test wants them."""

    compiled: Compiled | Exception = field(default_factory=lambda: Compiled(b"object", (), 0.4))
    findings: tuple[Finding, ...] = ()
    tried: TrialResult | Exception = field(
        default_factory=lambda: TrialResult(KERNEL, DYNAMIC, "7.3.4", BUILD_ID, "tcg")
    )
    calls: list[str] = field(default_factory=list)
    now: float = NOW
    unusable: str = ""
    verdicts: Verdicts | None = None

    def verifier(self) -> Verifier:
        def compile_(name: str, source: bytes) -> Compiled:
            self.calls.append(f"compile {name}")
            if isinstance(self.compiled, Exception):
                raise self.compiled
            return self.compiled

        def analyse(data: bytes, card: Card) -> tuple[Finding, ...]:
            self.calls.append("analyse")
            return self.findings

        def try_out(data: bytes, card: Card, on_check: OnCheck) -> TrialResult:
            self.calls.append("try out")
            if isinstance(self.tried, Exception):
                raise self.tried
            on_check(VerifyStage.KERNEL, CHECK)
            on_check(VerifyStage.DYNAMIC, CHECK)
            return self.tried

        host = Host(MACHINE, BUILD_ID, b"", None, self.unusable)
        tools = Tools(compile_, analyse, try_out)
        return Verifier(host, tools, self.verdicts, "m" * 64, lambda: self.now)


def outcomes(stages: tuple[StageReport, ...]) -> list[str]:
    return [str(one.outcome) for one in stages]


def test_a_source_that_passes() -> None:
    fakes = Fakes(findings=(SUSPICION,))
    steps: list[Progress] = []
    verified = fakes.verifier().examine(NAME, CARD.encode(), b"source", None, steps.append)
    report = verified.report
    assert report.passed
    assert (report.object_sha256, verified.data) == (sha256(b"object"), b"object")
    assert (report.kernel_build_id, report.accelerator) == (BUILD_ID, "tcg")
    assert (report.checked_at, report.cached) == (NOW, False)
    assert report.stages[1].findings == (SUSPICION,)
    assert fakes.calls == ["compile scx_batch", "analyse", "try out"]
    assert [str(one.stage) for one in steps if not one.check and not one.report] == [
        "compile",
        "static",
        "kernel",
        "dynamic",
    ]
    ended = [one.report for one in steps if one.report]
    assert ended == list(report.stages)
    assert [str(one.stage) for one in steps if one.check] == ["kernel", "dynamic"]


def test_an_object_needs_no_compiler() -> None:
    fakes = Fakes(compiled=CompilerMissing("none"))
    report = fakes.verifier().verify(NAME, CARD.encode(), None, b"object")
    assert report.passed
    assert outcomes(report.stages)[0] == "skipped"
    assert fakes.calls == ["analyse", "try out"]


@pytest.mark.parametrize(
    ("fakes", "expected", "reason"),
    [
        (
            Fakes(compiled=Compiled(None, (Finding("COMPILE", Severity.REJECT, "no"),), 0.1)),
            ["failed", "skipped", "skipped", "skipped"],
            "compile: no (COMPILE)",
        ),
        (
            Fakes(compiled=CompilerMissing("install clang")),
            ["broken", "skipped", "skipped", "skipped"],
            "compile: install clang",
        ),
        (
            Fakes(findings=(SUSPICION, REJECTION)),
            ["passed", "failed", "skipped", "skipped"],
            "static: a.c:3: a task is lost (SCX101)",
        ),
        (
            Fakes(tried=Unready("no QEMU")),
            ["passed", "passed", "broken", "skipped"],
            "kernel: no QEMU",
        ),
        (
            Fakes(
                tried=TrialResult(
                    stage(VerifyStage.KERNEL, StageOutcome.FAILED, "rejected"),
                    stage(VerifyStage.DYNAMIC, StageOutcome.SKIPPED),
                    "7.3.4",
                    BUILD_ID,
                    "tcg",
                )
            ),
            ["passed", "passed", "failed", "skipped"],
            "kernel: rejected",
        ),
        (
            Fakes(
                tried=TrialResult(
                    KERNEL,
                    stage(VerifyStage.DYNAMIC, StageOutcome.FAILED, "it starves"),
                    "7.3.4",
                    BUILD_ID,
                    "tcg",
                )
            ),
            ["passed", "passed", "passed", "failed"],
            "dynamic: it starves",
        ),
        (
            Fakes(tried=TrialResult(KERNEL, DYNAMIC, "7.3.4", "0ddba11", "tcg")),
            ["passed", "passed", "broken", "skipped"],
            "kernel: the micro-VM booted another kernel: 7.3.4 0ddba11",
        ),
        (
            Fakes(tried=TrialResult(REFUSED, DYNAMIC, "7.3.4", "0ddba11", "tcg")),
            ["passed", "passed", "broken", "skipped"],
            "kernel: the micro-VM booted another kernel: 7.3.4 0ddba11",
        ),
        (
            Fakes(tried=TrialResult(REFUSED, DYNAMIC, "", "", "tcg")),
            ["passed", "passed", "failed", "skipped"],
            "kernel: rejected",
        ),
    ],
)
def test_the_first_stage_that_fails_ends_it(fakes: Fakes, expected: list[str], reason: str) -> None:
    report = fakes.verifier().verify(NAME, CARD.encode(), b"source", None)
    assert not report.passed
    assert outcomes(report.stages) == expected
    assert report.reason == reason


@pytest.mark.parametrize(
    ("name", "card", "rule"),
    [
        ("scx_batch", CARD.replace("timeout_ms = 5000", "timeout_ms = 60000"), "SCX008"),
        ("scx_batch", CARD.replace("timeout_ms = 5000", ""), "SCX008"),
        ("scx_batch", "nonsense", "CARD"),
        ("scx_other", CARD, "SCX007"),
        ("../../etc", CARD, "SCX007"),
        ("scx_a/../b", CARD, "SCX007"),
        ("scx_UPPER", CARD, "SCX007"),
        ("scx_a\n", CARD, "SCX007"),
        ("", CARD, "SCX007"),
    ],
)
def test_names_and_cards_that_are_refused(name: str, card: str, rule: str) -> None:
    fakes = Fakes()
    report = fakes.verifier().verify(name, card.encode(), b"source", None)
    assert outcomes(report.stages) == ["skipped", "failed", "skipped", "skipped"]
    (finding,) = report.stages[1].findings
    assert (finding.rule, finding.severity) == (rule, Severity.REJECT)
    assert fakes.calls == []


def test_a_machine_that_can_load_nothing() -> None:
    fakes = Fakes(unusable="no sched_ext")
    report = fakes.verifier().verify(NAME, CARD.encode(), None, b"object")
    assert (report.passed, report.reason) == (False, "static: no sched_ext")
    assert fakes.calls == []


def test_what_is_known_is_not_tried_again(tmp_path: Path) -> None:
    fakes = Fakes(verdicts=Verdicts(tmp_path / "verdicts"))
    first = fakes.verifier().verify(NAME, CARD.encode(), None, b"object")
    assert (first.passed, first.cached) == (True, False)
    fakes.now += 10 * 24 * 3600
    fakes.calls.clear()
    steps: list[Progress] = []
    again = fakes.verifier().verify(NAME, CARD.encode(), b"source", None, steps.append)
    assert (again.passed, again.cached, again.checked_at) == (True, True, NOW)
    assert fakes.calls == ["compile scx_batch"]
    assert outcomes(again.stages)[0] == "passed"
    assert [one.report for one in steps if one.report] == list(again.stages)


def test_another_object_or_card_is_not_known(tmp_path: Path) -> None:
    fakes = Fakes(verdicts=Verdicts(tmp_path / "verdicts"))
    fakes.verifier().verify(NAME, CARD.encode(), None, b"object")
    assert not fakes.verifier().verify(NAME, CARD.encode(), None, b"other").cached
    assert not fakes.verifier().verify(NAME, CARD.encode() + b"#", None, b"object").cached
    assert fakes.verifier().verify(NAME, CARD.encode(), None, b"object").cached


def test_a_refusal_is_known_for_a_day(tmp_path: Path) -> None:
    starving = stage(VerifyStage.DYNAMIC, StageOutcome.FAILED, "it starves")
    tried = TrialResult(KERNEL, starving, "7.3.4", BUILD_ID, "tcg")
    fakes = Fakes(tried=tried, verdicts=Verdicts(tmp_path / "verdicts"))
    fakes.verifier().verify(NAME, CARD.encode(), None, b"object")
    fakes.tried = Fakes().tried
    fakes.now += 3600
    assert not fakes.verifier().verify(NAME, CARD.encode(), None, b"object").passed
    fakes.now += 24 * 3600
    assert fakes.verifier().verify(NAME, CARD.encode(), None, b"object").passed


def test_a_verifier_that_could_not_work_is_no_verdict(tmp_path: Path) -> None:
    fakes = Fakes(tried=Unready("no QEMU"), verdicts=Verdicts(tmp_path / "verdicts"))
    fakes.verifier().verify(NAME, CARD.encode(), None, b"object")
    assert not (tmp_path / "verdicts").exists()
