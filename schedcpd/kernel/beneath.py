# SPDX-License-Identifier: GPL-2.0-or-later
"""Opens a file below a directory, wherever somebody else moves things meanwhile: openat2(2)."""

from __future__ import annotations

import ctypes
import os
import stat

SYS_OPENAT2 = 437  # on every architecture that Debian has but alpha
# include/uapi/linux/openat2.h
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def open_beneath(directory: int, path: str) -> int:
    """A descriptor (O_PATH) for ``path`` below an open directory, on the same file system.

    No symbolic link is followed, and the path cannot leave the directory. Nothing is read yet, and
    nothing that opening a device or a FIFO would set off happens. Raises OSError.
    """
    how = _OpenHow(
        flags=os.O_PATH | os.O_CLOEXEC,  # with O_NOFOLLOW a link at the end would be opened itself
        mode=0,
        resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
    )
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    found = libc.syscall(
        ctypes.c_long(SYS_OPENAT2),
        ctypes.c_int(directory),
        ctypes.c_char_p(os.fsencode(path)),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
    )
    if found < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return int(found)


def read_regular(descriptor: int, limit: int) -> bytes:
    """At most ``limit`` bytes of the regular file that an O_PATH descriptor stands for; OSError."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(0, "it is no regular file")
    # The very file that was looked at, whatever has its name by now.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    opened = os.open(f"/proc/self/fd/{descriptor}", flags)
    try:
        pieces, left = [], limit
        while left and (piece := os.read(opened, left)):
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)
    finally:
        os.close(opened)
