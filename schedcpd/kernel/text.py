# SPDX-License-Identifier: GPL-2.0-or-later
"""Bounded reads of small kernel files, and their text made safe to show to a person."""

from __future__ import annotations

import errno
import os

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

# A cgroup or a process may end between any two system calls, and a file may be hidden from us.
_UNREADABLE = frozenset(
    {
        errno.ENOENT,  # removed before it was opened
        errno.ENOTDIR,
        errno.ESRCH,  # the process ended between open and read
        errno.ENODEV,  # the cgroup was removed between open and read
        errno.EACCES,
        errno.EPERM,
        errno.EOPNOTSUPP,  # cgroup.procs of a threaded cgroup, cpu.pressure with PSI off
        errno.ENAMETOOLONG,  # a cgroup nested so deep that no absolute path reaches it
    }
)


def is_gone(error: OSError) -> bool:
    """Whether ``error`` says that a kernel file is gone or hidden, which is no fault of ours."""
    return error.errno in _UNREADABLE


def read_raw(path: str, limit: int) -> bytes | None:
    """At most ``limit`` bytes of a kernel file; None when it is gone or may not be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        if is_gone(error):
            return None
        raise
    try:
        return _drain(descriptor, limit)
    except OSError as error:
        if is_gone(error):
            return None
        raise
    finally:
        os.close(descriptor)


def _drain(descriptor: int, limit: int) -> bytes:
    # The kernel answers in pieces of a page or so; only an empty answer is the end.
    first = os.read(descriptor, limit)
    if len(first) < 1024 or len(first) == limit:
        return first
    pieces = [first]
    size = len(first)
    while size < limit and (piece := os.read(descriptor, limit - size)):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)


def printable(text: str, limit: int) -> str:
    """``text`` cut to ``limit``, with control, bidi and undecodable characters replaced."""
    safe = text[: limit + 1]
    if not safe.isprintable():
        safe = "".join(one if one.isprintable() else REPLACEMENT for one in safe)
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"
