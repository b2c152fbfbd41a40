# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``status`` says about each situation."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schedclient.objects import Deployment, Hold, Machine, Workload
from schedctl.actions import status
from schedctl.actions.status import Picture

NOW = 1000.0

MACHINE = Machine(
    version="0.1.0",
    kernel_release="7.3.4",
    mode="auto",
    safe="",
    sched_ext_state="enabled",
    kernel_policy="scx_batch",
    owner="schedcp",
    unusable="",
    enable_seq=3,
    active_deployment="/org/schedcp/Daemon1/deployment/1",
    last_deployment="/",
    workloads={"managed": 1, "left-alone": 3},
    cpus=2,
    holds=(),
)
IDLE = replace(
    MACHINE,
    sched_ext_state="disabled",
    kernel_policy="",
    owner="kernel-default",
    active_deployment="/",
)
WORKLOAD = Workload(
    id="/system.slice/batch.service",
    cgroup_id=77,
    unit="batch.service",
    kind="service",
    state="managed",
    appeared_at=0.0,
    sentence="",
    profile={},
    advice="scx_batch",
    objective="makespan",
    reason="39 threads are runnable on 2 CPUs.",
)
DEPLOYMENT = Deployment(
    id=1,
    workload="/org/schedcp/Daemon1/workload/77",
    workload_id="/system.slice/batch.service",
    policy="scx_batch",
    origin="automatic",
    state="attached",
    started_at=NOW - 12,
    ended_at=0.0,
    attach_ms=30.0,
    exit_kind=0,
    exit_code=0,
    exit_reason="",
    exit_message="",
    exit_cause="",
    error="",
    counters={},
    reason="",
    object_sha256="",
    canary={},
    revert_ms=0.0,
)
CANARY = {
    "metric": "completions",
    "pairs": 6,
    "effect": 0.31,
    "low": 0.22,
    "high": 0.4,
    "decision": "promote",
    "reason": "",
}
EJECTED = replace(
    DEPLOYMENT, state="ejected", ended_at=NOW - 3, exit_kind=1026, error="runnable task stall"
)


ATTACHED = Picture(MACHINE, (), DEPLOYMENT, WORKLOAD)
QUIET = Picture(IDLE, ())
AFTER_EJECTION = Picture(IDLE, (), last=EJECTED)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (
            ATTACHED,
            "scx_batch, attached 12 s ago for batch.service (schedcp's own choice)",
        ),
        (
            replace(ATTACHED, active=replace(DEPLOYMENT, origin="manual"), workload=None),
            "scx_batch, attached 12 s ago for /system.slice/batch.service (a person's choice)",
        ),
        (
            replace(ATTACHED, machine=IDLE, active=replace(DEPLOYMENT, state="attaching")),
            "scx_batch is being attached for batch.service",
        ),
        (
            replace(ATTACHED, active=replace(DEPLOYMENT, state="canary")),
            "scx_batch, on trial for batch.service since 12 s ago, in turns",
        ),
        (
            replace(ATTACHED, active=replace(DEPLOYMENT, state="canary", canary=CANARY)),
            (
                "scx_batch, on trial for batch.service since 12 s ago, in turns; "
                "so far +31% completions (+22% to +40%, 6 pairs)"
            ),
        ),
        (QUIET, "the kernel default"),
        (AFTER_EJECTION, "the kernel default"),
        (
            replace(QUIET, machine=replace(IDLE, kernel_policy="lavd", owner="foreign")),
            "'lavd', attached by somebody else; schedcp leaves it alone",
        ),
        (replace(QUIET, machine=MACHINE), "scx_batch, attached by schedcp"),
    ],
)
def test_who_schedules(shown: Picture, text: str) -> None:
    assert status.scheduler(shown, NOW) == text


def test_why() -> None:
    assert status.why(ATTACHED) == "39 threads are runnable on 2 CPUs."
    assert status.why(QUIET) == ""


def test_how_the_last_one_ended() -> None:
    assert status.ending(EJECTED, NOW) == (
        "scx_batch for /system.slice/batch.service ejected 3 s ago: runnable task stall"
    )
    reverted = replace(EJECTED, state="reverted", exit_reason="unregistered from user space")
    assert status.ending(reverted, NOW) == (
        "scx_batch for /system.slice/batch.service reverted 3 s ago"
    )


def test_a_recent_ejection_needs_attention_an_old_one_does_not() -> None:
    assert status.attention(AFTER_EJECTION, NOW) == [
        "scx_batch was ejected; 'schedctl log' has the details"
    ]
    assert status.attention(AFTER_EJECTION, NOW + 2 * status.RECENT_S) == []


def test_a_kernel_without_sched_ext_is_said_once_with_what_to_install() -> None:
    machine = replace(IDLE, sched_ext_state="absent", unusable="this kernel has no sched_ext")
    found = status.attention(Picture(machine, ()), NOW)
    assert len(found) == 2
    assert "this kernel has no sched_ext" in found[0]
    assert "trixie-backports" in found[1]


def test_how_many_workloads() -> None:
    assert status.workloads(MACHINE.workloads) == "4: 3 left-alone, 1 managed"
    assert status.workloads({}) == "none"


def test_safe_mode_is_told_with_the_way_out() -> None:
    safe = replace(QUIET, machine=replace(IDLE, mode="safe", safe="the power went"))
    assert "safe mode" in status.mode(safe.machine)
    (sentence,) = status.attention(safe, NOW)
    assert "the power went" in sentence
    assert "schedctl resume" in sentence


def test_a_trip_needs_attention_and_says_who_was_worse_off() -> None:
    tripped = replace(EJECTED, state="tripped", error="", reason="others waited 40 ms")
    assert status.ending(tripped, NOW).endswith("tripped 3 s ago: others waited 40 ms")
    assert status.attention(replace(QUIET, last=tripped), NOW)


def test_holds() -> None:
    hold = Hold(1, ":1.7", 1000, "/user.slice/game.scope", "a match", NOW - 5)
    assert status.held(hold, NOW) == "game.scope, by user 1000 since 5 s ago: a match"
    everything = replace(hold, workload_id="")
    assert status.held(everything, NOW).startswith("the whole machine, by user 1000")
