# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest

from schedcpd.kernel.elf import ElfError, read_relocations, read_sections, read_symbol_table
from unit.made_code import good, policy


def test_relocations_refer_to_symbols_by_index() -> None:
    sections = read_sections(policy(good()))
    table = read_symbol_table(sections)
    names = {
        (sections[one.section].name, symbol.name)
        for one in read_relocations(sections)
        if (symbol := table[one.symbol])
    }
    assert ("struct_ops/enqueue", "scx_bpf_dsq_insert") in names
    assert (".struct_ops.link", "enqueue") in names


def test_sections_that_overlap_are_refused() -> None:
    data = bytearray(policy(good()))
    start = int.from_bytes(data[40:48], "little")
    for number in range(1, 8):
        at = start + 64 * number
        data[at + 24 : at + 40] = (64).to_bytes(8, "little") + (2000).to_bytes(8, "little")
    with pytest.raises(ElfError, match="overlap"):
        read_sections(bytes(data))
