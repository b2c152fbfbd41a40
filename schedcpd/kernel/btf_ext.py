# SPDX-License-Identifier: GPL-2.0-or-later
"""What .BTF.ext adds to the code of an object: source lines, and relocations against the kernel."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from schedcpd.kernel.btf import MAGIC, Btf, BtfError

HEADER = struct.Struct("<HBBIIIIIII")
WORD = struct.Struct("<I")
PAIR = struct.Struct("<II")
RECORD = struct.Struct("<IIII")  # of lines and of relocations alike
LINES, RELOCATIONS = 6, 8  # fields of the header
LINE_SHIFT = 10  # below it is the column


class RelocationKind(IntEnum):
    """The kernel's ``enum bpf_core_relo_kind``."""

    FIELD_BYTE_OFFSET = 0
    FIELD_BYTE_SIZE = 1
    FIELD_EXISTS = 2
    FIELD_SIGNED = 3
    FIELD_LSHIFT = 4
    FIELD_RSHIFT = 5
    TYPE_ID_LOCAL = 6
    TYPE_ID_TARGET = 7
    TYPE_EXISTS = 8
    TYPE_SIZE = 9
    ENUM_EXISTS = 10
    ENUM_VALUE = 11
    TYPE_MATCHES = 12


@dataclass(frozen=True, slots=True)
class Line:
    """The source line that the code from ``offset`` on was made from."""

    section: str
    offset: int  # bytes
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class CoreRelocation:
    """An instruction whose immediate or offset depends on the kernel's types."""

    section: str
    offset: int  # bytes
    type_id: int  # in the object's own BTF
    access: tuple[int, ...]
    kind: int


def read_lines(data: bytes, btf: Btf) -> Iterator[Line]:
    """The line information of .BTF.ext; BtfError when it is not sound."""
    for section, (offset, file, _, column) in _records(data, btf, LINES):
        yield Line(section, offset, btf.text(file), column >> LINE_SHIFT)


def read_core_relocations(data: bytes, btf: Btf) -> Iterator[CoreRelocation]:
    """The CO-RE relocations of .BTF.ext; BtfError when they are not sound."""
    for section, (offset, type_id, access, kind) in _records(data, btf, RELOCATIONS):
        steps = btf.text(access).split(":")
        if not all(step.isascii() and step.isdigit() and len(step) < 10 for step in steps):
            raise BtfError("a relocation has no access path")
        yield CoreRelocation(section, offset, type_id, tuple(map(int, steps)), kind)


def _records(data: bytes, btf: Btf, part: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The records of the part whose place is the field ``part`` of the header."""
    if len(data) < HEADER.size:
        raise BtfError("its .BTF.ext is cut short")
    header = HEADER.unpack_from(data)
    if header[0] != MAGIC or header[3] < HEADER.size:
        raise BtfError("the header of .BTF.ext is damaged")
    at = header[3] + header[part]
    end = at + header[part + 1]
    if end > len(data) or (at + WORD.size > end and at != end):
        raise BtfError("a part reaches beyond the end of .BTF.ext")
    if at == end:
        return
    (size,) = WORD.unpack_from(data, at)
    at += WORD.size
    if size < RECORD.size:
        raise BtfError("the records of .BTF.ext are too short")
    while at < end:
        if at + PAIR.size > end:
            raise BtfError("a part of .BTF.ext is cut short")
        name, count = PAIR.unpack_from(data, at)
        at += PAIR.size
        if at + count * size > end:
            raise BtfError("a part of .BTF.ext is cut short")
        section = btf.text(name)
        for one in range(at, at + count * size, size):
            yield section, RECORD.unpack_from(data, one)
        at += count * size
