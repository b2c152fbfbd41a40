# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import os
from pathlib import Path

import pytest

from schedcpd.kernel.kmsg import REASONS, KernelLog, parse_exit
from schedcpd.kernel.sched_ext import exit_cause
from schedcpd.model import ExitCause, ExitRecord

LEFT = 'sched_ext: BPF scheduler "lavd_1.0" disabled ({})'


@pytest.mark.parametrize(
    ("reason", "kind", "cause"),
    [
        ("unregistered from user space", 64, ExitCause.REVERTED),
        ("unregistered from BPF", 65, ExitCause.POLICY),
        ("disabled by sysrq-S", 67, ExitCause.OPERATOR),
        ("runtime error", 1024, ExitCause.FAULT),
        ("scx_bpf_error", 1025, ExitCause.FAULT),
        ("runnable task stall", 1026, ExitCause.FAULT),
        ("something newer", 1024, ExitCause.FAULT),
    ],
)
def test_reasons(reason: str, kind: int, cause: ExitCause) -> None:
    record = parse_exit(["before", LEFT.format(reason), "after"], "lavd_1.0")
    assert record == ExitRecord(kind, 0, reason, "")
    assert exit_cause(record) is cause
    assert len(set(REASONS.values())) == len(REASONS)


def test_the_newest_of_that_name_and_its_message() -> None:
    messages = [
        LEFT.format("runtime error"),
        "sched_ext: lavd_1.0: old",
        LEFT.format("runnable task stall"),
        "something else",
        "sched_ext: lavd_1.0: xz[42] failed to run for 5.1s",
        'sched_ext: BPF scheduler "other" disabled (unregistered from user space)',
    ]
    record = parse_exit(messages, "lavd_1.0")
    assert record is not None
    assert (record.kind, record.message) == (1026, "xz[42] failed to run for 5.1s")
    assert parse_exit(messages, "lavd") is None
    assert parse_exit([], "lavd_1.0") is None


def test_only_what_comes_from_now_on(tmp_path: Path) -> None:
    path = tmp_path / "kmsg"
    path.write_text("6,1,1,-;old\n")
    fd = os.open(path, os.O_RDONLY)
    log = KernelLog(fd)
    assert log.read() == []
    with path.open("a") as file:
        file.write("6,2,1,-;one\n SUBSYSTEM=cpu\n6,3,1,-;two; and more\n")
    assert log.read() == ["one", "two; and more"]
    with path.open("a") as file:
        file.write("6,4,1,-;three\n")
    log.skip()
    assert log.read() == []
    os.close(fd)
