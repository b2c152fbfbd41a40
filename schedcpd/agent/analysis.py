# SPDX-License-Identifier: GPL-2.0-or-later
"""One run: observe a workload, plan, write a policy if need be, deploy, learn, perhaps refine.

The roles hand over typed values; what changes the machine is done here, by the daemon's own verbs,
which verify, try out in a canary and refuse as they would for anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from schedclient.tools.memory import LONGEST_QUERY
from schedclient.tools.tool import ToolError
from schedcpd.agent.configuration import Configuration
from schedcpd.agent.dialogue import Ask, Dialogue, Tools, opening_request
from schedcpd.agent.fence import Fence
from schedcpd.agent.handovers import Handed, Lesson, Observed, Planned, Prospect, Way
from schedcpd.agent.roles import EXECUTION, LEARNING, OBSERVATION, PLANNING, Role
from schedcpd.agent.store import RunState
from schedcpd.agent.toolbox import Draft
from schedcpd.errors import RunStopped
from schedcpd.model import Plan

MOST_WAITS = 24
WAIT_S = 600  # each
ANTIPATTERNS = 5
OUTCOMES = 12
MACHINE = ("cpus", "kernel_release", "mode", "owner", "attached_policy", "cannot_attach_because")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended, in one sentence for a person."""

    state: RunState
    sentence: str


@dataclass(frozen=True, slots=True)
class Measured:
    """What the canary of a deployment showed; ``plan`` is what was deployed."""

    plan: Plan
    deployment: int
    promoted: bool
    effect: float
    low: float
    high: float
    facts: Mapping[str, Any]


class Workshop(Tools, Protocol):
    """The tools of a run, and the drafts that passed."""

    passed: dict[str, Draft]


