# SPDX-License-Identifier: GPL-2.0-or-later
"""The connection to the bus; with ``daemon`` the only part of schedctl that knows dbus_next."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, TypeVar

from dbus_next.aio.message_bus import MessageBus
from dbus_next.constants import BusType, MessageFlag, MessageType
from dbus_next.errors import AuthError, InvalidAddressError
from dbus_next.message import Message
from dbus_next.signature import Variant

from schedclient.errors import ClientError, from_dbus
from schedclient.exit import ExitCode

Value = TypeVar("Value")

DRIVER = "org.freedesktop.DBus"
DRIVER_S = 10.0
CLOSE_S = 2.0  # nothing is lost with a bus that does not take leave


class Bus(MessageBus):
    """dbus-next's connection, which never closes its socket by itself."""

    async def close(self) -> None:
        """Leave the bus and close the socket."""
        if self.connected:
            self.disconnect()  # type: ignore[no-untyped-call]
            await asyncio.wait([self._disconnect_future], timeout=CLOSE_S)
        self._close_socket()

    async def ended(self) -> None:
        """Wait until the connection ends."""
        with contextlib.suppress(EOFError, OSError):
            # Shielded: a waiter that is cancelled must not take the future from the others.
            await asyncio.shield(self._disconnect_future)

    @contextlib.asynccontextmanager
    async def listening(
        self, rules: Sequence[str], read: Callable[[Message], Value]
    ) -> AsyncIterator[asyncio.Queue[Value | None]]:
        """Give a queue of what ``read`` makes of signals, and None when the bus ends."""
        queue: asyncio.Queue[Value | None] = asyncio.Queue()

        def take(message: Message) -> None:
            if message.message_type is MessageType.SIGNAL:
                value = read(message)
                if value is not None:
                    queue.put_nowait(value)

        async def end() -> None:
            await self.ended()
            queue.put_nowait(None)

        self.add_message_handler(take)
        for rule in rules:
            await self._add_match(rule)
        ending = asyncio.ensure_future(end())
        try:
            yield queue
        finally:
            ending.cancel()
            self.remove_message_handler(take)
            for rule in rules:
                self._remove_match(rule)

    async def ask(self, message: Message, limit_s: float) -> Any:
        """Call a method; returns its one result (None without one), raises ClientError."""
        body = await self.ask_all(message, limit_s)
        return body[0] if body else None

    async def ask_all(self, message: Message, limit_s: float) -> list[Any]:
        """Call a method; returns all of its results, raises ClientError."""
        try:
            async with asyncio.timeout(limit_s):  # wait_for of Python 3.11 loses a cancellation
                reply = await self.call(message)
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
        return list(reply.body)

    async def _add_match(self, rule: str) -> None:
        await self.ask(_about_match("AddMatch", rule), DRIVER_S)

    def _remove_match(self, rule: str) -> None:
        if self.connected:
            message = _about_match("RemoveMatch", rule)
            message.flags = MessageFlag.NO_REPLY_EXPECTED
            self.send(message)

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


@contextlib.asynccontextmanager
async def connected_bus(bus_address: str | None) -> AsyncIterator[Bus]:
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
        yield bus
    finally:
        await bus.close()


def _about_match(member: str, rule: str) -> Message:
    """A call about the signals that the bus is to send."""
    return Message(
        destination=DRIVER,
        path="/org/freedesktop/DBus",
        interface=DRIVER,
        member=member,
        signature="s",
        body=[rule],
    )


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
