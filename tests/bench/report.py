# SPDX-License-Identifier: GPL-2.0-or-later
"""The report: one self-contained page with every target, what was measured, and the plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

STYLE = """
body { font: 10pt/1.4 sans-serif; color: #000; background: #fff }
body { margin: 1.5em auto; max-width: 62em; padding: 0 1em }
h1 { font-size: 15pt } h2 { font-size: 12pt; margin-top: 1.5em }
table { border-collapse: collapse; width: 100%; font-size: 9pt }
th, td { text-align: left; vertical-align: top; padding: .2em .6em .2em 0 }
th, td { border-bottom: 1px solid #ccc }
thead { display: table-header-group } tr { break-inside: avoid }
td.number { white-space: nowrap; font-variant-numeric: tabular-nums }
tr.missed td.outcome { font-weight: bold } th.group { background: #eee; padding-left: .4em }
figure { margin: 1em 0; break-inside: avoid } figure svg { max-width: 100%; height: auto }
@media print { body { margin: 0; max-width: none; font-size: 8.5pt } @page { margin: 12mm } }
"""
CAPTIONS = {
    "batches": "Long-tail batches: 0 is the kernel default, 1 the lower bound "
    "max(longest job, work / CPUs).",
    "targets": "The targets that are ratios.",
    "decisions": "Every load under every policy applied by hand, and what schedcp did by itself.",
}


def number(value: float, unit: str) -> str:
    """A figure for a person."""
    return f"{value:.3g} {unit}".rstrip()


def interval(one: Mapping[str, Any]) -> str:
    """The interval, and what it is worth when it is not the usual 95 %."""
    if one["count"] == 1:
        return "one value"
    worth = f"{100 * one['coverage']:.0f} %, {one['count']} rounds"
    return f"{one['low']:.3g} to {one['high']:.3g} ({worth})"


def outcome(one: Mapping[str, Any]) -> str:
    """Whether a target is reached."""
    if one["measured"] is None:
        return "nothing to measure" if one["reached"] else "not measured"
    return "reached" if one["reached"] else "not reached"


def rows(parts: Mapping[str, Any]) -> list[tuple[str, str, list[str]]]:
    """Group, class and cells of each line of the table; a part without targets has none."""
    found = []
    for name, part in parts.items():
        if "error" in part:
            cells = [name, part["title"], "", "", "", "not measured", part["error"]]
            found.append((part["group"], "missed", cells))
            continue
        for one in part["verdicts"]:
            measured = one["measured"]
            cells = [
                name, one["title"], one["wanted"],
                number(measured["median"], one["unit"]) if measured else "none",
                interval(measured) if measured else "none", outcome(one), one["reason"],
            ]  # fmt: skip
            found.append((part["group"], "" if one["reached"] else "missed", cells))
    return found


def table(parts: Mapping[str, Any]) -> str:
    """The table of targets."""
    heads = ("Part", "Target", "Wanted", "Measured", "Interval", "Outcome", "Reason")
    classes = ("", "", "number", "number", "number", "outcome", "")
    lines = [f"<table><thead><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr></thead>"]
    last = ""
    for group, kind, cells in rows(parts):
        if group != last:
            lines.append(f'<tr><th class="group" colspan="7">{escape(group)}</th></tr>')
            last = group
        line = "".join(
            f'<td class="{name}">{escape(cell)}</td>'
            for name, cell in zip(classes, cells, strict=True)
        )
        lines.append(f'<tr class="{kind}">{line}</tr>')
    return "\n".join((*lines, "</table>"))


def medians(name: str, part: Mapping[str, Any]) -> str:
    """All figures of one part: a row each, a column for each condition."""
    conditions = list(part["figures"])
    figures = list(dict.fromkeys(key for one in part["figures"].values() for key in one))
    head = "".join(f"<th>{escape(one)}</th>" for one in ("", *conditions))
    lines = []
    for figure in figures:
        cells = [part["figures"][one].get(figure) for one in conditions]
        shown = [
            f'{cell["median"]:.4g} <small>({cell["low"]:.4g} to {cell["high"]:.4g})</small>'
            if cell else "refused" for cell in cells
        ]  # fmt: skip
        line = "".join(f'<td class="number">{cell}</td>' for cell in shown)
        lines.append(f"<tr><td>{escape(figure)}</td>{line}</tr>")
    title = f"{escape(name)}: {escape(part['title'])} <small>({escape(part['when'])} UTC)</small>"
    return f"<h3>{title}</h3><table><thead><tr>{head}</tr></thead>{''.join(lines)}</table>"


def machine(found: Mapping[str, Any]) -> str:
    """The machine in a paragraph."""
    how = "emulated in software (TCG): absolute times are many times those of real hardware; "
    here = found["machine"]
    return (
        f"<p>{escape(here['package'])} (SHA-256 {escape(found['package'][:16])}…) in a virtual "
        f"machine with {here['cpus']} CPUs and {here['memory_mb']} MB, Linux "
        f"{escape(here['kernel'])}, {how if here['emulated'] else 'with KVM; '}"
        "Debian 13. Each condition ran once a round, in random order (fixed seed), as an "
        "ordinary user in a service of its own that nobody named to schedcp. Shown are medians; "
        "intervals are those of the sign test, with what they are worth and the rounds.</p>"
    )


def page(found: Mapping[str, Any], drawings: Mapping[str, str]) -> str:
    """The whole page; ``drawings`` are SVG texts by name."""
    parts = found["parts"]
    figures = "".join(
        f"<figure>{svg[svg.index('<svg') :]}"
        f"<figcaption>{escape(CAPTIONS[name])}</figcaption></figure>"
        for name, svg in drawings.items()
    )
    details = "".join(medians(name, part) for name, part in parts.items() if "error" not in part)
    reached = [one["reached"] for part in parts.values() for one in part.get("verdicts", ())]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>schedcp bench</title>'
        f"<style>{STYLE}</style></head><body><h1>schedcp against the kernel default</h1>"
        f"{machine(found)}<p>{sum(reached)} of {len(reached)} targets reached.</p>"
        f"{table(parts)}{figures}<details><summary>All figures</summary>{details}</details>"
        "</body></html>\n"
    )


def text(parts: Mapping[str, Any]) -> str:
    """The table of targets for a terminal."""
    lines = []
    for _, kind, (name, title, wanted, value, span, told, reason) in rows(parts):
        lines.append(f"{name}: {title}")
        if wanted:
            lines.append(f"    wanted {wanted}, measured {value}, interval {span}")
        mark = "✗" if kind else "✓"
        lines.append(f"    {mark} {told}{f': {reason}' if reason else ''}")
    return "\n".join(lines)


def write(found: Mapping[str, Any], order: Sequence[str], folder: Path) -> None:
    """Draw the plots and write report.html, the parts in the order of the table."""
    from bench import plots

    names = [name for name in order if name in found["parts"]]
    ordered = {**found, "parts": {name: found["parts"][name] for name in names}}
    drawn = plots.draw(ordered["parts"], folder)
    drawings = {path.stem: path.read_text() for path in drawn}
    (folder / "report.html").write_text(page(ordered, drawings))
