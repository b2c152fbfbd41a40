# SPDX-License-Identifier: GPL-2.0-or-later
"""inotify through ctypes: the parser, and the real thing on plain directories."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.errors import KernelText
from schedcpd.kernel.inotify import Inotify, Mask, Notice, parse_notices


def packed(watch: int, mask: int, name: bytes = b"") -> bytes:
    padded = name + b"\0" * (-len(name) % 16 or 16) if name else b""
    return struct.pack("iIII", watch, mask, 0, len(padded)) + padded


@pytest.fixture
def inotify() -> Iterator[Inotify]:
    one = Inotify()
    yield one
    one.close()


def test_events_of_one_read() -> None:
    raw = packed(1, Mask.CREATE | Mask.ISDIR, b"a.scope") + packed(-1, Mask.Q_OVERFLOW)
    assert parse_notices(raw) == [
        Notice(1, Mask.CREATE | Mask.ISDIR, "a.scope"),
        Notice(-1, Mask.Q_OVERFLOW, ""),
    ]
    assert parse_notices(packed(1, Mask.CREATE, b"\xff\n"))[0].name == "\udcff\n"


@pytest.mark.parametrize("cut", [1, 15, 17, 31])
def test_an_event_cut_short_is_refused(cut: int) -> None:
    with pytest.raises(KernelText):
        parse_notices(packed(1, Mask.CREATE, b"a.scope")[:cut])


@given(st.binary(max_size=200))
def test_any_bytes_parse_or_are_refused(raw: bytes) -> None:
    with contextlib.suppress(KernelText):
        parse_notices(raw)


def test_changes_of_a_directory(inotify: Inotify, tmp_path: Path) -> None:
    watch = inotify.add(str(tmp_path), Mask.CREATE | Mask.DELETE)
    assert watch is not None
    assert inotify.read() == []
    name = os.fsdecode(b"hostile\n\xff\x1b[2J")
    (tmp_path / name).mkdir()
    (tmp_path / name).rmdir()
    assert inotify.read() == [
        Notice(watch, Mask.CREATE | Mask.ISDIR, name),
        Notice(watch, Mask.DELETE | Mask.ISDIR, name),
    ]


def test_a_watch_is_known_by_its_inode(inotify: Inotify, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    first = inotify.add(str(tmp_path / "a"), Mask.CREATE)
    assert inotify.add(str(tmp_path / "a"), Mask.CREATE) == first
    (tmp_path / "a").rmdir()
    (tmp_path / "a").mkdir()
    assert inotify.add(str(tmp_path / "a"), Mask.CREATE) not in (None, first)


def test_what_is_gone_cannot_be_watched(inotify: Inotify, tmp_path: Path) -> None:
    assert inotify.add(str(tmp_path / "gone"), Mask.CREATE) is None
    (tmp_path / "file").touch()
    assert inotify.add(str(tmp_path / "file"), Mask.CREATE | Mask.ONLYDIR) is None
    with pytest.raises(OSError, match="Invalid argument"):
        inotify.add(str(tmp_path), 0)


def test_letting_go(inotify: Inotify, tmp_path: Path) -> None:
    watch = inotify.add(str(tmp_path), Mask.CREATE)
    assert watch is not None
    inotify.remove(watch)
    inotify.remove(watch)  # twice is fine
    (tmp_path / "a").mkdir()
    assert [notice.mask for notice in inotify.read()] == [Mask.IGNORED]
