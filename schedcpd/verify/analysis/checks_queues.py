# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules about queues: SCX103 to SCX107, SCX109, SCX111 and SCX302."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from schedcpd.model import Finding, Severity
from schedcpd.verify.analysis.api import Act
from schedcpd.verify.analysis.findings import INSERTS, Analysis
from schedcpd.verify.analysis.loops import Budget
from schedcpd.verify.analysis.outcome import Site, map_of
from schedcpd.verify.analysis.values import MASK32, Range

BUILTIN = 1 << 63
GLOBAL, LOCAL, LOCAL_ON = BUILTIN | 1, BUILTIN | 2, 0xC << 60
CPU_LIMIT = 8192
QUEUE_LIMIT = 4096
# Callbacks that create queues at most once, or once for each cgroup.
ONCE = ("init", "init_cids", "cgroup_init", "sub_attach")
TAKING = ("dispatch", "timer")


def check(analysis: Analysis) -> Iterator[Finding]:
    """All findings about queues."""
    inserts = list(_inserts(analysis))
    created = [(site, site.bounds[0]) for site in analysis.sites(Act.CREATE)]
    yield from _once(_not_created(analysis, inserts, [bounds for _, bounds in created]))
    yield from _once(_not_drained(analysis, inserts, created))
    yield from _no_dispatch(analysis, inserts)
    yield from _once(_builtin(analysis, inserts, created))
    yield from _fixed_order(analysis)
    yield from _own_queues(analysis)
    yield from _creations(analysis)


def _once(findings: Iterator[Finding]) -> Iterator[Finding]:
    """One finding for each place: a place may be reached in several ways."""
    seen = set()
    for one in findings:
        key = one.rule, one.file, one.line, one.program, one.message
        if key not in seen:
            seen.add(key)
            yield one


def _inserts(analysis: Analysis) -> Iterator[tuple[Site, Range]]:
    """Each insert or move of a task, and where it goes."""
    for site in analysis.sites(*INSERTS):
        yield site, site.bounds[1]
    for site in analysis.sites(Act.MOVE):
        yield site, site.bounds[2]


def _is_own(queue: Range) -> bool:
    """Whether it is surely a queue of the policy's own."""
    return queue[1] < BUILTIN


def _is_narrow(queue: Range) -> bool:
    """Whether it is one of the policy's own, and which one: an unbounded range says nothing."""
    return _is_own(queue) and queue[1] - queue[0] <= MASK32


def _meets(one: Range, others: Iterable[Range]) -> bool:
    return any(one[0] <= other[1] and other[0] <= one[1] for other in others)


def _not_created(
    analysis: Analysis, inserts: list[tuple[Site, Range]], created: list[Range]
) -> Iterator[Finding]:
    severity = None if analysis.is_complete(*ONCE) else Severity.SUSPECT
    for site, queue in inserts:
        if _is_narrow(queue) and not _meets(queue, created):
            yield analysis.at(site, "SCX103", f"queue {_name(queue)} is never created", severity)


def _name(queue: Range) -> str:
    low, high = queue
    return f"{low:#x}" if low == high else f"{low:#x} to {high:#x}"


def _not_drained(
    analysis: Analysis, inserts: list[tuple[Site, Range]], created: list[tuple[Site, Range]]
) -> Iterator[Finding]:
    drained = [site.bounds[0] for site in analysis.sites(Act.CONSUME)]
    if any(analysis.sites(Act.MOVE)):
        drained += [site.bounds[1] for site in analysis.sites(Act.ITERATE_QUEUE)]
    made = [bounds for _, bounds in created]
    filled = [queue for _, queue in inserts]
    # Both ways round: a loop that creates queues is one range, but each insert has its own.
    used = [one for one in created if one[1][0] < BUILTIN and _meets(one[1], filled)]
    used += [one for one in inserts if _is_narrow(one[1]) and _meets(one[1], made)]
    severity = None if analysis.is_complete(*TAKING) else Severity.SUSPECT
    for site, queue in used:
        if not _meets(queue, drained):
            message = f"nothing takes tasks from queue {_name(queue)}"
            yield analysis.at(site, "SCX104", message, severity)
            return


