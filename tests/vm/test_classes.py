# SPDX-License-Identifier: GPL-2.0-or-later
"""Classes of workloads in the real kernel: given, changed and taken without a reload."""

from __future__ import annotations

from typing import Any

import pytest

from lab.machine import Machine
from vm.guest import (
    asked,
    await_default,
    await_policy,
    await_promotion,
    deployments,
    policy,
    schedctl,
    start_idle,
)

# A batch that never ends: nine jobs at any time, each of which is young.
JOBS = """
for i in $(seq 9); do
    (while :; do xz -1 --threads=1 --stdout /usr/bin/python3.13 >/dev/null; done) &
done
wait
"""
# Has clients to wait for, and works 4 ms sixty times a second meanwhile.
SERVICE = """exec python3 -c '
import socket, time
listener = socket.create_server(("127.0.0.1", 8123))
due = time.monotonic()
while True:
    end = time.thread_time() + 0.004
    while time.thread_time() < end:
        pass
    due = max(due + 1 / 60, time.monotonic())
    time.sleep(max(0.0, due - time.monotonic()))
'"""
# Two canaries one after the other, of up to 24 windows, on a host that may be busy.
PROVED_S = 600.0


def test_classes_come_and_go_without_a_reload(machine: Machine) -> None:
    first, second = start_idle(machine), start_idle(machine, "other")
    schedctl(machine, "apply", first, "scx_layers", "--class", "latency")
    before = asked(machine, "status")
    assert (before["kernel"]["policy"], before["active"]["workload_id"]) == ("scx_layers", "")
    made = asked(machine, "apply", second, "scx_layers", "--class", "background", "--weight", "50")
    assert made["layer"] == {"kind": "background", "weight": 50, "slice_us": 0}
    after = asked(machine, "status")
    assert after["kernel"]["enable_seq"] == before["kernel"]["enable_seq"]
    assert {one["kind"] for one in after["classes"]} == {"latency", "background"}
    schedctl(machine, "revert", first)
    assert policy(machine) == "scx_layers"
    machine.run(["systemctl", "stop", second])
    await_default(machine)
    assert [one["state"] for one in deployments(machine, first)] == ["reverted"]


def last_class(machine: Machine, unit: str) -> dict[str, Any]:
    """The newest deployment of a workload that is a class, empty when there is none."""
    given = [one for one in deployments(machine, unit) if one["layer"]]
    return given[-1] if given else {}


def has_proved(machine: Machine, unit: str, *kinds: str) -> bool:
    """Whether automation has given a workload such a class, and it is there for good."""
    last = last_class(machine, unit)
    return (
        bool(last)
        and (last["origin"], last["state"]) == ("automatic", "attached")
        and last["layer"]["kind"] in kinds
    )


@pytest.mark.long
def test_two_workloads_side_by_side_get_a_class_each_by_themselves(machine: Machine) -> None:
    batch, web = "batch.service", "web.service"
    machine.start(JOBS, unit="batch", user="user")
    await_policy(machine, "scx_batch")
    await_promotion(machine, "scx_batch")
    machine.start(SERVICE, unit="web", user="user")
    await_policy(machine, "scx_layers", PROVED_S)
    machine.wait_for(lambda: has_proved(machine, web, "latency"), PROVED_S, interval_s=5.0)
    machine.wait_for(lambda: has_proved(machine, batch, "batch", "longest"), PROVED_S, 5.0)
    assert policy(machine) == "scx_layers"
    assert "moved from scx_batch" in schedctl(machine, "why", batch).stdout
    before = asked(machine, "status")
    assert len(before["classes"]) == 2
    machine.run(["systemctl", "stop", web])
    machine.wait_for(lambda: len(asked(machine, "status")["classes"]) == 1)
    assert last_class(machine, batch)["state"] == "attached"
    after = asked(machine, "status")
    assert after["kernel"]["policy"] == "scx_layers"
    assert after["kernel"]["enable_seq"] == before["kernel"]["enable_seq"], "no gap, no reload"
    machine.run(["systemctl", "stop", batch])
    await_default(machine)
    told = schedctl(machine, "why", batch).stdout
    assert "the workload ended" in told
