# SPDX-License-Identifier: GPL-2.0-or-later
"""Why a sched_ext scheduler left, as the kernel's log has it (kernel/sched/ext.c).

For schedulers that do not tell us themselves: what the kernel told them is in their own memory.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from schedcpd.model import ExitKind, ExitRecord

RECORD_LIMIT = 8192  # the kernel gives no more for one
MOST_RECORDS = 10_000
NEARBY = 8  # what others log at the same time may come in between

LEFT = re.compile(r'sched_ext: BPF scheduler "([^"]*)" disabled \((.*)\)')
# scx_exit_reason(); kinds that are newer than these are faults.
REASONS = {
    "unregistered from user space": ExitKind.UNREG,
    "unregistered from BPF": ExitKind.UNREG_BPF,
    "unregistered from the main kernel": ExitKind.UNREG_KERN,
    "disabled by sysrq-S": ExitKind.SYSRQ,
    "runtime error": ExitKind.ERROR,
    "scx_bpf_error": ExitKind.ERROR_BPF,
    "runnable task stall": ExitKind.ERROR_STALL,
}


def parse_exit(messages: Sequence[str], ops: str) -> ExitRecord | None:
    """What the newest of the messages say of the end of the scheduler that is called ``ops``."""
    for place in reversed(range(len(messages))):
        found = LEFT.fullmatch(messages[place])
        if found is None or found[1] != ops:
            continue
        about = f"sched_ext: {ops}: "
        nearby = messages[place + 1 : place + 1 + NEARBY]
        message = next((one for one in nearby if one.startswith(about)), "").removeprefix(about)
        return ExitRecord(REASONS.get(found[2], ExitKind.ERROR), 0, found[2], message)
    return None


class KernelLog:
    """The records of /dev/kmsg, opened by somebody who may, from here on."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        os.set_blocking(fd, False)
        self.skip()

    def skip(self) -> None:
        """Leave out all that there is until now."""
        os.lseek(self._fd, 0, os.SEEK_END)

    def read(self) -> list[str]:
        """The messages since the last one that was read."""
        messages: list[str] = []
        while len(messages) < MOST_RECORDS:
            try:
                record = os.read(self._fd, RECORD_LIMIT)
            except BlockingIOError:
                break
            except BrokenPipeError:
                continue  # some were overwritten before we came to read them
            if not record:
                break
            # Lines that begin with a blank tell of the device that a message is about.
            lines = record.decode("utf-8", "replace").splitlines()
            messages += [line.partition(";")[2] for line in lines if not line.startswith(" ")]
        return messages