class Analysis:
    """A run for one workload."""

    def __init__(
        self,
        configuration: Configuration,
        fence: Fence,
        tools: Workshop,
        ask: Ask,
        tell: Callable[[str], None],
    ) -> None:
        """``tell`` is given what the run is doing now."""
        self._configuration = configuration
        self._fence = fence
        self._tools = tools
        self._ask = ask
        self._tell = tell

    async def run(self) -> Ended:
        """Do it all; raises a SchedcpError or ToolError where it cannot go on."""
        self._tell("observing")
        observed = await self._role(OBSERVATION, await first_parts(self._tools))
        if observed.prospect is Prospect.NONE:
            return Ended(RunState.LEFT_ALONE, f"left alone: {one_line(observed.summary)}")
        return await self._rounds(observed)

    async def _rounds(self, observed: Observed) -> Ended:
        """Plan and deploy, then refine as long as that pays."""
        incumbent: Measured | None = None
        lesson: Lesson | None = None
        ended = Ended(RunState.LEFT_ALONE, "")
        for _ in range(1 + self._configuration.agent.rounds):
            self._tell("planning")
            planned = await self._plan(observed, incumbent, lesson)
            if planned.way is Way.LEAVE:
                if incumbent is None:
                    return Ended(RunState.LEFT_ALONE, f"left alone: {planned.plan.reason}")
                return ended
            plan = await self._carried_out(observed, planned)
            if not self._configuration.agent.deploy:
                return Ended(RunState.ADVISED, f"{plan.policy} would suit: {plan.reason}")
            try:
                measured = await self._deploy(plan)
            except ToolError as error:
                if incumbent is None:
                    return Ended(RunState.ADVISED, f"{plan.policy} would suit, but: {error}")
                return ended
            ended, incumbent = kept(measured, incumbent)
            lesson = await self._learn(observed, planned, measured)
            if not lesson.refine:
                break
        return ended

    async def _plan(
        self, observed: Observed, incumbent: Measured | None, lesson: Lesson | None
    ) -> Planned:
        """What to do, in the light of what was done before."""
        parts: dict[str, Any] = {
            "observed": asdict(observed),
            "outcomes": await self._found("outcomes", {"count": OUTCOMES}),
            "antipatterns": await self._found(
                "search_repository",
                {
                    "query": observed.summary[:LONGEST_QUERY],
                    "kind": "antipattern",
                    "limit": ANTIPATTERNS,
                },
            ),
        }
        if incumbent is not None:
            parts["attached now"] = incumbent.facts
        if lesson is not None:
            parts["lesson of the last round"] = asdict(lesson)
        return await self._role(PLANNING, parts)

    async def _carried_out(self, observed: Observed, planned: Planned) -> Plan:
        """The plan with an installed policy: written, verified and enrolled if there was none."""
        if planned.way is Way.CONFIGURE:
            return planned.plan
        self._tell("writing a policy")
        parts = {"observed": asdict(observed), "way": planned.way, "brief": planned.brief}
        verdict = await self._role(EXECUTION, parts)
        draft = self._tools.passed.get(verdict.policy)
        if draft is None or not verdict.passed:
            raise RunStopped(f"no policy came of it: {one_line(verdict.summary)}")
        self._tell(f"enrolling {draft.name}")
        answer = await self._tools.use("enroll_policy", asdict(draft))
        if answer.get("enrolled") is not True:
            raise RunStopped(f"{draft.name} was not enrolled: {answer.get('untrusted_reason')}")
        return replace(planned.plan, policy=draft.name)

    async def _deploy(self, plan: Plan) -> Measured:
        """Have the daemon try a plan, to the end of its canary; raises ToolError."""
        self._tell(f"deploying {plan.policy}")
        proposal = {
            "policy": plan.policy,
            "parameters": dict(plan.parameters),
            "objective": str(plan.objective),
            "reason": plan.reason,
        }
        number = (await self._tools.use("deploy_policy", proposal))["deployment"]
        facts: Mapping[str, Any] = {}
        for _ in range(MOST_WAITS):
            waiting = {"deployment": number, "timeout_s": WAIT_S}
            facts = await self._tools.use("wait_for_deployment", waiting)
            if facts["settled"]:
                break
        canary = facts["canary"]
        effect, low, high = (float(canary.get(name, 0.0)) for name in ("effect", "low", "high"))
        return Measured(plan, number, facts["state"] == "attached", effect, low, high, facts)

    async def _learn(self, observed: Observed, planned: Planned, measured: Measured) -> Lesson:
        self._tell("learning")
        parts = {
            "observed": asdict(observed),
            "planned": {**asdict(planned.plan), "way": planned.way, "policy": measured.plan.policy},
            "measured": measured.facts,
        }
        return await self._role(LEARNING, parts)

    async def _found(self, tool: str, arguments: Mapping[str, Any]) -> Any:
        """What a tool finds, or why it finds nothing: a run goes on without."""
        try:
            return await self._tools.use(tool, arguments)
        except ToolError as error:
            return str(error)

    async def _role(self, role: Role[Handed], parts: Mapping[str, Any]) -> Handed:
        model = self._configuration.model
        opening = opening_request(
            role, model.name, model.max_tokens, model.effort, self._fence, parts
        )
        dialogue = Dialogue(role, opening, self._fence, self._tools, self._ask)
        return await dialogue.run(model.turns)


async def first_parts(tools: Tools) -> dict[str, Any]:
    """What the observation begins with: the machine in figures, the summary profile, its story."""
    machine = await tools.use("machine_status", {})
    return {
        "machine": {name: machine[name] for name in MACHINE},
        "profile": await tools.use("profile_workload", {}),
        "planner": await tools.use("explain", {}),
    }


def kept(measured: Measured, incumbent: Measured | None) -> tuple[Ended, Measured | None]:
    """What is there after a canary; where it lost, the daemon attaches again what was there."""
    if incumbent is None or measured.promoted:
        return ended_with(measured), measured if measured.promoted else None
    words = f"{measured.plan.policy} did not beat {incumbent.plan.policy}, which stays"
    return Ended(RunState.DEPLOYED, words), incumbent


def ended_with(measured: Measured) -> Ended:
    """How a run ends with a deployment."""
    policy = measured.plan.policy
    if measured.promoted:
        gain = f"{measured.effect:+.0%} ({measured.low:+.0%} to {measured.high:+.0%})"
        return Ended(RunState.DEPLOYED, f"{policy} is attached, {gain} over the kernel default")
    state = measured.facts.get("state", "")
    return Ended(RunState.REVERTED, f"{policy} was tried and is not attached: {state}")


def one_line(text: str, most: int = 200) -> str:
    """The beginning of a text on one line."""
    return " ".join(text.split())[:most]
