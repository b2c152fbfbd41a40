# SPDX-License-Identifier: GPL-2.0-or-later
"""What /proc tells of processes and threads; every answer is bounded and safe to show."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from schedcpd.errors import KernelText
from schedcpd.kernel.text import is_gone, printable, read_raw

COMM_LIMIT = 64
ARGUMENTS_LIMIT = 200
STAT_LIMIT = 4096
# Of proc_pid_stat(5): pid, comm, state, 15 that are not needed, nice, threads, one, start (which is
# field 22) and, where the kernel tells it, the policy (field 41).
# comm may hold blanks and parentheses, so its end is the last one that fits.
_STAT = re.compile(
    rb"([0-9]{1,10}) \((.*)\) ([A-Za-z])(?: -?[0-9]{1,20}){15}"
    rb" (-?[0-9]{1,20}) ([0-9]{1,10}) -?[0-9]{1,20} ([0-9]{1,20})\s"
    rb"(?:(?:-?[0-9]{1,20} ){18}([0-9]{1,3})\s)?",
    re.DOTALL,
)
SCHED_IDLE = 5  # of the policies in sched(7)


@dataclass(frozen=True, slots=True)
class TaskStat:
    """The fields of /proc/PID/stat that a profile needs."""

    pid: int
    comm: str  # at most COMM_LIMIT characters, printable
    state: str  # one letter; R is running or waiting for a CPU
    threads: int
    started_ticks: int  # clock ticks after boot
    nice: int = 0
    policy: int = 0  # of sched(7); 0 is the ordinary one

    @property
    def runnable(self) -> bool:
        """Whether the task runs or waits for a CPU."""
        return self.state == "R"


def parse_stat(raw: bytes) -> TaskStat:
    """The content of /proc/PID/stat or /proc/PID/task/TID/stat; raises KernelText."""
    found = _STAT.match(raw)
    if found is None:
        raise KernelText("stat file", "it does not have the fields of proc_pid_stat(5)")
    pid, comm, state, nice, threads, started, policy = found.groups()
    return TaskStat(
        int(pid),
        printable(os.fsdecode(comm), COMM_LIMIT),
        state.decode(),
        int(threads),
        int(started),
        int(nice),
        int(policy or 0),
    )


def read_stat(proc: Path, pid: int) -> TaskStat | None:
    """The process ``pid``; None when it has ended."""
    return _stat(f"{proc}/{pid}/stat")


def read_threads(proc: Path, pid: int, limit: int) -> tuple[int, list[TaskStat]]:
    """How many threads ``pid`` has, and at most ``limit`` of them, evenly spread."""
    place = f"{proc}/{pid}/task"
    try:
        with os.scandir(place) as entries:
            names = [entry.name for entry in entries]
    except OSError as error:
        if is_gone(error):
            return 0, []
        raise
    step = max(1, -(-len(names) // max(1, limit)))
    found = (_stat(f"{place}/{name}/stat") for name in names[::step])
    return len(names), [stat for stat in found if stat is not None]


def read_task(task: str) -> TaskStat | None:
    """The task whose directory in /proc is ``task``; None when it has ended."""
    return _stat(f"{task}/stat")


def _stat(path: str) -> TaskStat | None:
    raw = read_raw(path, STAT_LIMIT)
    return parse_stat(raw) if raw else None


def parse_arguments(raw: bytes) -> str:
    """A command line from its NUL-separated form, printable, at most ARGUMENTS_LIMIT characters."""
    return printable(os.fsdecode(raw.rstrip(b"\0").replace(b"\0", b" ")), ARGUMENTS_LIMIT)


def read_arguments(proc: Path, pid: int) -> str:
    """The command line of ``pid``; empty when it has ended, is a kernel thread or is hidden."""
    # One byte more than is shown per character, so that the cut is visible.
    raw = read_raw(f"{proc}/{pid}/cmdline", ARGUMENTS_LIMIT + 1)
    return parse_arguments(raw) if raw else ""
