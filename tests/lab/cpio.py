# SPDX-License-Identifier: GPL-2.0-or-later
"""Initramfs archives of whole trees, for the lab's machines."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import PurePosixPath

from schedcpd.verify.initramfs import EXECUTABLE, PLAIN, member, trailer


def archive(files: Mapping[str, bytes]) -> bytes:
    """A whole archive of {path: contents}; files that start with `#!` or as ELF are executable."""
    parents = {
        str(parent) for name in files for parent in PurePosixPath(name.lstrip("/")).parents
    } - {"."}
    members = [
        member(name, stat.S_IFDIR | EXECUTABLE, b"", number)
        for number, name in enumerate(sorted(parents), 1)
    ]
    for number, (name, data) in enumerate(sorted(files.items()), len(members) + 1):
        mode = EXECUTABLE if data[:2] == b"#!" or data[:4] == b"\x7fELF" else PLAIN
        members.append(member(name.lstrip("/"), stat.S_IFREG | mode, data, number))
    members.append(trailer())
    return b"".join(members)
