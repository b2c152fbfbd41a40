# SPDX-License-Identifier: GPL-2.0-or-later
"""What the scheduler counts for each task, and where in the kernel a task sleeps, from /proc."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from schedcpd.errors import KernelText
from schedcpd.kernel.text import read_raw

_SCHEDSTAT_LIMIT = 128
_STATUS_LIMIT = 8192
_WCHAN_LIMIT = 128
_SCHEDSTAT = re.compile(rb"([0-9]{1,20}) ([0-9]{1,20}) ([0-9]{1,20})\s*")
_SWITCHES = re.compile(
    rb"\nvoluntary_ctxt_switches:\t([0-9]{1,20})\nnonvoluntary_ctxt_switches:\t([0-9]{1,20})\n"
)


@dataclass(frozen=True, slots=True)
class SchedStat:
    """/proc/PID/schedstat: since the task was made."""

    run_ns: int
    wait_ns: int  # runnable, but not running; a wait that lasts is counted when it ends
    runs: int  # how often it got a CPU


@dataclass(frozen=True, slots=True)
class Switches:
    """Why a task gave its CPU up: it went to sleep, or another one was to run."""

    voluntary: int
    involuntary: int


class Blocked(StrEnum):
    """What a sleeping task waits for."""

    IO = "io"  # storage, or memory that has to be read from it
    LOCK = "lock"  # a futex: another thread
    MESSAGE = "message"  # a pipe, a socket, a poll
    TIMER = "timer"  # a time to come
    OTHER = "other"  # a child, a signal, a terminal, or unknown


# Beginnings of the functions that wchan names; the kernel adds suffixes as ".constprop.0" to some.
_REASONS: tuple[tuple[Blocked, tuple[str, ...]], ...] = (
    (Blocked.LOCK, ("futex_", "__futex_")),
    (Blocked.TIMER, ("hrtimer_nanosleep", "do_nanosleep", "clock_nanosleep", "common_nsleep")),
    (
        Blocked.MESSAGE,
        (
            *("pipe_", "anon_pipe_", "fifo_", "do_epoll_", "ep_poll", "do_poll", "do_sys_poll"),
            *("poll_schedule_", "do_select", "sk_wait_", "unix_", "inet_", "tcp_", "skb_"),
            *("__skb_", "sock_", "wait_woken", "mq_", "do_msgrcv", "eventfd_", "vsock_"),
        ),
    ),
    (
        Blocked.IO,
        (
            *("io_schedule", "folio_wait", "wait_on_page", "__wait_on_buffer", "wait_on_buffer"),
            *("blk_", "bio_", "submit_bio", "jbd2_", "ext4_", "xfs_", "btrfs_", "nfs", "rpc_"),
            *("balance_dirty", "io_cqring_", "read_events", "dio_", "__iomap_dio", "f2fs_"),
            *("wait_on_commit", "rq_qos_wait", "swap_", "filemap_", "do_get_write"),
        ),
    ),
)


def parse_schedstat(raw: bytes) -> SchedStat:
    """The content of a task's schedstat; raises KernelText."""
    found = _SCHEDSTAT.fullmatch(raw)
    if found is None:
        raise KernelText("schedstat", "it does not have three numbers")
    return SchedStat(*(int(number) for number in found.groups()))


def parse_switches(raw: bytes) -> Switches:
    """The last two lines of /proc/PID/status; raises KernelText."""
    # The name of the program comes first, and the kernel escapes line ends in it.
    found = _SWITCHES.search(raw)
    if found is None:
        raise KernelText("status file", "it has no context switches")
    return Switches(int(found[1]), int(found[2]))


def blocked_on(wchan: str, state: str) -> Blocked:
    """What a task in ``state`` (one letter) waits for, by the kernel function it sleeps in.

    Without a privilege the kernel gives 0 for the function: the state alone tells of storage.
    """
    for reason, beginnings in _REASONS:
        if wchan.startswith(beginnings):
            return reason
    return Blocked.IO if state == "D" and wchan in ("", "0") else Blocked.OTHER


def read_schedstat(task: str) -> SchedStat | None:
    """The counters of the task whose directory in /proc is ``task``; None when it has ended."""
    raw = read_raw(f"{task}/schedstat", _SCHEDSTAT_LIMIT)
    return parse_schedstat(raw) if raw else None


def read_switches(task: str) -> Switches | None:
    """The context switches of the task whose directory is ``task``; None when it has ended."""
    raw = read_raw(f"{task}/status", _STATUS_LIMIT)
    return parse_switches(raw) if raw else None


def read_wchan(task: str) -> str:
    """The kernel function in which a task sleeps; empty or 0 when it does not, or is hidden."""
    raw = read_raw(f"{task}/wchan", _WCHAN_LIMIT)
    return raw.decode("ascii", "replace") if raw else ""
