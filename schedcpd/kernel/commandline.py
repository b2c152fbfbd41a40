# SPDX-License-Identifier: GPL-2.0-or-later
"""What a process was started with, byte for byte: to compare, never to show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from schedcpd.kernel.text import read_raw

LIMIT = 64 * 1024
_STAT_LIMIT = 4096
_PARENT, _FLAGS = 1, 6  # which fields of /proc/PID/stat, counted from the one behind comm
_PF_FORKNOEXEC = 0x40


@dataclass(frozen=True, slots=True)
class CommandLine:
    """``arguments`` are separated by NUL; ``whole`` says whether they are all."""

    comm: bytes
    arguments: bytes
    whole: bool
    parent: int = 0  # process id


def read_command_line(proc: Path, pid: int) -> CommandLine | None:
    """The command line of a process; None when it has ended or has not called execve() itself."""
    stat = read_raw(f"{proc}/{pid}/stat", _STAT_LIMIT)
    if not stat:
        return None
    # comm may hold blanks and parentheses; the last one that closes is its end.
    head, _, tail = stat.rpartition(b")")
    fields = tail.split()
    if len(fields) <= _FLAGS or not (fields[_FLAGS].isdigit() and fields[_PARENT].isdigit()):
        return None
    if int(fields[_FLAGS]) & _PF_FORKNOEXEC:
        return None
    arguments = read_raw(f"{proc}/{pid}/cmdline", LIMIT)
    if not arguments:
        return None  # it has just ended, or is the kernel's
    comm, parent = head.partition(b"(")[2], int(fields[_PARENT])
    return CommandLine(comm, arguments, len(arguments) < LIMIT, parent)
