# SPDX-License-Identifier: GPL-2.0-or-later
"""The connection to the bus: dbus-next, with the edges off that its service side has.

dbus-next 0.2.3 is not developed any more, so these are mended here, in one place:

- it announces objects with signals from the object's own path, where no client listens: the
  specification wants them from the path of the object manager;
- it searches all objects for the path of each signal it sends;
- an exception goes to the caller with its traceback and our file paths;
- a handler does not learn who called;
- it unpacks a message of any size element by element, in the event loop of a real-time process;
  reads on while there is anything to read, whoever else waits; and remembers every signature;
- it takes a full socket for the end of the connection, as after some 200 signals in a row;
- it never closes its socket, not even one that it could not connect.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from dbus_next.aio.message_bus import MessageBus
from dbus_next.constants import BusType, MessageFlag, MessageType
from dbus_next.errors import DBusError
from dbus_next.message import Message
from dbus_next.service import ServiceInterface
from dbus_next.signature import SignatureTree

from schedcpd.bus.errors import TOO_LARGE, to_dbus
from schedcpd.bus.names import ROOT_PATH
from schedcpd.bus.wire import BoundedUnmarshaller, PatientSocket, no_reply, result_of

MOST_SIGNATURES = 500  # ours are some 60
MOST_AT_ONCE = 16  # messages, before others have their turn in the event loop
FLUSH_S = 1.0

DRIVER = "org.freedesktop.DBus"
DRIVER_PATH = "/org/freedesktop/DBus"
OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who called a method."""

    sender: str  # unique name on the bus
    interactive: bool  # may be asked for a password


_caller: ContextVar[Caller] = ContextVar("caller")


def current_caller() -> Caller:
    """The caller of the method that runs in this task."""
    return _caller.get()


class ObjectInterface(ServiceInterface):
    """An interface of one object; knows the path at which it is exported."""

    def __init__(self, interface: str, path: str) -> None:
        super().__init__(interface)
        self.path = path


