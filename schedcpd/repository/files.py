# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading files of bounded size that nobody can swap for something else half-way."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def read_bounded(path: Path, limit: int, *, trusted: bool = False) -> bytes:
    """The contents of a regular file of at most ``limit`` bytes, read once; OSError otherwise.

    A link as the last part of the path, a device and a pipe are refused; and, where the file is
    ``trusted``, one that others than root and we ourselves may write.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with os.fdopen(os.open(path, flags), "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise OSError(f"{path} is not a regular file")
        others = about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if trusted and (others or about.st_uid not in (0, os.geteuid())):
            raise OSError(f"{path} may be written by others than root")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(f"{path} is larger than {limit} bytes")
    return data
