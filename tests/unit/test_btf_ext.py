# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import random
import struct
from contextlib import suppress

import pytest

from schedcpd.kernel.btf import Btf, BtfError
from schedcpd.kernel.btf_ext import (
    CoreRelocation,
    Line,
    RelocationKind,
    read_core_relocations,
    read_lines,
)
from unit.made_ext import HEADER, Records, add_ext
from unit.made_objects import ops_btf

SECTION = "struct_ops/enqueue"
LINES: Records = {SECTION: [(0, "a.bpf.c", 0, 7 << 10 | 3), (24, "b.bpf.h", 0, 90 << 10)]}
FIELD = RelocationKind.FIELD_BYTE_OFFSET
RELOCATIONS: Records = {
    SECTION: [(8, 2, "0:1", FIELD)],
    ".text": [(16, 2, "0:2:0", 2), (24, 1, "3", 11)],
}


def test_lines() -> None:
    types, ext = add_ext(ops_btf(), LINES, {})
    assert list(read_lines(ext, Btf(types))) == [
        Line(SECTION, 0, "a.bpf.c", 7),
        Line(SECTION, 24, "b.bpf.h", 90),
    ]
    assert list(read_core_relocations(ext, Btf(types))) == []


def test_relocations_of_several_sections() -> None:
    types, ext = add_ext(ops_btf(), LINES, RELOCATIONS)
    assert list(read_core_relocations(ext, Btf(types))) == [
        CoreRelocation(SECTION, 8, 2, (0, 1), FIELD),
        CoreRelocation(".text", 16, 2, (0, 2, 0), RelocationKind.FIELD_EXISTS),
        CoreRelocation(".text", 24, 1, (3,), RelocationKind.ENUM_VALUE),
    ]


def test_longer_records_of_a_newer_compiler() -> None:
    types, _ = add_ext(ops_btf(), {}, {SECTION: []})
    texts = struct.unpack_from("<I", types, 16)[0] + 24
    name = types.rindex(SECTION.encode()) - texts
    part = struct.pack("<III", 20, name, 1) + struct.pack("<IIIII", 8, 0, 0, 5 << 10, 99)
    head = HEADER.pack(0xEB9F, 1, 0, HEADER.size, 0, 0, 0, len(part), 0, 0)
    assert [one.line for one in read_lines(head + part, Btf(types))] == [5]


@pytest.mark.parametrize("path", ["", "0:", "0:x", "0:-1", "0: 1", "²", "9999999999"])
def test_an_access_path_that_is_none(path: str) -> None:
    types, ext = add_ext(ops_btf(), {}, {SECTION: [(0, 1, path or "-", 0)]})
    with pytest.raises(BtfError, match="no access path"):
        list(read_core_relocations(ext, Btf(types)))


@pytest.mark.parametrize(
    ("offset", "form", "value"),
    [
        (0, "<H", 0xEB9E),  # the magic number
        (4, "<I", 8),  # a header that is too short
        (16, "<I", 1 << 20),  # lines that begin beyond the end
        (20, "<I", 1 << 20),  # ... or end there
        (20, "<I", 3),  # ... or have no room for the size of a record
        (20, "<I", 9),  # ... or for a section's name
        (32, "<I", 12),  # records that are too short
        (40, "<I", 3),  # more records than there are
    ],
)
def test_damage_is_found(offset: int, form: str, value: int) -> None:
    types, ext = add_ext(ops_btf(), LINES, {})
    damaged = bytearray(ext)
    struct.pack_into(form, damaged, offset, value)
    with pytest.raises(BtfError):
        list(read_lines(bytes(damaged), Btf(types)))


def test_nothing_but_its_own_error_comes_of_damage() -> None:
    types, ext = add_ext(ops_btf(), LINES, RELOCATIONS)
    btf, chance = Btf(types), random.Random(1)
    for _ in range(500):
        damaged = bytearray(ext)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        cut = bytes(damaged[: chance.randint(0, len(damaged))])
        for data in (bytes(damaged), cut):
            with suppress(BtfError):
                list(read_lines(data, btf))
            with suppress(BtfError):
                list(read_core_relocations(data, btf))
