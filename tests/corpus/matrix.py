# SPDX-License-Identifier: GPL-2.0-or-later
"""What became of the policies, against what had to become of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from corpus.entries import Expectation
from schedcpd.model import Report, Severity, StageOutcome, StageReport, VerifyStage


class Verdict(StrEnum):
    """What a verification came to."""

    PASSED = "passed"
    REFUSED = "refused"
    BROKEN = "broken"  # the verifier could not do its work
    UNDECIDED = "undecided"  # not refused so far; a stage that was not wanted has to do that


SOUND = "sound"
ROWS = (*VerifyStage, SOUND)
COLUMNS = (*VerifyStage, Verdict.PASSED, Verdict.BROKEN, Verdict.UNDECIDED)


@dataclass(frozen=True, slots=True)
class Result:
    """One policy's verification: by which stage it was stopped, and the rules that it broke."""

    policy: str
    expected: Expectation
    verdict: Verdict
    stage: VerifyStage | None
    rules: tuple[str, ...]
    reason: str
    seconds: float
    stage_seconds: dict[str, float]
    accelerator: str

    @property
    def correct(self) -> bool:
        """Whether it came out as it must."""
        if self.expected.stage is None or self.verdict is Verdict.UNDECIDED:
            return self.verdict in (Verdict.PASSED, Verdict.UNDECIDED)
        return self.stage is self.expected.stage and self.expected.rule in self.rules


def read_report(
    report: Report, expected: Expectation, seconds: float, last: VerifyStage = VerifyStage.DYNAMIC
) -> Result:
    """What a report says of the stages up to ``last``."""
    wanted = [stage for stage in report.stages if _order(stage.stage) <= _order(last)]
    ended = next((one for one in wanted if one.outcome is StageOutcome.FAILED), None)
    broken = next((one for one in wanted if one.outcome is StageOutcome.BROKEN), None)
    stopped = ended or broken
    later = expected.stage is not None and _order(expected.stage) > _order(last)
    otherwise = Verdict.UNDECIDED if later else Verdict.PASSED
    return Result(
        policy=report.policy,
        expected=expected,
        verdict=Verdict.REFUSED if ended else Verdict.BROKEN if broken else otherwise,
        stage=ended.stage if ended else None,
        rules=_rules(ended) if ended else (),
        reason=stopped.reason if stopped else "",
        seconds=seconds,
        stage_seconds={
            str(one.stage): round(one.seconds, 2)
            for one in report.stages
            if one.outcome is not StageOutcome.SKIPPED
        },
        accelerator=report.accelerator,
    )


def _order(stage: VerifyStage) -> int:
    return tuple(VerifyStage).index(stage)


def _rules(stage: StageReport) -> tuple[str, ...]:
    """The rules and checks that a policy did not pass, each once."""
    broken = [one.rule for one in stage.findings if one.severity is Severity.REJECT]
    broken += [one.name for one in stage.checks if not one.passed]
    return tuple(dict.fromkeys(broken))


def confusion(results: Iterable[Result]) -> Counter[tuple[str, str]]:
    """How many policies of each expectation (a stage, or sound) each stage stopped, or none did."""
    return Counter(
        (str(one.expected.stage or SOUND), str(one.stage or one.verdict)) for one in results
    )


def matrix_lines(results: Sequence[Result]) -> list[str]:
    """The confusion matrix for a terminal, and the two numbers that matter."""
    counts = confusion(results)
    lines = ["must stop at".ljust(14) + "".join(str(name).rjust(10) for name in COLUMNS)]
    for row in ROWS:
        cells = (counts[str(row), str(column)] for column in COLUMNS)
        lines.append(str(row).ljust(14) + "".join((str(cell or ".")).rjust(10) for cell in cells))
    decided = [one for one in results if one.verdict is not Verdict.UNDECIDED]
    bad = [one for one in decided if one.expected.stage]
    good = [one for one in decided if not one.expected.stage]
    stopped = sum(one.correct for one in bad)
    passed = sum(one.correct for one in good)
    lines.append(f"broken policies stopped as they must be: {stopped} of {len(bad)}")
    lines.append(f"sound policies passed: {passed} of {len(good)}")
    return lines
