# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest

from schedcpd.model import (
    Canary,
    CanaryDecision,
    Deployment,
    DeploymentState,
    Hold,
    Objective,
    Origin,
    Plan,
    Quarantine,
    WorkloadRecord,
    WorkloadState,
)
from schedcpd.why import Case, explain
from unit.fakes import make_workload

WORKLOAD = make_workload()
RECORD = WorkloadRecord(
    WORKLOAD, WorkloadState.ADVISED, plan=Plan("scx_batch", Objective.MAKESPAN, "A batch")
)
DEPLOYMENT = Deployment(
    *(1, WORKLOAD.id, "scx_batch", Origin.AUTOMATIC, DeploymentState.TRIPPED, 1000.0),
    reason="other workloads waited",
    revert_ms=71.6,
)
NOTHING = Case(RECORD, "", "", (), (), ())


def test_everything_at_once() -> None:
    case = Case(
        record=RECORD,
        refusal="mode is safe",
        safe="scx_batch was attached when the machine went down",
        holds=(Hold(1, ":1.7", 1000, "", "a measurement", 1.0),),
        quarantines=(Quarantine("0", "scx_batch", "7.3", WORKLOAD.id, 1.0, "it did harm"),),
        deployments=(DEPLOYMENT,),
    )
    safe = "scx_batch was attached when the machine went down"
    release = "'schedctl release scx_batch' lets it out"
    assert explain(case) == (
        "the kernel default schedules it, though a policy would suit it",
        f"safe mode: {safe}; automation is off until 'schedctl resume'",
        "the machine is held by user 1000: a measurement",
        "not attached: mode is safe",
        "plan: A batch",
        "scx_batch was taken off by the circuit breaker in 72 ms: other workloads waited",
        f"scx_batch is in quarantine for it on 7.3: it did harm; {release}",
    )


def test_workload_that_has_ended() -> None:
    assert explain(replace(NOTHING, record=None)) == ("it has ended",)


def test_canary_under_way() -> None:
    canary = Canary("throughput", 1, 0.05, -0.5, 0.6, CanaryDecision.GOING_ON)
    running = replace(DEPLOYMENT, state=DeploymentState.CANARY, canary=canary, revert_ms=0.0)
    lines = explain(replace(NOTHING, deployments=(running,)))
    assert lines[2:] == (
        "canary: 1 pairs of windows so far, +5.0%",
        "scx_batch takes turns with the kernel default: other workloads waited",
    )


@pytest.mark.parametrize("state", DeploymentState)
@pytest.mark.parametrize("workload", WorkloadState)
def test_every_state_has_words(state: DeploymentState, workload: WorkloadState) -> None:
    case = replace(
        NOTHING,
        record=replace(RECORD, state=workload, plan=None),
        deployments=(replace(DEPLOYMENT, state=state),),
        quarantines=(Quarantine("0", "scx_batch", "7.3", "", 1.0, "it stalled"),),
        holds=(Hold(1, ":1.7", 1000, WORKLOAD.id, "a measurement", 1.0),),
    )
    first, held, deployed, quarantined = explain(case)
    assert first
    assert held.startswith("it is held by")
    assert deployed.startswith("scx_batch ")
    assert "for every workload" in quarantined
