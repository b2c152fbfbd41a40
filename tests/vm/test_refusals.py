# SPDX-License-Identifier: GPL-2.0-or-later
"""What is refused, what the kernel throws out, and what is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import image, kernels
from lab.machine import Machine
from lab.place import Lab
from vm.guest import (
    SCHEDULERS,
    asked,
    await_default,
    await_end,
    await_policy,
    await_state,
    install_policy,
    policy,
    schedctl,
    start_batch,
    start_idle,
)

TOKENS = "/var/lib/schedcp-verify/tokens"


FLIP = """
import sys
with open(sys.argv[1], "r+b") as file:
    middle = file.seek(0, 2) // 2
    file.seek(middle)
    byte = file.read(1)[0] ^ 1
    file.seek(middle)
    file.write(bytes([byte]))
"""


@pytest.mark.parametrize(
    "path",
    [
        f"{SCHEDULERS}/scx_fair/scx_fair.bpf.o",
        f"{SCHEDULERS}/scx_fair/scx_fair.toml",
        f"{TOKENS}/scx_fair.token",
    ],
)
def test_flipped_byte_is_refused(machine: Machine, path: str) -> None:
    workload = start_idle(machine)
    machine.run(["python3", "-c", FLIP, path])
    refused = schedctl(machine, "apply", workload, "scx_fair", check=False)
    assert refused.exit_code != 0
    assert "scx_fair" in refused.stderr
    assert policy(machine) == ""


def test_policy_that_the_kernel_rejects(machine: Machine) -> None:
    workload = start_idle(machine)
    install_policy(machine, "scx_rejected")
    refused = schedctl(machine, "apply", workload, "scx_rejected", check=False)
    assert refused.exit_code == 7
    assert "load" in refused.stderr
    assert policy(machine) == ""
    # The verifier's own words.
    machine.wait_for("journalctl --unit=schedcpd --output=cat | grep -q 'R[12]'")


def test_policy_that_fails_at_once(machine: Machine) -> None:
    workload = start_idle(machine)
    install_policy(machine, "scx_bogus")
    refused = schedctl(machine, "apply", workload, "scx_bogus", check=False)
    assert refused.exit_code == 7
    assert "non-existent DSQ" in refused.stderr
    assert policy(machine) == ""


def test_policy_that_stalls_is_ejected_and_told(machine: Machine) -> None:
    workload = start_idle(machine)
    install_policy(machine, "scx_stall", timeout_ms=1000)
    machine.start("while :; do :; done", unit="victim", user="user")
    schedctl(machine, "apply", workload, "scx_stall", check=False)
    await_default(machine)
    ended = await_end(machine, workload)
    assert ended["exit_kind"] == 1026
    assert ended["exit_cause"] == "fault"
    assert "failed to run" in ended["error"]
    assert "failed to run" in schedctl(machine, "status", user="user").stdout


def test_daemon_keeps_its_footing_under_a_policy_that_freezes_the_rest(machine: Machine) -> None:
    workload = start_idle(machine)
    install_policy(machine, "scx_hog", timeout_ms=1000)
    for number in range(4):
        machine.start("while :; do :; done", unit=f"hog{number}", user="user")
    schedctl(machine, "apply", workload, "scx_hog", check=False)
    await_default(machine)
    assert await_end(machine, workload)["exit_cause"] == "fault"
    restarts = machine.run(["systemctl", "show", "--value", "-p", "NRestarts", "schedcpd"]).stdout
    assert restarts.strip() == "0", "the watchdog did not have to help"


def test_cpu_limits_are_respected(machine: Machine) -> None:
    workload = start_idle(machine)
    limited = ["systemd-run", "--unit=limited", "-p", "CPUQuota=20%", "sleep", "1000"]
    machine.run(limited)
    refused = schedctl(machine, "apply", workload, "scx_fair", check=False)
    assert refused.exit_code == 7
    assert "limited.service" in refused.stderr
    machine.run(["systemctl", "stop", "limited"])
    schedctl(machine, "apply", workload, "scx_fair")
    machine.run(limited)
    await_default(machine)
    assert "limited.service" in schedctl(machine, "log").stdout


def test_foreign_scheduler_is_shown_and_not_touched(machine: Machine) -> None:
    workload = start_idle(machine)
    machine.run(
        f"mkdir -p /sys/fs/bpf/foreign && "
        f"bpftool struct_ops register {SCHEDULERS}/scx_fair/scx_fair.bpf.o /sys/fs/bpf/foreign"
    )
    await_policy(machine, "scx_fair")
    shown = asked(machine, "status", user="user")
    assert shown["kernel"]["owner"] == "foreign"
    assert "somebody else" in schedctl(machine, "status", user="user").stdout
    refused = schedctl(machine, "apply", workload, "scx_batch", check=False)
    assert refused.exit_code == 6
    start_batch(machine)
    await_state(machine, "batch.service", "advised")
    assert policy(machine) == "scx_fair"


def test_kernel_without_sched_ext_gets_advice_only(deb: Path) -> None:
    lab = Lab.from_env()
    plain = kernels.get(lab, "6.12")
    with Machine.boot(image.build(lab, deb), plain) as machine:
        shown = schedctl(machine, "status", user="user").stdout
        assert "without sched_ext" in shown
        start_batch(machine)
        await_state(machine, "batch.service", "advised")
        refused = schedctl(machine, "apply", "batch.service", "scx_batch", check=False)
        assert refused.exit_code == 5
        assert "trixie-backports" in refused.stderr
        assert schedctl(machine, "doctor", check=False).exit_code == 1
