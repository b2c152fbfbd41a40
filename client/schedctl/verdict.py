# SPDX-License-Identifier: GPL-2.0-or-later
"""A verification as text: a line a stage, what was found, the checks with their figures."""

from __future__ import annotations

from schedcpd.model import Check, Finding, Report, Severity, StageOutcome, StageReport
from schedctl.report import Column, duration, moment
from schedctl.report import Report as Output

STAGE_WIDTH = 9
OUTCOME_WIDTH = 8
SECONDS_WIDTH = 8
INDENT = 2

CHECK_COLUMNS: tuple[Column[Check], ...] = (
    Column("", lambda one: "ok" if one.passed else "fail"),
    Column("CHECK", lambda one: one.name),
    Column("FIGURE", lambda one: optional(one.figure, one.unit, bool(one.unit)), right=True),
    Column("BOUND", lambda one: optional(one.bound, one.unit), right=True),
    Column("DEFAULT", lambda one: optional(one.baseline, one.unit), right=True),
    Column("WHAT", lambda one: one.message, elastic=True),
)


def write_stage(output: Output, stage: StageReport, source: str) -> None:
    """Write how a stage ended; ``source`` is the file's name as its owner knows it, or empty."""
    outcome = output.word(str(stage.outcome).ljust(OUTCOME_WIDTH))
    skipped = stage.outcome is StageOutcome.SKIPPED
    seconds = "" if skipped else f"{stage.seconds:.1f} s".rjust(SECONDS_WIDTH)
    name = output.paint("bold", str(stage.stage).ljust(STAGE_WIDTH))
    output.line(f"{name} {outcome} {seconds}".rstrip())
    if stage.reason and not skipped and not told_below(stage):
        output.indented(" " * INDENT, stage.reason)
    for finding in stage.findings:
        write_finding(output, finding, source)
    if stage.checks:
        output.table(stage.checks, CHECK_COLUMNS, INDENT)
    for check in stage.checks:
        if not check.passed:
            output.indented(" " * INDENT, f"{check.name}: {check.message}")
    output.flush()


def told_below(stage: StageReport) -> bool:
    """Whether the reason of a stage is that of a finding or a check, which is shown anyway."""
    messages = [finding.message for finding in stage.findings]
    messages += [check.message for check in stage.checks if not check.passed]
    return any(message and message in stage.reason for message in messages)


def write_finding(output: Output, finding: Finding, source: str) -> None:
    """Write where it is, what it is, and how to mend it."""
    output.indented(" " * INDENT, f"{place(finding, source)}{rule(finding)}: {finding.message}")
    if finding.mend:
        output.indented(" " * (2 * INDENT) + "mend: ", finding.mend)


def place(finding: Finding, source: str) -> str:
    """``FILE:LINE: ``, as compilers write it and editors follow it; the callback without a line."""
    file = own_name(finding.file, source)
    if file and finding.line:
        return f"{file}:{finding.line}: "
    return f"{file or finding.program}: " if file or finding.program else ""


def own_name(file: str, source: str) -> str:
    """A file's name as its owner knows it; the policy's source has another path in the sandbox."""
    name = file.rpartition("/")[2]
    if not name.endswith(".bpf.c"):
        return file
    return source if name == source.rpartition("/")[2] else name


def rule(finding: Finding) -> str:
    """The rule, and what it means when that is less than a refusal."""
    if finding.severity is Severity.REJECT:
        return finding.rule
    return f"{finding.rule} ({finding.severity})"


def optional(value: float, unit: str, always: bool = False) -> str:
    """A quantity; a dash where 0 stands for none."""
    return quantity(value, unit) if value or always else "-"


def quantity(value: float, unit: str) -> str:
    """A number of three digits, or more before the point, with its unit."""
    shown = f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{shown} {unit}".rstrip()


def reason(report: Report, source: str) -> str:
    """Why it did not pass, in one sentence."""
    sentence = report.reason
    for file in {finding.file for stage in report.stages for finding in stage.findings}:
        if file:
            sentence = sentence.replace(file, own_name(file, source))
    return sentence


def verdict(output: Output, report: Report, source: str) -> str:
    """The last line: what came out, on which kernel, and how long it took."""
    took = duration(sum(stage.seconds for stage in report.stages))
    where = f"on kernel {report.kernel_release}" if report.kernel_release else ""
    how = f"({report.accelerator})" if report.accelerator else ""
    when = f"as found on {moment(report.checked_at)}" if report.cached else f"in {took}"
    details = " ".join(part for part in (where, how, when) if part)
    if report.passed:
        return f"{report.policy} {output.word('passed')} {details}."
    if any(stage.outcome is StageOutcome.BROKEN for stage in report.stages):
        return f"{report.policy} could not be verified {details}: {reason(report, source)}"
    return f"{report.policy} was {output.word('refused')} {details}: {reason(report, source)}"
