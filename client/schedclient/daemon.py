# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon's methods, as seen over the bus."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any

from dbus_next.constants import MessageFlag
from dbus_next.message import Message

from schedclient import names
from schedclient.bus import DRIVER, Bus, connected_bus, plain
from schedclient.errors import ClientError, from_dbus
from schedclient.objects import (
    Deployment,
    Event,
    Hit,
    Job,
    Machine,
    Past,
    Policy,
    Properties,
    Quarantine,
    Rule,
    Workload,
    from_details,
    from_properties,
)

PROPERTIES = "org.freedesktop.DBus.Properties"
OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"

READ_S = 20.0
VERB_S = 330.0  # a person may be typing a password

_OURS = f"type='signal',sender='{names.BUS_NAME}'"
_PRESENCE = f"type='signal',sender='{DRIVER}',member='NameOwnerChanged',arg0='{names.BUS_NAME}'"

# The path of an object, and what changed; ("", {}): all is gone.
Change = tuple[str, dict[str, Any]]


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

    async def job(self, number: int) -> Job:
        """The job of that number; raises ObjectGoneError."""
        path = f"{names.ROOT_PATH}/job/{number}"
        properties = await self._read(path, PROPERTIES, "GetAll", "s", names.JOB)
        return from_properties(Job, plain(properties))

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

    async def past_deployment(self, ident: int) -> Deployment:
        """One deployment by its id, also one that is no object any more, with its canary."""
        found = await self._read(names.ROOT_PATH, names.MANAGER, "ReadDeployment", "t", ident)
        return from_details(Deployment, {**plain(found), "workload": names.NO_OBJECT})

    async def apply(self, workload: str, policy: str, parameters: Mapping[str, int]) -> str:
        """Attach a policy for the workload at a path; the path of the deployment."""
        path: str = await self.verb("Apply", "osa{sx}", workload, policy, dict(parameters))
        return path

    async def propose(
        self,
        workload: str,
        policy: str,
        parameters: Mapping[str, int],
        objective: str,
        reason: str,
    ) -> str:
        """Propose a policy for the workload at a path; the path of the deployment on trial."""
        wanted = (workload, policy, dict(parameters), objective, reason)
        path: str = await self.verb("Propose", "osa{sx}ss", *wanted)
        return path

    async def optimize(self, workload: str) -> str:
        """Have the workload at a path planned for now; a sentence of what was decided."""
        sentence: str = await self.verb("Optimize", "o", workload)
        return sentence

    async def profile(self, workload: str, tier: str) -> dict[str, Any]:
        """Have the workload at a path looked at now: tier summary, scheduling or probes."""
        details: dict[str, Any] = plain(await self.verb("Profile", "os", workload, tier))
        return details

    async def read_file(
        self, workload: str, path: str, offset: int, length: int
    ) -> tuple[str, int]:
        """A part of a file of the workload, without secrets, and how many characters it has."""
        wanted = (workload, path, offset, length)
        message = _verb(names.MANAGER, "ReadFile", "osuu", wanted)
        text, total = await self._bus.ask_all(message, VERB_S)
        return text, total

    async def search(self, query: str, kind: str, limit: int) -> tuple[Hit, ...]:
        """The entries of the repository (of a kind) that fit a query best, best first."""
        found = await self._read(
            names.ROOT_PATH, names.REPOSITORY, "Search", "ssu", query, kind, limit
        )
        return tuple(Hit(*one) for one in found)

    async def read(self, kind: str, name: str, part: str, offset: int) -> tuple[str, int]:
        """A piece of the text of an entry from a position on, and how long all of it is."""
        where = (names.ROOT_PATH, names.REPOSITORY)
        piece, whole = await self._read_all(*where, "Read", "sssu", kind, name, part, offset)
        return piece, whole

    async def read_whole(self, kind: str, name: str, part: str) -> str:
        """The whole text of an entry."""
        text, whole = await self.read(kind, name, part, 0)
        while len(text) < whole:
            piece, whole = await self.read(kind, name, part, len(text))
            if not piece:
                break  # it has become shorter meanwhile
            text += piece
        return text

    async def outcomes(self, workload: str, policy: str, count: int) -> tuple[Properties, ...]:
        """What came of deployments, newest first; of one workload and policy unless empty."""
        where = (names.ROOT_PATH, names.REPOSITORY)
        found = await self._read(*where, "Outcomes", "ssu", workload, policy, count)
        return tuple(plain(one) for one in found)

    async def annotate(self, kind: str, name: str, note: str) -> int:
        """Keep a note; its number."""
        (number,) = await self._repository("Annotate", "sss", kind, name, note)
        return int(number)

    async def promote(self, policy: str) -> None:
        """Let the built-in planner choose a policy."""
        await self._repository("Promote", "s", policy)

    async def retire(self, policy: str, reason: str) -> None:
        """Keep the built-in planner from choosing a policy."""
        await self._repository("Retire", "ss", policy, reason)

    async def export(self) -> AsyncGenerator[str, None]:
        """The lines of this machine's bundle."""
        place = 0
        while True:
            line, place = await self._repository("Export", "u", place)
            if line:
                yield line
            if not place:
                return

    async def take(self, line: str) -> dict[str, int]:
        """Keep what a line of another machine's bundle has: how many new ones of each kind."""
        (counts,) = await self._repository("Import", "s", line)
        return dict(counts)

    async def _repository(self, member: str, signature: str, *arguments: Any) -> list[Any]:
        """Call a verb of the repository; all that it returns."""
        return await self._bus.ask_all(
            _verb(names.REPOSITORY, member, signature, arguments), VERB_S
        )

    async def verb(self, member: str, signature: str = "", *arguments: Any) -> Any:
        """Have the daemon do something; polkit may ask for a password meanwhile."""
        return await self._bus.ask(_verb(names.MANAGER, member, signature, arguments), VERB_S)

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
        async with self._changes("job", names.JOB) as queue:
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

    async def deployment_changes(self, number: int) -> AsyncGenerator[Deployment, None]:
        """Give a deployment now, and each time that it has changed; it does not end by itself.

        To be closed (``contextlib.aclosing``). Raises ObjectGoneError.
        """
        path = f"{names.ROOT_PATH}/deployment/{number}"
        async with self._changes("deployment", names.DEPLOYMENT) as queue:
            found = await self._read(path, PROPERTIES, "GetAll", "s", names.DEPLOYMENT)
            properties: dict[str, Any] = plain(found)
            while True:
                yield from_properties(Deployment, properties)
                properties |= await _next_change(queue, path)

    @contextlib.asynccontextmanager
    async def _changes(
        self, folder: str, interface: str
    ) -> AsyncIterator[asyncio.Queue[Change | None]]:
        """Give a queue of what changes of the objects in a folder."""

        def read(message: Message) -> Change | None:
            if message.member == "PropertiesChanged" and message.body[0] == interface:
                return message.path, plain(message.body[1])
            return None if presence(message) is not False else ("", {})

        place = f"path_namespace='{names.ROOT_PATH}/{folder}'"
        rule = f"{_OURS},member='PropertiesChanged',{place}"
        async with self._bus.listening((rule, _PRESENCE), read) as queue:
            yield queue

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
        """Call a method that changes nothing; the first value that it returns."""
        return (await self._read_all(path, interface, member, signature, *arguments))[0]

    async def _read_all(
        self, path: str, interface: str, member: str, signature: str, *arguments: Any
    ) -> list[Any]:
        message = Message(
            destination=names.BUS_NAME,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=list(arguments),
            flags=MessageFlag.NO_AUTOSTART,
        )
        return await self._bus.ask_all(message, READ_S)


def _verb(interface: str, member: str, signature: str, arguments: Sequence[Any]) -> Message:
    """A call of a method of the root object that may have polkit ask for a password."""
    return Message(
        destination=names.BUS_NAME,
        path=names.ROOT_PATH,
        interface=interface,
        member=member,
        signature=signature,
        body=list(arguments),
        flags=MessageFlag.NO_AUTOSTART | MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION,
    )


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
    """What changes next of the object at ``path``; raises ClientError when the daemon ends."""
    while True:
        news = await queue.get()
        if news is None:
            raise ClientError("the system bus closed the connection")
        changed, properties = news
        if not changed:
            raise from_dbus("org.freedesktop.DBus.Error.NoReply", "")
        if changed == path:
            return properties
