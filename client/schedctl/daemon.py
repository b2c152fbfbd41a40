# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon's methods, as seen over the bus."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from dbus_next.constants import MessageFlag
from dbus_next.message import Message

from schedctl import names
from schedctl.bus import DRIVER, Bus, connected_bus, plain
from schedctl.errors import ClientError, from_dbus
from schedctl.objects import (
    Deployment,
    Event,
    Job,
    Machine,
    Past,
    Policy,
    Properties,
    Quarantine,
    Rule,
    Workload,
    from_properties,
)

PROPERTIES = "org.freedesktop.DBus.Properties"
OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"

READ_S = 10.0
VERB_S = 330.0  # a person may be typing a password

_OURS = f"type='signal',sender='{names.BUS_NAME}'"
_PRESENCE = f"type='signal',sender='{DRIVER}',member='NameOwnerChanged',arg0='{names.BUS_NAME}'"

Change = tuple[str, dict[str, Any]]  # the path of a job, and what changed; ("", {}): all is gone


class Daemon:
    """A connection to the bus, and the daemon's methods; raises ClientError."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def machine(self) -> Machine:
        """The manager's properties."""
        properties = await self._read(names.ROOT_PATH, PROPERTIES, "GetAll", "s", names.MANAGER)
        return from_properties(Machine, plain(properties))

    async def workloads(self) -> tuple[Workload, ...]:
        """The workloads, in the order of their ids."""
        found = await self._objects("workload", names.WORKLOAD)
        workloads = (from_properties(Workload, one) for one in found)
        return tuple(sorted(workloads, key=lambda one: (one.id, one.cgroup_id)))

    async def policies(self) -> tuple[Policy, ...]:
        """The installed policies, by name."""
        found = await self._objects("policy", names.POLICY)
        return tuple(
            sorted((from_properties(Policy, one) for one in found), key=lambda one: one.name)
        )

    async def deployments(self) -> tuple[Deployment, ...]:
        """The newest deployments, oldest first."""
        found = await self._objects("deployment", names.DEPLOYMENT)
        return tuple(
            sorted((from_properties(Deployment, one) for one in found), key=lambda one: one.id)
        )

    async def deployment(self, path: str) -> Deployment:
        """The deployment at ``path``; raises ObjectGoneError."""
        properties = await self._read(path, PROPERTIES, "GetAll", "s", names.DEPLOYMENT)
        return from_properties(Deployment, plain(properties))

    async def workload(self, path: str) -> Workload:
        """The workload at ``path``; raises ObjectGoneError."""
        properties = await self._read(path, PROPERTIES, "GetAll", "s", names.WORKLOAD)
        return from_properties(Workload, plain(properties))

    async def events(self, count: int) -> tuple[Event, ...]:
        """The newest events, oldest first."""
        lines = await self._read(names.ROOT_PATH, names.MANAGER, "Events", "u", count)
        return tuple(Event(*line) for line in lines)

    async def why(self, workload: str) -> tuple[str, ...]:
        """Why a workload, given by path or id, is scheduled as it is; the newest first."""
        return tuple(await self._read(names.ROOT_PATH, names.MANAGER, "Why", "s", workload))

    async def history(self, workload: str, count: int) -> tuple[Past, ...]:
        """The newest deployments of a workload, or of all when empty; newest first."""
        lines = await self._read(names.ROOT_PATH, names.MANAGER, "History", "su", workload, count)
        return tuple(Past(*plain(line)) for line in lines)

    async def quarantines(self) -> tuple[Quarantine, ...]:
        """The policies in quarantine."""
        lines = await self._read(names.ROOT_PATH, names.MANAGER, "Quarantines")
        return tuple(Quarantine(*line) for line in lines)

    async def rules(self) -> tuple[Rule, ...]:
        """The rules of the static analysis."""
        lines = await self._read(names.ROOT_PATH, names.MANAGER, "Rules")
        return tuple(Rule(*line) for line in lines)

    async def verb(self, member: str, signature: str = "", *arguments: Any) -> Any:
        """Have the daemon do something; polkit may ask for a password meanwhile."""
        message = Message(
            destination=names.BUS_NAME,
            path=names.ROOT_PATH,
            interface=names.MANAGER,
            member=member,
            signature=signature,
            body=list(arguments),
            flags=MessageFlag.NO_AUTOSTART | MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION,
        )
        return await self._bus.ask(message, VERB_S)

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[asyncio.Queue[Event | bool | None]]:
        """Give a queue of news: events, whether the daemon is there, None when the bus ends."""

        def read(message: Message) -> Event | bool | None:
            if message.member == "EventLogged" and message.interface == names.MANAGER:
                return Event(*message.body)
            return presence(message)

        rule = f"{_OURS},interface='{names.MANAGER}',member='EventLogged'"
        async with self._bus.listening((rule, _PRESENCE), read) as queue:
            yield queue

    @contextlib.asynccontextmanager
    async def presence(self) -> AsyncIterator[asyncio.Queue[bool | None]]:
        """Give a queue of whether the daemon is there, None when the bus ends."""
        async with self._bus.listening((_PRESENCE,), presence) as queue:
            yield queue

    async def work(self, member: str, *arguments: str) -> AsyncGenerator[Job, None]:
        """Start a job; give it now, each time that it has changed, and when it is over.

        To be closed (``contextlib.aclosing``): a job that is left before its end is cancelled.
        """

        def read(message: Message) -> Change | None:
            if message.member == "PropertiesChanged" and message.body[0] == names.JOB:
                return message.path, plain(message.body[1])
            return None if presence(message) is not False else ("", {})

        rule = f"{_OURS},member='PropertiesChanged',path_namespace='{names.ROOT_PATH}/job'"
        async with self._bus.listening((rule, _PRESENCE), read) as queue:
            path: str = await self.verb(member, "s" * len(arguments), *arguments)
            over = False
            try:
                found = await self._read(path, PROPERTIES, "GetAll", "s", names.JOB)
                properties: dict[str, Any] = plain(found)
                while not over:
                    job = from_properties(Job, properties)
                    over = job.state != "running"
                    yield job
                    if not over:
                        properties |= await _next_change(queue, path)
            finally:
                if not over:
                    await self._cancel(path)

    async def _cancel(self, path: str) -> None:
        """Cancel a job whose end nobody waits for."""
        flags = MessageFlag.NO_AUTOSTART | MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION
        message = Message(names.BUS_NAME, path, names.JOB, "Cancel", flags=flags)
        with contextlib.suppress(ClientError):  # the daemon may be gone, and the job with it
            await self._bus.ask(message, READ_S)

    async def _objects(self, folder: str, interface: str) -> list[Properties]:
        path = f"{names.ROOT_PATH}/{folder}"
        objects = await self._read(path, OBJECT_MANAGER, "GetManagedObjects")
        return [plain(one[interface]) for one in objects.values() if interface in one]

    async def _read(
        self, path: str, interface: str, member: str, signature: str = "", *arguments: Any
    ) -> Any:
        message = Message(
            destination=names.BUS_NAME,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=list(arguments),
            flags=MessageFlag.NO_AUTOSTART,
        )
        return await self._bus.ask(message, READ_S)


@contextlib.asynccontextmanager
async def connected(bus_address: str | None) -> AsyncIterator[Daemon]:
    """Connect to the system bus (or the one at ``bus_address``); raises ClientError."""
    async with connected_bus(bus_address) as bus:
        yield Daemon(bus)


def presence(message: Message) -> bool | None:
    """Whether the daemon came or left; None for another message."""
    if message.member == "NameOwnerChanged" and message.body[0] == names.BUS_NAME:
        return bool(message.body[2])
    return None


async def _next_change(queue: asyncio.Queue[Change | None], path: str) -> dict[str, Any]:
    """What changes next of the job at ``path``; raises ClientError when the daemon ends."""
    while True:
        news = await queue.get()
        if news is None:
            raise ClientError("the system bus closed the connection")
        changed, properties = news
        if not changed:
            raise from_dbus("org.freedesktop.DBus.Error.NoReply", "")
        if changed == path:
            return properties
