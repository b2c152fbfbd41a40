# SPDX-License-Identifier: GPL-2.0-or-later
"""The parsers and readers of /proc."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.errors import KernelText
from schedcpd.kernel.procfs import (
    ARGUMENTS_LIMIT,
    COMM_LIMIT,
    SCHED_IDLE,
    parse_arguments,
    parse_stat,
    read_arguments,
    read_stat,
    read_threads,
)
from schedcpd.kernel.text import REPLACEMENT

STAT = (
    b"4242 (%s) %s 1 4242 4242 0 -1 4194304 100 0 0 0 7 3 0 0 20 0 %d 0 52060160 9000000 "
    b"300 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0\n"
)


def test_stat_of_a_process() -> None:
    stat = parse_stat(STAT % (b"xz", b"R", 3))
    assert (stat.pid, stat.comm, stat.state, stat.threads) == (4242, "xz", "R", 3)
    assert stat.started_ticks == 52060160
    assert stat.runnable
    assert not parse_stat(STAT % (b"xz", b"S", 1)).runnable


def test_what_a_task_asked_of_the_scheduler() -> None:
    modest = (STAT % (b"xz", b"R", 3)).replace(b" 20 0 3 ", b" 39 19 3 ")
    assert (parse_stat(modest).nice, parse_stat(modest).policy) == (19, 0)
    urgent = modest.replace(b" 39 19 ", b" 9 -11 ").replace(b"17 1 0 0", b"17 1 0 5")
    assert (parse_stat(urgent).nice, parse_stat(urgent).policy) == (-11, SCHED_IDLE)
    cut = modest[: modest.rindex(b"17")] + b"\n"  # an old kernel, or one that tells less
    assert (parse_stat(cut).nice, parse_stat(cut).policy) == (19, 0)


@pytest.mark.parametrize(
    ("comm", "shown"),
    [
        (b"a) R 1 1 (b", "a) R 1 1 (b"),
        (b"", ""),
        (b"new\nline", f"new{REPLACEMENT}line"),
        (b"\xff\xfe", REPLACEMENT * 2),
        (b"kworker/u8:3+" + b"x" * 100, "kworker/u8:3+" + "x" * (COMM_LIMIT - 14) + "…"),
    ],
)
def test_hostile_names_of_programs(comm: bytes, shown: str) -> None:
    stat = parse_stat(STAT % (comm, b"S", 1))
    assert stat.comm == shown
    assert stat.threads == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\n",
        b"1 (x) R 1 2 3",
        b"(x) R" + b" 1" * 30,
        STAT % (b"x", b"RR", 1),
        STAT % (b"x", b"R", 10**12),
        (STAT % (b"x", b"R", 1)).replace(b"52060160", b"-5"),
        (STAT % (b"x", b"R", 1)).replace(b"4242 (", b"4_2 ("),
    ],
)
def test_what_is_no_stat_is_refused(raw: bytes) -> None:
    with pytest.raises(KernelText):
        parse_stat(raw)


@given(st.binary(max_size=400))
def test_any_bytes_parse_or_are_refused(raw: bytes) -> None:
    with contextlib.suppress(KernelText):
        parse_stat(raw)


@given(st.binary(max_size=80), st.integers(0, 2**31), st.integers(0, 2**62))
def test_any_name_keeps_the_other_fields(comm: bytes, threads: int, started: int) -> None:
    raw = (STAT % (comm, b"D", threads % 10**9)).replace(b"52060160", str(started).encode())
    stat = parse_stat(raw)
    assert (stat.state, stat.threads, stat.started_ticks) == ("D", threads % 10**9, started)
    assert stat.comm.isprintable()


@given(st.binary(max_size=2000))
def test_any_command_line_is_printable_and_bounded(raw: bytes) -> None:
    shown = parse_arguments(raw)
    assert shown.isprintable()
    assert len(shown) <= ARGUMENTS_LIMIT


def test_command_line(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7/cmdline").write_bytes(b"xz\0-9\0\0a\nb\0")
    assert read_arguments(tmp_path, 7) == f"xz -9  a{REPLACEMENT}b"
    (tmp_path / "7/cmdline").write_bytes(b"x" * 1_000_000)
    assert read_arguments(tmp_path, 7) == "x" * (ARGUMENTS_LIMIT - 1) + "…"
    (tmp_path / "7/cmdline").write_bytes(b"")
    assert read_arguments(tmp_path, 7) == ""
    assert read_arguments(tmp_path, 8) == ""


def test_a_process_that_ended_is_none(tmp_path: Path) -> None:
    assert read_stat(tmp_path, 1) is None
    assert read_threads(tmp_path, 1, 10) == (0, [])
    (tmp_path / "1").mkdir()
    (tmp_path / "1/stat").touch()  # a read that hits the end of a process may give nothing
    assert read_stat(tmp_path, 1) is None


def test_threads_are_bounded_and_spread(tmp_path: Path) -> None:
    for number in range(300):
        task = tmp_path / "9/task" / str(1000 + number)
        task.mkdir(parents=True)
        (task / "stat").write_bytes(STAT % (b"t", b"R", 300))
    (tmp_path / "9/task/1005/stat").unlink()  # ended since the listing
    total, threads = read_threads(tmp_path, 9, 100)
    assert total == 300
    assert 99 <= len(threads) <= 100
    assert len(read_threads(tmp_path, 9, 1000)[1]) == 299


def test_this_process() -> None:
    stat = read_stat(Path("/proc"), os.getpid())
    assert stat is not None
    assert stat.pid == os.getpid()
    assert stat.threads >= 1
    assert stat.started_ticks > 0
    assert read_arguments(Path("/proc"), os.getpid())
