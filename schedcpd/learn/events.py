# SPDX-License-Identifier: GPL-2.0-or-later
"""What the task probe tells: processes that began and ended in watched cgroups, and their files.

The probe's descriptors come from whoever had it loaded. Nothing is asked for: the kernel wakes the
reader, and when no cgroup is watched there is nothing to wake it for.
"""

from __future__ import annotations

import asyncio
import logging
import os
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from schedcpd.errors import KernelText
from schedcpd.kernel import bpf
from schedcpd.kernel.ringbuf import RingBuffer
from schedcpd.signals import Signal

log = logging.getLogger(__name__)

# Known to probes/tasks.bpf.c.
RING_BYTES = 512 * 1024
MAX_WATCHED = 256
ARGS_BYTES = 512
_EVENT = struct.Struct("=IIQQQQIII4x16s64s")  # struct task_event

AT_ONCE = 128  # events taken in before others have their turn
# The daemon is real-time: when programs start faster than they can be taken in, most of its CPU
# is left to others, and the probe counts what finds no room.
PAUSE_S = 0.02
# The next record is not finished: the program that writes it may have been preempted, on this very
# CPU, and would never go on while a real-time task looks whether it has.
UNFINISHED_S = 0.001
_ITERATOR_LIMIT = 4 << 20
_READ_BYTES = 1 << 16


class EventKind(IntEnum):
    """``enum task_event_kind`` of the probe."""

    EXEC = 1
    EXIT = 2
    FILE = 3  # a process has opened a file to read from
    STDIN = 4  # the same, found open as the standard input of a process that was there before


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """One thing that a process in a watched cgroup did."""

    kind: EventKind
    tgid: int
    cgroup_id: int  # the watched one
    at_ns: int  # CLOCK_MONOTONIC
    cpu_ns: int  # of the whole process, at an exec and at an exit
    size: int  # of the file, or at an exec of standard input; 0 when that is no file
    lost: int  # how many events found no room, since the probe began
    comm: bytes
    name: bytes  # of the file, without its folder; at most 63 bytes
    # At an exec the bytes of the whole command line, 0 when it could not be read; at an exit the
    # status, as of wait(2).
    detail: int = 0
    parent: int = 0  # its process id
    arguments: bytes = b""  # at an exec: the beginning of the command line, separated by NUL


def parse_event(record: bytes) -> TaskEvent:
    """One record of the ring buffer or the iterator; raises KernelText."""
    if len(record) < _EVENT.size:
        raise KernelText("task event", f"it has {len(record)} bytes")
    kind, *numbers, comm, name = _EVENT.unpack_from(record)
    try:
        known = EventKind(kind)
    except ValueError as exc:
        raise KernelText("task event", f"its kind is {kind}") from exc
    tgid, cgroup, at, cpu, size, lost, detail, parent = numbers
    comm, name = (text.partition(b"\0")[0] for text in (comm, name))
    arguments = record[_EVENT.size :][: min(detail, ARGS_BYTES)]
    told = (tgid, cgroup, at, cpu, size, lost, comm, name, detail, parent, arguments)
    return TaskEvent(known, *told)


class Feed(Protocol):
    """Where events come from; all methods raise OSError when the kernel does not play along."""

    told: Signal[Sequence[TaskEvent]]

    def watch(self, cgroup_id: int) -> None:
        """Tell what happens in a cgroup and below from now on."""

    def unwatch(self, cgroup_id: int) -> None:
        """Tell it no longer."""

    def open_files(self) -> Sequence[TaskEvent]:
        """The files that processes in watched cgroups have open to read from now."""

    def catch_up(self) -> None:
        """Tell at once what has happened and was not told yet."""


class TaskFeed:
    """The events of a loaded probe, as long as its descriptors are open, which it owns.

    ``ring_fd`` and ``watched_fd`` are those of the probe's maps; one of ``link_fds`` is of its
    iterator.
    """

    def __init__(self, ring_fd: int, watched_fd: int, link_fds: tuple[int, ...]) -> None:
        """OSError or ValueError when they are not the probe's; they are not closed then."""
        self.told: Signal[Sequence[TaskEvent]] = Signal()
        self._ring = RingBuffer(ring_fd, RING_BYTES)
        self._ring_fd = ring_fd
        self._watched_fd = watched_fd
        self._links = link_fds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pause: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to tell, in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._ring_fd, self._ready)

    def close(self) -> None:
        """Take the probe out of the kernel."""
        if self._loop is None:
            return
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._ring_fd)
        self._loop = None
        self._ring.close()
        for fd in (self._ring_fd, self._watched_fd, *self._links):
            os.close(fd)

    def watch(self, cgroup_id: int) -> None:
        """See ``Feed``."""
        bpf.update(self._watched_fd, cgroup_id.to_bytes(8, "little"), b"\1")

    def unwatch(self, cgroup_id: int) -> None:
        """See ``Feed``."""
        with suppress(FileNotFoundError):
            bpf.delete(self._watched_fd, cgroup_id.to_bytes(8, "little"))

    def open_files(self) -> Sequence[TaskEvent]:
        """See ``Feed``; the kernel goes through all open files of the machine for it."""
        fd = self._iterator()
        try:
            raw = b""
            while len(raw) < _ITERATOR_LIMIT and (piece := os.read(fd, _READ_BYTES)):
                raw += piece
        finally:
            os.close(fd)
        size = _EVENT.size
        return [parse_event(raw[at : at + size]) for at in range(0, len(raw) // size * size, size)]

    def _iterator(self) -> int:
        for link in reversed(self._links):
            # Only the iterator's link makes one.
            with suppress(OSError):
                return bpf.create_iterator(link)
        raise OSError("the probe has no iterator")

    def catch_up(self) -> None:
        """See ``Feed``."""
        for _ in range(RING_BYTES // _EVENT.size // AT_ONCE + 1):
            if self._take() < AT_ONCE:
                return

    def _ready(self) -> None:
        taken = self._take()
        if taken == 0:
            self._rest(UNFINISHED_S)
        elif taken == AT_ONCE:
            self._rest(PAUSE_S)

    def _rest(self, duration_s: float) -> None:
        if self._loop is not None and self._loop.remove_reader(self._ring_fd):
            self._pause = self._loop.call_later(duration_s, self._go_on)

    def _take(self) -> int:
        """Tell the next events; how many there were."""
        if self._loop is None:
            return 0
        try:
            events = [parse_event(record) for record in self._ring.read(AT_ONCE)]
        except KernelText as error:
            # It would say the same again and again.
            self._loop.remove_reader(self._ring_fd)
            log.error("the starts and ends of processes are not told any more: %s", error)
            return 0
        if events:
            self.told.emit(events)
        return len(events)

    def _go_on(self) -> None:
        self._pause = None
        if self._loop is not None:
            self._loop.add_reader(self._ring_fd, self._ready)
