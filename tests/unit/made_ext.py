# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes .BTF.ext sections: source lines and relocations, with their texts in the .BTF."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

HEADER = struct.Struct("<HBBIIIIIII")
TYPES_HEADER = struct.Struct("<HBBIIIII")
Records = Mapping[str, Sequence[tuple[int, int | str, int | str, int]]]  # by section of code


def add_ext(types: bytes, lines: Records, relocations: Records) -> tuple[bytes, bytes]:
    """The types with all texts that are needed, and the .BTF.ext; a text may be in any field."""
    *start, length = TYPES_HEADER.unpack_from(types)
    texts = bytearray(types[len(types) - length :])

    def number(value: int | str) -> int:
        if isinstance(value, int):
            return value
        at = len(texts)
        texts.extend(value.encode() + b"\0")
        return at

    def part(records: Records) -> bytes:
        if not records:
            return b""
        raw = struct.pack("<I", 16)
        for section, rows in records.items():
            raw += struct.pack("<II", number(section), len(rows))
            raw += b"".join(struct.pack("<IIII", *map(number, row)) for row in rows)
        return raw

    first, second = part(lines), part(relocations)
    head = HEADER.pack(
        0xEB9F, 1, 0, HEADER.size, 0, 0, 0, len(first), len(first), len(second)
    )  # fmt: skip
    body = types[TYPES_HEADER.size : len(types) - length]
    return TYPES_HEADER.pack(*start, len(texts)) + body + bytes(texts), head + first + second
