# SPDX-License-Identifier: GPL-2.0-or-later
"""The bench's plots: told apart by shape and lightness first, by colour second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from bench.experiment import DEFAULT, FIRST, LEARNED, POLICY

WIDTH_IN = 7.0
ROW_IN = 0.26
MARKERS = "sD^vP*Xph<>"
INK, BLUE, ORANGE, GREY = "#000000", "#0072b2", "#e69f00", "#777777"  # Okabe and Ito
LOOK: Any = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "bench",
}


def dot(
    axes: Axes, row: float, one: Mapping[str, Any], marker: str, colour: str, **more: Any
) -> None:
    """A median with its interval."""
    axes.plot([one["low"], one["high"]], [row, row], color=colour, linewidth=1.2)
    axes.plot([one["median"]], [row], marker, color=colour, markersize=5, linestyle="none", **more)


def canvas(rows: int) -> tuple[Figure, Axes]:
    """An empty plot for so many rows, the first at the top."""
    figure = Figure(figsize=(WIDTH_IN, 0.9 + ROW_IN * max(rows, 3)), layout="constrained")
    axes = figure.add_subplot()
    axes.set_ylim(rows - 0.5, -0.5)
    axes.grid(axis="x", color="#dddddd", linewidth=0.5)
    return figure, axes


def by_factors(axes: Axes) -> None:
    """A scale on which twice as much and half as much are equally far from one."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(7))  # those of a logarithm are too far apart here
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())


def verdicts(parts: Mapping[str, Any], group: str) -> list[tuple[str, list[dict[str, Any]]]]:
    """The measured verdicts of each part of a group."""
    return [
        (name, [one for one in part["verdicts"] if one["measured"]])
        for name, part in parts.items()
        if part["group"] == group and "error" not in part
    ]


def batches(parts: Mapping[str, Any]) -> Figure | None:
    """The share of the gap that was recovered in each batch."""
    rows = [row for row in verdicts(parts, "Long-tail batches") if row[1]]
    if not rows:
        return None
    figure, axes = canvas(len(rows))
    looks = {FIRST: ("o", ORANGE, 0.14, "none"), LEARNED: ("s", BLUE, -0.14, None)}
    for number, (_, found) in enumerate(rows):
        for one in found:
            marker, colour, shift, fill = looks[one["condition"]]
            more = {"markerfacecolor": fill} if fill else {}
            label = one["condition"] if number == 0 else None
            dot(axes, number + shift, one["measured"], marker, colour, label=label, **more)
    limits = {one["condition"]: one["limit"] for _, found in rows for one in found}
    for condition, limit in limits.items():
        axes.axvline(
            limit, color=looks[condition][1], linestyle="--" if condition == LEARNED else ":"
        )
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(rows)), [name.removeprefix("batch-") for name, _ in rows])
    axes.set_xlabel("share of the gap between kernel default and lower bound that was recovered")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    return figure


def ratios(parts: Mapping[str, Any]) -> Figure | None:
    """All other targets that are ratios, with their limits."""
    rows = [
        (f"{name}: {one['title']}", one)
        for name, part in parts.items()
        for one in part.get("verdicts", ())
        if one["unit"] == "times" and one["measured"] and part["group"] != "Decisions"
    ]
    if not rows:
        return None
    figure, axes = canvas(len(rows))
    for number, (_, one) in enumerate(rows):
        marker = "o" if one["reached"] else "X"
        dot(axes, number, one["measured"], marker, BLUE if one["reached"] else ORANGE)
        axes.plot([one["limit"]], [number], "|", color=INK, markersize=11, markeredgewidth=1.5)
    axes.axvline(1, color=GREY, linewidth=0.8)
    by_factors(axes)
    axes.set_yticks(range(len(rows)), [title for title, _ in rows])
    axes.set_xlabel("ratio (● reached, ✖ not reached, | the limit)")
    return figure


def decisions(parts: Mapping[str, Any]) -> Figure | None:
    """Each load under each policy, relative to the kernel default."""
    rows = {
        name: part for name, part in parts.items()
        if part["group"] == "Decisions" and "error" not in part
    }  # fmt: skip
    if not rows:
        return None
    figure, axes = canvas(len(rows))
    names = sorted({one for part in rows.values() for one in part["figures"]} - {DEFAULT, LEARNED})
    looks = {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(names)}
    for number, part in enumerate(rows.values()):
        merit = part["merit"]
        base = part["figures"][DEFAULT][merit]["median"]
        for condition, values in part["figures"].items():
            if condition == DEFAULT or merit not in values:
                continue
            at = values[merit]["median"] / base
            mine = condition == LEARNED
            axes.plot(
                [at], [number], "o" if mine else looks[condition], linestyle="none",
                color=BLUE if mine else GREY, markersize=8 if mine else 5,
                markerfacecolor="none" if mine else GREY,
            )  # fmt: skip
    for condition, marker in {LEARNED: "o", **looks}.items():
        mine = condition == LEARNED
        axes.plot(
            [], [], marker, linestyle="none", label=condition.removeprefix(POLICY),
            color=BLUE if mine else GREY, markerfacecolor="none" if mine else GREY,
        )  # fmt: skip
    axes.axvline(1, color=INK, linewidth=0.8)
    by_factors(axes)
    titles = [f"{name.removeprefix('decision-')}: {part['merit']}" for name, part in rows.items()]
    axes.set_yticks(range(len(rows)), titles)
    axes.set_xlabel("median over that of the kernel default")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False)
    return figure


def draw(parts: Mapping[str, Any], folder: Path) -> Sequence[Path]:
    """Write each plot that there are figures for as PNG and SVG; the SVG files."""
    found = []
    with mpl.rc_context(LOOK):
        plots = {
            "batches": batches(parts),
            "targets": ratios(parts),
            "decisions": decisions(parts),
        }
        for name, figure in plots.items():
            if figure is not None:
                figure.savefig(folder / f"{name}.png", dpi=160)
                figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
                found.append(folder / f"{name}.svg")
    return found
