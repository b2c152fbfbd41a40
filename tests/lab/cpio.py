# SPDX-License-Identifier: GPL-2.0-or-later
"""Write initramfs archives in the kernel's `newc` format."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import PurePosixPath

TRAILER = "TRAILER!!!"
EXECUTABLE = 0o755
PLAIN = 0o644


def entry(name: str, mode: int, data: bytes, inode: int) -> bytes:
    """One member: header, name and data, each padded to four bytes."""
    raw = name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = (inode, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(raw), 0)
    header = b"070701" + b"".join(b"%08X" % value for value in fields)
    return pad(header + raw) + pad(data)


def pad(data: bytes) -> bytes:
    """The data filled up with zeros to a multiple of four bytes."""
    return data + b"\0" * (-len(data) % 4)


def archive(files: Mapping[str, bytes]) -> bytes:
    """A whole archive of {path: contents}; files that start with `#!` or as ELF are executable."""
    parents = {
        str(parent) for name in files for parent in PurePosixPath(name.lstrip("/")).parents
    } - {"."}
    members = [
        entry(name, stat.S_IFDIR | EXECUTABLE, b"", number)
        for number, name in enumerate(sorted(parents), 1)
    ]
    for number, (name, data) in enumerate(sorted(files.items()), len(members) + 1):
        mode = EXECUTABLE if data[:2] == b"#!" or data[:4] == b"\x7fELF" else PLAIN
        members.append(entry(name.lstrip("/"), stat.S_IFREG | mode, data, number))
    members.append(entry(TRAILER, 0, b"", 0))
    return b"".join(members)
