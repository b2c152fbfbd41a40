# SPDX-License-Identifier: GPL-2.0-or-later
"""The clients that hold something: who they are, and when they leave the bus."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from dbus_next.errors import DBusError

from schedcpd.bus.connection import Connection

log = logging.getLogger(__name__)


class Clients:
    """Watches clients by their unique names; ``gone`` is called once for each that leaves."""

    def __init__(self, connection: Connection, gone: Callable[[str], None]) -> None:
        self._connection = connection
        self._gone = gone
        self._watches: dict[str, asyncio.Task[None]] = {}

    async def uid(self, sender: str) -> int:
        """The user of a client; raises DBusError when it has left."""
        uid: int = await self._connection.call_driver("GetConnectionUnixUser", "s", sender)
        return uid

    def watch(self, sender: str) -> None:
        """Watch a client from now on."""
        if sender not in self._watches:
            self._watches[sender] = asyncio.ensure_future(self._watch(sender))

    def forget(self, sender: str) -> None:
        """Watch a client no longer."""
        watch = self._watches.pop(sender, None)
        if watch is not None:
            watch.cancel()

    async def close(self) -> None:
        """Watch nobody any longer."""
        watches = tuple(self._watches.values())
        for sender in tuple(self._watches):
            self.forget(sender)
        if watches:
            await asyncio.wait(watches)

    async def _watch(self, sender: str) -> None:
        try:
            async with self._connection.vanishing(sender) as gone:
                await gone
        except (EOFError, OSError):  # the bus itself is gone, and the daemon ends with it
            return
        except DBusError as error:  # whom nobody watches must not hold anything
            log.warning("the client %s cannot be watched: %s", sender, error.text)
        self._watches.pop(sender, None)
        self._gone(sender)
