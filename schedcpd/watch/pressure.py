# SPDX-License-Identifier: GPL-2.0-or-later
"""Tells when tasks of the machine wait for CPUs, by the kernel's own trigger, and whose."""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable, Iterable
from pathlib import Path

from schedcpd.errors import KernelText
from schedcpd.kernel import cgroupfs
from schedcpd.kernel.pressure import open_trigger, read_pressure
from schedcpd.model import Workload
from schedcpd.signals import Signal

SHARE = 0.1
WINDOW_US = 1_000_000
MIN_BETWEEN_S = 0.01  # two questions at once are no reason to divide by nothing
WORTH_A_LOOK = 0.05  # share of the time in which a workload's tasks wait


class PressureWatcher:
    """``pressed`` when some task waited for a tenth of the last second; at most once a second.

    Without CAP_SYS_RESOURCE the kernel takes only a window of two seconds.
    """

    def __init__(
        self,
        path: Path = Path("/proc/pressure/cpu"),
        trigger: Callable[[Path, float, int], int] = open_trigger,
    ) -> None:
        self.pressed: Signal[None] = Signal()
        self._path = path
        self._open = trigger
        self._trigger = -1
        self._poll: select.epoll | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin to watch, in the running event loop; raises NoPressure where PSI is off."""
        self._trigger = self._open(self._path, SHARE, WINDOW_US)
        # asyncio asks only for POLLIN, the trigger answers only to POLLPRI: an epoll in between
        # becomes readable, and that is what asyncio sees.
        self._poll = select.epoll()
        self._poll.register(self._trigger, select.EPOLLPRI)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._poll.fileno(), self._ready)

    def stop(self) -> None:
        """Stop watching; the kernel drops the trigger."""
        if self._poll is None or self._loop is None:
            return
        self._loop.remove_reader(self._poll.fileno())
        self._poll.close()
        os.close(self._trigger)
        self._poll = self._loop = None

    def _ready(self) -> None:
        if self._poll is None:
            return
        # The kernel gives each event once, and the event loop's own look at our epoll took it: what
        # this answers does not matter, it only makes the epoll unreadable again.
        self._poll.poll(0)
        self.pressed.emit(None)


class PressureRanking:
    """Which workloads waited most for CPUs since they were last asked about; one read each."""

    def __init__(self, root: Path, clock: Callable[[], float]) -> None:
        self._root = root
        self._clock = clock
        self._last: dict[str, tuple[float, int]] = {}  # id → when and what was read last

    def most_pressed(self, workloads: Iterable[Workload]) -> tuple[Workload, ...]:
        """Those whose tasks wait noticeably, most waiting first."""
        now = self._clock()
        latest: dict[str, tuple[float, int]] = {}
        shares: list[tuple[float, str, Workload]] = []
        for workload in workloads:
            reading = self._waited(workload)
            if reading is None:
                continue
            waited_us, recent = reading
            latest[workload.id] = (now, waited_us)
            share = self._share(workload.id, now, waited_us, recent)
            if share >= WORTH_A_LOOK:
                shares.append((-share, workload.id, workload))
        self._last = latest  # forgets workloads that ended
        return tuple(workload for _, _, workload in sorted(shares, key=lambda one: one[:2]))

    def _share(self, identifier: str, now: float, waited_us: int, recent: float) -> float:
        if identifier in self._last:
            then, before_us = self._last[identifier]
            return max(0.0, (waited_us - before_us) / 1e6 / max(now - then, MIN_BETWEEN_S))
        # Never read before: the kernel's average lags by two seconds, which a new workload has not
        # lived for; what it waited since it began tells sooner, and is at worst one look too many.
        return max(recent, min(1.0, waited_us / 1e6))

    def _waited(self, workload: Workload) -> tuple[int, float] | None:
        """Microseconds waited since the cgroup was made, and the share of the last ten seconds."""
        place = cgroupfs.directory(self._root, workload.id)
        try:
            pressure = read_pressure(f"{place}/cpu.pressure")
            if pressure is not None:
                return pressure.some_us, pressure.some_recent
            # Cgroups have no PSI here: the time used ranks them well enough.
            stat = cgroupfs.read_cpu_stat(place)
        except KernelText:
            return None
        return None if stat is None else (stat.usage_us, 1.0)
