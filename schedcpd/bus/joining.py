# SPDX-License-Identifier: GPL-2.0-or-later
"""How a service comes onto the bus: the connection, and the name that clients know it by."""

from __future__ import annotations

from dbus_next.constants import NameFlag, RequestNameReply
from dbus_next.errors import AuthError, DBusError, InvalidAddressError

from schedcpd.bus.connection import Connection
from schedcpd.errors import BusUnavailable


async def join(bus_address: str | None, root: str) -> Connection:
    """A connection to the system bus (or another), with objects below ``root``; BusUnavailable."""
    try:
        connection = Connection(bus_address, root)
        await connection.connect()
    except (OSError, EOFError, AuthError, InvalidAddressError) as error:
        raise BusUnavailable(f"the system bus cannot be reached: {error}") from error
    return connection


async def take_name(connection: Connection, name: str) -> None:
    """Have ``name`` on the bus; raises BusUnavailable."""
    try:
        reply = await connection.request_name(name, NameFlag.DO_NOT_QUEUE)
    except DBusError as error:
        raise BusUnavailable(f"the bus refuses the name {name}: {error}") from error
    if reply is not RequestNameReply.PRIMARY_OWNER:
        raise BusUnavailable(f"another process has the name {name} on the bus")
