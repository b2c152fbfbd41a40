# SPDX-License-Identifier: GPL-2.0-or-later
"""Targets: what a part has to reach, what was measured, and why a target is not reached."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from bench.experiment import DEFAULT, LEARNED, Round
from bench.figures import Estimate, estimate

HARMLESS = 1.01


@dataclass(frozen=True, slots=True)
class Target:
    """A figure with a value for each round, and the limit that its median has to keep.

    With ``beyond_interval`` the limit is only broken by an interval that lies outside as a whole.
    ``condition`` is whose runs tell the reason when the target is not reached.
    """

    title: str
    values: Callable[[list[Round]], list[float]]
    at_least: float | None = None
    at_most: float | None = None
    beyond_interval: bool = False
    unit: str = ""
    condition: str = LEARNED

    @property
    def wanted(self) -> str:
        """The limit in words."""
        limit = self.at_least if self.at_least is not None else self.at_most
        sign = "≥" if self.at_least is not None else "≤"
        beyond = ", beyond the interval" if self.beyond_interval else ""
        return f"{sign} {limit:g} {self.unit}".rstrip() + beyond


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a target; ``measured`` is None when there was nothing to measure."""

    title: str
    wanted: str
    unit: str
    measured: Estimate | None
    reached: bool
    reason: str  # when not reached, or not clearly


def judge(target: Target, rounds: list[Round]) -> Verdict:
    """Compare what was measured with the target."""
    if refusal := refused(rounds, target.condition):
        return Verdict(target.title, target.wanted, target.unit, None, False, refusal)
    values = [value for value in target.values(rounds) if not math.isnan(value)]
    if not values:
        reason = "nothing to win: the kernel default is within 1 % of the lower bound"
        return Verdict(target.title, target.wanted, target.unit, None, True, reason)
    found = estimate(values)
    reached, clear = met(target, found)
    reason = ""
    if not reached:
        reason = explanation(rounds, target.condition)
    elif not clear:
        reason = "the interval reaches beyond the limit"
    return Verdict(target.title, target.wanted, target.unit, found, reached, reason)


def met(target: Target, found: Estimate) -> tuple[bool, bool]:
    """Whether the target is reached, and whether the whole interval is on its good side."""
    if target.at_least is not None:
        value = found.high if target.beyond_interval else found.median
        return value >= target.at_least, found.low >= target.at_least
    limit = target.at_most if target.at_most is not None else math.inf
    value = found.low if target.beyond_interval else found.median
    return value <= limit, found.high <= limit


def refused(rounds: list[Round], condition: str) -> str:
    """Why a condition could not be had, if so."""
    return next((one[condition].refused for one in rounds if one[condition].refused), "")


def explanation(rounds: list[Round], condition: str) -> str:
    """Why a target may have been missed: what scheduled, and what the daemon said about it."""
    runs = [one[condition] for one in rounds]
    without = sum(not run.policies for run in runs)
    names = sorted({name for run in runs for name in run.policies})
    parts = []
    if without:
        parts.append(f"the kernel default scheduled {without} of {len(runs)} runs throughout")
    if names:
        parts.append(f"{', '.join(names)} scheduled, and it was not enough")
    said = next((run.log[-1] for run in reversed(runs) if run.log), "")
    return "; ".join(parts) + (f"; the daemon's log: {said}" if said else "")


def ratios(figure: str, over: str = LEARNED, under: str = DEFAULT) -> Callable[..., list[float]]:
    """The figure under one condition divided by that under another, a value for each round."""

    def values(rounds: list[Round]) -> list[float]:
        return [one[over].figures[figure] / one[under].figures[figure] for one in rounds]

    return values


def harmless(figure: str, title: str, more_is_better: bool = False) -> Target:
    """Nothing may be worse by more than 1 % beyond the interval."""
    over, under = (DEFAULT, LEARNED) if more_is_better else (LEARNED, DEFAULT)
    return Target(
        f"{title}: cost over the kernel default",
        ratios(figure, over, under),
        at_most=HARMLESS,
        beyond_interval=True,
        unit="times",
    )
