# SPDX-License-Identifier: GPL-2.0-or-later
"""What a kernel that is not running would say of itself: a folder that stands in for its /sys."""

from __future__ import annotations

import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.errors import BuildFailed
from lab.place import need_tool

SETUP_SECTORS = 0x1F1
SECTOR = 512
PAYLOAD = struct.Struct("<II")  # offset and length, in the protected-mode code
PAYLOAD_AT = 0x248
SIZE_BYTES = 4  # of the unpacked kernel, after the packed one
PACKED = {b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zX": "xz", b"\x1f\x8b\x08": "gzip"}
SECTION = struct.Struct("<IIQQQQIIQQ")
OPS = b"\0sched_ext_ops\0"  # a type that only kernels with sched_ext have


@dataclass(frozen=True, slots=True)
class Vmlinux:
    """The parts of an unpacked kernel that the verifier looks at."""

    btf: bytes
    notes: bytes


def read(vmlinuz: Path) -> Vmlinux:
    """Unpack a bootable x86 image; raises BuildFailed when it is not understood."""
    found = sections(unpack(vmlinuz))
    if ".BTF" not in found or ".notes" not in found:
        raise BuildFailed(f"{vmlinuz} has no type information or no notes")
    return Vmlinux(found[".BTF"], found[".notes"])


def unpack(vmlinuz: Path) -> bytes:
    """The kernel's ELF file out of its bootable image."""
    data = vmlinuz.read_bytes()
    start = (data[SETUP_SECTORS] + 1) * SECTOR
    offset, length = PAYLOAD.unpack_from(data, PAYLOAD_AT)
    packed = data[start + offset : start + offset + length - SIZE_BYTES]
    tool = next((tool for magic, tool in PACKED.items() if packed.startswith(magic)), "")
    if not tool:
        raise BuildFailed(f"{vmlinuz} is packed in a way that is not known here")
    line = [need_tool(tool, tool), "-dc"]
    done = subprocess.run(line, input=packed, capture_output=True, check=False)
    if done.returncode != 0:
        raise BuildFailed(f"{tool} cannot unpack {vmlinuz}: {done.stderr.decode().strip()}")
    return done.stdout


def sections(elf: bytes) -> dict[str, bytes]:
    """The sections of a 64-bit little-endian ELF file by name."""
    (at,) = struct.unpack_from("<Q", elf, 0x28)
    size, count, names = struct.unpack_from("<HHH", elf, 0x3A)
    headers = [SECTION.unpack_from(elf, at + number * size) for number in range(count)]
    texts = headers[names][4]
    found = {}
    for name, _, _, _, offset, length, *_ in headers:
        start = texts + name
        found[elf[start : elf.index(b"\0", start)].decode()] = elf[offset : offset + length]
    return found


def write_sys(vmlinuz: Path, folder: Path) -> Path:
    """Fill ``folder`` with what the verifier reads of a machine's /sys."""
    kernel = read(vmlinuz)
    files = {"kernel/btf/vmlinux": kernel.btf, "kernel/notes": kernel.notes}
    if OPS in kernel.btf:
        files["kernel/sched_ext/state"] = b"disabled\n"
    for name, contents in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents)
    return folder
