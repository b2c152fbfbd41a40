# SPDX-License-Identifier: GPL-2.0-or-later
"""What an action gets: where to write, whom to ask, where the machine is."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from schedctl.report import Report

if TYPE_CHECKING:
    from schedclient.agent import Agent
    from schedclient.daemon import Daemon


@dataclass(frozen=True, slots=True)
class Context:
    """The surroundings of one command; a test puts others in their place."""

    report: Report
    errors: Report
    json: bool = False
    bus_address: str | None = None
    sys: Path = Path("/sys")
    proc: Path = Path("/proc")
    run: Path = Path("/run")
    etc: Path = Path("/etc/schedcp")
    clock: Callable[[], float] = time.time

    def daemon(self) -> AbstractAsyncContextManager[Daemon]:
        """A connection to the daemon's bus."""
        from schedclient.daemon import connected  # loading dbus_next takes time

        return connected(self.bus_address)

    def agent(self) -> AbstractAsyncContextManager[Agent]:
        """A connection to the agent's bus."""
        from schedclient.agent import connected

        return connected(self.bus_address)
