# SPDX-License-Identifier: GPL-2.0-or-later
"""What counts as a crash on the console."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import console
from lab.errors import InfraFailure, VmLost

CRASHES = [
    "[    6.098557] Kernel panic - not syncing: sysrq triggered crash",
    "[   12.000001] BUG: kernel NULL pointer dereference, address: 0000000000000008",
    "[   99.123456] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [python3:311]",
    "[   61.000000] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
    "[   61.000000] rcu: rcu_preempt self-detected stall on CPU",
    "[    3.500000] Oops: general protection fault, 0000 [#1] SMP",
]
HARMLESS = [
    '[    6.000000] sched_ext: BPF scheduler "scx_x" disabled (runnable task stall)',
    "Oops, said a program",
    "root@schedcp-lab:~# grep BUG: file",
    "[    1.000000] systemd[1]: Started something.",
]


@pytest.mark.parametrize("line", CRASHES)
def test_crash_is_seen(line: str) -> None:
    assert console.crash_line(f"[    0.1] fine\n{line}\nmore\n") == line


@pytest.mark.parametrize("line", HARMLESS)
def test_harmless_line_is_no_crash(line: str) -> None:
    assert console.crash_line(f"{line}\n") is None


def test_tail_drops_empty_lines() -> None:
    assert console.tail("a\n\n \nb\nc\n", 2) == "b\nc"


def test_verdict_names_log_and_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_bytes(b"[    1.000000] Kernel panic - not syncing\r\nlast words\r\n")
    error = console.verdict(log, "QEMU ended")
    assert type(error) is VmLost
    assert str(log) in str(error)
    assert str(error).endswith("last words")
    assert "Kernel panic" in error.reason


def test_int3_is_an_infrastructure_failure(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_text("[    1.000000] Oops: int3: 0000 [#1] SMP\n")
    error = console.verdict(log, "QEMU ended")
    assert isinstance(error, InfraFailure)
    assert "infrastructure failure" in str(error)


def test_missing_log_reads_as_empty(tmp_path: Path) -> None:
    assert console.read(tmp_path / "none") == ""
