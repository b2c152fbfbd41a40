# SPDX-License-Identifier: GPL-2.0-or-later
"""schedcp-agent: asks a language model for a plan where the built-in planner has none.

Exit status: 0 after SIGTERM or SIGINT, 1 when the bus is lost. Whatever else is missing (a key, the
network, good settings, the daemon), it stays, says what is wrong and does nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import sdnotify

from schedclient.daemon import Daemon, connected
from schedcpd import __version__
from schedcpd.agent.agent import Agent, ModelConnection, Places
from schedcpd.agent.configuration import ModelSettings
from schedcpd.agent.interface import BUS_NAME, PATH, AgentInterface
from schedcpd.agent.occasions import Occasions
from schedcpd.bus.authorisation import Polkit
from schedcpd.bus.joining import join, take_name
from schedcpd.errors import BusUnavailable

log = logging.getLogger("schedcp-agent")

EXIT_LOST = 1


def open_model(settings: ModelSettings, key: str) -> ModelConnection:
    """A connection to the server of the settings; the library is loaded with the first."""
    from schedcpd.agent.messages import Messages  # a second and 50 MB

    return Messages(settings, key)


async def run(places: Places, bus_address: str | None = None) -> int:
    """Run the agent until a signal or a loss; the exit status."""

    def connect() -> AbstractAsyncContextManager[Daemon]:
        return connected(bus_address)

    agent = Agent(places, connect, open_model, time.time)
    agent.start()
    notifier = sdnotify.SystemdNotifier()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, agent.reload)
    try:
        connection = await join(bus_address, PATH)
    except BusUnavailable as error:
        log.error("%s", error)
        await agent.close()
        return EXIT_LOST
    interface = AgentInterface(agent, Polkit(connection))
    following = asyncio.create_task(Occasions(agent, connect).follow())
    try:
        connection.export(interface.path, interface)
        agent.changed.connect(interface.refresh)
        agent.changed.connect(lambda _: notifier.notify(f"STATUS={agent.sentence()}"))
        await take_name(connection, BUS_NAME)
        notifier.notify(f"READY=1\nSTATUS={agent.sentence()}")
        return await until_stopped(stop, asyncio.create_task(connection.lost()))
    except BusUnavailable as error:
        log.error("%s", error)
        return EXIT_LOST
    finally:
        notifier.notify("STOPPING=1")
        following.cancel()
        await asyncio.wait((following,))
        await interface.gate.close()
        await agent.close()
        await connection.close()


async def until_stopped(stop: asyncio.Event, lost: asyncio.Task[str]) -> int:
    """Wait for a signal or the end of the bus, which is logged; the exit status."""
    stopped = asyncio.create_task(stop.wait())
    done, pending = await asyncio.wait((stopped, lost), return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.wait((stopped, lost))
    if lost in done:
        log.error("the connection to the system bus was lost: %s", lost.result())
        return EXIT_LOST
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="schedcp-agent", description=__doc__)
    parser.add_argument("--version", action="version", version=f"schedcp-agent {__version__}")
    usual = Places()
    for name, place in (("config", usual.configuration), ("state", usual.state)):
        parser.add_argument(f"--{name}", type=Path, default=place, help=f"(default: {place})")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    # They would log requests, and their headers.
    for name in ("anthropic", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    places = Places(options.config, Path(credentials) if credentials else None, options.state)
    return asyncio.run(run(places))


if __name__ == "__main__":
    sys.exit(main())
