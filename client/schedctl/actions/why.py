# SPDX-License-Identifier: GPL-2.0-or-later
"""``schedctl why``: what was decided for a workload, from what, and what else was weighed."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from schedclient.choose import Found, find
from schedclient.exit import ExitCode
from schedclient.objects import Candidate, Workload, as_json
from schedclient.text import visible
from schedctl.actions.workloads import features, scheduling
from schedctl.context import Context
from schedctl.report import Report, columns_of

TITLE = "CANDIDATE"
DEFAULT = "kernel default"
CHOICE = (
    "advice",
    "objective",
    "reason",
    "sentence",
    "profile",
    "candidates",
)  # of a workload's fields


async def run(context: Context, arguments: Namespace) -> ExitCode:
    """Say why a workload is scheduled as it is, or was."""
    async with context.daemon() as daemon:
        found = await find(daemon, arguments.workload)
        lines = await daemon.why(found.key)
    if context.json:
        context.report.json(details(found, lines))
        return ExitCode.OK
    context.report.labelled("Workload", found.id)
    label = "Why"
    for line in lines or ("nothing has been decided for it yet",):
        context.report.labelled(label, line)
        label = ""
    if found.workload is not None:
        describe(context.report, found.workload, context.clock())
    return ExitCode.OK


def details(found: Found, lines: Sequence[str]) -> dict[str, Any]:
    """All that is known of a choice; of a workload that has ended only what was done."""
    known = as_json(found.workload) if found.workload is not None else {}
    choice = {name: known[name] for name in CHOICE if name in known}
    return {"workload_id": found.id, "why": list(lines), **choice}


def describe(report: Report, workload: Workload, now: float) -> None:
    """Write what the choice was made from, and what else was weighed."""
    report.labelled("Seen", workload.sentence)
    if workload.profile:
        report.labelled("Work", str(workload.profile.get("work", "")))
        report.labelled("Features", features(workload, now))
        report.labelled("Tasks", scheduling(workload.profile.get("scheduling", {})))
    if not workload.candidates:
        return
    report.line()
    weigh(report, workload.candidates)
    rejected = [one for one in workload.candidates if one.objection]
    if rejected:
        report.line()
    label = "Rejected"
    for one in rejected:
        report.labelled(label, f"{one.policy}: {one.objection}")
        label = ""


def weigh(report: Report, candidates: Sequence[Candidate]) -> None:
    """Write a table of what was weighed; the evidence is wrapped, for it is to be read whole."""
    names = [visible(one.policy or DEFAULT) for one in candidates]
    width = max(columns_of(name) for name in (TITLE, *names))
    report.line(report.paint("bold", f"{TITLE:{width}}  {'GAIN':>7}  EVIDENCE"))
    for name, one in zip(names, candidates, strict=True):
        gain = f"{one.score:+.1%}" if one.score else "0"
        report.indented(f"{name:{width}}  {gain:>7}  ", one.evidence)
