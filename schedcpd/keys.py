# SPDX-License-Identifier: GPL-2.0-or-later
"""A signing key in a folder of its own, which it never leaves; files written whole or not."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schedcpd import token
from schedcpd.repository.files import read_bounded

PRIVATE = "private.key"
PUBLIC = "public.key"
LOCK = "lock"
KEY_LIMIT = 1024
PRIVATE_MODE = 0o600
PUBLIC_MODE = 0o644


def signing_key(state: Path) -> bytes:
    """The private key's file, made on first use; OSError or ValueError when it is unusable."""
    path = state / PRIVATE
    try:
        private = read_bounded(path, KEY_LIMIT)
    except FileNotFoundError:
        private, _ = token.generate_keys()
        _write_new(path, private)
    public = token.public_key_of(private)
    write_atomic(state / PUBLIC, public, PUBLIC_MODE)
    return private


@contextmanager
def locked(state: Path) -> Iterator[None]:
    """Keep other verifiers from changing the state meanwhile: several may run at a time."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(state / LOCK, flags, PRIVATE_MODE)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _write_new(path: Path, data: bytes) -> None:
    """Write a file that must not be there yet, to the disk before its name counts."""
    partial = path.with_name(f".{path.name}.new")
    partial.unlink(missing_ok=True)
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_MODE)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    # Fails when the key has appeared meanwhile, where a rename would replace it.
    os.link(partial, path)
    partial.unlink()


def write_atomic(path: Path, data: bytes, mode: int = PUBLIC_MODE) -> None:
    """Write a whole file or nothing; who reads it sees the old one or the new one."""
    partial = path.with_name(f".{path.name}.new")
    partial.unlink(missing_ok=True)
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
