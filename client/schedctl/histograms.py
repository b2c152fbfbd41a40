# SPDX-License-Identifier: GPL-2.0-or-later
"""The probes tier of a profile for a terminal: histograms as bars, wakers, system calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from schedctl.report import Column, Report, count, duration, listing

BAR = 30  # columns of the longest one
LEAST_SHARE = 0.01  # of a histogram: slots with less at either end are left out
SHOWN = 6  # wakers
UNITS = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"), (1, "ns"))
TITLES = {
    "lock": "asleep for a lock",
    "message": "asleep for a message",
    "timer": "asleep for a time",
    "storage": "asleep for storage",
    "other": "asleep for something else",
    "preempted": "preempted",
}

Slots = Sequence[int]


def describe(report: Report, found: Mapping[str, Any]) -> None:
    """Write all that the probes found; nothing where they were not asked."""
    if not found:
        return
    report.labelled("Probes", f"{found.get('sentence', '')}; in {found.get('window_s', 0.0):.1f} s")
    report.labelled("", totals(found))
    figures = [("waiting for a CPU", found.get("queue")), ("on a CPU", found.get("run"))]
    off_cpu = found.get("off_cpu", {})
    figures += [(title, off_cpu.get(reason)) for reason, title in TITLES.items()]
    figures.append(("lifetimes of processes", found.get("lifetimes")))
    for title, figure in figures:
        for line in histogram(title, figure or ([], 0.0, 0.0)):
            report.line(line)
    wakers = found.get("wakers", ())[:SHOWN]
    if wakers:
        report.line()
        report.table(wakers, WAKERS, indent=2)


def totals(found: Mapping[str, Any]) -> str:
    """The counters, as a clause; those of what did not happen are left out."""
    numbers = {
        "migration": found.get("migrations", 0),
        "of them to another cache": found.get("cache_migrations", 0),
        "process begun": found.get("forks", 0),
        "thread begun": found.get("threads", 0),
        "program started": found.get("execs", 0),
        "process ended": found.get("exits", 0),
    }
    plural = {
        "process begun": "processes begun",
        "thread begun": "threads begun",
        "program started": "programs started",
        "process ended": "processes ended",
        "of them to another cache": "of them to another cache",
    }
    parts = [count(number, one, plural.get(one, "")) for one, number in numbers.items() if number]
    calls = [f"{name} {number}" for name, number in found.get("calls", ())[:SHOWN]]
    if calls:
        parts.append(f"system calls: {listing(calls)}")
    return "; ".join(parts)


def histogram(title: str, figure: Sequence[Any]) -> list[str]:
    """A title and a bar for each slot; nothing where nothing was counted."""
    slots, mean_ms, total_s = figure
    number = sum(slots)
    if not number:
        return [] if not total_s else ["", f"  {title}: {duration(total_s)} in all, without an end"]
    first, last = span(slots)
    highest = max(slots)
    head = f"  {title}: {number}, {mean_ms:.3g} ms on average, {total_s:.3g} s in all"
    lines = [
        f"  {edge(slot):>8} {_until(slot, slots):<11} {slots[slot]:>8}  {bar(slots[slot], highest)}"
        for slot in range(first, last + 1)
    ]
    return ["", head, *(line.rstrip() for line in lines)]


def _until(slot: int, slots: Slots) -> str:
    return "or more" if slot == len(slots) - 1 else f"to {edge(slot + 1)}"


def span(slots: Slots) -> tuple[int, int]:
    """The first and the last slot that are worth a line."""
    least = max(1.0, LEAST_SHARE * sum(slots))
    worth = [place for place, number in enumerate(slots) if number >= least]
    if not worth:  # spread thinly over very many: all of them
        worth = [place for place, number in enumerate(slots) if number]
    return worth[0], worth[-1]


def bar(number: int, highest: int) -> str:
    """As long as the number is large; what is there at all is seen."""
    return "#" * max(round(BAR * number / highest), 1 if number else 0)


def edge(slot: int) -> str:
    """Where a slot begins: a power of two in ns, in the unit that fits."""
    ns = 1 << slot if slot else 0
    size, unit = next((one for one in UNITS if ns >= one[0]), UNITS[-1])
    return f"{ns / size:.3g} {unit}"


WAKERS: Sequence[Column[Sequence[Any]]] = (
    Column("WAKER", lambda one: str(one[1]) or "-", elastic=True),
    Column("FROM", lambda one: str(one[0])),
    Column("WOKEN", lambda one: str(one[2]), elastic=True),
    Column("WAKE-UPS", lambda one: str(one[3]), right=True),
)
