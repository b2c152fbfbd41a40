# SPDX-License-Identifier: GPL-2.0-or-later
"""The packaged workload probe, held against tasks whose sleeps are known."""

from __future__ import annotations

from typing import Any

import pytest

from lab.machine import Machine
from lab.place import REPO
from vm.guest import asked, schedctl
from vm.sleepers import READER, SHARES, TASKS, WRITER

SLEEPERS = "sleepers.service"
READY = f"test $(wc -l </sys/fs/cgroup/system.slice/{SLEEPERS}/cgroup.threads) -eq {TASKS}"


def start(machine: Machine) -> None:
    """Start the tasks, and wait until the daemon knows them."""
    schedctl(machine, "pause")  # a policy on trial is not disturbed by a probe
    machine.copy_in(REPO / "tests/vm/sleepers.py", "/root/sleepers.py")
    machine.start(["python3", "/root/sleepers.py"], unit="sleepers")
    machine.wait_for(READY)
    machine.wait_for(lambda: SLEEPERS in schedctl(machine, "list").stdout)


def probed(machine: Machine) -> dict[str, Any]:
    """What the daemon's own child, in the daemon's own sandbox, says of them."""
    profile: dict[str, Any] = asked(machine, "show", SLEEPERS, "--tier", "probes")["profile"]
    return profile


def check_reasons(probed: dict[str, Any]) -> None:
    """What tasks sleep for."""
    found = probed["probes"]
    assert found["tasks"] == TASKS
    slept = {reason: one[2] for reason, one in found["off_cpu"].items() if reason != "preempted"}
    total = sum(slept.values())
    shares = {reason: slept.get(reason, 0.0) / total for reason in SHARES}
    assert shares == pytest.approx(SHARES, abs=0.08)
    seen = probed["scheduling"]
    assert seen["blocked_lock"] == pytest.approx(shares["lock"])
    assert seen["blocked_message"] == pytest.approx(shares["message"])
    assert seen["blocked_timer"] == pytest.approx(shares["timer"])


def check_times(probed: dict[str, Any]) -> None:
    """Those of all tasks add up."""
    found = probed["probes"]
    off_cpu = sum(one[2] for reason, one in found["off_cpu"].items() if reason != "preempted")
    whole = off_cpu + found["run"][2] + found["queue"][2]
    assert whole == pytest.approx(found["tasks"] * found["window_s"], rel=0.05)


def check_wakers_and_calls(probed: dict[str, Any]) -> None:
    """Who wakes whom, and what is called."""
    found = probed["probes"]
    wakers = {(kind, waker, woken): count for kind, waker, woken, count in found["wakers"]}
    assert wakers["inside", WRITER, READER] > 10
    assert wakers["itself", "lock", "lock"] > 10
    assert wakers["timer", "", "poller"] > 10
    # In whatever task an interrupt happens, it has woken nobody.
    assert sum(count for (kind, _, _), count in wakers.items() if kind == "outside") <= 2
    calls = {name for name, _ in found["calls"]}
    assert {"futex", "clock_nanosleep", "read", "write", "poll", "epoll_wait"} <= calls


def test_what_is_known_of_the_tasks_is_found_and_the_probe_is_gone_afterwards(
    machine: Machine,
) -> None:
    start(machine)
    first = probed(machine)
    check_reasons(first)
    check_times(first)
    check_wakers_and_calls(first)
    machine.wait_for("! pgrep schedcp-probe")
    shown = schedctl(machine, "show", SLEEPERS, "--tier", "probes").stdout
    assert "asleep for a lock: " in shown
    assert " to 33.6 ms " in shown  # most sleeps take 25 ms and the way to a CPU
    assert WRITER in shown
