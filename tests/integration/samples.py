# SPDX-License-Identifier: GPL-2.0-or-later
"""Values for the tests of the bus and the client."""

from __future__ import annotations

from dataclasses import fields

from schedcpd.model import (
    Canary,
    CanaryDecision,
    Card,
    Check,
    Deployment,
    DeploymentState,
    ExitRecord,
    Finding,
    Histogram,
    KernelState,
    Objective,
    Origin,
    Plan,
    Policy,
    ProbesProfile,
    Program,
    Quarantine,
    Report,
    Rule,
    SchedulingProfile,
    Severity,
    SleepReason,
    StageOutcome,
    StageReport,
    SystemCall,
    Tier,
    Tunable,
    VerifyStage,
    Waker,
    WakerKind,
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


SOURCE = 'char _license[] = "GPL";\n'
CARD = 'name = "scx_mine"\n'
CANARY = Canary(
    "completions", 6, 0.31, 0.22, 0.4, CanaryDecision.PROMOTE, "31 % more done in six pairs"
)
QUARANTINE = Quarantine(
    "ab" * 32, "scx_fair", "7.3.4-cloud-amd64", "", NOW - 60, "others waited 40 ms, 2 ms before"
)


RULES = (
    Rule(
        "SCX101",
        "enqueue loses the task",
        Severity.REJECT,
        "a path through enqueue that queues the task nowhere",
        "the task never runs again",
        "if (p->prio > 120)\n    return;",
        "end each path with scx_bpf_dsq_insert",
    ),
    Rule("SCX404", "weights are ignored", Severity.WARNING, "no use of weight", "", "", ""),
)

COMPILED = StageReport(VerifyStage.COMPILE, StageOutcome.PASSED, 1.21)
READ = StageReport(
    VerifyStage.STATIC,
    StageOutcome.PASSED,
    0.31,
    findings=(
        Finding(
            "SCX404",
            Severity.WARNING,
            "the weight of a task is never read",
            "scale the slice by p->scx.weight",
            "enqueue",
            "scx_mine.bpf.c",
            41,
        ),
    ),
)
LOST = StageReport(
    VerifyStage.STATIC,
    StageOutcome.FAILED,
    0.31,
    "SCX101: a path through enqueue queues the task nowhere",
    (
        Finding(
            "SCX101",
            Severity.REJECT,
            "a path through enqueue queues the task nowhere",
            "end each path with scx_bpf_dsq_insert",
            "enqueue",
            "scx_mine.bpf.c",
            57,
        ),
    ),
)
LOADED = StageReport(
    VerifyStage.KERNEL,
    StageOutcome.PASSED,
    6.5,
    checks=(Check("load", True, "the kernel's verifier took it", 38, "ms"),),
)
TRIED = StageReport(
    VerifyStage.DYNAMIC,
    StageOutcome.PASSED,
    21.4,
    checks=(
        Check("runnable", True, "the longest wait of a task", 120, "ms", 2000, 80),
        Check("throughput", True, "work done", 101.5, "MB/s", 0, 99.25),
    ),
)


def report(*stages: StageReport, cached: bool = False) -> Report:
    done = stages or (COMPILED, READ, LOADED, TRIED)
    return Report(
        *("scx_mine", "ab" * 32, "cd" * 32, "7.3.4-cloud-amd64", "ef" * 20, "kvm", int(NOW)),
        stages=done,
        cached=cached,
    )


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


PROBES = ProbesProfile(
    window_s=1.0,
    tasks=7,
    queue=Histogram((0,) * 12 + (30, 60, 10), 0.007, 0.0007),
    run=Histogram((0,) * 20 + (100,), 1.5, 0.15),
    off_cpu={
        SleepReason.MESSAGE: Histogram((0,) * 23 + (90, 10), 10.0, 1.0),
        SleepReason.OTHER: Histogram((0,) * 40, 0.0, 1.0),
    },
    wakeups=110,
    wakers=(
        Waker(WakerKind.INSIDE, "writer", "reader", 90),
        Waker(WakerKind.INTERRUPT, "", "reader\n", 20),
    ),
    system_calls=2**40,
    calls=(SystemCall("read", 2**40),),
    migrations=3,
    forks=1,
    sentence="7 tasks used 0.15 CPUs",
)


def examined(tier: Tier) -> WorkloadProfile:
    """What a look of that tier finds."""
    if tier is Tier.SUMMARY:
        return profile()
    figures = dict.fromkeys(
        (one.name for one in fields(SchedulingProfile) if one.name != "wakers"), 0.5
    )
    figures["tasks"] = 40
    seen = SchedulingProfile(**figures)  # type: ignore[arg-type]
    return profile(scheduling=seen, probes=PROBES if tier is Tier.PROBES else None)


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
    lasting = (DeploymentState.ATTACHING, DeploymentState.CANARY, DeploymentState.ATTACHED)
    final = state not in lasting
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
