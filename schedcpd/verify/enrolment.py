# SPDX-License-Identifier: GPL-2.0-or-later
"""The folder of enrolled policies: each is put there whole or not at all."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from schedcpd.keys import write_atomic

FOLDER_MODE = 0o755


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The files of one policy."""

    name: str
    data: bytes
    card: bytes
    source: bytes


def enroll(root: Path, policy: Enrolled) -> None:
    """Put a policy below ``root``, in place of an older one; the caller holds the lock."""
    fresh, old = root / f".{policy.name}.new", root / f".{policy.name}.old"
    for left in (fresh, old):
        shutil.rmtree(left, ignore_errors=True)
    fresh.mkdir(mode=FOLDER_MODE, parents=True)
    for suffix, contents in (
        (".bpf.o", policy.data),
        (".toml", policy.card),
        (".bpf.c", policy.source),
    ):
        write_atomic(fresh / f"{policy.name}{suffix}", contents)
    place = root / policy.name
    if place.exists():
        place.rename(old)
    fresh.rename(place)
    _sync(root)
    shutil.rmtree(old, ignore_errors=True)


def withdraw(root: Path, name: str) -> None:
    """Remove an enrolled policy; FileNotFoundError when there is none. Under the lock."""
    old = root / f".{name}.old"
    shutil.rmtree(old, ignore_errors=True)
    (root / name).rename(old)
    _sync(root)
    shutil.rmtree(old, ignore_errors=True)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
