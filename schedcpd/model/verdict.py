# SPDX-License-Identifier: GPL-2.0-or-later
"""What a verification finds, and the jobs that verify."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class VerifyStage(StrEnum):
    """The stages of a verification, cheapest first; a failed one ends it."""

    COMPILE = "compile"
    STATIC = "static"
    KERNEL = "kernel"  # the kernel's own verifier, in the micro-VM
    DYNAMIC = "dynamic"  # the trial run, in the micro-VM


class StageOutcome(StrEnum):
    """How a stage ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"  # not needed (no source to compile), or an earlier stage failed
    BROKEN = "broken"  # the verifier could not do its work; says nothing about the policy


class Severity(StrEnum):
    """What a finding of the static analysis means."""

    REJECT = "reject"  # certain: no token
    SUSPECT = "suspect"  # the trial run has to show that it is harmless
    WARNING = "warning"  # worth knowing


class JobState(StrEnum):
    """How far a long piece of work is; from PASSED on it is over."""

    RUNNING = "running"
    PASSED = "passed"
    REFUSED = "refused"  # the policy was found wanting
    BROKEN = "broken"  # the work could not be done
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the static analysis; the severity is that of a certain finding."""

    id: str
    title: str
    severity: Severity
    catches: str
    why: str
    example: str
    mend: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that the compiler or the static analysis found in a policy."""

    rule: str  # "SCX101", or "COMPILE" for the compiler's own words
    severity: Severity
    message: str  # one sentence: what is wrong here
    mend: str = ""  # one sentence: what to change
    program: str = ""  # the callback it was found in
    file: str = ""
    line: int = 0  # 0 when unknown


@dataclass(frozen=True, slots=True)
class Check:
    """One named check of the kernel or dynamic stage, and its figure."""

    name: str
    passed: bool
    message: str  # one sentence for a person
    figure: float = 0.0
    unit: str = ""
    bound: float = 0.0  # what the figure had to stay within; 0 when there is none
    baseline: float = 0.0  # the same figure under the kernel default in the same VM; 0 if none


@dataclass(frozen=True, slots=True)
class StageReport:
    """What one stage of a verification found."""

    stage: VerifyStage
    outcome: StageOutcome
    seconds: float = 0.0
    reason: str = ""  # one sentence when it did not pass
    findings: tuple[Finding, ...] = ()
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """A whole verification; a token is signed only for one that ``passed``."""

    policy: str
    object_sha256: str  # empty when it did not compile
    card_sha256: str
    kernel_release: str
    kernel_build_id: str  # GNU build id of the kernel that the micro-VM booted, hexadecimal
    accelerator: str  # kvm or tcg; empty when no micro-VM was booted
    checked_at: int  # seconds since the epoch
    stages: tuple[StageReport, ...]
    cached: bool = False  # the verdict was reached earlier, for exactly the same bytes

    @property
    def passed(self) -> bool:
        """Whether every stage that was needed was passed."""
        outcomes = {one.stage: one.outcome for one in self.stages}
        # Only the compilation may be skipped: a packaged policy comes compiled.
        needed = tuple(stage for stage in VerifyStage if stage is not VerifyStage.COMPILE)
        compiled = outcomes.get(VerifyStage.COMPILE, StageOutcome.SKIPPED)
        return compiled in (StageOutcome.PASSED, StageOutcome.SKIPPED) and all(
            outcomes.get(stage) is StageOutcome.PASSED for stage in needed
        )

    @property
    def reason(self) -> str:
        """Why it did not pass, in one sentence; empty when it did."""
        reasons = (f"{one.stage}: {one.reason}" for one in self.stages if one.reason)
        return "" if self.passed else next(reasons, "it was not finished")


@dataclass(frozen=True, slots=True)
class Job:
    """A long piece of work that somebody asked for, and how far it is."""

    id: int
    kind: str  # verify
    subject: str  # the policy's name
    state: JobState
    started_at: float  # seconds since the epoch
    ended_at: float = 0.0  # 0 while it runs
    stages: tuple[StageReport, ...] = ()  # those that are done
    now: str = ""  # what it does at this moment, for a person
    report: Report | None = None
    error: str = ""  # one sentence when it is broken
