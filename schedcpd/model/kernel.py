# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel says of its scheduler, and why a policy left it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class ExitKind(IntEnum):
    """The kernel's ``enum scx_exit_kind``, as far as schedcp tells its values apart."""

    NONE = 0
    DONE = 1
    UNREG = 64
    UNREG_BPF = 65
    UNREG_KERN = 66
    SYSRQ = 67
    ERROR = 1024
    ERROR_BPF = 1025
    ERROR_STALL = 1026


class ExitCause(StrEnum):
    """What an exit means to us; only FAULT counts against a policy."""

    REVERTED = "reverted"  # we, or the death of the loader, let go of the link
    POLICY = "policy"  # the policy itself asked to leave
    HOTPLUG = "hotplug"  # a CPU came or went; attach again
    OPERATOR = "operator"  # sysrq-S at the console
    FAULT = "fault"  # runtime error, stall, error raised by the policy


@dataclass(frozen=True, slots=True)
class ExitRecord:
    """Why a policy left the kernel, in the kernel's own words."""

    kind: int  # enum scx_exit_kind, kept raw: newer kernels know more of them
    code: int
    reason: str
    message: str
    dump: str = ""


@dataclass(frozen=True, slots=True)
class KernelState:
    """What /sys/kernel/sched_ext says at this moment."""

    supported: bool
    state: str  # absent, disabled, enabling, enabled, disabling
    policy: str  # root/ops, empty when the kernel default schedules
    enable_seq: int
    hotplug_seq: int
    nr_rejected: int