def _no_dispatch(analysis: Analysis, inserts: list[tuple[Site, Range]]) -> Iterator[Finding]:
    ops = analysis.program.ops
    if ops is None or "dispatch" in ops.callbacks:
        return
    for site, queue in inserts:
        if _is_own(queue):
            yield analysis.at(site, "SCX105", f"queue {_name(queue)} has no dispatch to serve it")
            return


def _builtin(
    analysis: Analysis, inserts: list[tuple[Site, Range]], created: list[tuple[Site, Range]]
) -> Iterator[Finding]:
    for site, queue in inserts:
        yield from _builtin_insert(analysis, site, queue)
    for site in analysis.sites(Act.CONSUME):
        if site.bounds[0][0] >= BUILTIN:
            yield analysis.at(site, "SCX107", "it takes tasks from a built-in queue")
    for site, queue in created:
        if queue[0] >= BUILTIN:
            yield analysis.at(site, "SCX107", "it creates a queue with a built-in id")


def _builtin_insert(analysis: Analysis, site: Site, queue: Range) -> Iterator[Finding]:
    low, high = queue
    if low < BUILTIN:
        return
    if site.act in (Act.INSERT_VTIME, Act.INSERT_VTIME_ARGS):
        yield analysis.at(site, "SCX106", "it inserts by virtual time into a built-in queue")
    if low >= LOCAL_ON:
        if low >> 32 == high >> 32 and low & MASK32 >= CPU_LIMIT:
            yield analysis.at(site, "SCX107", f"there is no CPU {low & MASK32}")
        elif low == high and low & MASK32:
            yield analysis.at(
                site, "SCX107", f"it names CPU {low & MASK32}, which not every machine has",
                Severity.SUSPECT,
            )  # fmt: skip
    elif low == high and low not in (GLOBAL, LOCAL):
        yield analysis.at(site, "SCX107", f"the kernel keeps queue {low:#x} for itself")


def _fixed_order(analysis: Analysis) -> Iterator[Finding]:
    sites = list(analysis.sites(Act.CONSUME, callback="dispatch"))
    queues = {site.bounds[0][0] for site in sites if site.bounds[0][0] == site.bounds[0][1]}
    if len(queues) > 1:
        yield analysis.at(sites[0], "SCX109", f"{len(queues)} queues are served in fixed order")


def _own_queues(analysis: Analysis) -> Iterator[Finding]:
    """Tasks that are kept in a map, a list or a tree instead of being inserted."""
    enqueue = analysis.outcomes.get("enqueue")
    if enqueue is None or not any(
        one.events.pushes and not one.events.inserts for one in enqueue.endings
    ):
        return
    pushed = list(analysis.sites(Act.PUSH, callback="enqueue"))
    popped = [one for one in analysis.sites(Act.POP, Act.DRAIN) if one.callback in TAKING]
    sources = {map_of(site) for site in popped}
    for site in pushed[:1]:
        if not popped or (map_of(site) and sources.isdisjoint((map_of(site), ""))):
            severity = None if analysis.is_complete(*TAKING) else Severity.SUSPECT
            message = "dispatch never takes out what is put in here"
            yield analysis.at(site, "SCX111", message, severity)
        else:
            yield analysis.at(
                site, "SCX111", "tasks wait in the policy's own memory", Severity.SUSPECT
            )


def _creations(analysis: Analysis) -> Iterator[Finding]:
    ops = analysis.program.ops
    for site in _firsts(analysis.sites(Act.CREATE)):
        if site.callback not in ONCE:
            yield analysis.at(site, "SCX302", f"it creates a queue in {site.callback}")
            continue
        entry = ops.callbacks.get(site.callback, -1) if ops else -1
        if entry in analysis.program.functions:
            count = Budget(analysis, site.callback).queues(entry)
            if count > QUEUE_LIMIT:
                text = "without end" if count >= 1 << 60 else f"{count}"
                yield analysis.at(site, "SCX302", f"{site.callback} creates queues: {text}")


def _firsts(sites: Iterator[Site]) -> Iterator[Site]:
    """The first call of each callback."""
    seen = set()
    for site in sites:
        if site.callback not in seen:
            seen.add(site.callback)
            yield site
