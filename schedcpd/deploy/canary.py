# SPDX-License-Identifier: GPL-2.0-or-later
"""The switchback canary: candidate and kernel default in turns, and what the turns show.

Windows come in pairs, one of each arm, in an order that is drawn anew for each pair, so that a
drift of the load falls on both. What is compared within a pair is the logarithm of the ratio of the
two values: under "no difference" it is symmetric about zero whatever the noise, because either
window could have been either arm; a plain relative difference would lean towards the candidate.

The pairs are looked at one after the other, and every look is a chance to be wrong. The error that
is allowed is therefore divided among all looks there can be (a linear alpha spending function: Lan
and DeMets 1983, Biometrika 70, 659; Kim and DeMets 1987, Biometrika 74, 149), and each look takes
Student's t interval at its own share. Adding the shares up (Bonferroni) instead of following the
joint distribution of the looks costs some power and needs no numerical integration. With symmetric
heavy-tailed noise Student's t errs on the careful side (Benjamini 1983, JASA 78, 645).

A candidate that is to take the place of a policy that has won its canary, the incumbent, is not
compared with it directly: both would have to be held by a loader at once, and a third arm would
make each comparison longer. It is compared with the kernel default as well, and wins when even the
lower bound of its effect is above the effect that the incumbent had. The incumbent's effect is
taken as it was measured, without its own uncertainty: that the candidate has to be better with
certainty is what keeps two that are alike from taking turns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from statistics import fmean

from schedcpd.model import Canary, CanaryDecision

# A ratio beyond this counts as this: a window with next to nothing in it says no more.
LARGEST_LOG = math.log(10.0)
# No window is measured better than to two per cent; values from histogram slots can agree exactly.
RESOLUTION = 0.02
# With two pairs the interval says nothing; with that much lost in their mean more are taken.
GROSS_LOSS = -0.5


class Arm(StrEnum):
    """What schedules the machine in one window."""

    CANDIDATE = "candidate"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class CanarySettings:
    """How long a canary lasts, and what it takes to win one; raises ValueError when absurd."""

    metric: str  # what the values are, for a person: "completions per second"
    window_s: float = 2.0  # length of one window that is measured
    settle_s: float = 0.3  # not measured at the start of each window
    min_pairs: int = 5  # no verdict before that many pairs with data
    max_pairs: int = 12  # no pair after that many, with data or without
    margin: float = 0.03  # what it has to gain at least; what it may lose at most if non-inferior
    confidence: float = 0.95  # of the interval, over all looks at it together
    higher_is_better: bool = True
    non_inferiority: bool = False  # promote unless it is clearly or grossly worse
    incumbent: float | None = None  # the effect of the policy that it is to do better than

    def __post_init__(self) -> None:
        if not 2 <= self.min_pairs <= self.max_pairs:
            raise ValueError("a canary needs at least two pairs, and no more than it may take")
        if not (0 <= self.margin < 1 and 0.5 <= self.confidence < 1):
            raise ValueError("a canary's margin or confidence is out of bounds")
        if self.window_s <= 0 or self.settle_s < 0:
            raise ValueError("a canary's windows have no length")
        if self.non_inferiority and self.incumbent is not None:
            raise ValueError("to be not worse is not enough to take the place of another")

    @property
    def bar(self) -> float:
        """What the lower bound of the effect must reach."""
        if self.non_inferiority:
            return -self.margin
        return self.margin if self.incumbent is None else max(self.margin, self.incumbent)

    @property
    def looks(self) -> int:
        """At how many points a verdict may be reached."""
        return self.max_pairs - self.min_pairs + 1


class Switchback:
    """One canary: says which window is next, takes what was measured, and reaches a verdict."""

    def __init__(self, settings: CanarySettings, random: Random) -> None:
        self._settings = settings
        self._random = random
        self._order: list[Arm] = []  # what is left of the pair under way
        self._values: dict[Arm, float | None] = {}
        self._differences: list[float] = []  # of pairs with data, positive is better
        self._pairs = 0  # with data or without
        self._result = Canary(settings.metric, 0, 0.0, *_shown(0.0, math.inf), *_GOING_ON)

    def next_window(self) -> Arm:
        """Whose turn it is; asking again before ``add`` gives the same answer."""
        if not self._order:
            self._order = [Arm.CANDIDATE, Arm.DEFAULT]
            self._random.shuffle(self._order)
        return self._order[0]

    def add(self, arm: Arm, value: float | None) -> None:
        """Take the value of the window of ``next_window``; None when it has no data.

        Raises ValueError when it is not that arm's turn. A verdict that was reached stays.
        """
        if arm is not self.next_window():
            raise ValueError(f"it is not the turn of {arm}")
        self._order.pop(0)
        self._values[arm] = value
        if not self._order:
            self._end_pair()

    def result(self) -> Canary:
        """What the pairs have shown so far; decision GOING_ON while more are needed."""
        return self._result

    def _end_pair(self) -> None:
        values, self._values = self._values, {}
        if self._result.decision is not CanaryDecision.GOING_ON:
            return
        self._pairs += 1
        difference = log_ratio(values[Arm.CANDIDATE], values[Arm.DEFAULT])
        if difference is not None:
            sign = 1 if self._settings.higher_is_better else -1
            self._differences.append(sign * difference)
        self._result = self._judge(fresh=difference is not None)

    def _judge(self, *, fresh: bool) -> Canary:
        """The state after a pair; only a ``fresh`` one, with data, is a look with its own share."""
        settings, count = self._settings, len(self._differences)
        mean = fmean(self._differences) if count else 0.0
        half = math.inf
        if count > 1:
            squares = sum((one - mean) ** 2 for one in self._differences)
            error = max(math.sqrt(squares / (count - 1)), RESOLUTION) / math.sqrt(count)
            half = student_t((1 - settings.confidence) / 2 / settings.looks, count - 1) * error
        effect = math.expm1(mean)
        low, high = _shown(mean, half)
        decision = CanaryDecision.GOING_ON
        if fresh and count >= settings.min_pairs:
            decision = self._look(effect, low, high)
        if decision is CanaryDecision.GOING_ON and self._pairs >= settings.max_pairs:
            decision = self._last_word(effect)
        reason = self._sentence(decision, effect, low, high)
        return Canary(settings.metric, count, effect, low, high, decision, reason)

    def _look(self, effect: float, low: float, high: float) -> CanaryDecision:
        bar, lenient = self._settings.bar, self._settings.non_inferiority
        if high < (bar if lenient else 0.0):
            return CanaryDecision.WORSE
        if low >= bar or (lenient and effect > GROSS_LOSS):
            return CanaryDecision.PROMOTE
        if not lenient and high < bar:
            return CanaryDecision.NO_GAIN  # it cannot get there any more
        return CanaryDecision.GOING_ON

    def _last_word(self, effect: float) -> CanaryDecision:
        bearable = bool(self._differences) and effect > GROSS_LOSS
        if self._settings.non_inferiority and bearable:
            return CanaryDecision.PROMOTE
        return CanaryDecision.NO_GAIN

    def _sentence(self, decision: CanaryDecision, effect: float, low: float, high: float) -> str:
        if decision is CanaryDecision.GOING_ON:
            return _GOING_ON[1]
        count = len(self._differences)
        if count < 2:
            return f"only {count} of {self._pairs} pairs of windows had data"
        measured = (
            f"{self._settings.metric} changed by {effect:+.1%} "
            f"(from {low:+.1%} to {high:+.1%}) over {count} pairs of windows"
        )
        meaning = {
            CanaryDecision.PROMOTE: "it is better",
            CanaryDecision.WORSE: "it is worse",
            CanaryDecision.NO_GAIN: "no gain is certain",
        }
        if self._settings.non_inferiority:
            meaning[CanaryDecision.PROMOTE] = "it is not clearly worse"
            meaning[CanaryDecision.NO_GAIN] = "it seems far worse"
        if (had := self._settings.incumbent) is not None:
            before = f"the policy before it ({had:+.1%})"
            meaning[CanaryDecision.PROMOTE] = f"it is better than {before}"
            meaning[CanaryDecision.NO_GAIN] = f"it is not certain to be better than {before}"
        return f"{meaning[decision]}: {measured}"


_GOING_ON = (CanaryDecision.GOING_ON, "more windows are needed")


def log_ratio(candidate: float | None, default: float | None) -> float | None:
    """Logarithm of candidate over default, bounded; None when either is no measurement."""
    if candidate is None or default is None:
        return None
    if not (0 <= candidate < math.inf and 0 <= default < math.inf):
        return None
    if candidate == default:
        return 0.0
    if not (candidate and default):
        return LARGEST_LOG if candidate else -LARGEST_LOG
    difference = math.log(candidate) - math.log(default)
    return max(-LARGEST_LOG, min(LARGEST_LOG, difference))


def _shown(mean: float, half: float) -> tuple[float, float]:
    """The interval as relative effects, within what a ratio can be."""
    low, high = max(-LARGEST_LOG, mean - half), min(LARGEST_LOG, mean + half)
    return math.expm1(low), math.expm1(high)


def student_t(tail: float, freedom: int) -> float:
    """The value that Student's t exceeds with probability ``tail`` (at most 0.5).

    The distribution function is a finite sum for whole degrees of freedom (Abramowitz and Stegun
    1964, 26.7.3 and 26.7.4, in the angle atan(t/sqrt(freedom))); it is inverted by bisection.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(60):  # halvings: more than a double can hold
        angle = (low + high) / 2
        if (1 - _within(angle, freedom)) / 2 > tail:
            low = angle
        else:
            high = angle
    return math.sqrt(freedom) * math.tan(low)


def _within(angle: float, freedom: int) -> float:
    """Probability that abs(t) is at most sqrt(freedom) * tan(angle)."""
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for factor in range(2 + odd, freedom + 1, 2):
        total += term
        term *= (factor - 1) / factor * math.cos(angle) ** 2
    if odd:
        return 2 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total
