# SPDX-License-Identifier: GPL-2.0-or-later
"""What the scheduler counts for a task, and where it sleeps."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.errors import KernelText
from schedcpd.kernel.procfs import read_task
from schedcpd.kernel.taskstats import (
    Blocked,
    SchedStat,
    Switches,
    blocked_on,
    parse_schedstat,
    parse_switches,
    read_schedstat,
    read_switches,
    read_wchan,
)

STATUS = (
    b"Name:\t%s\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t7\n"
    b"voluntary_ctxt_switches:\t17\nnonvoluntary_ctxt_switches:\t4\n"
)


def test_schedstat() -> None:
    assert parse_schedstat(b"1261410 90298 2\n") == SchedStat(1261410, 90298, 2)


@pytest.mark.parametrize(
    "raw", [b"", b"\n", b"1 2\n", b"1 2 3 4\n", b"-1 2 3\n", b"1 2 " + b"9" * 30]
)
def test_what_is_no_schedstat_is_refused(raw: bytes) -> None:
    with pytest.raises(KernelText):
        parse_schedstat(raw)


def test_switches() -> None:
    assert parse_switches(STATUS % b"xz") == Switches(17, 4)


def test_a_name_cannot_feign_switches() -> None:
    # The kernel writes a line end in a name as \n, two characters.
    name = rb"\nvoluntary_ctxt_switches:\t1\nnonvoluntary_ctxt_switches:\t1\n"
    assert parse_switches(STATUS % name) == Switches(17, 4)


@pytest.mark.parametrize("raw", [b"", b"Name:\txz\n", STATUS[:-10] % b"xz"])
def test_a_status_without_switches_is_refused(raw: bytes) -> None:
    with pytest.raises(KernelText):
        parse_switches(raw)


@given(st.binary(max_size=200))
def test_any_bytes_parse_or_are_refused(raw: bytes) -> None:
    for parse in (parse_schedstat, parse_switches):
        with contextlib.suppress(KernelText):
            parse(raw)


@pytest.mark.parametrize(
    ("wchan", "state", "reason"),
    [
        ("futex_do_wait", "S", Blocked.LOCK),
        ("futex_wait_queue", "S", Blocked.LOCK),
        ("anon_pipe_read", "S", Blocked.MESSAGE),
        ("do_epoll_wait", "S", Blocked.MESSAGE),
        ("poll_schedule_timeout.constprop.0", "S", Blocked.MESSAGE),
        ("unix_stream_read_generic", "S", Blocked.MESSAGE),
        ("hrtimer_nanosleep", "S", Blocked.TIMER),
        ("folio_wait_bit_common", "D", Blocked.IO),
        ("io_schedule", "D", Blocked.IO),
        ("do_wait", "S", Blocked.OTHER),
        ("n_tty_read", "S", Blocked.OTHER),
        ("rwsem_down_write_slowpath", "D", Blocked.OTHER),
        # What the kernel says to those who may not trace the process.
        ("0", "S", Blocked.OTHER),
        ("0", "D", Blocked.IO),
        ("", "D", Blocked.IO),
    ],
)
def test_what_a_task_waits_for(wchan: str, state: str, reason: Blocked) -> None:
    assert blocked_on(wchan, state) is reason


def test_a_task_that_ended_is_none(tmp_path: Path) -> None:
    assert read_schedstat(str(tmp_path)) is None
    assert read_switches(str(tmp_path)) is None
    assert read_wchan(str(tmp_path)) == ""
    assert read_task(str(tmp_path)) is None


def test_this_process() -> None:
    task = f"/proc/{os.getpid()}"
    counted, switches = read_schedstat(task), read_switches(task)
    assert counted is not None
    assert counted.runs > 0
    assert switches is not None
    assert switches.voluntary + switches.involuntary > 0
    stat = read_task(task)
    assert stat is not None
    assert stat.pid == os.getpid()
