# SPDX-License-Identifier: GPL-2.0-or-later
"""The built-in planner: which installed policy suits a workload, or none, and why.

It does no I/O and keeps nothing: all that it decides on is in a ``Situation``. Leaving a workload
to the kernel default is a normal answer: for want of a policy that is known to gain something, for
a gain that is too small, and for one that is not certain.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from schedcpd import parameters as tunables
from schedcpd.config import Thresholds
from schedcpd.model import (
    Candidate,
    LayerClass,
    MapRole,
    Objective,
    Outcome,
    OutcomeKind,
    Plan,
    Policy,
    WorkloadClass,
    WorkloadProfile,
)
from schedcpd.parameters import NONE, words
from schedcpd.plan import rules
from schedcpd.plan.layers import layer_for
from schedcpd.plan.rules import Case
from schedcpd.plan.scores import Asked, Score, score

KERNEL_DEFAULT = Candidate("", 0.0, "what every policy is compared with")
GOALS: Mapping[WorkloadClass, Objective] = {
    WorkloadClass.BUILD: Objective.MAKESPAN,
    WorkloadClass.BATCH: Objective.MAKESPAN,
    WorkloadClass.LATENCY: Objective.LATENCY,
    WorkloadClass.INTERACTIVE: Objective.LATENCY,
    WorkloadClass.FRAMES: Objective.FRAMES,
    WorkloadClass.COMPUTE: Objective.THROUGHPUT,
    WorkloadClass.IO: Objective.THROUGHPUT,
    WorkloadClass.BACKGROUND: Objective.THROUGHPUT,
}

_VERSION = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})")


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a plan is made from.

    ``barred`` has the policies that are out of the question here whatever they would gain, and why;
    ``outcomes`` are those of this kernel on this kind of machine, oldest first.
    """

    workload: str  # its identity, or its cgroup's path where it has none
    profile: WorkloadProfile
    cpus: int
    policies: Mapping[str, Policy]
    outcomes: tuple[Outcome, ...] = ()
    barred: Mapping[str, str] = field(default_factory=dict)
    kernel_release: str = ""  # empty where no policy can be attached, so that none is too new
    thresholds: Thresholds = field(default_factory=Thresholds)


@dataclass(frozen=True, slots=True)
class _Weighed:
    candidate: Candidate
    score: Score
    suited: bool = True  # the workload is of a class that the policy is for, or may be
    parameters: Mapping[str, int] = field(default_factory=dict)


def plan(situation: Situation) -> Plan:
    """What to do for the workload."""
    case = Case(situation.profile, situation.cpus, situation.thresholds)
    classes = rules.classes(case)
    weighed = _weigh(situation, case, classes)
    candidates = tuple(one.candidate for one in weighed)
    wanted = [one for one in weighed if one.suited and _gains(one, situation)]
    chosen = next((one for one in wanted if not one.candidate.objection), None)
    if chosen is not None:
        return Plan(
            policy=chosen.candidate.policy,
            objective=chosen.score.objective,
            reason=_told(case, chosen.score.work, chosen.score.objective),
            parameters=dict(chosen.parameters),
            candidates=candidates,
            work=chosen.score.work,
            layer=chosen.candidate.layer,
        )
    if not classes:
        objection = _sentence(rules.objection(WorkloadClass.BATCH, case))
        return Plan(None, Objective.NONE, objection, candidates=candidates)
    work, goal, reason = _left_alone(situation, classes, weighed, wanted)
    reason = f"{_told(case, work, goal)}, but {reason}"
    return Plan(None, goal, reason, candidates=candidates, work=work)


