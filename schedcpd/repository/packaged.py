# SPDX-License-Identifier: GPL-2.0-or-later
"""Compiled probes as they were packaged: nothing else is taken into the kernel unasked."""

from __future__ import annotations

import hashlib
from pathlib import Path

from schedcpd.repository.files import read_bounded

SUMS = "SHA256SUMS"
OBJECT_LIMIT = 1 << 20
SUMS_LIMIT = 64 << 10


class RefusedError(Exception):
    """The object is not the one that was packaged; the message is the reason."""


def file_of(name: str) -> str:
    """The file of a probe's object."""
    return f"{name}.bpf.o"


def packaged(folder: Path, name: str) -> bytes:
    """The object, if it is as SHA256SUMS says; OSError or RefusedError."""
    file = file_of(name)
    data = read_bounded(folder / file, OBJECT_LIMIT)
    sums = read_bounded(folder / SUMS, SUMS_LIMIT).decode("ascii", "replace")
    if f"{hashlib.sha256(data).hexdigest()}  {file}" not in sums.splitlines():
        raise RefusedError(f"{folder / file} is not as packaged: reinstall the package")
    return data
