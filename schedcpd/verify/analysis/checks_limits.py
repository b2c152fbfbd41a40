# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules about time: SCX201, SCX202 and SCX301."""

from __future__ import annotations

from collections.abc import Iterator

from schedcpd.model import Finding, Severity
from schedcpd.verify.analysis.api import MAX_LOOPS, Act
from schedcpd.verify.analysis.checks_paths import member_at
from schedcpd.verify.analysis.findings import INSERTS, Analysis
from schedcpd.verify.analysis.loops import ENDLESS, LAPS_LIMIT, Budget
from schedcpd.verify.analysis.outcome import STORE, Site
from schedcpd.verify.analysis.values import MASK64, Range

SECOND_NS = 1_000_000_000
KICK_PREEMPT = 2
SLICE = "scx.slice"


def check(analysis: Analysis) -> Iterator[Finding]:
    """All findings about time."""
    yield from _slices(analysis)
    yield from _loops(analysis)


def _granted(analysis: Analysis) -> Iterator[tuple[Site, int, Range]]:
    """Each slice that a task is given: where, the value, its bounds."""
    for site in analysis.sites(*INSERTS):
        yield site, site.values[2], site.bounds[2]
    for site in analysis.sites(Act.SET_SLICE):
        yield site, site.values[1], site.bounds[1]
    for outcome in analysis.outcomes.values():
        for site in outcome.sites.values():
            if site.name == STORE:
                field = member_at(analysis.program.btf, "task_struct", site.bounds[0][0])
                if field == SLICE:
                    yield site, site.values[0], site.bounds[1]


def _slices(analysis: Analysis) -> Iterator[Finding]:
    seen = set()
    for site, value, bounds in _granted(analysis):
        low, high = bounds
        if site.place in seen:
            continue
        if low == MASK64:
            if not _preempts(analysis):
                seen.add(site.place)
                yield analysis.at(site, "SCX201", "the slice has no end, and nothing preempts")
        elif low > SECOND_NS:
            seen.add(site.place)
            yield analysis.at(site, "SCX202", f"a slice of {low / SECOND_NS:.1f} s")
        elif high > SECOND_NS and (name := _tunables(analysis, value)):
            seen.add(site.place)
            yield analysis.at(
                site, "SCX202", f"{name} may make the slice {high / SECOND_NS:.1f} s long"
            )
        elif low == high == 0 and site.act in INSERTS:
            seen.add(site.place)
            yield analysis.at(site, "SCX202", "a slice of zero", Severity.WARNING)


def _tunables(analysis: Analysis, value: int) -> str:
    """The tunables that a value is made of, if it is made of nothing else."""
    keys = [analysis.values.unknowns[leaf].key for leaf in analysis.values.leaves[value]]
    if not keys or any(key[0] != "tunable" for key in keys):
        return ""
    return " and ".join(sorted({str(key[1]) for key in keys}))


def _preempts(analysis: Analysis) -> bool:
    """Whether anything takes a CPU away from a task."""
    if any(site.bounds[1][1] & KICK_PREEMPT for site in analysis.sites(Act.KICK)):
        return True
    tick = analysis.outcomes.get("tick")
    return tick is not None and any(
        site.act == Act.SET_SLICE or site.name == STORE for site in tick.sites.values()
    )


def _loops(analysis: Analysis) -> Iterator[Finding]:
    ops = analysis.program.ops
    entries = dict(ops.callbacks) if ops else {}
    entries |= {f"timer@{entry}": entry for entry in analysis.timers}
    for callback, entry in entries.items():
        name = callback.partition("@")[0]
        if name not in analysis.outcomes:
            continue
        laps = Budget(analysis, name).laps(entry)
        if laps > LAPS_LIMIT:
            count = "without end" if laps >= ENDLESS else f"up to {laps} times"
            bounded = "" if laps < MAX_LOOPS else " (a count that is not bounded counts in full)"
            yield analysis.finding(
                "SCX301", f"the loops of {name} go round {count}{bounded}", place=entry,
                program=name,
            )  # fmt: skip
