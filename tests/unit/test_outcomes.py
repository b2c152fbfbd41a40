# SPDX-License-Identifier: GPL-2.0-or-later
"""What is remembered of deployments, with the real ledger."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schedcpd.deploy.record import Record, open_record
from schedcpd.learn import outcomes as module
from schedcpd.learn.outcomes import KEPT_OF_ONE, Outcomes
from schedcpd.model import (
    Canary,
    CanaryDecision,
    Deployment,
    DeploymentState,
    Objective,
    Origin,
    Outcome,
    OutcomeKind,
    Plan,
    WorkloadClass,
)
from unit.fakes import make_workload

KERNEL, TOPOLOGY = "7.3", "cpus 2, llc 1"
WON = Canary("jobs", 6, 0.2, 0.1, 0.3, CanaryDecision.PROMOTE, "it is better")
ENDED = Deployment(
    *(1, "/a.service", "scx_batch", Origin.AUTOMATIC, DeploymentState.ATTACHED, 1.0),
    reason="canary: it is better",
    object_sha256="ab" * 32,
    canary=WON,
)
BATCH = Plan("scx_batch", Objective.MAKESPAN, "a batch", work=WorkloadClass.BATCH)
SERVICE = Plan("scx_batch", Objective.LATENCY, "a service", work=WorkloadClass.LATENCY)
WORKLOAD = replace(make_workload(), identity="xz of user 1000")
SEEN = Outcome(
    deployment=1,
    at=50.0,
    workload="xz of user 1000",
    work=WorkloadClass.LATENCY,
    objective=Objective.LATENCY,
    policy="scx_batch",
    object_sha256="ab" * 32,
    kernel_release=KERNEL,
    topology=TOPOLOGY,
    kind=OutcomeKind.EFFECT,
    metric="jobs",
    effect=0.2,
    low=0.1,
    high=0.3,
    pairs=6,
    reason="canary: it is better",
)


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    made = open_record(tmp_path / "ledger.db")
    yield made
    made.end()


def remember(record: Record, kernel: str = KERNEL, topology: str = TOPOLOGY) -> Outcomes:
    return Outcomes(record, kernel, topology, lambda: 50.0)


def test_a_canary_that_was_won_outlives_the_daemon(tmp_path: Path) -> None:
    record = open_record(tmp_path / "ledger.db")
    assert remember(record).learn(ENDED, WORKLOAD, SERVICE) == SEEN
    record.end()
    again = open_record(tmp_path / "ledger.db")
    assert remember(again).recall() == (SEEN,)
    assert remember(again, kernel="7.4").recall() == ()
    assert remember(again, topology="cpus 8, llc 2").recall() == ()
    again.end()


def test_a_workload_without_an_identity_goes_by_its_cgroup(record: Record) -> None:
    learnt = remember(record).learn(ENDED, replace(WORKLOAD, identity=""), SERVICE)
    assert learnt is not None
    assert learnt.workload == WORKLOAD.id


def canary(decision: CanaryDecision) -> Canary:
    return replace(WON, decision=decision)


TAUGHT: dict[str, tuple[dict[str, Any], Plan, OutcomeKind | None]] = {
    "it is better": ({}, SERVICE, OutcomeKind.EFFECT),
    "a batch is not worse": ({}, BATCH, OutcomeKind.HARMLESS),
    "no gain": ({"canary": canary(CanaryDecision.NO_GAIN)}, SERVICE, OutcomeKind.EFFECT),
    "a batch is worse": ({"canary": canary(CanaryDecision.WORSE)}, BATCH, OutcomeKind.EFFECT),
    "cut off": ({"canary": canary(CanaryDecision.GOING_ON)}, SERVICE, None),
    "known to be good": ({"canary": None}, SERVICE, None),
    "a person chose it": ({"origin": Origin.MANUAL, "canary": None}, SERVICE, None),
    "nobody knows what for": ({}, replace(SERVICE, objective=Objective.NONE), None),
    "tripped": ({"state": DeploymentState.TRIPPED}, BATCH, OutcomeKind.FAILURE),
    "ejected": ({"state": DeploymentState.EJECTED}, SERVICE, OutcomeKind.FAILURE),
    "a person's choice tripped": (
        {"origin": Origin.MANUAL, "state": DeploymentState.TRIPPED, "canary": None},
        SERVICE,
        OutcomeKind.FAILURE,
    ),
}


@pytest.mark.parametrize(("changes", "plan", "kind"), TAUGHT.values(), ids=TAUGHT)
def test_what_a_deployment_teaches(
    record: Record, changes: dict[str, Any], plan: Plan, kind: OutcomeKind | None
) -> None:
    outcomes = remember(record)
    learnt = outcomes.learn(replace(ENDED, **changes), WORKLOAD, plan)
    assert outcomes.recall() == remember(record).recall() == ((learnt,) if learnt else ())
    assert (learnt.kind if learnt else None) is kind
    if learnt is not None:
        measured = kind is OutcomeKind.EFFECT
        assert (learnt.effect, learnt.pairs) == ((0.2, 6) if measured else (0.0, 0))


def test_harm_after_a_canary_takes_the_place_of_what_that_showed(record: Record) -> None:
    outcomes = remember(record)
    outcomes.learn(ENDED, WORKLOAD, SERVICE)
    tripped = replace(ENDED, state=DeploymentState.TRIPPED, reason="others waited")
    outcomes.learn(tripped, WORKLOAD, SERVICE)
    (learnt,) = remember(record).recall()
    assert (learnt.kind, learnt.reason) == (OutcomeKind.FAILURE, "others waited")


def test_a_job_that_runs_often_crowds_out_no_other(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT", KEPT_OF_ONE + 3)
    outcomes = remember(record)
    outcomes.learn(ENDED, replace(WORKLOAD, identity="seldom"), SERVICE)
    for number in range(2, 30):
        outcomes.learn(replace(ENDED, id=number), WORKLOAD, SERVICE)
    kept = [1, *range(30 - KEPT_OF_ONE, 30)]
    assert [one.deployment for one in outcomes.recall()] == kept
    for number in range(40, 50):
        other = replace(WORKLOAD, identity=f"job {number}")
        outcomes.learn(replace(ENDED, id=number), other, SERVICE)
    assert len(outcomes.recall()) == KEPT_OF_ONE + 3
    assert remember(record).recall() == outcomes.recall()


def test_a_policy_let_out_of_quarantine_gets_another_chance(record: Record) -> None:
    outcomes = remember(record)
    for number, policy in enumerate(("scx_batch", "scx_fair"), 1):
        tripped = replace(ENDED, id=number, policy=policy, state=DeploymentState.TRIPPED)
        outcomes.learn(tripped, WORKLOAD, SERVICE)
    outcomes.learn(replace(ENDED, id=3), WORKLOAD, SERVICE)
    outcomes.forgive("scx_batch")
    assert [one.deployment for one in outcomes.recall()] == [2, 3]
    assert remember(record).recall() == outcomes.recall()


def test_without_a_ledger_it_is_remembered_until_the_daemon_ends() -> None:
    outcomes = remember(Record(None, "it cannot be opened"))
    outcomes.learn(ENDED, WORKLOAD, SERVICE)
    outcomes.forgive("scx_batch")
    assert outcomes.recall() == (SEEN,)


def test_a_damaged_ledger_is_told_and_all_begins_anew(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ledger.db"
    record = open_record(path)
    remember(record).learn(ENDED, WORKLOAD, SERVICE)
    record.end()
    content = path.read_bytes()
    path.write_bytes(content.replace(b"it is better", b"it is bitter"))
    again = open_record(path)
    assert remember(again).recall() == ()
    assert "ledger.db.damaged-1" in again.begin("boot")
    remember(again).learn(ENDED, WORKLOAD, SERVICE)
    assert remember(again).recall() == (SEEN,)
    again.end()
