# SPDX-License-Identifier: GPL-2.0-or-later
"""Several workloads that have something to gain at once: who gets what, and when not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schedcpd.company import CLASSES_AT_ONCE, MOVE_DWELL_S, Company
from schedcpd.model import (
    Candidate,
    Deployment,
    DeploymentState,
    LayerClass,
    LayerKind,
    Objective,
    Origin,
    Plan,
    WorkloadClass,
    WorkloadRecord,
    WorkloadState,
)
from unit.fakes import make_policy, make_policy_with_maps, make_workload

FIRST = make_workload("/batch.service", 22)
BATCH, LATENCY = LayerClass(LayerKind.BATCH), LayerClass(LayerKind.LATENCY)
ALONE = Candidate("scx_batch", 0.22, "measured")
THERE = Candidate("scx_layers", 0.15, "measured", layer=BATCH)
FIRSTS = Plan(
    *("scx_batch", Objective.MAKESPAN, "A batch"),
    candidates=(ALONE, THERE),
    work=WorkloadClass.BATCH,
)
PLAN = Plan(
    *("scx_layers", Objective.LATENCY, "A service"),
    candidates=(Candidate("scx_layers", 0.25, "measured", layer=LATENCY),),
    layer=LATENCY,
)
STANDALONE = Deployment(
    *(1, FIRST.id, "scx_batch", Origin.AUTOMATIC, DeploymentState.ATTACHED, 900.0)
)
MACHINE = replace(STANDALONE, workload_id="", policy="scx_layers")
NOBODY = Company(None, None, 0, False, False, False, 10.0, 1000.0)
ONE = replace(
    NOBODY,
    active=STANDALONE,
    first=WorkloadRecord(FIRST, WorkloadState.MANAGED, plan=FIRSTS),
)
SHARED = replace(NOBODY, active=MACHINE, classes=1, needed=True)
POLICIES = {
    "scx_batch": make_policy(),
    "scx_fair": make_policy("scx_fair"),
    "scx_layers": make_policy_with_maps(),
    "scx_other": make_policy_with_maps("scx_other"),
}


def with_first(*candidates: Candidate) -> Company:
    assert ONE.first is not None
    plan = replace(FIRSTS, candidates=candidates)
    return replace(ONE, first=replace(ONE.first, plan=plan))


def test_alone_everything_is_possible() -> None:
    assert NOBODY.bars(POLICIES) == {}
    assert (NOBODY.closed, NOBODY.against(PLAN), NOBODY.moves(PLAN)) == ("", "", None)


def test_beside_a_policy_for_one_only_a_class_is_possible() -> None:
    reason = "another workload has scx_batch"
    assert ONE.bars(POLICIES) == {"scx_batch": reason, "scx_fair": reason}
    assert (ONE.closed, ONE.against(PLAN)) == ("", "")


def test_what_becomes_of_the_one_that_is_moved() -> None:
    moved = ONE.moves(PLAN)
    assert moved is not None
    assert (moved.policy, moved.layer, moved.work) == ("scx_layers", BATCH, WorkloadClass.BATCH)
    assert moved.objective is Objective.MAKESPAN
    assert moved.reason == (
        "moved from scx_batch, by which it gains 22%, as another workload wants a policy too and "
        "both gain 40%: A batch"
    )


def test_in_a_shared_policy_others_join() -> None:
    reason = "scx_layers is attached, in which others have a class"
    assert SHARED.bars(POLICIES) == dict.fromkeys(("scx_batch", "scx_fair", "scx_other"), reason)
    assert (SHARED.closed, SHARED.against(PLAN), SHARED.moves(PLAN)) == ("", "", None)


@pytest.mark.parametrize(
    ("company", "words"),
    [
        (replace(NOBODY, changing=True), "being changed for another workload"),
        (
            replace(ONE, active=replace(STANDALONE, origin=Origin.MANUAL)),
            "another workload has scx_batch, chosen by a person",
        ),
        (replace(ONE, trying=True), "scx_batch is still being tried on another workload"),
        (replace(SHARED, trying=True), "scx_layers is still being tried on another workload"),
        (replace(SHARED, classes=CLASSES_AT_ONCE), "16 workloads have a class already"),
    ],
)
def test_when_nobody_else_gets_anything(company: Company, words: str) -> None:
    assert words in company.closed


def test_a_person_s_classes_can_be_joined() -> None:
    manual = replace(SHARED, active=replace(MACHINE, origin=Origin.MANUAL))
    assert manual.closed == ""


@pytest.mark.parametrize(
    ("company", "words"),
    [
        (replace(ONE, now=905.0), "got it a moment ago"),
        (replace(ONE, now=895.0), "got it a moment ago"),
        (replace(ONE, moved_at=1001.0 - MOVE_DWELL_S), "was moved less than 300 s ago"),
        (replace(ONE, first=None), "another workload has scx_batch"),
        (with_first(ALONE), "would lose what it gains"),
        (with_first(ALONE, replace(THERE, layer=None)), "would lose what it gains"),
        (with_first(ALONE, replace(THERE, objection="no token")), "would lose what it gains"),
        (with_first(ALONE, replace(THERE, score=0.0)), "would lose what it gains"),
        (
            with_first(replace(ALONE, score=0.77), THERE),
            "gains 77% by that; both in scx_layers 40%",
        ),
        (with_first(replace(ALONE, score=0.4), THERE), "gains 40% by that"),
    ],
)
def test_when_the_first_is_not_moved(company: Company, words: str) -> None:
    assert words in company.against(PLAN)


@pytest.mark.parametrize(
    ("company", "alright"),
    [
        (NOBODY, False),
        (ONE, False),
        (SHARED, True),
        (replace(SHARED, needed=False), False),
    ],
)
def test_background_work_only_joins(company: Company, alright: bool) -> None:
    layer = LayerClass(LayerKind.BACKGROUND)
    reason = company.against(replace(PLAN, layer=layer))
    assert reason == (
        "" if alright else "it would make way for nobody: no other workload has a class"
    )
