# SPDX-License-Identifier: GPL-2.0-or-later
"""Values for the tests of the bus and the client."""

from __future__ import annotations

from schedcpd.model import (
    Card,
    Deployment,
    DeploymentState,
    ExitRecord,
    KernelState,
    Objective,
    Origin,
    Plan,
    Policy,
    Program,
    Tunable,
    Workload,
    WorkloadKind,
    WorkloadProfile,
    WorkloadRecord,
    WorkloadState,
)

NOW = 1_760_000_000.0
ENABLED = KernelState(True, "enabled", "scx_batch", 3, 0, 0)
DISABLED = KernelState(True, "disabled", "", 3, 0, 0)
ABSENT = KernelState(False, "absent", "", 0, 0, 0)
STALLED = ExitRecord(1026, 0, "runnable task stall", "xz[4242] failed to run for 3.001s", "a dump")


def workload(path: str = "/system.slice/batch.service", cgroup_id: int = 77) -> Workload:
    unit = path.rpartition("/")[2]
    return Workload(path, cgroup_id, unit, WorkloadKind.SERVICE, NOW - 42)


def profile(**changes: object) -> WorkloadProfile:
    values: dict[str, object] = {
        "taken_at": NOW - 40,
        "window_s": 0.3,
        "processes": 40,
        "threads": 40,
        "runnable": 39.5,
        "cpus_used": 1.98,
        "throttled_s": 0.0,
        "pressure_some": 0.97,
        "youngest_s": 1.5,
        "oldest_s": 41.0,
        "programs": (Program("xz", 39), Program("make", 1)),
        "arguments": ("xz -9 a.tar", "make -j40"),
        "sentence": "40 processes of xz compete for 2 CPUs.",
    }
    return WorkloadProfile(**{**values, **changes})  # type: ignore[arg-type]


def record(
    path: str = "/system.slice/batch.service",
    cgroup_id: int = 77,
    state: WorkloadState = WorkloadState.MANAGED,
    profiled: WorkloadProfile | None = None,
    plan: Plan | None = None,
) -> WorkloadRecord:
    return WorkloadRecord(workload(path, cgroup_id), state, profiled, plan)


def batch_record() -> WorkloadRecord:
    plan = Plan("scx_batch", Objective.MAKESPAN, "39.5 threads are runnable on 2 CPUs.")
    return record(profiled=profile(), plan=plan)


def card(name: str = "scx_batch", **changes: object) -> Card:
    values: dict[str, object] = {
        "name": name,
        "version": "1.0",
        "title": "one cgroup's tasks run to completion",
        "summary": "Tasks of one cgroup run to completion, earliest first.",
        "suits": ("many short processes",),
        "fails": ("servers that answer to people",),
        "min_kernel": "6.16",
        "requires_kfuncs": (),
        "honours": ("nice", "affinity"),
        "ignores": ("cpu.max", "cpu.weight"),
        "timeout_ms": 3000,
        "tunables": (
            Tunable("batch_cgid", "u64", "", 0, 0, 2**64 - 1, "the cgroup", "target-id"),
            Tunable("slice_ns", "u32", "ns", 5_000_000, 1_000_000, 2**32 - 1, "time slice"),
            Tunable("bias", "s32", "", -1, -20, 19, "bias"),
            Tunable("strict", "bool", "", 1, 0, 1, "strict order"),
        ),
        "counters": {"nr_batch": "batch tasks dispatched"},
    }
    return Card(**{**values, **changes})  # type: ignore[arg-type]


def policy(name: str = "scx_batch", admissible: bool = True) -> Policy:
    token = "valid until 2026-01-01" if admissible else "no token"
    return Policy(card(name), "ab" * 32, admissible, token)


def deployment(
    number: int = 1,
    state: DeploymentState = DeploymentState.ATTACHED,
    workload_id: str = "/system.slice/batch.service",
    ended: ExitRecord | None = None,
) -> Deployment:
    final = state not in (DeploymentState.ATTACHING, DeploymentState.ATTACHED)
    return Deployment(
        id=number,
        workload_id=workload_id,
        policy="scx_batch",
        origin=Origin.AUTOMATIC,
        state=state,
        started_at=NOW - 30,
        ended_at=NOW - 3 if final else 0.0,
        attach_ms=31.5,
        exit=ended,
        error=ended.message if ended else "",
        counters={"nr_batch": 12345},
    )
