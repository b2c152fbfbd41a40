# SPDX-License-Identifier: GPL-2.0-or-later
"""The exit status of schedctl; the man page lists the same."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a script may rely on."""

    OK = 0
    ERROR = 1  # anything without a number of its own; a failed check of doctor
    USAGE = 2
    NOT_RUNNING = 3
    NOT_AUTHORISED = 4
    NO_SCHED_EXT = 5
    FOREIGN_SCHEDULER = 6
    REFUSED = 7  # by the verification, the token check, the quarantine, CPU limits or the kernel
    BUSY = 8
    NOT_FOUND = 9  # no such workload, policy, job or hold, or several
    NOT_EXECUTABLE = 126  # the command of hold
    NO_COMMAND = 127
    INTERRUPTED = 130
    BROKEN_PIPE = 141
