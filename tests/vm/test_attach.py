# SPDX-License-Identifier: GPL-2.0-or-later
"""Policies in the real kernel: by hand, by the daemon's own decision, and off again."""

from __future__ import annotations

import pytest

from lab.machine import Machine
from vm.guest import (
    asked,
    await_daemon,
    await_default,
    await_policy,
    await_promotion,
    await_state,
    deployments,
    policy,
    schedctl,
    seconds_to_default,
    start_batch,
    start_idle,
    start_sequential,
)


@pytest.mark.parametrize("name", ["scx_fair", "scx_batch"])
def test_apply_and_revert(machine: Machine, name: str) -> None:
    workload = start_idle(machine)
    schedctl(machine, "apply", workload, name)
    # On a busy host the circuit breaker may compare it with the kernel default in between.
    await_policy(machine, name)

    def is_ours() -> bool:
        kernel = asked(machine, "status")["kernel"]
        return (kernel["policy"], kernel["owner"]) == (name, "schedcp")

    machine.wait_for(is_ours)
    schedctl(machine, "revert")
    assert policy(machine) == ""
    (ended,) = deployments(machine, workload)
    assert ended["state"] == "reverted"
    assert ended["exit_kind"] == 64
    assert ended["counters"]["nr_enqueued"] > 0


def test_batch_is_noticed_and_let_go_at_its_end(machine: Machine) -> None:
    workload = start_batch(machine)
    await_promotion(machine, "scx_batch")
    active = asked(machine, "show", workload)
    assert active["state"] == "managed"
    assert active["advice"] == "scx_batch"
    assert active["profile"]["processes"] >= 9
    machine.run(["systemctl", "stop", workload])
    await_default(machine)


def test_idle_and_sequential_work_is_left_alone(machine: Machine) -> None:
    workload = start_idle(machine)
    start_sequential(machine)
    await_state(machine, workload, "left-alone")
    assert policy(machine) == ""


def test_pause_and_resume(machine: Machine) -> None:
    start_batch(machine)
    await_promotion(machine, "scx_batch")
    schedctl(machine, "pause")
    assert policy(machine) == ""
    machine.run(["systemctl", "stop", "batch"])
    start_batch(machine)  # on a slow machine the first one may be over by now
    schedctl(machine, "resume")
    await_policy(machine, "scx_batch")


def test_stopping_the_daemon_leaves_the_default(machine: Machine) -> None:
    schedctl(machine, "apply", start_idle(machine), "scx_fair")
    machine.run(["systemctl", "stop", "schedcpd"])
    assert policy(machine) == ""
    assert schedctl(machine, "status", check=False).exit_code == 3


@pytest.mark.parametrize("victim", ["$(systemctl show --value -p MainPID schedcpd)", "$loader"])
def test_killed_daemon_or_loader_gives_the_default_back_at_once(
    machine: Machine, victim: str
) -> None:
    schedctl(machine, "apply", start_idle(machine), "scx_fair")
    find = "loader=$(pgrep --full '^/usr/bin/python3 -I -m schedcpd.deploy.load')"
    assert seconds_to_default(machine, f"{find}; kill -9 {victim}") < 1.0
    await_daemon(machine)
    assert policy(machine) == ""


def test_revert_works_whoever_else_holds_the_link(machine: Machine) -> None:
    schedctl(machine, "apply", start_idle(machine), "scx_fair")
    held = "/sys/fs/bpf/held"
    find = "bpftool link show | sed -nE 's/^([0-9]+): struct_ops.*/\\1/p'"
    machine.run(f"bpftool link pin id $({find}) {held}")
    schedctl(machine, "revert")
    assert policy(machine) == ""
    machine.run(["rm", held])


def test_two_at_once(machine: Machine) -> None:
    workload = start_idle(machine)
    both = (
        f"schedctl apply {workload} scx_fair >/tmp/1 2>&1 & first=$!; "
        f"schedctl apply {workload} scx_batch >/tmp/2 2>&1; second=$?; "
        "wait $first; echo $? $second"
    )
    codes = sorted(int(code) for code in machine.run(both).stdout.split())
    # Either the second was refused as busy, or it came late enough to take the first one's place.
    assert codes in ([0, 0], [0, 8])
    assert policy(machine) in ("scx_fair", "scx_batch")


def test_cpu_hotplug_is_no_fault(machine: Machine) -> None:
    schedctl(machine, "apply", start_idle(machine), "scx_fair")
    machine.run("echo 0 >/sys/devices/system/cpu/cpu1/online")
    machine.run("echo 1 >/sys/devices/system/cpu/cpu1/online")
    await_policy(machine, "scx_fair")
    assert asked(machine, "status")["daemon"]["mode"] == "auto"


def test_sysrq_pauses(machine: Machine) -> None:
    schedctl(machine, "apply", start_idle(machine), "scx_fair")
    machine.run("echo S >/proc/sysrq-trigger")
    await_default(machine)
    machine.wait_for(lambda: asked(machine, "status")["daemon"]["mode"] == "paused")


def test_policy_survives_the_churn_of_a_busy_machine(machine: Machine) -> None:
    schedctl(machine, "pause")  # or else automation may be on its way with the same policy
    workload = start_batch(machine)
    machine.wait_for(lambda: workload in schedctl(machine, "list").stdout)
    schedctl(machine, "apply", workload, "scx_batch")
    churn = (
        "for i in $(seq 60); do (taskset -c $((i % 2)) nice -n $((i % 20)) true) & done; wait; "
        "stress-ng --quiet --fork 2 --affinity 2 --timeout 5s"
    )
    machine.run(churn, unit="churn")
    # The circuit breaker may be of another opinion on a slow machine; the kernel must not be.
    told = machine.run("journalctl --dmesg --output=cat --grep='BPF scheduler'").stdout
    assert 'BPF scheduler "scx_batch" enabled' in told
    assert told.count(" disabled (") == told.count(" disabled (unregistered from user space)")
    (made,) = deployments(machine, workload)
    assert made["state"] in ("attached", "canary", "tripped")
