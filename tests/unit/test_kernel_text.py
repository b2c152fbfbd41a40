# SPDX-License-Identifier: GPL-2.0-or-later
"""Bounded reads and printable text."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.kernel.text import REPLACEMENT, is_gone, printable, read_raw


def test_reads_no_more_than_the_limit(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 100_000)
    assert read_raw(str(file), 70_000) == b"x" * 70_000
    assert read_raw(str(file), 200_000) == b"x" * 100_000
    assert read_raw(str(file), 10) == b"x" * 10


def test_an_empty_file_is_not_a_missing_one(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert read_raw(str(tmp_path / "empty"), 10) == b""
    assert read_raw(str(tmp_path / "missing"), 10) is None
    assert read_raw(str(tmp_path / "empty" / "below"), 10) is None


def test_a_path_too_long_for_the_kernel_is_unreadable() -> None:
    assert read_raw("/" + "x/" * 4000, 10) is None


def test_other_errors_are_not_swallowed(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        read_raw(str(tmp_path), 10)
    assert not is_gone(OSError(errno.EMFILE, "too many open files"))


def test_descriptors_are_closed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("1")
    before = os.listdir("/proc/self/fd")  # noqa: PTH208 - names are enough
    for _ in range(10):
        read_raw(str(tmp_path / "file"), 10)
    assert len(os.listdir("/proc/self/fd")) == len(before)  # noqa: PTH208


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("xz", "xz"),
        ("a\nb\x1b[2J", f"a{REPLACEMENT}b{REPLACEMENT}[2J"),
        ("\u202eevil", f"{REPLACEMENT}evil"),
        ("\udcff", REPLACEMENT),
        ("12345678", "12345678"),
        ("123456789", "1234567…"),
    ],
)
def test_text_for_people(text: str, shown: str) -> None:
    assert printable(text, 8) == shown


@given(st.text(st.characters()), st.integers(1, 40))
def test_any_text_becomes_printable_and_bounded(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert len(shown) <= limit
    assert shown.isprintable()
    shown.encode()  # no surrogates: it can go out on the bus
