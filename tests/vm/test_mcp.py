# SPDX-License-Identifier: GPL-2.0-or-later
"""An agent of somebody else: the SDK's client, the installed schedcp-mcp, and the real kernel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab.machine import Machine
from vm.guest import VERIFIED_S, await_default, policy, schedctl, start_idle

SESSION = Path(__file__).with_name("mcp_session.py")
ENROLLED = Path(__file__).with_name("enrolled")
BROUGHT_ALONG = "/usr/lib/schedcp-agent"
CANARY_S = 900

Call = tuple[str, dict[str, Any]]


def session(
    machine: Machine, *calls: Call, user: str = "root", timeout_s: float = 300
) -> list[dict[str, Any]]:
    """What the tools answer, called one after the other in one session of a user.

    A session costs half a minute of imports under emulation.
    """
    machine.copy_in(SESSION, "/tmp/mcp_session.py")
    done = machine.run(
        ["python3", "-P", "/tmp/mcp_session.py"],
        user=user,
        stdin=json.dumps(calls).encode(),
        env={"PYTHONPATH": BROUGHT_ALONG},
        timeout_s=timeout_s,
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)
    assert [one["name"] for one in found] == [name for name, _ in calls]
    return found


def number_of(machine: Machine, unit: str) -> str:
    """The number by which the tools know a workload."""
    return machine.run(
        ["stat", "--format=%i", f"/sys/fs/cgroup/system.slice/{unit}"]
    ).stdout.strip()


@pytest.mark.long
def test_policy_from_source_through_its_canary(machine: Machine) -> None:
    # One process that computes: the built-in planner leaves it alone, so that it is not first.
    machine.start("while :; do :; done", unit="busy", user="user")
    machine.wait_for(lambda: "busy.service" in schedctl(machine, "list").stdout)
    source, card = ((ENROLLED / f"scx_mine{end}").read_text() for end in (".bpf.c", ".toml"))
    line = "sx_insert(p, SHARED_DSQ, SLICE_NS, enq_flags);"
    assert line in source
    written = {"name": "scx_mine", "source": source, "card": card}
    broken = written | {"source": source.replace(line, ";")}
    refused, explained, verified, enrolled = session(
        machine,
        ("verify_policy", broken),
        ("rules", {"rule": "SCX101"}),
        ("verify_policy", written),
        ("enroll_policy", written),
        timeout_s=2 * VERIFIED_S,
    )
    found = refused["answer"]
    assert (found["passed"], found["state"]) == (False, "refused")
    assert found["details"][0]["rule"] == "SCX101"
    assert found["details"][0]["line"] > 0
    (rule,) = explained["answer"]["rules"]
    assert rule["mend"]
    assert verified["answer"]["passed"], verified
    assert verified["progress"] == sorted(set(verified["progress"]))
    assert enrolled["answer"]["enrolled"], enrolled
    machine.wait_for(lambda: "scx_mine" in schedctl(machine, "policies").stdout)
    plan = {"policy": "scx_mine", "objective": "throughput", "reason": "a test of MCP"}
    waiting = {"deployment": 1, "timeout_s": CANARY_S}  # the first of this machine
    made, waited = session(
        machine,
        ("deploy_policy", plan | {"workload": number_of(machine, "busy.service")}),
        ("wait_for_deployment", waiting),
        timeout_s=CANARY_S + 60,
    )
    assert made["answer"]["deployment"] == 1, made
    found = waited["answer"]
    assert found["settled"], waited
    assert found["origin"] == "agent"
    assert found["state"] in ("attached", "reverted")
    assert found["canary"]["pairs"] > 0
    machine.run("journalctl --dmesg | grep -q 'BPF scheduler \"scx_mine\" enabled'")


def test_user_looks_and_root_touches(machine: Machine) -> None:
    number = number_of(machine, start_idle(machine))
    classify = {"workload": number, "policy": "scx_layers", "kind": "latency"}
    looking, touching = session(
        machine, ("explain", {"workload": number}), ("classify_workload", classify), user="user"
    )
    assert looking["answer"]["workload"] == number
    assert "sudo" in touching["error"]
    assert policy(machine) == ""
    given, status, reverted = session(
        machine,
        ("classify_workload", classify),
        ("machine_status", {}),
        ("revert_workload", {"workload": number}),
    )
    assert given["error"] == ""
    assert status["answer"]["attached_policy"] == "scx_layers"
    assert reverted["answer"] == {"reverted": True}
    await_default(machine)


@pytest.mark.long
def test_server_says_what_to_do_without_the_daemon(machine: Machine) -> None:
    machine.run(["systemctl", "stop", "schedcpd"])
    (found,) = session(machine, ("machine_status", {}))
    assert "systemctl start schedcpd" in found["error"]
    machine.wait_for("! pgrep --full '[s]chedcp_mcp'")
