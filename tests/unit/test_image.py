# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import struct
from pathlib import Path

import pytest

from schedcpd.errors import KernelText
from schedcpd.kernel.image import find_image, parse_build_id, read_build_id

OTHER = struct.pack("<III", 6, 5, 1) + b"Linux\0\0\0" + b"12345\0\0\0"
BUILD_ID = struct.pack("<III", 4, 20, 3) + b"GNU\0" + bytes(range(20))


def test_a_build_id_among_other_notes(tmp_path: Path) -> None:
    assert parse_build_id(OTHER + BUILD_ID + OTHER) == bytes(range(20)).hex()
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel/notes").write_bytes(BUILD_ID)
    assert read_build_id(tmp_path) == bytes(range(20)).hex()


@pytest.mark.parametrize("notes", [b"", OTHER, BUILD_ID[:-1], b"\xff" * 40])
def test_notes_without_one(notes: bytes) -> None:
    with pytest.raises(KernelText, match="no build id"):
        parse_build_id(notes)


def test_where_the_image_is(tmp_path: Path) -> None:
    assert find_image("7.3.4", tmp_path) is None
    for place in ("usr/lib/modules/7.3.4/vmlinuz", "boot/vmlinuz-7.3.4"):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).write_bytes(b"")
        assert find_image("7.3.4", tmp_path) == tmp_path / place
    assert find_image("7.3.5", tmp_path) is None
