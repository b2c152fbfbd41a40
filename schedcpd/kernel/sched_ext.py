# SPDX-License-Identifier: GPL-2.0-or-later
"""What /sys/kernel/sched_ext says, what an exit record means, and whether sched_ext can be used."""

from __future__ import annotations

from pathlib import Path

from schedcpd.model import ExitCause, ExitKind, ExitRecord, KernelState

ROOT = Path("/sys/kernel/sched_ext")

KIND_PARENT = 68  # since Linux 7.2: the parent scheduler left, and its sub-schedulers with it
CAUSES = {
    ExitKind.UNREG: ExitCause.REVERTED,
    KIND_PARENT: ExitCause.REVERTED,
    ExitKind.UNREG_BPF: ExitCause.POLICY,
    ExitKind.SYSRQ: ExitCause.OPERATOR,
}

# enum scx_exit_code: the reason is in bits 32 to 47, the action asked of user space above it.
REASON_SHIFT = 32
REASON_MASK = 0xFFFF
REASON_HOTPLUG = 1
ACT_RESTART = 1 << 48

NOT_SUPPORTED = (
    "this kernel has no sched_ext (CONFIG_SCHED_CLASS_EXT); Debian's kernels have it from 6.16 on, "
    "in trixie-backports"
)


def read_state(root: Path = ROOT) -> KernelState:
    """What the kernel says of sched_ext at this moment; ``absent`` when it has none."""
    if not (state := _read(root / "state")):
        return KernelState(False, "absent", "", 0, 0, 0)
    return KernelState(
        supported=True,
        state=state,
        policy=_read(root / "root" / "ops"),
        enable_seq=_number(_read(root / "enable_seq")),
        hotplug_seq=_number(_read(root / "hotplug_seq")),
        nr_rejected=_number(_read(root / "nr_rejected")),
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        # No sched_ext at all, or root/ went away with its policy between two reads.
        return ""


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


def exit_cause(record: ExitRecord) -> ExitCause:
    """What an exit means to us; kinds that are not known here count as faults."""
    if record.kind == ExitKind.UNREG_KERN and _asks_for_restart(record.code):
        return ExitCause.HOTPLUG
    return CAUSES.get(record.kind, ExitCause.FAULT)


def _asks_for_restart(code: int) -> bool:
    return (code >> REASON_SHIFT) & REASON_MASK == REASON_HOTPLUG or bool(code & ACT_RESTART)


def isolates_domains(cmdline: str) -> bool:
    """Whether ``isolcpus=`` on the kernel command line takes CPUs out of the scheduling domains.

    The kernel then refuses every sched_ext scheduler with EINVAL. A list of flags without
    ``domain`` (such as ``isolcpus=managed_irq,2``) does no harm.
    """
    for word in cmdline.split():
        if word.startswith("isolcpus="):
            values = word.removeprefix("isolcpus=").split(",")
            flags = [value for value in values if value[:1].isalpha()]
            return not flags or "domain" in flags
    return False


def unusable_reason(
    root: Path = ROOT, sys: Path = Path("/sys"), cmdline: Path = Path("/proc/cmdline")
) -> str:
    """Why no scheduler can be attached on this machine; empty when all is well."""
    if not _read(root / "state"):
        return NOT_SUPPORTED
    if not (sys / "kernel/btf/vmlinux").exists():
        return "this kernel has no type information (CONFIG_DEBUG_INFO_BTF)"
    if isolates_domains(_read(cmdline)):
        return "isolcpus= is set on the kernel command line, which sched_ext does not go with"
    if "[confidentiality]" in _read(sys / "kernel/security/lockdown"):
        return "kernel lockdown is set to confidentiality, which keeps BPF from reading the kernel"
    return ""
