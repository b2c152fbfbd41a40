# SPDX-License-Identifier: GPL-2.0-or-later
"""A plain client of the daemon's objects, and schedctl as a process."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dbus_next.constants import MessageFlag, MessageType
from dbus_next.message import Message

from schedclient.bus import plain
from schedcpd.bus import names
from schedcpd.bus.connection import Connection
from schedcpd.bus.wire import result_of
from schedctl.__main__ import run
from schedctl.context import Context
from schedctl.parser.build import parse
from schedctl.report import Report

PATIENCE_S = 20.0
REPOSITORY = Path(__file__).parents[2]
PROPERTIES = "org.freedesktop.DBus.Properties"


class Client:
    """Calls methods, and keeps the signals that come."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.signals: asyncio.Queue[Message] = asyncio.Queue()
        connection.add_message_handler(self._take)

    @property
    def unique_name(self) -> str:
        """The name that the bus gave to this client."""
        return str(self.connection.unique_name)

    def _take(self, message: Message) -> None:
        if message.message_type is MessageType.SIGNAL and message.path.startswith(names.ROOT_PATH):
            self.signals.put_nowait(message)

    async def listen(self) -> None:
        """Hear every signal of the daemon."""
        rule = f"type='signal',sender='{names.BUS_NAME}'"
        await self.connection.call_driver("AddMatch", "s", rule)

    async def call(
        self,
        member: str,
        signature: str = "",
        *body: Any,
        path: str = names.ROOT_PATH,
        interface: str = names.MANAGER,
        interactive: bool = False,
    ) -> Any:
        """Call a method; returns its result, raises DBusError."""
        flags = MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION if interactive else MessageFlag.NONE
        message = Message(
            destination=names.BUS_NAME,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=list(body),
            flags=flags,
        )
        return plain(result_of(await asyncio.wait_for(self.connection.call(message), PATIENCE_S)))

    async def get(self, name: str, path: str = names.ROOT_PATH, of: str = names.MANAGER) -> Any:
        return await self.call("Get", "ss", of, name, path=path, interface=PROPERTIES)

    async def everything(self, path: str = names.ROOT_PATH) -> dict[str, Any]:
        """The managed objects."""
        manager = "org.freedesktop.DBus.ObjectManager"
        objects = await self.call("GetManagedObjects", path=path, interface=manager)
        assert isinstance(objects, dict)
        return objects

    async def heard(self) -> list[tuple[str, str, list[Any]]]:
        """The signals so far as (path, member, body); what is on its way is waited for."""
        await self.call("Ping", interface="org.freedesktop.DBus.Peer")
        found = []
        while not self.signals.empty():
            message = self.signals.get_nowait()
            found.append((message.path, message.member, plain(message.body)))
        return found


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Client]:
    """A client on the bus at ``address``."""
    connection = Connection(address)
    await connection.connect()
    try:
        yield Client(connection)
    finally:
        await connection.close()


@dataclass(frozen=True)
class Ran:
    """What a run of schedctl gave."""

    code: int
    out: str
    err: str


def command(*arguments: str) -> list[str]:
    """The command line of schedctl."""
    return [sys.executable, "-m", "schedctl", *arguments]


def environment(address: str) -> dict[str, str]:
    """The environment of schedctl on the bus at ``address``."""
    # Debian's Python finds the libraries of the agent where it is told to.
    told = [place for place in [os.environ.get("PYTHONPATH")] if place]
    return {
        **os.environ,
        "PYTHONPATH": ":".join([str(REPOSITORY), f"{REPOSITORY}/client", *told]),
        "DBUS_SYSTEM_BUS_ADDRESS": address,
        "COLUMNS": "80",
        "TZ": "UTC",
    }


async def schedctl(address: str, *arguments: str) -> Ran:
    """Run a command of schedctl in this process, as in a terminal of 80 columns without colour."""
    out, err = io.StringIO(), io.StringIO()
    context = Context(
        report=Report(out, 80, colour=False),
        errors=Report(err, None, colour=False),
        bus_address=address,
    )
    try:
        with contextlib.redirect_stderr(err):
            parsed = parse(arguments)
    except SystemExit as leave:
        return Ran(int(leave.code or 0), out.getvalue(), err.getvalue())
    context = replace(context, json=getattr(parsed, "json", False))
    code = await asyncio.wait_for(run(context, parsed), PATIENCE_S)
    return Ran(code, out.getvalue(), err.getvalue())


async def schedctl_process(address: str, *arguments: str) -> Ran:
    """Run schedctl as a process, to its end."""
    process = await asyncio.create_subprocess_exec(
        *command(*arguments),
        env=environment(address),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())


@asynccontextmanager
async def schedctl_started(
    address: str, *arguments: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Schedctl as a process that goes on until the test ends it."""
    process = await asyncio.create_subprocess_exec(
        *command(*arguments),
        env=environment(address),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
