# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.kernel.commandline import LIMIT, CommandLine, read_command_line

PROC = Path("/proc")


def make(proc: Path, stat: bytes, cmdline: bytes = b"xz\0a\0", pid: int = 5) -> CommandLine | None:
    place = proc / str(pid)
    place.mkdir(parents=True, exist_ok=True)
    (place / "stat").write_bytes(stat)
    (place / "cmdline").write_bytes(cmdline)
    return read_command_line(proc, pid)


def stat(comm: bytes, flags: int = 0x400000) -> bytes:
    return b"5 (%s) R 1 5 5 0 -1 %d 10 0" % (comm, flags)


def test_a_real_process() -> None:
    argv = ["cat", "-", "-"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"line\n")
        process.stdin.flush()
        process.stdout.readline()  # now it has surely become cat
        found = read_command_line(PROC, process.pid)
    assert found == CommandLine(b"cat", b"cat\0-\0-\0", whole=True, parent=os.getpid())


def test_a_fork_is_not_what_it_was_forked_from() -> None:
    reading, writing = os.pipe()
    code = "os.fork() or print(os.getpid(), flush=True); sys.stdin.read()"
    argv = [sys.executable, "-c", f"import os, sys; {code}"]
    with subprocess.Popen(argv, stdin=reading, stdout=subprocess.PIPE) as process:
        os.close(reading)
        assert process.stdout is not None
        child = int(process.stdout.readline())
        found = read_command_line(PROC, process.pid), read_command_line(PROC, child)
        os.close(writing)
    assert found[0] is not None
    assert found[1] is None


@pytest.mark.parametrize("comm", [b"xz", b") R (", b"a b) (c", b""])
def test_any_name(tmp_path: Path, comm: bytes) -> None:
    assert make(tmp_path, stat(comm)) == CommandLine(comm, b"xz\0a\0", whole=True, parent=1)


def test_what_is_no_program(tmp_path: Path) -> None:
    assert read_command_line(tmp_path, 5) is None
    assert make(tmp_path, stat(b"xz", flags=0x40)) is None
    assert make(tmp_path, stat(b"kworker"), cmdline=b"") is None
    assert make(tmp_path, b"5 (xz) R 1") is None


def test_a_command_line_without_end(tmp_path: Path) -> None:
    found = make(tmp_path, stat(b"xz"), b"x" * (LIMIT + 1))
    assert found == CommandLine(b"xz", b"x" * LIMIT, whole=False, parent=1)


@given(st.binary(max_size=200))
def test_nonsense(raw: bytes) -> None:
    place = Path("/dev/shm") / f"commandline-{os.getpid()}"
    try:
        found = make(place, raw)
    finally:
        for name in ("5/stat", "5/cmdline"):
            (place / name).unlink()
        (place / "5").rmdir()
        place.rmdir()
    assert found is None or found.arguments == b"xz\0a\0"
