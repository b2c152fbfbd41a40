# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent with the real SDK, a loopback server and a machine to look at."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from integration import messages_api
from integration.messages_api import MessagesApi, Script
from integration.stand_in import UNIT, StandIn
from schedcpd.agent.__main__ import open_model
from schedcpd.agent.agent import Agent, Places
from schedcpd.agent.store import Run

KEY = "sk-ant-api03-TheKeyOfThisTest-0123456789"
PATIENCE_S = 60.0


@dataclass
class Bench:
    """An agent, and what is around it."""

    agent: Agent
    api: MessagesApi
    machine: StandIn
    places: Places

    async def run(self, wanted: str = UNIT) -> Run:
        """Analyse a workload, to the end."""
        number = await self.agent.analyse(wanted, "person")
        await self.over()
        (run,) = (one for one in self.agent.history(10) if one.id == number)
        return run

    async def over(self) -> None:
        """Wait until nothing runs."""
        async with asyncio.timeout(PATIENCE_S):
            while self.agent.running:
                await asyncio.sleep(0.005)

    def sent(self) -> str:
        """Everything that has left the machine."""
        return "\n".join(one.body.decode() for one in self.api.received)


def make_places(folder: Path, base_url: str, settings: str = "") -> Places:
    """The agent's files below a folder, with a key; ``settings`` come in a drop-in."""
    (folder / "credentials").mkdir()
    (folder / "credentials/anthropic-api-key").write_text(f"{KEY}\n")
    (folder / "state").mkdir()
    (folder / "agent.toml").write_text(
        f'[agent]\nmode = "ask"\n[model]\nbase_url = "{base_url}"\nretries = 2\n'
    )
    (folder / "agent.toml.d").mkdir()
    (folder / "agent.toml.d/test.toml").write_text(settings)
    return Places(folder / "agent.toml", folder / "credentials", folder / "state")


@contextlib.asynccontextmanager
async def bench(folder: Path, script: Script, settings: str = "") -> AsyncIterator[Bench]:
    """An agent that is asked over and over; its folder is not used by another."""
    machine = StandIn()
    async with messages_api.running(script) as (api, base_url):
        places = make_places(folder, base_url, settings)
        agent = Agent(places, machine.connection, open_model, time.time)
        agent.start()
        made = Bench(agent, api, machine, places)
        try:
            yield made
        finally:
            await made.agent.close()  # a test may have put another one in its place