class Connection(MessageBus):
    """A connection to the system bus, or another; ``root`` is the path that has all objects."""

    def __init__(self, bus_address: str | None = None, root: str = ROOT_PATH) -> None:
        self._root = root
        self._room = MOST_AT_ONCE
        self._more_to_read = False
        super().__init__(bus_address, BusType.SYSTEM)  # type: ignore[arg-type]
        self._writer.sock = PatientSocket(self._sock)
        self._vanishing: dict[str, set[asyncio.Future[None]]] = {}
        self.add_message_handler(self._look_at)

    async def call_driver(self, member: str, signature: str, *arguments: Any) -> Any:
        """Call a method of the bus itself; returns its one result, raises DBusError."""
        message = Message(
            destination=DRIVER,
            path=DRIVER_PATH,
            interface=DRIVER,
            member=member,
            signature=signature,
            body=list(arguments),
        )
        return result_of(await self.call(message))

    @contextlib.asynccontextmanager
    async def vanishing(self, sender: str) -> AsyncIterator[asyncio.Future[None]]:
        """Give a future that is done once ``sender`` has left the bus."""
        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._vanishing.setdefault(sender, set()).add(gone)
        rule = (
            f"type='signal',sender='{DRIVER}',interface='{DRIVER}',"
            f"member='NameOwnerChanged',arg0='{sender}'"
        )
        try:
            await self.call_driver("AddMatch", "s", rule)
            if not await self.call_driver("NameHasOwner", "s", sender) and not gone.done():
                gone.set_result(None)  # left before the bus knew that we listen
            yield gone
        finally:
            self._vanishing[sender].discard(gone)
            if not self._vanishing[sender]:
                del self._vanishing[sender]
            gone.cancel()
            if self.connected:
                self.send(no_reply(DRIVER, DRIVER_PATH, DRIVER, "RemoveMatch", "s", [rule]))

    async def lost(self) -> str:
        """Wait until the connection ends; returns why."""
        try:
            # Shielded: a waiter that is cancelled must not take the future from the others.
            await asyncio.shield(self._disconnect_future)
        except (EOFError, OSError) as error:
            return str(error) or "the bus closed it"
        return "it was closed"

    async def close(self) -> None:
        """Send what waits to be sent, leave the bus and close the socket."""
        if self.connected:
            with contextlib.suppress(DBusError, EOFError, OSError, TimeoutError):
                # The bus answers in order: what we sent before has arrived by then.
                async with asyncio.timeout(FLUSH_S):
                    await self.call_driver("GetId", "")
        if not self._disconnected:
            self.disconnect()  # type: ignore[no-untyped-call]
        await self.lost()
        with contextlib.suppress(OSError):  # what is left in the write buffer has no reader
            self._stream.close()
        self._sock.close()

    def _look_at(self, message: Message) -> Message | None:
        """Note who calls; answer a call that is too large; hear of names that vanish."""
        if len(SignatureTree._cache) > MOST_SIGNATURES:  # noqa: SLF001 - no public way
            SignatureTree._cache.clear()  # noqa: SLF001
        if message.message_type is MessageType.METHOD_CALL:
            _caller.set(
                Caller(
                    message.sender,
                    bool(message.flags & MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION),
                )
            )
            if message.signature and not message.body:
                return Message.new_error(message, TOO_LARGE, "the message is too large")
        elif message.member == "NameOwnerChanged" and message.sender == DRIVER and message.body:
            name, _, new_owner = message.body
            if not new_owner:
                self._vanished(name)
        return None

    def _vanished(self, name: str) -> None:
        for future in self._vanishing.get(name, ()):
            if not future.done():
                future.set_result(None)

    # What dbus-next calls

    def _setup_socket(self) -> None:
        try:
            super()._setup_socket()  # type: ignore[no-untyped-call]
        except OSError:
            self._stream.close()
            self._sock.close()
            raise

    def _message_reader(self) -> None:
        if not self._more_to_read:
            self._read_some()

    def _read_some(self) -> None:
        self._more_to_read = False
        if not self._disconnected:
            self._room = MOST_AT_ONCE
            super()._message_reader()  # type: ignore[no-untyped-call]

    def _has_room(self) -> bool:
        """Whether another message may be read in this turn of the event loop."""
        if self._room > 0:
            self._room -= 1
            return True
        # What is left may be in the stream's buffer, where the event loop does not see it.
        self._more_to_read = True
        self._loop.call_soon(self._read_some)
        return False

    def _create_unmarshaller(self) -> BoundedUnmarshaller:
        return BoundedUnmarshaller(self._stream, self._has_room)

    def _emit_interface_added(self, path: str, interface: ObjectInterface) -> None:
        if path == self._root or not self.connected:
            return

        def announce(_: Any, values: dict[str, Any], __: Any, ___: Exception | None) -> None:
            self._send_signal("InterfacesAdded", "oa{sa{sv}}", [path, {interface.name: values}])

        ServiceInterface._get_all_property_values(interface, announce)  # noqa: SLF001

    def _emit_interface_removed(self, path: str, removed_interfaces: list[str]) -> None:
        if path != self._root and self.connected:
            self._send_signal("InterfacesRemoved", "oas", [path, removed_interfaces])

    def _send_signal(self, member: str, signature: str, body: list[Any]) -> None:
        self.send(Message.new_signal(self._root, OBJECT_MANAGER, member, signature, body))

    def _interface_signal_notify(
        self,
        interface: ObjectInterface,
        interface_name: str,
        member: str,
        signature: str,
        body: list[Any],
        unix_fds: tuple[int, ...] = (),  # noqa: ARG002 - nothing here passes descriptors
    ) -> None:
        if self.connected:
            self.send(Message.new_signal(interface.path, interface_name, member, signature, body))

    def _has_interface(self, interface: ServiceInterface) -> bool:
        path = interface.path if isinstance(interface, ObjectInterface) else ""
        return interface in self._path_exports.get(path, ())

    def _send_reply(self, message: Message) -> "Reply":
        return Reply(self, message)


class Reply:
    """Sends the reply to a call, or the error that was raised instead."""

    def __init__(self, connection: Connection, message: Message) -> None:
        self._connection = connection
        self._message = message

    def __call__(self, reply: Message) -> None:
        """Send ``reply``, if the caller waits for one and we are still on the bus."""
        if self._connection.connected and not (self._message.flags & MessageFlag.NO_REPLY_EXPECTED):
            self._connection.send(reply)

    def send_error(self, error: Exception) -> None:
        """Send ``error``, without its traceback."""
        dbus_error = to_dbus(error, f"{self._message.interface}.{self._message.member}")
        self(Message.new_error(self._message, dbus_error.type, dbus_error.text))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _: type[BaseException] | None,
        error: BaseException | None,
        __: TracebackType | None,
    ) -> bool:
        if isinstance(error, Exception):
            self.send_error(error)
            return True
        return False
