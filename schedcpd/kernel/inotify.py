# SPDX-License-Identifier: GPL-2.0-or-later
"""inotify(7) through ctypes: Debian stable has no maintained binding, and three calls need none."""

from __future__ import annotations

import ctypes
import os
import struct
from dataclasses import dataclass
from enum import IntFlag

from schedcpd.errors import KernelText
from schedcpd.kernel.text import is_gone

_HEADER = struct.Struct("iIII")  # wd, mask, cookie, length of the name
_BUFFER_SIZE = 64 * 1024  # some 1500 events; the event loop gets its turn in between


class Mask(IntFlag):
    """The bits of <sys/inotify.h> that are used here."""

    MODIFY = 0x2
    CLOSE_WRITE = 0x8
    MOVED_TO = 0x80
    CREATE = 0x100
    DELETE = 0x200
    MOVE_SELF = 0x800
    Q_OVERFLOW = 0x4000
    IGNORED = 0x8000
    ONLYDIR = 0x01000000
    DONT_FOLLOW = 0x02000000
    ISDIR = 0x40000000


@dataclass(frozen=True, slots=True)
class Notice:
    """One event; ``name`` is the entry of the watched directory, empty for the directory itself."""

    watch: int
    mask: int
    name: str


def parse_notices(raw: bytes) -> list[Notice]:
    """The content of one read of an inotify descriptor; raises KernelText."""
    notices: list[Notice] = []
    offset = 0
    while offset < len(raw):
        if offset + _HEADER.size > len(raw):
            raise KernelText("inotify", "an event is cut short")
        watch, mask, _, length = _HEADER.unpack_from(raw, offset)
        offset += _HEADER.size
        if offset + length > len(raw):
            raise KernelText("inotify", "a name is cut short")
        name = raw[offset : offset + length].partition(b"\0")[0]
        notices.append(Notice(watch, mask, os.fsdecode(name)))
        offset += length
    return notices


class Inotify:
    """One inotify instance, non-blocking; readable when there is something to read."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.inotify_add_watch.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)
        self._libc.inotify_rm_watch.argtypes = (ctypes.c_int, ctypes.c_int)
        self._descriptor = self._checked(
            self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1"
        )

    def fileno(self) -> int:
        """The descriptor, for an event loop."""
        return self._descriptor

    def add(self, path: str, mask: int) -> int | None:
        """Watch ``path`` and return the watch's number; None when it is gone.

        An inode that is watched already keeps its number, and numbers are never used again. Raises
        OSError, with ENOSPC when fs.inotify.max_user_watches is reached.
        """
        try:
            return self._checked(
                self._libc.inotify_add_watch(self._descriptor, os.fsencode(path), mask), path
            )
        except OSError as error:
            if is_gone(error):
                return None
            raise

    def remove(self, watch: int) -> None:
        """Let go of a watch; one that the kernel dropped already is fine."""
        self._libc.inotify_rm_watch(self._descriptor, watch)

    def read(self) -> list[Notice]:
        """What happened since the last read; empty when nothing did."""
        try:
            return parse_notices(os.read(self._descriptor, _BUFFER_SIZE))
        except BlockingIOError:
            return []

    def close(self) -> None:
        """Drop every watch."""
        os.close(self._descriptor)

    def _checked(self, result: int, subject: str) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), subject)
        return result
