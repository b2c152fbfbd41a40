# SPDX-License-Identifier: GPL-2.0-or-later
"""``org.schedcp.Agent1.Agent``: what the agent does, and what it can be asked for."""

import asyncio
import json
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from dbus_next.signature import Variant

from schedcpd import __version__
from schedcpd.agent.agent import Agent
from schedcpd.agent.purse import Limit
from schedcpd.agent.store import Exchange, Run
from schedcpd.bus.authorisation import Authority
from schedcpd.bus.conversion import number, real, text
from schedcpd.bus.members import Gate, ValuesInterface, method, shown
from schedcpd.bus.requests import check_text

if TYPE_CHECKING:
    Amounts = dict[str, Variant]
    Number = int
    Part = list[Any]
    Runs = list[dict[str, Variant]]
    Text = str
else:
    Amounts = "a{sv}"
    Number = "u"
    Part = "su"  # a piece of a text, and how many characters there are in all
    Runs = "aa{sv}"
    Text = "s"

BUS_NAME = "org.schedcp.Agent1"
PATH = "/org/schedcp/Agent1"
AGENT = f"{BUS_NAME}.Agent"

MOST_RUNS = 1000
PIECE = 16_000  # characters


class AgentAction(StrEnum):
    """The polkit actions, as declared in ``org.schedcp.agent1.policy``."""

    READ = "org.schedcp.agent1.read"  # what was sent, or would be
    ANALYSE = "org.schedcp.agent1.analyse"


class AgentInterface(ValuesInterface):
    """The agent on the bus."""

    def __init__(self, agent: Agent, authority: Authority) -> None:
        self.gate = Gate(authority)
        self._agent = agent
        super().__init__(AGENT, PATH, self._now())

    def refresh(self, _: None = None) -> None:
        """Tell the bus what is not as it was."""
        self.update(self._now())

    def read(self, name: str) -> Any:
        """The value of a property now."""
        return self._now()[name]

    def _now(self) -> dict[str, Any]:
        agent = self._agent
        obstacle = bool(agent.obstacle())
        return {
            "Version": __version__,
            "Mode": str(agent.configuration.agent.mode),
            "State": "running" if agent.running else "unable" if obstacle else "idle",
            "Sentence": text(agent.sentence()),
            "Model": text(agent.configuration.model.name),
            "Server": text(agent.configuration.model.base_url),
            "Run": number("u", agent.running),
        }

    Version = shown("Version", "s")
    Mode = shown("Mode", "s")
    State = shown("State", "s")
    Sentence = shown("Sentence", "s")
    Model = shown("Model", "s")
    Server = shown("Server", "s")
    Run = shown("Run", "u")

    @method("Analyse", action=AgentAction.ANALYSE)
    async def analyse(self, workload: Text) -> Number:
        """Begin a run for a workload; returns its number."""
        check_text("workload", workload)
        return await self._agent.analyse(workload, "person")

    @method("Cancel", action=AgentAction.ANALYSE)
    async def cancel(self, run: Number) -> None:
        """End a run before its time."""
        self._agent.cancel(run)

    @method("Preview", action=AgentAction.READ)
    async def preview(self, workload: Text) -> Text:
        """The first request that an analysis would send; JSON."""
        check_text("workload", workload)
        return await self._agent.preview(workload)

    @method("History", action=AgentAction.READ)
    async def history(self, count: Number) -> Runs:
        """The newest runs, newest first."""
        return [run_details(one) for one in self._agent.history(min(count, MOST_RUNS))]

    @method("Show", action=AgentAction.READ)
    async def show(self, run: Number, offset: Number) -> Part:
        """A piece of what was said in a run: JSON, a line for each request with its reply."""
        exchanges = self._agent.transcript(run)
        whole = await asyncio.to_thread(document, exchanges)
        return [text_piece(whole, offset), number("u", len(whole))]

    @method("Budget", action=None)
    async def budget(self) -> Amounts:
        """What may be spent and what was."""
        amounts: dict[str, Variant] = {}
        for limit in self._agent.budget():
            amounts |= limit_details(limit)
        return amounts


def run_details(run: Run) -> dict[str, Variant]:
    """A run as an ``a{sv}``."""
    usage = run.usage
    return {
        "id": Variant("u", number("u", run.id)),
        "workload": Variant("s", text(run.workload)),
        "origin": Variant("s", text(run.origin)),
        "started": Variant("d", real(run.started)),
        "ended": Variant("d", real(run.ended)),
        "state": Variant("s", str(run.state)),
        "sentence": Variant("s", text(run.sentence)),
        "calls": Variant("u", number("u", run.calls)),
        "input_tokens": Variant("t", number("t", usage.input)),
        "output_tokens": Variant("t", number("t", usage.output)),
        "cache_read_tokens": Variant("t", number("t", usage.cache_read)),
        "cache_write_tokens": Variant("t", number("t", usage.cache_write)),
        "dollars": Variant("d", real(run.dollars)),
        "model_s": Variant("d", real(run.model_s)),
    }


def limit_details(limit: Limit) -> dict[str, Variant]:
    """A budget as entries of an ``a{sv}``."""
    word = limit.name.rpartition(" ")[2]
    return {
        f"{word}_tokens": Variant("t", number("t", limit.tokens)),
        f"{word}_dollars": Variant("d", real(limit.dollars)),
        f"{word}_spent_tokens": Variant("t", number("t", limit.spent.tokens)),
        f"{word}_spent_dollars": Variant("d", real(limit.spent.dollars)),
    }


def document(exchanges: Sequence[Exchange]) -> str:
    """What was said, with ASCII only: a piece of it is a text by itself."""
    return "".join(
        json.dumps(
            {
                "role": one.role,
                "at": one.at,
                "seconds": one.seconds,
                "request": one.request,
                "reply": one.reply,
            }
        )
        + "\n"
        for one in exchanges
    )


def text_piece(whole: str, offset: int) -> str:
    """As much from the offset on as a message carries."""
    return whole[offset : offset + PIECE]
