# SPDX-License-Identifier: GPL-2.0-or-later
"""Policies that got past the verifier and do harm later: who notices, and what is left of them."""

from __future__ import annotations

from typing import Any

import pytest

from lab.machine import Machine
from vm.guest import (
    await_daemon,
    await_end,
    await_policy,
    await_state,
    install_policy,
    policy,
    schedctl,
    start_batch,
    start_idle,
)

# Wakes up a hundred times a second: somebody whose waiting can be measured.
SLEEPER = """python3 -c '
import time
while True:
    sum(range(20000))
    time.sleep(0.01)
'"""
# A machine that is emulated on a busy host may take several times as long as a quiet one.
SLOW_HOST_S = 100.0
HOGS = "for i in 1 2 3; do (while :; do :; done) & done; wait"


def start_harm(machine: Machine, name: str, timeout_ms: int = 5000) -> str:
    """Attach a policy for the hogs of an ordinary user beside a service that wakes and sleeps."""
    schedctl(machine, "pause")  # or the daemon tries what suits the service
    install_policy(machine, name, timeout_ms)
    machine.start(SLEEPER, unit="sleeper")
    machine.start(HOGS, unit="hogs", user="user")
    machine.wait_for(lambda: "hogs.service" in schedctl(machine, "list").stdout)
    # The policy may starve schedctl itself of the answer.
    schedctl(machine, "apply", "hogs.service", name, check=False)
    return "hogs.service"


def lasted(deployment: dict[str, Any]) -> float:
    """Seconds from the request to the end of a deployment."""
    return float(deployment["ended_at"] - deployment["started_at"])


def assert_quarantined(machine: Machine, workload: str, name: str, said: str) -> None:
    """The policy is not attached again, and the reason is told wherever somebody asks."""
    assert said in schedctl(machine, "why", workload, user="user").stdout
    assert name in schedctl(machine, "quarantine", user="user").stdout
    refused = schedctl(machine, "apply", workload, name, check=False)
    assert refused.exit_code != 0
    assert "quarantine" in refused.stderr
    assert policy(machine) == ""


def test_policy_that_stalls_only_after_20_s(machine: Machine) -> None:
    workload = start_harm(machine, "scx_late", timeout_ms=4000)
    last = await_end(machine, workload)
    # The kernel's watchdog and the breaker race: the latter is first where the former is kept from
    # its CPU by a busy host.
    if last["state"] == "ejected":
        assert last["exit_kind"] == 1026
        assert "failed to run" in last["reason"]
    else:
        assert last["state"] == "tripped", last["reason"]
    assert 20 <= lasted(last) < 35 + SLOW_HOST_S
    assert_quarantined(machine, workload, "scx_late", last["reason"][:30])


@pytest.mark.long
def test_policy_that_helps_its_own_at_the_price_of_others(machine: Machine) -> None:
    workload = start_harm(machine, "scx_selfish")
    last = await_end(machine, workload)
    assert last["state"] == "tripped"
    assert "other" in last["reason"]
    assert lasted(last) < 30 + SLOW_HOST_S
    assert_quarantined(machine, workload, "scx_selfish", "other")


@pytest.mark.long
def test_policy_that_is_good_for_a_minute(machine: Machine) -> None:
    workload = start_harm(machine, "scx_turncoat")
    last = await_end(machine, workload)
    assert last["state"] == "tripped"
    assert 60 <= lasted(last) < 100 + SLOW_HOST_S
    assert_quarantined(machine, workload, "scx_turncoat", "wait")


def test_quarantine_outlives_the_daemon_and_ends_by_hand(machine: Machine) -> None:
    workload = start_idle(machine)
    install_policy(machine, "scx_stall")
    machine.start("while :; do :; done", unit="victim", user="user")
    schedctl(machine, "apply", workload, "scx_stall", check=False)
    await_end(machine, workload)
    machine.run(["systemctl", "restart", "schedcpd"])
    await_daemon(machine)
    assert "scx_stall" in schedctl(machine, "quarantine").stdout
    schedctl(machine, "release", "scx_stall")
    assert "scx_stall" not in schedctl(machine, "quarantine").stdout


def test_hold_keeps_automation_off_and_dies_with_its_holder(machine: Machine) -> None:
    hold = ["schedctl", "hold", "--reason", "a measurement", "--", "sleep", "1000"]
    machine.start(hold, unit="holder")
    machine.wait_for(lambda: "a measurement" in schedctl(machine, "status").stdout)
    start_batch(machine)
    await_state(machine, "batch.service", "advised")
    assert policy(machine) == ""
    assert "a measurement" in schedctl(machine, "why", "batch.service").stdout
    machine.run(["systemctl", "kill", "--signal=KILL", "holder"])
    await_policy(machine, "scx_batch")


def test_history_outlives_the_daemon(machine: Machine) -> None:
    workload = start_idle(machine)
    schedctl(machine, "apply", workload, "scx_fair")
    schedctl(machine, "revert")
    machine.run(["systemctl", "restart", "schedcpd"])
    await_daemon(machine)
    assert "scx_fair" in schedctl(machine, "history", user="user").stdout
