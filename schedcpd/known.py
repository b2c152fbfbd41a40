# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known of the workloads and policies of the machine, who is told, and the tasks."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

from schedcpd.model import Event, Policy, WorkloadRecord
from schedcpd.signals import Signal

log = logging.getLogger(__name__)

KEPT_EVENTS = 1000


class Known:
    """The records of workloads, the policies, the log, and the tasks that work on them.

    ``clock`` gives seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.workload_added: Signal[WorkloadRecord] = Signal()
        self.workload_changed: Signal[WorkloadRecord] = Signal()
        self.workload_removed: Signal[str] = Signal()
        self.policies_changed: Signal[None] = Signal()
        self.state_changed: Signal[None] = Signal()
        self.event_logged: Signal[Event] = Signal()
        self._clock = clock
        self._workloads: dict[str, WorkloadRecord] = {}
        self._policies: dict[str, Policy] = {}
        self._events: deque[Event] = deque(maxlen=KEPT_EVENTS)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def workloads(self) -> Mapping[str, WorkloadRecord]:
        """The workloads by id."""
        return self._workloads

    @property
    def policies(self) -> Mapping[str, Policy]:
        """The installed policies by name."""
        return self._policies

    def note(self, kind: str, subject: str, message: str) -> None:
        """Write one line to the daemon's log."""
        event = Event(self._clock(), kind, subject, message)
        self._events.append(event)
        self.event_logged.emit(event)

    def _set(self, workload_id: str, **changes: Any) -> None:
        """Replace fields of a workload's record and tell, if it is still there and differs."""
        record = self._workloads.get(workload_id)
        if record is None:
            return
        changed = replace(record, **changes)
        if changed != record:
            self._workloads[workload_id] = changed
            self.workload_changed.emit(changed)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a task of the supervisor failed", exc_info=task.exception())

    async def _end_tasks(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
