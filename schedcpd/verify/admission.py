# SPDX-License-Identifier: GPL-2.0-or-later
"""Which objects may get a token at all: packaged ones as packaged, and none that is revoked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from schedcpd.keys import write_atomic
from schedcpd.repository.files import read_bounded
from schedcpd.token import sha256

SUMS = "SHA256SUMS"
SUMS_LINE = re.compile(r"([0-9a-f]{64}) [ *](?:\./)?([A-Za-z0-9_./-]{1,200})")
SUMS_LIMIT = 1 << 20
REVOKED = "revoked"
DIGEST = re.compile(r"[0-9a-f]{64}")


class RefusedError(Exception):
    """The policy gets no token; the message is the reason."""


def parse_sums(text: str) -> dict[str, str]:
    """The contents of SHA256SUMS as {path: digest}; ValueError names a line that is none."""
    sums = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not (match := SUMS_LINE.fullmatch(line)):
            raise ValueError(f"{SUMS}:{number}: not a line of sha256sum")
        sums[match[2]] = match[1]
    return sums


def read_sums(folder: Path) -> dict[str, str]:
    """The digests of the packaged files; OSError or ValueError when they cannot be read."""
    try:
        text = read_bounded(folder / SUMS, SUMS_LIMIT)
    except FileNotFoundError:
        # Then no policy is part of the package, and each is refused for that.
        return {}
    return parse_sums(text.decode("utf-8", "replace"))


def check_packaged(name: str, data: bytes, card: bytes, sums: Mapping[str, str]) -> None:
    """Raise RefusedError unless the object and the card are those of the package."""
    for file, contents in ((f"{name}/{name}.bpf.o", data), (f"{name}/{name}.toml", card)):
        if file not in sums:
            raise RefusedError(f"{file} is not in {SUMS}: it is not part of the package")
        if sums[file] != sha256(contents):
            raise RefusedError(f"{file} is not as packaged: reinstall the package")


def read_revoked(state: Path) -> frozenset[str]:
    """The digests of the objects that get no token any more; OSError or ValueError."""
    try:
        text = read_bounded(state / REVOKED, SUMS_LIMIT)
    except FileNotFoundError:
        return frozenset()
    lines = text.decode("ascii").split()
    if not all(DIGEST.fullmatch(line) for line in lines):
        # An entry that cannot be read may be the one that counts.
        raise ValueError(f"{state / REVOKED} has a line that is no digest")
    return frozenset(lines)


def check_not_revoked(object_sha256: str, state: Path, name: str) -> None:
    """Raise RefusedError when the object was revoked; people undo that by ``name``."""
    if object_sha256 in read_revoked(state):
        raise RefusedError(revoked(name))


def revoked(name: str) -> str:
    """Why there is no token for an object that was revoked, and how to have one again."""
    return f"it was revoked; 'schedctl revoke --undo {name}' takes that back"


def revoke(state: Path, object_sha256: str) -> None:
    """Add an object to those that get no token; the caller holds the lock."""
    _check_digest(object_sha256)
    _write_revoked(state, read_revoked(state) | {object_sha256})


def reinstate(state: Path, object_sha256: str) -> bool:
    """Undo ``revoke``; False when there was nothing to undo. The caller holds the lock."""
    _check_digest(object_sha256)
    before = read_revoked(state)
    _write_revoked(state, before - {object_sha256})
    return object_sha256 in before


def _check_digest(text: str) -> None:
    if not DIGEST.fullmatch(text):
        raise RefusedError("an object is named by its SHA-256 digest")


def _write_revoked(state: Path, every: frozenset[str]) -> None:
    write_atomic(state / REVOKED, "".join(f"{one}\n" for one in sorted(every)).encode())
