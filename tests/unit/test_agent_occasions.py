# SPDX-License-Identifier: GPL-2.0-or-later
"""Which workloads the agent looks at on its own, and what is there after a canary."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from schedclient.objects import Workload
from schedcpd.agent.analysis import Measured, kept
from schedcpd.agent.occasions import neediest, of_interest
from schedcpd.agent.store import RunState
from schedcpd.model import Objective, Plan

BUSY = {"cpus_used": 1.9, "pressure_some": 0.9, "oldest_s": 60.0}


def workload(state: str = "left-alone", advice: str = "", **profile: Any) -> Workload:
    figures = {**BUSY, **profile}
    where = ("/a.service", 7, "a.service", "service")
    return Workload(*where, state, 0.0, "", figures, advice, "none", "")


def test_who_wants_more_than_it_gets() -> None:
    assert of_interest(workload(), 2)
    assert of_interest(workload("advised"), 2)


@pytest.mark.parametrize(
    "other",
    [
        workload("managed"),
        workload("held"),
        workload("new"),
        workload(advice="scx_batch"),
        workload(cpus_used=0.1),
        workload(pressure_some=0.0),
        workload(oldest_s=2.0),
        workload(pressure_some="much"),
        replace(workload(), profile={}),
    ],
)
def test_who_is_left_in_peace(other: Workload) -> None:
    assert not of_interest(other, 2)


def test_who_waits_most_comes_first() -> None:
    one, other = workload(pressure_some=0.5), workload(pressure_some=0.8)
    assert neediest([one, workload("held"), other], 2) == [other, one]


def measured(policy: str, *, promoted: bool) -> Measured:
    plan = Plan(policy, Objective.MAKESPAN, "")
    return Measured(plan, 1, promoted, 0.1, 0.05, 0.15, {"state": "reverted"})


def test_what_lost_its_canary_leaves_what_was_there() -> None:
    """Whether it was better is for the daemon to say, which attaches the other one again."""
    incumbent, lost = measured("scx_batch", promoted=True), measured("scx_fair", promoted=False)
    ended, there = kept(lost, incumbent)
    assert (ended.state, there) == (RunState.DEPLOYED, incumbent)
    assert ended.sentence == "scx_fair did not beat scx_batch, which stays"
    better = measured("scx_fair", promoted=True)
    assert kept(better, incumbent)[1] is better
    ended, there = kept(lost, None)
    assert (ended.state, there) == (RunState.REVERTED, None)
