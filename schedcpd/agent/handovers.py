# SPDX-License-Identifier: GPL-2.0-or-later
"""What one role hands to the next: typed values, each made from the arguments of a last tool call.

What they say was written by a model, and is fenced like everything else when it is shown to one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from schedclient.tools import schema
from schedclient.tools.schema import POLICY_PATTERN, checked
from schedclient.tools.tool import Arguments, Schema
from schedcpd.fields import BadField
from schedcpd.model import Objective, Plan, WorkloadClass

Handed = TypeVar("Handed")

SUMMARY = 1500  # characters
BRIEF = 4000
SENTENCE = 200


class Prospect(StrEnum):
    """What the scheduler can do for a workload."""

    NONE = "none"  # nothing to gain: the run ends
    POSSIBLE = "possible"
    LIKELY = "likely"


class Way(StrEnum):
    """How a plan is carried out, the cheapest first."""

    LEAVE = "leave"  # the kernel default
    CONFIGURE = "configure"  # an installed policy, perhaps with other parameters
    PATCH = "patch"  # a policy of the repository, changed
    COMPOSE = "compose"  # a new one from primitives


class Answered(StrEnum):
    """What the role of learning says of a plan."""

    YES = "yes"
    NO = "no"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class Observed:
    """What kind of work a workload does, and what it wants."""

    work: WorkloadClass
    objective: Objective
    prospect: Prospect
    summary: str


@dataclass(frozen=True, slots=True)
class Planned:
    """What to do; a policy that is to be written has no name yet, but a brief."""

    way: Way
    plan: Plan
    brief: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of writing a policy; ``passed`` says the model, and is held against the facts."""

    policy: str
    passed: bool
    summary: str


@dataclass(frozen=True, slots=True)
class Lesson:
    """What was learnt from a deployment, and whether another plan is worth a try."""

    worked: Answered
    lesson: str
    refine: bool
    hint: str


@dataclass(frozen=True, slots=True)
class Handover(Generic[Handed]):
    """The tool that ends a role, and how its arguments become a value."""

    name: str
    description: str
    arguments: Schema
    read: Callable[[Arguments], Handed]

    def parse(self, given: object) -> Handed:
        """The value; raises BadField, which names what is wrong."""
        return self.read(checked(self.arguments, given))


def _observed(given: Arguments) -> Observed:
    return Observed(
        WorkloadClass(given["work"]),
        Objective(given["objective"]),
        Prospect(given["prospect"]),
        given["summary"],
    )


def _planned(given: Arguments) -> Planned:
    way, policy = Way(given["way"]), given["policy"]
    if (way is Way.CONFIGURE) != bool(policy):
        raise BadField("policy must be given for the way configure, and only for that")
    if way in (Way.PATCH, Way.COMPOSE) and not given["brief"].strip():
        raise BadField(f"brief must say what to write for the way {way}")
    if given["parameters"] and way is not Way.CONFIGURE:
        raise BadField("parameters are for the way configure only")
    objective = Objective(given["objective"])
    if objective is Objective.NONE and way is not Way.LEAVE:
        raise BadField("objective must say what is to get better")
    plan = Plan(policy or None, objective, given["reason"], parameters=given["parameters"])
    return Planned(way, plan, given["brief"])


def _verdict(given: Arguments) -> Verdict:
    return Verdict(given["policy"], given["result"] == "passed", given["summary"])


def _lesson(given: Arguments) -> Lesson:
    refine = given["next"] == "refine"
    if refine and not given["hint"].strip():
        raise BadField("hint must say what to change")
    return Lesson(Answered(given["worked"]), given["lesson"], refine, given["hint"])


def _words(kinds: type[StrEnum]) -> list[str]:
    return [str(one) for one in kinds]


PROFILE: Handover[Observed] = Handover(
    name="hand_over_profile",
    description="Ends your part: what the workload is and what it wants. prospect none ends all.",
    arguments=schema.arguments(
        work=schema.choice("what kind of work it does", _words(WorkloadClass)),
        objective=schema.choice("what its owner would want better", _words(Objective)),
        prospect=schema.choice("whether CPU scheduling can make it better", _words(Prospect)),
        summary=schema.text("figures and evidence for the planner, no file contents", SUMMARY),
    ),
    read=_observed,
)
PLAN: Handover[Planned] = Handover(
    name="hand_over_plan",
    description="Ends your part: the cheapest way that is good enough.",
    arguments=schema.arguments(
        way=schema.choice("leave, else configure before patch before compose", _words(Way)),
        policy=schema.text(
            "for configure: an installed policy", 15, pattern=f"^$|{POLICY_PATTERN}", default=""
        ),
        parameters=schema.integers("for configure: tunables inside the ranges of the card"),
        objective=schema.choice("what is to get better", _words(Objective)),
        reason=schema.text("why, in one sentence for a person", SENTENCE, minLength=1),
        brief=schema.text("for patch and compose: what to write, from what", BRIEF, default=""),
    ),
    read=_planned,
)
VERDICT: Handover[Verdict] = Handover(
    name="hand_over_verdict",
    description="Ends your part: the policy passed its verification, or you give up.",
    arguments=schema.arguments(
        policy=schema.POLICY,
        result=schema.choice("what verify_policy said last", ("passed", "gave-up")),
        summary=schema.text("what it does, or what stood in the way", SUMMARY, minLength=1),
    ),
    read=_verdict,
)
LESSON: Handover[Lesson] = Handover(
    name="hand_over_lesson",
    description="Ends your part: what was learnt; refine only with a concrete change in mind.",
    arguments=schema.arguments(
        worked=schema.choice("whether the plan did what it was for", _words(Answered)),
        lesson=schema.text("what was learnt, with figures", SUMMARY, minLength=1),
        next=schema.choice("refine: plan once more", ("stop", "refine")),
        hint=schema.text("for refine: what to change", SUMMARY, default=""),
    ),
    read=_lesson,
)
