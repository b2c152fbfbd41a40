# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of the ledger write into it, and how they look at it."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from schedcpd.deploy.ledger import Ledger
from schedcpd.model import (
    Canary,
    CanaryDecision,
    Deployment,
    DeploymentState,
    ExitRecord,
    LayerClass,
    LayerKind,
    Objective,
    Origin,
    Outcome,
    OutcomeKind,
    PolicyKind,
    Quarantine,
    Transition,
    WorkloadClass,
)

NOW = 1000.0
BATCH = "/system.slice/batch.service"
ODD = "/user.slice/caf\udce9 \x1b[2J ☃"  # cgroup names need not be UTF-8, nor printable
WORKLOADS = [BATCH, ODD]
KERNEL = "7.3.4"
WON = Canary("jobs", 6, 0.2, -0.01, 0.4, CanaryDecision.PROMOTE, "it is better")


def clock() -> float:
    return NOW


def step(number: int) -> Transition:
    return Transition(float(number), 1, "default", "attaching", f"step {number}")


def deployment(ident: int, workload_id: str = BATCH, ended_at: float = 0.0) -> Deployment:
    return Deployment(
        id=ident,
        workload_id=workload_id,
        policy="scx_batch",
        origin=Origin.AUTOMATIC,
        state=DeploymentState.EJECTED if ended_at else DeploymentState.CANARY,
        started_at=NOW,
        ended_at=ended_at,
        attach_ms=4.5,
        exit=ExitRecord(1026, -7, "stall", "hog[7] failed", "dump\n" * 50) if ended_at else None,
        error="it stalled" if ended_at else "",
        counters={"nr_enqueued": 2**64 - 1},
        reason="why",
        object_sha256="a" * 64,
        canary=WON if ended_at else None,
        revert_ms=81.5,
        layer=LayerClass(LayerKind.BATCH, 300, 5000) if ended_at else None,
        parameters={"batch_weight": 2**62, "shift": -3} if ended_at else {},
        kind=PolicyKind.FOREIGN if ended_at else PolicyKind.BPF,
        ops="lavd_" if ended_at else "",
    )


def harm(policy: str = "scx_batch", workload_id: str = BATCH) -> Quarantine:
    return Quarantine(f"sha of {policy}", policy, KERNEL, workload_id, NOW, "it stalled")


def outcome(number: int, workload: str = BATCH) -> Outcome:
    return Outcome(
        deployment=number,
        at=NOW,
        workload=workload,
        work=WorkloadClass.BATCH,
        objective=Objective.MAKESPAN,
        policy="scx_batch",
        object_sha256="a" * 64,
        kernel_release=KERNEL,
        topology="cpus 2, llc 1",
        kind=OutcomeKind.EFFECT,
        metric="jobs",
        effect=-0.1,
        low=-0.25,
        high=0.125,
        pairs=6,
        reason="others \udce9 waited",
        parameters={"slice_ns": 1_000_000},
    )


@contextmanager
def opened(path: Path) -> Iterator[Ledger]:
    ledger = Ledger(path, clock)
    try:
        yield ledger
    finally:
        ledger.close()


State = tuple[object, ...]

EMPTY: State = ((), (), (), (), (None, None))


def state_of(ledger: Ledger) -> State:
    """Everything that can be read."""
    return (
        ledger.transitions(10_000),
        ledger.deployments(10_000),
        ledger.quarantines(),
        ledger.outcomes(),
        tuple(ledger.known_good(workload_id, KERNEL) for workload_id in WORKLOADS),
    )


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """No file may grow beyond the journal of this ledger as it is now."""
    wal = Path(f"{path}-wal")
    size = max(place.stat().st_size for place in (wal, path) if place.exists())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def write_everything(ledger: Ledger) -> Iterator[Callable[[], object]]:
    """One operation of each kind, each a transaction."""
    yield lambda: ledger.open_run("boot 1")
    for number in range(1, 4):
        yield partial(ledger.record_transition, step(number))
        yield partial(ledger.save_deployment, deployment(number))
    yield lambda: ledger.promote(BATCH, KERNEL, harm().object_sha256, "scx_batch", WON)
    yield lambda: ledger.quarantine(harm())  # two changes that belong together
    yield lambda: ledger.promote(ODD, KERNEL, "c" * 64, "scx_fair", WON)
    yield lambda: ledger.release("scx_batch")
    yield lambda: ledger.save_deployment(deployment(2, ended_at=NOW))
    yield lambda: ledger.save_outcome(outcome(1))
    yield lambda: ledger.save_outcome(outcome(2, ODD))
    yield lambda: ledger.forget_outcome(1)
    yield ledger.close_run


def copy_of(path: Path, where: Path) -> Path:
    where.mkdir()
    for suffix in ("", "-wal"):
        part = Path(f"{path}{suffix}")
        if part.exists():
            shutil.copyfile(part, where / part.name)
    return where / path.name
