# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from schedcpd.kernel.sched_ext import exit_cause, isolates_domains, read_state, unusable_reason
from schedcpd.model import ExitCause, ExitRecord, KernelState


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "kernel/sched_ext"
    (root / "root").mkdir(parents=True)
    values = {"state": "enabled", "root/ops": "scx_batch", "enable_seq": "7", "hotplug_seq": "2"}
    for name, value in {**values, "nr_rejected": "1"}.items():
        (root / name).write_text(f"{value}\n")
    (tmp_path / "kernel/btf").mkdir()
    (tmp_path / "kernel/btf/vmlinux").write_bytes(b"")
    (tmp_path / "cmdline").write_text("ro quiet\n")
    return root


def test_state_of_an_attached_policy(root: Path) -> None:
    assert read_state(root) == KernelState(True, "enabled", "scx_batch", 7, 2, 1)


def test_the_policy_may_go_away_between_two_reads(root: Path) -> None:
    (root / "root/ops").unlink()
    (root / "root").rmdir()
    (root / "nr_rejected").write_text("what?")
    assert read_state(root) == KernelState(True, "enabled", "", 7, 2, 0)


def test_a_kernel_without_sched_ext(tmp_path: Path) -> None:
    assert read_state(tmp_path / "none") == KernelState(False, "absent", "", 0, 0, 0)


@pytest.mark.parametrize(
    ("kind", "code", "cause"),
    [
        (64, 0, ExitCause.REVERTED),
        (65, 0x1234, ExitCause.POLICY),
        (66, 0x1000100000000, ExitCause.HOTPLUG),
        (66, 0x100000000, ExitCause.HOTPLUG),
        (66, 0x200000000, ExitCause.FAULT),
        (67, 0, ExitCause.OPERATOR),
        (68, 0, ExitCause.REVERTED),
        (69, 0, ExitCause.FAULT),
        (1024, 0, ExitCause.FAULT),
        (1025, 0, ExitCause.FAULT),
        (1026, 0, ExitCause.FAULT),
        (1028, 0, ExitCause.FAULT),
        (4711, 0, ExitCause.FAULT),
    ],
)
def test_only_faults_count_as_faults(kind: int, code: int, cause: ExitCause) -> None:
    assert exit_cause(ExitRecord(kind, code, "", "")) is cause


@pytest.mark.parametrize(
    ("cmdline", "isolates"),
    [
        ("ro quiet", False),
        ("ro isolcpus=2-3 quiet", True),
        ("isolcpus=domain,managed_irq,2", True),
        ("isolcpus=nohz,2,3", False),
        ("xisolcpus=2", False),
    ],
)
def test_isolated_domains(cmdline: str, isolates: bool) -> None:
    assert isolates_domains(cmdline) is isolates


def unusable(root: Path) -> str:
    sys = root.parent.parent
    return unusable_reason(root, sys, sys / "cmdline")


def test_nothing_keeps_it_from_being_used(root: Path) -> None:
    assert unusable(root) == ""


def test_reasons_why_it_cannot_be_used(root: Path, tmp_path: Path) -> None:
    (tmp_path / "kernel/security").mkdir()
    lockdown = tmp_path / "kernel/security/lockdown"
    lockdown.write_text("none integrity [confidentiality]\n")
    assert "lockdown" in unusable(root)
    lockdown.write_text("none [integrity] confidentiality\n")
    assert unusable(root) == ""
    (tmp_path / "cmdline").write_text("isolcpus=1\n")
    assert "isolcpus" in unusable(root)
    (tmp_path / "kernel/btf/vmlinux").unlink()
    assert "type information" in unusable(root)
    (root / "state").unlink()
    assert "no sched_ext" in unusable(root)
