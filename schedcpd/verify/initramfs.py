# SPDX-License-Identifier: GPL-2.0-or-later
"""The initramfs of the micro-VM, in the kernel's ``newc`` format.

Layout: Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping

TRAILER = "TRAILER!!!"
EXECUTABLE = 0o755
PLAIN = 0o644


def archive(programs: Mapping[str, bytes], files: Mapping[str, bytes]) -> bytes:
    """An archive of executable ``programs`` and plain ``files``, all in its root folder.

    It also has the console, which the kernel opens before the first process can make devices.
    """
    members = [member("dev", stat.S_IFDIR | EXECUTABLE, b"", 1)]
    members.append(member("dev/console", stat.S_IFCHR | 0o600, b"", 2, device=(5, 1)))
    number = len(members)
    for contents, mode in ((programs, EXECUTABLE), (files, PLAIN)):
        for name, data in sorted(contents.items()):
            number += 1
            members.append(member(name, stat.S_IFREG | mode, data, number))
    members.append(trailer())
    return b"".join(members)


def trailer() -> bytes:
    """What ends an archive."""
    return member(TRAILER, 0, b"", 0)


def member(
    name: str, mode: int, data: bytes, inode: int, device: tuple[int, int] = (0, 0)
) -> bytes:
    """One member: header, name and data, each padded to four bytes."""
    raw = name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = (inode, mode, 0, 0, links, 0, len(data), 0, 0, *device, len(raw), 0)
    header = b"070701" + b"".join(b"%08X" % value for value in fields)
    return _pad(header + raw) + _pad(data)


def _pad(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
