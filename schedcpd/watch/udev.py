# SPDX-License-Identifier: GPL-2.0-or-later
"""Hears from the kernel when a scheduler is attached, ours or another's, and when one leaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

import pyudev

from schedcpd.kernel.text import printable
from schedcpd.signals import Signal

log = logging.getLogger(__name__)

SUBSYSTEM = "sched_ext"
_NAME_LIMIT = 128  # SCX_OPS_NAME_LEN of the kernel
_AT_ONCE = 64


class Uevent(Protocol):
    """What is used of a ``pyudev.Device``."""

    @property
    def action(self) -> str | None:
        """What happened: add, remove, change."""

    def get(self, key: str, default: str = "") -> str:
        """One of the event's variables."""


class Source(Protocol):
    """What is used of a ``pyudev.Monitor``."""

    def start(self) -> None:
        """Begin to listen."""

    def fileno(self) -> int:
        """Readable when there is an event."""

    def poll(self, timeout: float | None = None) -> Uevent | None:
        """The next event, or None after ``timeout`` seconds."""


def kernel_source() -> Source:
    """The kernel's own uevents of sched_ext: they need no udevd and no privilege."""
    monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source="kernel")
    monitor.filter_by(SUBSYSTEM)
    source: Source = monitor
    return source


class SchedExtWatcher:
    """``sched_ext_changed`` with the action (add, remove, change) and the name of the scheduler.

    The action is "lost" when events were lost: whoever listens reads the kernel's state anyway.
    """

    def __init__(self, source: Callable[[], Source] = kernel_source) -> None:
        self.sched_ext_changed: Signal[tuple[str, str]] = Signal()
        self._open = source
        self._source: Source | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin to listen, in the running event loop; raises OSError."""
        self._source = self._open()
        self._source.start()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._source.fileno(), self._ready)

    def stop(self) -> None:
        """Stop listening."""
        if self._source is not None and self._loop is not None:
            self._loop.remove_reader(self._source.fileno())
        self._source = self._loop = None

    def _ready(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                event = self._source.poll(timeout=0) if self._source else None
            except OSError as error:  # ENOBUFS: the kernel had more to say than we could hear
                log.warning("uevents were lost: %s", error)
                self.sched_ext_changed.emit(("lost", ""))
                return
            if event is None:
                return
            name = printable(event.get("SCXOPS", ""), _NAME_LIMIT)
            self.sched_ext_changed.emit((event.action or "change", name))
