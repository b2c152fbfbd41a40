# SPDX-License-Identifier: GPL-2.0-or-later
"""The running kernel's file and the build id that tells two builds of one release apart."""

from __future__ import annotations

import struct
from pathlib import Path

from schedcpd.errors import KernelText

# Where Debian, and where Fedora and newer Debian kernels keep the image that was booted.
PLACES = ("boot/vmlinuz-{release}", "usr/lib/modules/{release}/vmlinuz")
NOTES_LIMIT = 64 * 1024
_NOTE = struct.Struct("<III")  # bytes of the name, bytes of the description, type
_GNU = b"GNU\0"
_NT_GNU_BUILD_ID = 3


def find_image(release: str, root: Path = Path("/")) -> Path | None:
    """The bootable image of the kernel ``release``, or None where it is not kept."""
    for place in PLACES:
        path = root / place.format(release=release)
        if path.is_file():
            return path
    return None


def read_build_id(sys: Path = Path("/sys")) -> str:
    """The running kernel's GNU build id in hexadecimal; OSError or KernelText."""
    with (sys / "kernel/notes").open("rb") as file:
        return parse_build_id(file.read(NOTES_LIMIT))


def parse_build_id(notes: bytes) -> str:
    """The GNU build id among ELF notes; KernelText when there is none."""
    at = 0
    while at + _NOTE.size <= len(notes):
        name_size, size, kind = _NOTE.unpack_from(notes, at)
        name = at + _NOTE.size
        start = name + _aligned(name_size)
        if kind == _NT_GNU_BUILD_ID and notes[name : name + name_size] == _GNU and size:
            found = notes[start : start + size]
            if len(found) == size:
                return found.hex()
            break
        at = start + _aligned(size)
    raise KernelText("notes", "there is no build id among them")


def _aligned(size: int) -> int:
    return (size + 3) & ~3
