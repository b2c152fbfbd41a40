# SPDX-License-Identifier: GPL-2.0-or-later
"""schedcpd: gives each workload on this machine the CPU scheduler that suits it.

Exit status: 0 after SIGTERM or SIGINT, 1 when the bus or another part of the machine that it needs
is lost, 78 when the configuration is refused. Whatever it is, the kernel default schedules then.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import sdnotify
from systemd.journal import JournalHandler

from schedcpd import __version__
from schedcpd.config import Config, load
from schedcpd.daemon import CONFIG, Daemon, Places
from schedcpd.errors import BusUnavailable, ConfigError
from schedcpd.model import DeploymentState, Event
from schedcpd.supervisor import Supervisor

log = logging.getLogger("schedcpd")

WARNINGS = frozenset({"eject", "refuse", "trip", "quarantine"})
EXIT_LOST = 1
EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h; the unit does not restart on it


def set_up_logging() -> None:
    """Log to the journal where systemd reads us, else to standard error."""
    if "JOURNAL_STREAM" in os.environ:
        handler: logging.Handler = JournalHandler(SYSLOG_IDENTIFIER="schedcpd")
        logging.basicConfig(level=logging.INFO, handlers=[handler], format="%(message)s")
    else:
        logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")


def write_journal(event: Event) -> None:
    """One line a person can read, with the parts as fields of their own."""
    text = f"{event.subject}: {event.message}" if event.subject else event.message
    fields = {"SCHEDCP_EVENT": event.kind, "SCHEDCP_SUBJECT": event.subject}
    level = logging.WARNING if event.kind in WARNINGS else logging.INFO
    log.log(level, "%s", text, extra=fields)


def status_line(supervisor: Supervisor) -> str:
    """What ``systemctl status`` shows."""
    active = supervisor.active
    if active is not None and active.state is DeploymentState.CANARY:
        return f"{active.policy} takes turns with the kernel default for {active.workload_id}"
    if active is not None:
        return f"{active.policy} schedules for {active.workload_id}"
    if supervisor.unusable():
        return "advice only: sched_ext cannot be used here"
    if supervisor.safe:
        return f"safe mode: {supervisor.safe}; 'schedctl resume' ends it"
    return f"the kernel default schedules; mode {supervisor.mode}"


async def feed_watchdog(notifier: sdnotify.SystemdNotifier) -> None:
    """Tell systemd, at half its interval, that the event loop turns."""
    interval_us = int(os.environ.get("WATCHDOG_USEC", "0"))
    while interval_us:
        notifier.notify("WATCHDOG=1")
        await asyncio.sleep(interval_us / 2e6)


async def run(places: Places, config: Config, bus_address: str | None = None) -> int:
    """Run the daemon until a signal or a loss; the exit status."""
    loop = asyncio.get_running_loop()
    daemon = Daemon(places, config)
    notifier = sdnotify.SystemdNotifier()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, daemon.reload)
    supervisor = daemon.supervisor
    supervisor.event_logged.connect(write_journal)
    supervisor.state_changed.connect(lambda _: notifier.notify(f"STATUS={status_line(supervisor)}"))
    watchdog = asyncio.create_task(feed_watchdog(notifier))
    try:
        await daemon.start(bus_address)
        notifier.notify(f"READY=1\nSTATUS={status_line(supervisor)}")
        return await until_stopped(daemon, stop)
    except (BusUnavailable, OSError) as error:
        log.error("%s", error)
        return EXIT_LOST
    finally:
        notifier.notify("STOPPING=1")
        watchdog.cancel()
        await daemon.close()


async def until_stopped(daemon: Daemon, stop: asyncio.Event) -> int:
    """Wait for a signal or for a loss, which is logged; the exit status."""
    stopped, lost = asyncio.create_task(stop.wait()), asyncio.create_task(daemon.lost())
    done, pending = await asyncio.wait((stopped, lost), return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    if lost in done:
        log.error("%s", lost.result())
        return EXIT_LOST
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, read the settings, run."""
    parser = argparse.ArgumentParser(prog="schedcpd", description=__doc__)
    parser.add_argument("--version", action="version", version=f"schedcpd {__version__}")
    parser.add_argument(
        "--config", type=Path, default=CONFIG, help=f"the configuration (default: {CONFIG})"
    )
    options = parser.parse_args(argv)
    set_up_logging()
    try:
        config = load(options.config)
    except ConfigError as error:
        log.error("configuration refused: %s", error)
        return EXIT_CONFIG
    return asyncio.run(run(replace(Places(), config=options.config), config))


if __name__ == "__main__":
    sys.exit(main())
