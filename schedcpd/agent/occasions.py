# SPDX-License-Identifier: GPL-2.0-or-later
"""Mode auto: looks for workloads that the built-in planner could not place, one at a time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager

from schedclient.daemon import Daemon
from schedclient.errors import ClientError
from schedclient.objects import Event, Workload
from schedcpd.agent.agent import Agent
from schedcpd.agent.configuration import AgentMode
from schedcpd.errors import SchedcpError

log = logging.getLogger(__name__)

LOOK_S = 60.0  # at the latest
GATHER_S = 5.0  # news come in swarms
AWAY_S = 30.0  # until a daemon that is gone is looked for again
TROUBLE_S = 1800.0  # a model that could not be used is left in peace
CPU_SHARE = 0.1  # of the machine's CPUs: less is not worth a cent
PRESSURE = 0.1  # share of the time in which some thread waits for a CPU
SETTLED_S = 10.0  # age of the oldest process


def of_interest(workload: Workload, cpus: int) -> bool:
    """Whether a workload wants more than it gets, and the planner had no policy for it."""
    if workload.state not in ("left-alone", "advised") or workload.advice:
        return False
    figures = [
        workload.profile.get(name, 0.0) for name in ("cpus_used", "pressure_some", "oldest_s")
    ]
    used, pressure, age = (one if isinstance(one, float) else 0.0 for one in figures)
    return used >= CPU_SHARE * cpus and pressure >= PRESSURE and age >= SETTLED_S


def neediest(workloads: Iterable[Workload], cpus: int) -> list[Workload]:
    """Those of interest, the one that waits most first."""
    wanting = [one for one in workloads if of_interest(one, cpus)]
    return sorted(wanting, key=lambda one: -float(one.profile["pressure_some"]))


class Occasions:
    """Follows the daemon's events and begins runs."""

    def __init__(
        self, agent: Agent, connect: Callable[[], AbstractAsyncContextManager[Daemon]]
    ) -> None:
        self._agent = agent
        self._connect = connect

    async def follow(self) -> None:
        """Go on for ever; a daemon that is not there is waited for."""
        while True:
            with contextlib.suppress(ClientError):
                async with self._connect() as daemon, daemon.following() as news:
                    await self._watch(daemon, news)
            await asyncio.sleep(AWAY_S)

    async def _watch(self, daemon: Daemon, news: asyncio.Queue[Event | bool | None]) -> None:
        """Look at each swarm of news; ends with the bus."""
        while True:
            await self.look(daemon)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    if await news.get() is None:
                        return
            await asyncio.sleep(TROUBLE_S if self._agent.trouble else GATHER_S)
            while not news.empty():
                if news.get_nowait() is None:
                    return

    async def look(self, daemon: Daemon) -> None:
        """Begin a run if there is an occasion."""
        agent = self._agent
        wanted = agent.configuration.agent.mode is AgentMode.AUTO
        if not wanted or agent.running or agent.obstacle():
            return
        machine = await daemon.machine()
        if machine.mode != "auto" or machine.unusable:
            return
        for workload in neediest(await daemon.workloads(), machine.cpus):
            try:
                if agent.rested(workload):
                    await agent.analyse(str(workload.cgroup_id), "automatic")
                    return
            except SchedcpError as error:
                log.info("no analysis of %s: %s", workload.unit or workload.id, error)
                return
