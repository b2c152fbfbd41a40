# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon as seen over the bus; the only part of schedctl that knows dbus_next."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from dbus_next.aio.message_bus import MessageBus
from dbus_next.constants import BusType, MessageFlag, MessageType
from dbus_next.errors import AuthError, InvalidAddressError
from dbus_next.message import Message
from dbus_next.signature import Variant

from schedctl import names
from schedctl.errors import ClientError, from_dbus
from schedctl.exit import ExitCode
from schedctl.objects import (
    Deployment,
    Event,
    Machine,
    Policy,
    Properties,
    Workload,
    from_properties,
)

DRIVER = "org.freedesktop.DBus"
PROPERTIES = "org.freedesktop.DBus.Properties"
OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"

READ_S = 10.0
VERB_S = 330.0  # a person may be typing a password


class Bus(MessageBus):
    """dbus-next's connection, which never closes its socket by itself."""

    async def close(self) -> None:
        """Leave the bus and close the socket."""
        if self.connected:
            self.disconnect()  # type: ignore[no-untyped-call]
            await self.ended()
        self._close_socket()

    async def ended(self) -> None:
        """Wait until the connection ends."""
        with contextlib.suppress(EOFError, OSError):
            # Shielded: a waiter that is cancelled must not take the future from the others.
            await asyncio.shield(self._disconnect_future)

    def _close_socket(self) -> None:
        with contextlib.suppress(OSError):  # what is left to be written has no reader
            self._stream.close()
        self._sock.close()

    def _setup_socket(self) -> None:
        try:
            super()._setup_socket()  # type: ignore[no-untyped-call]
        except OSError:
            self._close_socket()
            raise


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
        return await self._call(message, VERB_S)

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[asyncio.Queue[Event | bool | None]]:
        """Give a queue of news: events, whether the daemon is there, None when the bus ends."""
        queue: asyncio.Queue[Event | bool | None] = asyncio.Queue()

        def take(message: Message) -> None:
            if message.message_type is not MessageType.SIGNAL:
                return
            if message.member == "EventLogged" and message.interface == names.MANAGER:
                queue.put_nowait(Event(*message.body))
            elif message.member == "NameOwnerChanged" and message.body[0] == names.BUS_NAME:
                queue.put_nowait(bool(message.body[2]))

        async def end() -> None:
            await self._bus.ended()
            queue.put_nowait(None)

        self._bus.add_message_handler(take)
        manager, driver = names.MANAGER, DRIVER
        for rule in (
            f"type='signal',sender='{names.BUS_NAME}',interface='{manager}',member='EventLogged'",
            f"type='signal',sender='{driver}',member='NameOwnerChanged',arg0='{names.BUS_NAME}'",
        ):
            await self._driver("AddMatch", "s", rule)
        ending = asyncio.ensure_future(end())
        try:
            yield queue
        finally:
            ending.cancel()

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
        return await self._call(message, READ_S)

    async def _driver(self, member: str, signature: str, *arguments: Any) -> Any:
        message = Message(
            destination=DRIVER,
            path="/org/freedesktop/DBus",
            interface=DRIVER,
            member=member,
            signature=signature,
            body=list(arguments),
        )
        return await self._call(message, READ_S)

    async def _call(self, message: Message, limit_s: float) -> Any:
        try:
            reply = await asyncio.wait_for(self._bus.call(message), limit_s)
        except TimeoutError as error:
            raise ClientError(
                f"schedcpd did not answer within {limit_s:g} s; see: journalctl -u schedcpd"
            ) from error
        except (EOFError, OSError) as error:
            raise ClientError("the system bus closed the connection") from error
        assert reply is not None  # every call here expects one
        if reply.message_type is MessageType.ERROR:
            detail = str(reply.body[0]) if reply.body else ""
            raise from_dbus(reply.error_name, detail)
        return reply.body[0] if reply.body else None


@contextlib.asynccontextmanager
async def connected(bus_address: str | None) -> AsyncIterator[Daemon]:
    """Connect to the system bus (or the one at ``bus_address``); raises ClientError."""
    try:
        bus = Bus(bus_address, BusType.SYSTEM)  # type: ignore[arg-type]
    except (OSError, InvalidAddressError) as error:
        raise _no_bus(error) from error
    try:
        try:
            await bus.connect()
        except (OSError, EOFError, AuthError) as error:
            raise _no_bus(error) from error
        yield Daemon(bus)
    finally:
        await bus.close()


def _no_bus(error: Exception) -> ClientError:
    return ClientError(
        f"the system bus cannot be reached ({error}); is dbus running?", ExitCode.NOT_RUNNING
    )


def plain(value: Any) -> Any:
    """A value as received, its variants taken off."""
    if isinstance(value, Variant):
        return plain(value.value)
    if isinstance(value, Mapping):
        return {key: plain(inside) for key, inside in value.items()}
    if isinstance(value, list):
        return [plain(inside) for inside in value]
    return value
