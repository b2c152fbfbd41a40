# SPDX-License-Identifier: GPL-2.0-or-later
"""What a policy is expected to gain: what it did here, what it did for similar work, its card.

The score is a weighted mean. The card's figure, or that of the kernel default where the card says
nothing, weighs 1: enough to decide while nothing else is known. What was measured for the same
workload here outweighs it many times, and loses half of its weight with each half-life, so that a
policy that lost once gets another chance some day. What was measured for similar workloads weighs
less than the card even when there is much of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import fmean

from schedcpd.kernel.text import printable
from schedcpd.model import Card, Fit, MapRole, Objective, Outcome, OutcomeKind, WorkloadClass
from schedcpd.plan.rules import NOUNS

HALF_LIFE_S = 5 * 86_400.0
OWN_WEIGHT = 16.0  # so that one neutral canary outweighs what any card promises
SIMILAR_WEIGHT = 0.25
SIMILAR_LIMIT = 0.8  # of all of them together
BLIND = 0.5  # of what a card promises: the long jobs may be the last to run
FAILURE = -0.5  # what a failure counts as: there is no figure for harm
LOWEST, HIGHEST = -1.0, 20.0  # a relative effect beyond these is no measurement
DIGITS = 3
_SHOWN = 200  # characters of a reason
_NOTHING = "nothing that was measured says that it would help here"


@dataclass(frozen=True, slots=True)
class Asked:
    """For which workload, as what, and when."""

    workload: str  # its identity
    classes: tuple[WorkloadClass, ...]
    at: float  # seconds since the epoch
    uneven: bool = False  # some of its jobs are known to be much longer than others


@dataclass(frozen=True, slots=True)
class Score:
    """What a policy is expected to gain, and where that is known from."""

    gain: float  # relative, over the kernel default
    evidence: str  # one sentence
    objective: Objective = Objective.NONE
    work: WorkloadClass = WorkloadClass.UNKNOWN  # as what the workload is planned for
    known: bool = False  # whether anything speaks for it or against it


def score(card: Card, outcomes: Iterable[Outcome], asked: Asked) -> Score:
    """The score of a policy; ``outcomes`` are those of its object on this kernel and machine."""
    fitting = [work for work in asked.classes if work in card.fits]
    work = fitting[0] if fitting else WorkloadClass.UNKNOWN
    fit = _promise(card, work, asked) if fitting else None
    counted = [
        one
        for one in outcomes
        if one.work in asked.classes or (fit is not None and one.workload == asked.workload)
    ]
    # A harmless canary confirms what the card says, and says nothing where that says nothing.
    counted = [one for one in counted if fit or one.kind is not OutcomeKind.HARMLESS]
    if fit is None and not counted:
        return Score(0.0, _NOTHING)
    own = [one for one in counted if one.workload == asked.workload]
    similar = [one for one in counted if one.workload != asked.workload]
    latest = (own or similar)[-1] if fit is None else None
    return Score(
        gain=round(_mean(fit, own, similar, asked.at), DIGITS),
        evidence="; ".join(_evidence(fit, work, own, similar)),
        objective=latest.objective if latest else fit.objective if fit else Objective.NONE,
        work=latest.work if latest else work,
        known=True,
    )


def _promise(card: Card, work: WorkloadClass, asked: Asked) -> Fit:
    """What the card says; of a policy that takes no hints less where they would tell something."""
    fit = card.fits[work]
    if work is not WorkloadClass.BATCH or not asked.uneven or card.live_map(MapRole.HINTS):
        return fit
    told = f"{BLIND:.0%} of {fit.gain:+.0%}, as it is not told which jobs are long; {fit.evidence}"
    return replace(fit, gain=BLIND * fit.gain, evidence=told)


def _mean(fit: Fit | None, own: list[Outcome], similar: list[Outcome], now: float) -> float:
    prior = fit.gain if fit else 0.0
    weights = [SIMILAR_WEIGHT * _left(one, now) for one in similar]
    # The clip keeps their mean, so that one more good outcome never does harm.
    clip = min(1.0, SIMILAR_LIMIT / max(sum(weights), SIMILAR_LIMIT))
    parts = [(1.0, prior)]
    parts += [(OWN_WEIGHT * _left(one, now), _value(one, prior)) for one in own]
    parts += [
        (weight * clip, _value(one, prior)) for weight, one in zip(weights, similar, strict=True)
    ]
    return sum(weight * value for weight, value in parts) / sum(weight for weight, _ in parts)


def _left(outcome: Outcome, now: float) -> float:
    """What is left of the weight of an outcome; the clock may have been set back since."""
    return float(0.5 ** (max(0.0, now - outcome.at) / HALF_LIFE_S))


def _value(outcome: Outcome, prior: float) -> float:
    if outcome.kind is OutcomeKind.HARMLESS:
        return prior
    if outcome.kind is OutcomeKind.FAILURE:
        return FAILURE
    # Where the interval has both signs nothing was shown.
    certain = outcome.low > 0 or outcome.high < 0
    return min(max(outcome.effect, LOWEST), HIGHEST) if certain else 0.0


def _evidence(
    fit: Fit | None, work: WorkloadClass, own: list[Outcome], similar: list[Outcome]
) -> list[str]:
    """Where the score is known from, what counts most first."""
    parts = _told(own, "here") + _told(similar, "with similar workloads")
    if fit is not None:
        promised = f"{fit.gain:+.0%} for {NOUNS.get(work, work)}, by its card: {fit.evidence}"
        parts.append(printable(promised, 3 * _SHOWN))
    return parts


def _told(outcomes: list[Outcome], where: str) -> list[str]:
    by_kind = {kind: [one for one in outcomes if one.kind is kind] for kind in OutcomeKind}
    parts = []
    if effects := by_kind[OutcomeKind.EFFECT]:
        mean = fmean(min(max(one.effect, LOWEST), HIGHEST) for one in effects)
        parts.append(f"{mean:+.0%} in {_canaries(len(effects))} {where}")
    if failures := by_kind[OutcomeKind.FAILURE]:
        times = "once" if len(failures) == 1 else f"{len(failures)} times"
        last = printable(failures[-1].reason, _SHOWN)
        parts.append(f"did harm {times} {where}" + (f" ({last})" if last else ""))
    if harmless := by_kind[OutcomeKind.HARMLESS]:
        parts.append(f"did no harm in {_canaries(len(harmless))} {where}")
    return parts


def _canaries(number: int) -> str:
    return "1 canary" if number == 1 else f"{number} canaries"
