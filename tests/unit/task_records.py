# SPDX-License-Identifier: GPL-2.0-or-later
"""Records as the task probe writes them, and a feed that tells them at the test's word."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from schedcpd.learn.events import EventKind, TaskEvent
from schedcpd.signals import Signal

CGROUP = 77


def record(
    kind: int,
    tgid: int = 1,
    cpu_ns: int = 0,
    size: int = 0,
    comm: bytes = b"",
    name: bytes = b"",
    detail: int = 0,
    arguments: bytes | None = None,
    lost: int = 0,
    cgroup_id: int = CGROUP,
    parent: int = 0,
) -> bytes:
    """``struct task_event``; with ``arguments`` a ``struct exec_event``."""
    numbers = (kind, tgid, cgroup_id, 5, cpu_ns, size, lost, detail, parent)
    head = struct.pack("=IIQQQQIII4x16s64s", *numbers, comm, name)
    return head if arguments is None else head + arguments.ljust(512, b"\0")[:512]


def execed(
    tgid: int,
    *words: bytes,
    stdin: tuple[bytes, int] = (b"", 0),
    cpu_ns: int = 0,
    lost: int = 0,
    parent: int = 0,
) -> TaskEvent:
    arguments = b"\0".join(words) + b"\0"
    name, size = stdin
    comm = words[0].rpartition(b"/")[2][:15]
    return TaskEvent(
        EventKind.EXEC,
        tgid,
        CGROUP,
        5,
        cpu_ns,
        size,
        lost,
        comm,
        name,
        len(arguments),
        parent,
        arguments[:512],
    )


def ended(tgid: int, cpu_ns: int, status: int = 0) -> TaskEvent:
    return TaskEvent(EventKind.EXIT, tgid, CGROUP, 5, cpu_ns, 0, 0, b"", b"", status)


def opened(tgid: int, name: bytes, size: int, stdin: bool = False) -> TaskEvent:
    kind = EventKind.STDIN if stdin else EventKind.FILE
    return TaskEvent(kind, tgid, CGROUP, 5, 0, size, 0, b"", name)


class FakeFeed:
    """What is watched, and the files that are found open; ``refuses`` fails every call."""

    def __init__(self) -> None:
        self.told: Signal[Sequence[TaskEvent]] = Signal()
        self.watched: set[int] = set()
        self.files: list[TaskEvent] = []
        self.untold: list[TaskEvent] = []
        self.refuses = False

    def watch(self, cgroup_id: int) -> None:
        self._check()
        self.watched.add(cgroup_id)

    def unwatch(self, cgroup_id: int) -> None:
        self._check()
        self.watched.discard(cgroup_id)

    def open_files(self) -> Sequence[TaskEvent]:
        self._check()
        return self.files

    def catch_up(self) -> None:
        untold, self.untold = self.untold, []
        if untold:
            self.told.emit(untold)

    def _check(self) -> None:
        if self.refuses:
            raise OSError(7, "Argument list too long")
