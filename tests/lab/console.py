# SPDX-License-Identifier: GPL-2.0-or-later
"""Judge a guest's serial console: what the kernel printed when it was in trouble."""

from __future__ import annotations

import re
import time
from pathlib import Path

from lab.errors import InfraFailure, VmLost

CRASH = re.compile(
    r"^\[ *\d+\.\d+\](?:\[[^]]*\])? .*?"
    r"(?:Oops|BUG:|Kernel panic|soft lockup|rcu.*(?:stall|starved)).*$",
    re.MULTILINE,
)
EMULATOR_BUG = re.compile(r"Oops: int3")
TAIL_LINES = 15
LOGS_KEPT = 20


def crash_line(text: str) -> str | None:
    """The first line in which the kernel reports a crash, lockup or stall."""
    found = CRASH.search(text)
    return found[0].strip() if found else None


def read(log: Path) -> str:
    """The console so far; empty before QEMU has opened it."""
    try:
        return log.read_text(errors="replace").replace("\r\n", "\n")
    except FileNotFoundError:
        return ""


def tail(text: str, lines: int = TAIL_LINES) -> str:
    """The last non-empty lines."""
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])


def verdict(log: Path, reason: str) -> VmLost:
    """The error for a lost machine: the kernel's own report if there is one, else `reason`."""
    text = read(log)
    if EMULATOR_BUG.search(text):
        return InfraFailure(
            "infrastructure failure: the emulator broke code patching (Oops: int3); rerun",
            log,
            tail(text),
        )
    line = crash_line(text)
    return VmLost(f"{reason}; the guest kernel said: {line}" if line else reason, log, tail(text))


def new_log(folder: Path) -> Path:
    """A fresh, empty console log; only the newest LOGS_KEPT stay."""
    folder.mkdir(exist_ok=True)
    for old in sorted(folder.glob("console-*.log"))[: -LOGS_KEPT + 1]:
        old.unlink(missing_ok=True)
    moment = f"{time.strftime('%Y%m%d-%H%M%S')}-{time.monotonic_ns() % 10**6:06d}"
    log = folder / f"console-{moment}.log"
    log.touch()
    return log