def _weigh(situation: Situation, case: Case, classes: tuple[WorkloadClass, ...]) -> list[_Weighed]:
    """The policies and the kernel default, best first."""
    outcomes: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in situation.outcomes:
        outcomes[outcome.object_sha256, words(outcome.parameters)].append(outcome)
    asked = Asked(
        situation.workload,
        classes,
        situation.profile.taken_at,
        rules.uneven(situation.profile),
    )
    weighed = [_Weighed(KERNEL_DEFAULT, Score(0.0, ""))]
    for name, policy in situation.policies.items():
        too_new = _too_new(policy, situation.kernel_release)
        for parameters in _worth_weighing(policy, situation):
            known = outcomes[policy.object_sha256, words(parameters)]
            found = score(policy.card, known, asked)
            unsuited = "" if found.known else _unsuited(policy, case)
            layer, classless = _layer(policy, found, situation.profile)
            objection = unsuited or too_new or classless or situation.barred.get(name, "")
            evidence = f"with {words(parameters)}: {found.evidence}" * bool(parameters)
            candidate = Candidate(name, found.gain, evidence or found.evidence, objection, layer)
            weighed.append(_Weighed(candidate, found, not unsuited, parameters))
    return sorted(weighed, key=_rank)


def _worth_weighing(policy: Policy, situation: Situation) -> list[Mapping[str, int]]:
    """The defaults, then the parameters with which a policy was better for this workload before."""
    here = [
        one.parameters
        for one in situation.outcomes
        if (one.object_sha256, one.workload) == (policy.object_sha256, situation.workload)
        and one.kind is OutcomeKind.EFFECT
        and one.low > 0
        and not tunables.objection(policy.card, one.parameters)
    ]
    return list({words(one): one for one in (NONE, *here)}.values())


def _rank(one: _Weighed) -> tuple[float, bool, bool, str]:
    """Of equal scores the kernel default comes first, and the name decides between policies."""
    candidate = one.candidate
    return (-candidate.score, bool(candidate.objection), bool(candidate.policy), candidate.policy)


def _unsuited(policy: Policy, case: Case) -> str:
    """Why the workload is of none of the classes that a policy is for."""
    objections = [rules.objection(work, case) for work in policy.card.fits]
    return next(filter(None, objections), "")


def _layer(policy: Policy, found: Score, profile: WorkloadProfile) -> tuple[LayerClass | None, str]:
    """What the workload would be in a policy with classes, or why it would be nothing there."""
    if not (found.known and policy.card.live_map(MapRole.CLASSES)):
        return None, ""
    layer = layer_for(found.work, policy.card, profile)
    noun = rules.NOUNS.get(found.work, "work that any policy is for")
    return layer, "" if layer else f"{policy.card.name} has no class for {noun}"


def _too_new(policy: Policy, kernel_release: str) -> str:
    """Why a policy does not run on this kernel, by what its card says."""
    needs, runs = _VERSION.match(policy.card.min_kernel), _VERSION.match(kernel_release)
    if needs is None or runs is None or _pair(runs) >= _pair(needs):
        return ""
    return f"{policy.card.name} needs Linux {policy.card.min_kernel}; this is {runs[0]}"


def _pair(version: re.Match[str]) -> tuple[int, int]:
    return int(version[1]), int(version[2])


def _gains(one: _Weighed, situation: Situation) -> bool:
    return bool(one.candidate.policy) and one.candidate.score >= situation.thresholds.margin


def _left_alone(
    situation: Situation,
    classes: tuple[WorkloadClass, ...],
    weighed: list[_Weighed],
    wanted: list[_Weighed],
) -> tuple[WorkloadClass, Objective, str]:
    """As what a workload is left alone, its goal, and why; a clause for a person."""
    if wanted:
        best = wanted[0]
        return best.score.work, best.score.objective, best.candidate.objection
    known = next((one for one in weighed if one.score.known), None)
    if known is None:
        return classes[0], GOALS[classes[0]], "no installed policy is known to do better"
    name, gain, least = known.candidate.policy, known.score.gain, situation.thresholds.margin
    if gain > 0:
        reason = f"the best policy, {name}, would gain {gain:.1%}; {least:.0%} is worth it"
    else:
        reason = f"no policy is expected to gain anything; {name} is expected to change {gain:+.1%}"
    return known.score.work, Objective.NONE, reason


def _told(case: Case, work: WorkloadClass, goal: Objective) -> str:
    counts = "" if goal is Objective.NONE else f", {goal} counts"
    return _sentence(f"{rules.describe(work, case)}{counts}")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
