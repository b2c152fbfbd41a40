# SPDX-License-Identifier: GPL-2.0-or-later
"""build/bench/results.json: every run of every part, its figures and verdicts.

A part that is measured again replaces what was there of it; what was measured with another package
is dropped, for figures of two packages must not stand in one table.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.experiment import Round
from bench.figures import estimate
from bench.targets import Target, judge

FORMAT = 1


def load(path: Path, package: str) -> dict[str, Any]:
    """What is known of this package (its SHA-256) so far: ``{"format", "package", "parts"}``."""
    fresh = {"format": FORMAT, "package": package, "parts": {}}
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return fresh
    if not isinstance(found, dict) or not isinstance(found.get("parts"), dict):
        return fresh
    same = found.get("format") == FORMAT and found.get("package") == package
    return found if same else fresh


def save(path: Path, results: dict[str, Any]) -> None:
    """Write the file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")
    partial.replace(path)


def measured(
    group: str,
    title: str,
    when: str,
    rounds: Sequence[Round],
    targets: Sequence[Target],
    merit: str = "",
) -> dict[str, Any]:
    """The entry of a part that was measured; ``figures`` is condition → figure → estimate."""
    return {
        "group": group,
        "title": title,
        "when": when,
        "merit": merit,
        "rounds": [{key: asdict(run) for key, run in one.items()} for one in rounds],
        "figures": {condition: figures(rounds, condition) for condition in rounds[0]},
        "verdicts": [verdict(target, list(rounds)) for target in targets],
    }


def verdict(target: Target, rounds: list[Round]) -> dict[str, Any]:
    """A verdict, beside it the limit as a number for the plots."""
    limit = target.at_least if target.at_least is not None else target.at_most
    return {**asdict(judge(target, rounds)), "limit": limit, "condition": target.condition}


def failed(group: str, title: str, when: str, error: str) -> dict[str, Any]:
    """The entry of a part that could not be measured."""
    return {"group": group, "title": title, "when": when, "error": error}


def figures(rounds: Sequence[Round], condition: str) -> dict[str, Any]:
    """The estimate of each figure under one condition."""
    runs = [one[condition] for one in rounds if not one[condition].refused]
    return {
        name: asdict(estimate([run.figures[name] for run in runs]))
        for name in (runs[0].figures if runs else ())
        if all(name in run.figures for run in runs)
    }
