# SPDX-License-Identifier: GPL-2.0-or-later
"""How a deployment is conducted: from the configuration, the policy and what is to be gained."""

from __future__ import annotations

from dataclasses import replace

from schedcpd import config
from schedcpd.deploy.breaker import MS, BreakerLimits, Limit, limits_for
from schedcpd.deploy.canary import CanarySettings
from schedcpd.deploy.conduct import Score
from schedcpd.model import Card, Objective

BATCH_METRIC = "CPU time that the workload gets"
SLEEP_METRIC = "how often its threads have done what they had to do, and sleep"
WAIT_METRIC = "what the workload waits for a CPU (99th percentile)"
# What ``windows.measured`` compares.
_METRICS = {Objective.MAKESPAN: BATCH_METRIC, Objective.THROUGHPUT: SLEEP_METRIC}


def make_score(
    settings: config.Config,
    card: Card,
    objective: Objective,
    canary: bool,
    incumbent: float | None = None,
) -> Score:
    """How to conduct a deployment of a policy, with a canary or without.

    ``incumbent`` is the effect of the policy that it has to do better than.
    """
    return Score(
        limits=make_limits(settings.breaker, card, objective),
        window_s=settings.breaker.window_s,
        settle_s=settings.canary.settle_s,
        canary=make_canary(settings.canary, objective, incumbent) if canary else None,
        objective=objective,
    )


def make_limits(
    settings: config.BreakerSettings, card: Card, objective: Objective
) -> BreakerLimits:
    """What the breaker watches, with the limits that are configured."""
    # A policy for one workload orders that workload's tasks: some wait for long, and shall.
    limits = limits_for(Objective.MAKESPAN if card.targeted else objective)

    def configured(limit: Limit | None, ratio: float, wait_ms: float) -> Limit | None:
        if limit is None:
            return None
        return replace(limit, ratio=ratio, floor=wait_ms * MS)

    others = configured(limits.others_wait, settings.others_wait_ratio, settings.others_wait_ms)
    victim = limits.victim_wait
    own = configured(limits.own_wait, settings.own_wait_ratio, settings.own_wait_ms)
    return replace(
        limits,
        others_wait=others and replace(others, windows=settings.windows),
        victim_wait=victim
        and replace(victim, ratio=settings.others_wait_ratio, windows=settings.windows),
        own_wait=own and replace(own, windows=settings.windows),
    )


def make_canary(
    settings: config.CanarySettings, objective: Objective, incumbent: float | None = None
) -> CanarySettings:
    """The turns that it takes to know whether the policy does good.

    What a batch gains is known when it ends; until then it must only not lose, and as many pairs as
    others have at least are for those of which the first few look very bad. Not to lose is not
    enough to take the place of another policy.
    """
    batch = objective is Objective.MAKESPAN
    lenient = batch and incumbent is None
    longest = max(settings.batch_pairs, settings.min_pairs) if lenient else settings.max_pairs
    return CanarySettings(
        metric=_METRICS.get(objective, WAIT_METRIC),
        window_s=settings.window_s,
        settle_s=settings.settle_s,
        min_pairs=settings.batch_pairs if lenient else settings.min_pairs,
        max_pairs=longest,
        margin=settings.batch_margin if lenient else settings.margin,
        confidence=settings.confidence,
        higher_is_better=objective in _METRICS,
        non_inferiority=lenient,
        incumbent=incumbent,
    )
