# SPDX-License-Identifier: GPL-2.0-or-later
"""polkit's authority on a private bus, with answers set by the test."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dbus_next.errors import DBusError
from dbus_next.service import method

from schedcpd.bus.authorisation import AUTHORITY, POLKIT, POLKIT_PATH
from schedcpd.bus.connection import Connection, ObjectInterface

if TYPE_CHECKING:
    Subject = list[Any]
    Text = str
    Details = dict[str, str]
    Flags = int
    Answer = list[Any]
else:
    Subject = "(sa{sv})"
    Text = "s"
    Details = "a{ss}"
    Flags = "u"
    Answer = "(bba{ss})"


@dataclass(frozen=True)
class Asked:
    """One question as polkit received it."""

    sender: str
    action: str
    flags: int
    cancellation: str


class MockPolkit(ObjectInterface):
    """Says ``allowed`` and ``challenge`` to everything, once ``gate`` is set."""

    def __init__(self) -> None:
        self.allowed = True
        self.challenge = False
        self.failure = ""
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked: asyncio.Queue[Asked] = asyncio.Queue()
        self.cancelled: asyncio.Queue[str] = asyncio.Queue()
        self.waiting: set[asyncio.Task[Any]] = set()
        super().__init__(AUTHORITY, POLKIT_PATH)

    @method("CheckAuthorization")  # type: ignore[untyped-decorator]
    async def check(
        self,
        subject: Subject,
        action: Text,
        details: Details,
        flags: Flags,
        cancellation: Text,
    ) -> Answer:
        kind, about = subject
        assert kind == "system-bus-name"
        self.asked.put_nowait(Asked(about["name"].value, action, flags, cancellation))
        task = asyncio.current_task()
        assert task is not None
        self.waiting.add(task)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            raise DBusError("org.freedesktop.PolicyKit1.Error.Failed", "ended") from None
        finally:
            self.waiting.discard(task)
        if self.failure:
            raise DBusError("org.freedesktop.PolicyKit1.Error.Failed", self.failure)
        return [self.allowed, self.challenge, {}]

    @method("CancelCheckAuthorization")  # type: ignore[untyped-decorator]
    async def cancel(self, cancellation: Text) -> None:
        self.cancelled.put_nowait(cancellation)


async def start(address: str) -> tuple[Connection, MockPolkit]:
    """Put a polkit on the bus; the connection is the caller's to close."""
    connection = Connection(address)
    await connection.connect()
    polkit = MockPolkit()
    connection.export(POLKIT_PATH, polkit)
    await connection.request_name(POLKIT)
    return connection, polkit


async def stop(connection: Connection, polkit: MockPolkit) -> None:
    """Take polkit off the bus, with what still waits in it."""
    waiting = tuple(polkit.waiting)
    for task in waiting:
        task.cancel()
    if waiting:
        await asyncio.wait(waiting)
    await connection.close()
