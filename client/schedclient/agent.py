# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent's methods, as seen over the bus."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from dbus_next.constants import MessageFlag
from dbus_next.message import Message

from schedclient import names
from schedclient.bus import Bus, connected_bus, plain
from schedclient.daemon import PROPERTIES, READ_S, VERB_S
from schedclient.errors import ClientError
from schedclient.exit import ExitCode
from schedclient.objects import from_properties

NOT_RUNNING = (
    "schedcp-agent is not running; it comes with the package schedcp-agent, start it with: "
    "sudo systemctl start schedcp-agent"
)


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """What the agent does."""

    version: str
    mode: str
    state: str
    sentence: str
    model: str
    server: str
    run: int


class Agent:
    """A connection to the bus, and the agent's methods; raises ClientError."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def status(self) -> AgentStatus:
        """The agent's properties."""
        found = await self._call("GetAll", "s", names.AGENT, of=PROPERTIES, limit_s=READ_S)
        return from_properties(AgentStatus, plain(found))

    async def analyse(self, workload: str) -> int:
        """Begin a run for a workload; returns its number."""
        number: int = await self._call("Analyse", "s", workload)
        return number

    async def cancel(self, run: int) -> None:
        """End a run before its time."""
        await self._call("Cancel", "u", run)

    async def preview(self, workload: str) -> Mapping[str, Any]:
        """The first request that an analysis would send."""
        found: Mapping[str, Any] = json.loads(await self._call("Preview", "s", workload))
        return found

    async def history(self, count: int) -> list[Mapping[str, Any]]:
        """The newest runs, newest first."""
        found: list[Mapping[str, Any]] = plain(await self._call("History", "u", count))
        return found

    async def transcript(self, run: int) -> list[Mapping[str, Any]]:
        """What was said in a run: role, at, seconds, request and reply."""
        said, total = "", 1
        while len(said) < total:
            piece, total = await self._call_all("Show", "uu", run, len(said))
            if not piece:
                break
            said += piece
        return [json.loads(line) for line in said.splitlines()]

    async def budget(self) -> Mapping[str, Any]:
        """What may be spent, and what was."""
        found: Mapping[str, Any] = plain(await self._call("Budget"))
        return found

    async def _call(self, member: str, signature: str = "", *arguments: Any, **how: Any) -> Any:
        """Call a method; its one result, None without one."""
        results = await self._call_all(member, signature, *arguments, **how)
        return results[0] if results else None

    async def _call_all(
        self,
        member: str,
        signature: str = "",
        *arguments: Any,
        of: str = names.AGENT,
        limit_s: float = VERB_S,
    ) -> list[Any]:
        """Call a method; all of its results."""
        message = Message(
            destination=names.AGENT_NAME,
            path=names.AGENT_PATH,
            interface=of,
            member=member,
            signature=signature,
            body=list(arguments),
            flags=MessageFlag.NO_AUTOSTART | MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION,
        )
        try:
            return await self._bus.ask_all(message, limit_s)
        except ClientError as error:
            # The agent itself may say that of the daemon, as an error without a code of its own.
            if error.code is ExitCode.NOT_RUNNING:
                raise ClientError(NOT_RUNNING, ExitCode.NOT_RUNNING) from error
            raise


@contextlib.asynccontextmanager
async def connected(bus_address: str | None) -> AsyncIterator[Agent]:
    """Connect to the system bus (or the one at ``bus_address``); raises ClientError."""
    async with connected_bus(bus_address) as bus:
        yield Agent(bus)
