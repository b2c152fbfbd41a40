# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from schedcpd.config import BreakerSettings, Config
from schedcpd.deploy.breaker import MS
from schedcpd.deploy.scores import make_score
from schedcpd.model import Objective
from unit.fakes import make_card

BATCH = make_card()
FAIR = make_card("scx_fair", targeted=False)


def test_canary_of_a_batch_must_only_not_lose() -> None:
    canary = make_score(Config(), BATCH, Objective.MAKESPAN, True).canary
    assert canary is not None
    assert (canary.non_inferiority, canary.higher_is_better) == (True, True)
    assert (canary.min_pairs, canary.max_pairs, canary.window_s) == (2, 5, 1.5)


def test_a_batch_in_the_place_of_another_must_gain_too() -> None:
    settings = Config().canary
    canary = make_score(Config(), BATCH, Objective.MAKESPAN, True, incumbent=0.2).canary
    assert canary is not None
    assert not canary.non_inferiority
    assert (canary.incumbent, canary.bar) == (0.2, 0.2)
    assert (canary.min_pairs, canary.max_pairs) == (settings.min_pairs, settings.max_pairs)
    low = make_score(Config(), BATCH, Objective.MAKESPAN, True, incumbent=-0.1).canary
    assert low is not None
    assert low.bar == settings.margin


def test_canary_for_latency_must_gain() -> None:
    canary = make_score(Config(), FAIR, Objective.THROUGHPUT, True).canary
    assert canary is not None
    assert canary.higher_is_better
    assert not canary.non_inferiority, "it has to gain something"
    assert "sleep" in canary.metric
    canary = make_score(Config(), FAIR, Objective.NONE, True).canary
    assert canary is not None
    assert (canary.non_inferiority, canary.higher_is_better) == (False, False)
    assert (canary.min_pairs, canary.max_pairs, canary.margin) == (5, 12, 0.03)


def test_without_a_canary() -> None:
    assert make_score(Config(), FAIR, Objective.NONE, False).canary is None


def test_limits_are_those_of_the_configuration() -> None:
    settings = BreakerSettings(windows=7, others_wait_ratio=3.0, others_wait_ms=20.0, own_wait_ms=5)
    limits = make_score(Config(breaker=settings), FAIR, Objective.NONE, False).limits
    assert limits.others_wait is not None
    others = limits.others_wait
    assert (others.ratio, others.floor, others.windows) == (3.0, 20 * MS, 7)
    assert limits.own_wait is not None
    assert limits.own_wait.floor == 5 * MS


def test_tasks_of_a_batch_wait_for_their_turn() -> None:
    """Also when a person chose the policy, so that nobody knows of a batch."""
    assert make_score(Config(), BATCH, Objective.NONE, False).limits.own_wait is None
    assert make_score(Config(), FAIR, Objective.MAKESPAN, False).limits.own_wait is None
