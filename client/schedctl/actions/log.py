# SPDX-License-Identifier: GPL-2.0-or-later
"""``schedctl log``: what the daemon did and why, and what it goes on to do."""

from __future__ import annotations

import asyncio
import contextlib
from argparse import Namespace

from schedclient.daemon import Daemon
from schedclient.errors import ClientError
from schedclient.exit import ExitCode
from schedclient.objects import Event, as_json
from schedclient.text import visible
from schedctl.context import Context
from schedctl.report import moment


async def run(context: Context, arguments: Namespace) -> ExitCode:
    """Show the newest events; with ``--follow`` go on until Ctrl-C."""
    async with context.daemon() as daemon:
        if not arguments.follow:
            events = await daemon.events(arguments.lines)
            for event in events:
                write(context, event)
            if arguments.lines and not events and not context.json:
                context.report.line("Nothing has happened since the daemon started.")
            return ExitCode.OK
        with contextlib.suppress(asyncio.CancelledError):  # Ctrl-C is how this ends
            await follow(context, daemon, arguments.lines)
    return ExitCode.OK


async def follow(context: Context, daemon: Daemon, lines: int) -> None:
    """Show the newest events and each that comes; raises ClientError when the bus ends."""
    async with daemon.following() as queue:
        known = await daemon.events(lines)
        for event in known:
            write(context, event)
        while True:
            news = await queue.get()
            if news is None:
                raise ClientError("the system bus closed the connection")
            if isinstance(news, bool):
                words = "is back" if news else "has left the bus; waiting for it to come back"
                context.errors.line(f"schedctl: schedcpd {words}")
                context.errors.flush()
            elif news not in known:  # it may have come between the two requests
                write(context, news)


def write(context: Context, event: Event) -> None:
    """Write one event as a line; with ``--json`` that is an object."""
    if context.json:
        context.report.json_line(as_json(event))
        return
    subject = event.subject.rpartition("/")[2]
    about = f"{visible(subject)}: " if subject else ""
    kind = context.report.paint("bold", visible(event.kind).ljust(10))
    context.report.line(f"{moment(event.at)}  {kind}  {about}{visible(event.message)}")
    context.report.flush()
