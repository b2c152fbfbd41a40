# SPDX-License-Identifier: GPL-2.0-or-later
"""Tells of cgroups that appear, get or lose their processes, get limits, and vanish, by inotify.

Each directory has a watch of its own. A second one holds the inode of its cgroup.events: the kernel
tells of a change there only while that inode is in memory, and would drop it when memory is short.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from dataclasses import dataclass, field
from pathlib import Path

from schedcpd.errors import KernelText
from schedcpd.kernel import cgroupfs
from schedcpd.kernel.inotify import Inotify, Mask, Notice
from schedcpd.kernel.text import printable
from schedcpd.signals import Signal

log = logging.getLogger(__name__)

_DIRECTORY_MASK = Mask.CREATE | Mask.DELETE | Mask.MODIFY | Mask.ONLYDIR | Mask.DONT_FOLLOW
# A cgroup cannot be moved, so this watch holds the inode and never fires itself.
_HOLD_MASK = Mask.MOVE_SELF | Mask.DONT_FOLLOW
_LIMIT_FILES = frozenset({"cpu.max", "cpu.weight", "cpu.weight.nice", "cpu.idle"})
_UNWATCHED = -1


@dataclass(slots=True, eq=False)
class _Directory:
    """One known cgroup; ``path`` is below the root, with its leading slash."""

    path: str
    parent: _Directory | None
    watch: int
    hold: int | None = None
    populated: bool = False
    children: dict[str, _Directory] = field(default_factory=dict)


class CgroupWatcher:
    """Watches every cgroup below ``root``; paths in signals start at it, and "/" is the root.

    Paths are as the kernel has them, undecodable bytes as surrogates: not for showing to people.
    After ``appeared`` a cgroup counts as empty until ``populated`` says otherwise, and ``vanished``
    implies that it is. ``limits_changed("/")`` means that any limit may have changed.
    """

    def __init__(self, root: Path) -> None:
        self.appeared: Signal[str] = Signal()
        self.populated: Signal[tuple[str, bool]] = Signal()
        self.vanished: Signal[str] = Signal()
        self.limits_changed: Signal[str] = Signal()
        self._place = str(root)
        self._inotify: Inotify | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._by_watch: dict[int, _Directory] = {}
        self._root: _Directory | None = None
        self._limit_told = False

    def __len__(self) -> int:
        """How many cgroups are watched."""
        return len(self._by_watch)

    def start(self) -> None:
        """Tell of every cgroup there is, then of every change; takes the running event loop.

        Raises OSError when the root cannot be watched.
        """
        self._inotify = Inotify()
        self._loop = asyncio.get_running_loop()
        self._adopt(None, "")
        if self._root is None:
            self.stop()
            raise FileNotFoundError(errno.ENOENT, "no cgroup hierarchy here", self._place)
        self._loop.add_reader(self._inotify.fileno(), self._ready)

    def stop(self) -> None:
        """Stop watching, without a signal."""
        if self._inotify is not None and self._loop is not None:
            self._loop.remove_reader(self._inotify.fileno())
            self._inotify.close()
        self._inotify = self._loop = self._root = None
        self._by_watch.clear()

    def _ready(self) -> None:
        if self._inotify is None:
            return
        # Several writes to one file are one change; a dictionary keeps the order.
        written: dict[tuple[int, str], None] = {}
        for notice in self._inotify.read():
            if notice.mask & Mask.Q_OVERFLOW:
                log.warning("events of cgroups were lost; every cgroup is looked at again")
                self._rescan()
            elif notice.mask & Mask.ISDIR:
                self._entry_changed(notice)
            elif notice.mask & Mask.MODIFY:
                written[notice.watch, notice.name] = None
        for watch, name in written:
            self._file_written(watch, name)

    def _entry_changed(self, notice: Notice) -> None:
        # Events tell of the past: the directory may be gone, back, or another one by now.
        here = self._by_watch.get(notice.watch)
        if here is not None and notice.mask & (Mask.CREATE | Mask.DELETE) and notice.name:
            self._adopt(here, notice.name)

    def _file_written(self, watch: int, name: str) -> None:
        here = self._by_watch.get(watch)
        if here is None:  # forgotten by a later event
            return
        if name == "cgroup.events":
            self._check_populated(here)
        elif name in _LIMIT_FILES:
            self.limits_changed.emit(here.path)

    def _adopt(self, parent: _Directory | None, name: str) -> None:
        """Make what is known of one directory, and all below it, true again."""
        pending = [(parent, name)]
        while pending:
            parent, name = pending.pop()
            here = self._reconcile(parent, name)
            if here is None:
                continue
            self.appeared.emit(here.path)
            self._check_populated(here)
            # Children may have been made before the watch was.
            pending.extend((here, child) for child in cgroupfs.children(self._at(here.path)))

    def _reconcile(self, parent: _Directory | None, name: str) -> _Directory | None:
        """Forget a directory that is gone; watch and return one that is new."""
        path = f"{parent.path.rstrip('/')}/{name}" if parent else "/"
        known = parent.children.get(name) if parent else self._root
        watch = self._watch(self._at(path), _DIRECTORY_MASK)
        if known is not None:
            # A number belongs to one inode and is not used twice: the same number, the same cgroup.
            if watch == known.watch:
                return None
            self._forget(known)
        if watch is None:
            return None
        here = _Directory(path, parent, watch)
        here.hold = self._watch(f"{self._at(path)}/cgroup.events", _HOLD_MASK)
        if watch != _UNWATCHED:
            self._by_watch[watch] = here
        if parent is None:
            self._root = here
        else:
            parent.children[name] = here
        return here

    def _forget(self, top: _Directory) -> None:
        """Drop a directory and what is known below it, children first."""
        if top.parent is not None:
            top.parent.children.pop(top.path.rpartition("/")[2], None)
        dropped = [top]
        for here in dropped:
            dropped.extend(here.children.values())
        for here in reversed(dropped):
            # The kernel keeps the watch of a removed cgroup, and with it the cgroup's memory.
            self._unwatch(here.hold)
            self._unwatch(here.watch)
            self._by_watch.pop(here.watch, None)
            self.vanished.emit(here.path)

    def _check_populated(self, here: _Directory) -> None:
        try:
            populated = cgroupfs.read_populated(self._at(here.path))
        except KernelText as error:
            log.warning("%s: %s", printable(here.path, 200), error)
            return
        if populated is not None and populated != here.populated:
            here.populated = populated
            self.populated.emit((here.path, populated))

    def _rescan(self) -> None:
        pending = [self._root] if self._root else []
        while pending:
            here = pending.pop()
            self._check_populated(here)
            found = cgroupfs.children(self._at(here.path))
            for name in {*found, *here.children}:
                self._adopt(here, name)
            pending.extend(here.children.values())
        self.limits_changed.emit("/")

    def _at(self, path: str) -> str:
        return self._place + path if path != "/" else self._place

    def _watch(self, path: str, mask: int) -> int | None:
        """The number of the watch; None: the file is gone; _UNWATCHED: there are too many."""
        if self._inotify is None:
            return None
        try:
            return self._inotify.add(path, mask)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            if not self._limit_told:
                log.error(
                    "too many cgroups to watch: some will not be noticed; "
                    "raise the sysctl fs.inotify.max_user_watches and restart schedcpd"
                )
            self._limit_told = True
            return _UNWATCHED

    def _unwatch(self, watch: int | None) -> None:
        if self._inotify is not None and watch is not None and watch != _UNWATCHED:
            self._inotify.remove(watch)
