# SPDX-License-Identifier: GPL-2.0-or-later
"""The switchback canary: what it concludes, and how often it is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedcpd.deploy.canary import Arm, CanarySettings, Switchback, log_ratio, student_t
from schedcpd.model import Canary, CanaryDecision

D = CanaryDecision
SETTINGS = CanarySettings("jobs per second")
LENIENT = replace(SETTINGS, min_pairs=2, max_pairs=5, margin=0.1, non_inferiority=True)
Measure = Callable[[Arm], float | None]


def run(measure: Measure, settings: CanarySettings = SETTINGS, seed: int = 1) -> Canary:
    """One canary to its end; ``measure`` plays the workload."""
    canary = Switchback(settings, Random(seed))
    windows = 0
    while canary.result().decision is D.GOING_ON:
        arm = canary.next_window()
        canary.add(arm, measure(arm))
        windows += 1
    assert windows <= 2 * settings.max_pairs
    return canary.result()


def noisy(effect: float, noise: float, seed: int) -> Measure:
    random = Random(seed)

    def measure(arm: Arm) -> float:
        base = 100.0 * (1 + effect if arm is Arm.CANDIDATE else 1)
        return base * math.exp(random.gauss(0, noise))

    return measure


# Windows


def test_windows_come_in_pairs_in_random_order() -> None:
    canary = Switchback(replace(SETTINGS, max_pairs=40, min_pairs=40), Random(3))
    orders = []
    for _ in range(20):
        pair = []
        for _ in range(2):
            arm = canary.next_window()
            assert canary.next_window() is arm
            canary.add(arm, 1.0)
            pair.append(arm)
        assert set(pair) == set(Arm)
        orders.append(pair[0])
    assert 5 <= orders.count(Arm.CANDIDATE) <= 15


def test_a_value_of_the_wrong_arm_is_refused() -> None:
    canary = Switchback(SETTINGS, Random(1))
    other = Arm.DEFAULT if canary.next_window() is Arm.CANDIDATE else Arm.CANDIDATE
    with pytest.raises(ValueError, match="not the turn"):
        canary.add(other, 1.0)


def test_half_a_pair_says_nothing() -> None:
    canary = Switchback(SETTINGS, Random(1))
    before = canary.result()
    canary.add(canary.next_window(), 5.0)
    assert canary.result() == before
    assert (before.pairs, before.decision, before.effect) == (0, D.GOING_ON, 0.0)


# Verdicts


def test_a_clear_gain_is_promoted_as_soon_as_it_is_certain() -> None:
    result = run(noisy(0.5, 0.02, seed=1))
    assert result.decision is D.PROMOTE
    assert result.pairs == SETTINGS.min_pairs
    assert result.effect == pytest.approx(0.5, abs=0.05)
    assert SETTINGS.margin < result.low < result.effect < result.high
    assert result.reason.startswith("it is better: jobs per second changed by +")


def test_a_clear_loss_ends_it_early() -> None:
    result = run(noisy(-0.3, 0.02, seed=1))
    assert result.decision is D.WORSE
    assert result.pairs == SETTINGS.min_pairs
    assert result.high < 0


def test_where_lower_is_better_the_sign_turns() -> None:
    lower = replace(SETTINGS, metric="wait", higher_is_better=False)
    assert run(noisy(0.5, 0.02, seed=1), lower).decision is D.WORSE
    result = run(noisy(-0.5, 0.02, seed=1), lower)
    assert result.decision is D.PROMOTE
    assert result.effect == pytest.approx(1.0, abs=0.1)  # the default's is twice as long


def test_a_gain_below_the_margin_is_none() -> None:
    result = run(noisy(0.01, 0.001, seed=1), replace(SETTINGS, margin=0.1))
    assert result.decision is D.NO_GAIN
    assert result.pairs == SETTINGS.min_pairs  # it could not get there any more


def test_noise_ends_in_no_gain_after_all_pairs() -> None:
    result = run(noisy(0.0, 0.5, seed=4))
    assert result.decision is D.NO_GAIN
    assert result.pairs == SETTINGS.max_pairs
    assert result.reason.startswith("no gain is certain")


def test_values_that_never_differ_are_no_gain() -> None:
    assert run(lambda arm: 7.0).decision is D.NO_GAIN
    assert run(lambda arm: 0.0).decision is D.NO_GAIN


def test_values_that_agree_exactly_are_not_believed_exactly() -> None:
    result = run(lambda arm: 110.0 if arm is Arm.CANDIDATE else 100.0)
    assert result.decision is D.PROMOTE
    assert result.low < 0.06 < 0.1 == pytest.approx(result.effect)
    small = run(lambda arm: 104.0 if arm is Arm.CANDIDATE else 100.0)
    assert small.decision is D.NO_GAIN


def test_a_verdict_stays() -> None:
    canary = Switchback(SETTINGS, Random(1))
    while canary.result().decision is D.GOING_ON:
        arm = canary.next_window()
        canary.add(arm, 200.0 if arm is Arm.CANDIDATE else 100.0)
    verdict = canary.result()
    for _ in range(20):
        arm = canary.next_window()
        canary.add(arm, 1.0 if arm is Arm.CANDIDATE else 100.0)
    assert canary.result() == verdict


def test_a_drift_of_the_load_falls_on_both() -> None:
    def wrong(seed: int) -> bool:
        load = iter(range(100, 200))
        return run(lambda arm: float(next(load)), seed=seed).decision in (D.PROMOTE, D.WORSE)

    assert sum(wrong(seed) for seed in range(200)) <= 10


# Windows without data


@pytest.mark.parametrize("nothing", [None, math.nan, math.inf, -1.0])
@pytest.mark.parametrize("lenient", [False, True])
def test_without_data_nothing_is_promoted(nothing: float | None, lenient: bool) -> None:
    result = run(lambda arm: nothing, replace(SETTINGS, non_inferiority=lenient))
    assert result.decision is D.NO_GAIN
    assert result.pairs == 0
    assert result.reason == "only 0 of 12 pairs of windows had data"


def test_a_pair_with_one_value_does_not_count() -> None:
    result = run(lambda arm: 5.0 if arm is Arm.CANDIDATE else None)
    assert (result.decision, result.pairs) == (D.NO_GAIN, 0)


def test_gaps_are_left_out() -> None:
    measure, random = noisy(0.5, 0.02, seed=1), Random(9)
    result = run(lambda arm: None if random.random() < 0.2 else measure(arm))
    assert result.decision is D.PROMOTE
    assert result.pairs == SETTINGS.min_pairs


def test_too_few_pairs_with_data_are_no_gain() -> None:
    windows = iter(range(1000))
    measure = noisy(0.5, 0.02, seed=1)
    result = run(lambda arm: measure(arm) if next(windows) < 8 else None)
    assert (result.decision, result.pairs) == (D.NO_GAIN, 4)


@given(
    st.lists(
        st.one_of(st.none(), st.floats(), st.integers(0, 2**64).map(float)), min_size=1, max_size=40
    ),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_whatever_is_measured_there_is_a_verdict(
    values: list[float | None], higher: bool, lenient: bool
) -> None:
    taken = iter(values * 24)
    result = run(
        lambda arm: next(taken),
        replace(SETTINGS, higher_is_better=higher, non_inferiority=lenient),
    )
    assert result.decision is not D.GOING_ON
    assert -1 < result.low <= result.effect <= result.high < 10


# Non-inferiority


def test_a_short_canary_stops_only_what_is_clearly_worse() -> None:
    assert run(noisy(0.0, 0.1, seed=1), LENIENT).decision is D.PROMOTE
    assert run(noisy(-0.2, 0.1, seed=1), LENIENT).decision is D.PROMOTE  # two pairs cannot tell
    assert run(noisy(-0.7, 0.5, seed=2), LENIENT).decision is D.NO_GAIN  # a gross loss
    assert run(noisy(-0.7, 0.01, seed=1), LENIENT).decision is D.WORSE


def test_two_pairs_in_which_the_machine_was_busy_are_not_the_last_word() -> None:
    disturbed = iter([0.1, 0.6])
    result = run(lambda arm: next(disturbed, 1.0) if arm is Arm.CANDIDATE else 1.0, LENIENT)
    assert result.decision is D.PROMOTE
    assert result.pairs > LENIENT.min_pairs


def test_it_tolerates_the_margin() -> None:
    long = replace(SETTINGS, margin=0.1, non_inferiority=True)
    assert run(noisy(-0.04, 0.01, seed=1), long).decision is D.PROMOTE
    assert run(noisy(-0.25, 0.01, seed=1), long).decision is D.WORSE


# Against an incumbent


@pytest.mark.parametrize(
    ("effect", "incumbent", "decision"),
    [
        (0.5, 0.2, D.PROMOTE),
        (0.2, 0.2, D.NO_GAIN),
        (0.1, 0.2, D.NO_GAIN),  # better than the kernel default, and that is not enough
        (0.1, 0.0, D.PROMOTE),
        (0.01, 0.0, D.NO_GAIN),  # less than the margin
        (-0.3, 0.2, D.WORSE),
    ],
)
def test_a_candidate_has_to_do_better_than_the_incumbent(
    effect: float, incumbent: float, decision: CanaryDecision
) -> None:
    result = run(noisy(effect, 0.01, seed=4), replace(SETTINGS, incumbent=incumbent))
    assert result.decision is decision
    if decision is not D.WORSE:
        assert f"the policy before it ({incumbent:+.1%})" in result.reason


def test_to_be_not_worse_is_not_enough_to_take_the_place_of_another() -> None:
    with pytest.raises(ValueError, match="not enough"):
        replace(LENIENT, incumbent=0.0)


def test_two_that_are_alike_do_not_take_turns() -> None:
    settings = replace(SETTINGS, incumbent=0.2)
    won = [run(noisy(0.2, 0.05, seed=seed), settings).decision is D.PROMOTE for seed in range(400)]
    assert sum(won) / len(won) <= 0.05


# How often it is wrong. The noise of windows has heavy tails: a cron job falls into one of them.


def gauss(random: Random) -> float:
    return random.gauss(0, 0.15)


def cauchy(random: Random) -> float:
    return max(-20.0, min(20.0, 0.05 * math.tan(math.pi * (random.random() - 0.5))))


def student3(random: Random) -> float:
    return 0.1 * random.gauss(0, 1) / math.sqrt(random.gammavariate(1.5, 2) / 3)


def outliers(random: Random) -> float:
    return random.gauss(0, 0.05) - (random.expovariate(1) if random.random() < 0.1 else 0)


def slots(random: Random) -> float:
    """A percentile from a histogram whose slots double."""
    return math.log(2) * random.choice([0, 0, 0, 1, 1, 2])


NOISES = [gauss, cauchy, student3, outliers, slots]


def rates(
    noise: Callable[[Random], float], effect: float, canaries: int, settings: CanarySettings
) -> dict[CanaryDecision, float]:
    random = Random(20260)
    counts = dict.fromkeys(D, 0)
    for _ in range(canaries):
        canary = Switchback(settings, random)
        while canary.result().decision is D.GOING_ON:
            arm = canary.next_window()
            factor = 1 + effect if arm is Arm.CANDIDATE else 1
            canary.add(arm, 100 * factor * math.exp(noise(random)))
        counts[canary.result().decision] += 1
    return {decision: count / canaries for decision, count in counts.items()}


@pytest.mark.parametrize("noise", NOISES)
def test_how_often_nothing_is_promoted(noise: Callable[[Random], float]) -> None:
    # No margin: the hardest case. Each side may be wrong in 2.5 % of all canaries.
    found = rates(noise, 0.0, 800, replace(SETTINGS, margin=0.0))
    assert found[D.PROMOTE] <= 0.025
    assert found[D.WORSE] <= 0.025


def test_how_often_a_small_loss_is_promoted() -> None:
    assert rates(gauss, -0.05, 800, SETTINGS)[D.PROMOTE] <= 0.01


@pytest.mark.parametrize("noise", [gauss, student3])
def test_how_often_a_gain_is_found(noise: Callable[[Random], float]) -> None:
    assert rates(noise, 0.5, 300, SETTINGS)[D.PROMOTE] >= 0.8
    assert rates(noise, -0.5, 300, SETTINGS)[D.WORSE] >= 0.9


def test_the_interval_holds_the_truth_at_every_look() -> None:
    missed = 0
    random = Random(7)
    for _ in range(400):
        canary = Switchback(replace(SETTINGS, margin=0.9), random)  # never promoted
        for _ in range(2 * SETTINGS.max_pairs):
            arm = canary.next_window()
            factor = 1.2 if arm is Arm.CANDIDATE else 1
            canary.add(arm, factor * math.exp(gauss(random)))
            result = canary.result()
            if result.pairs >= SETTINGS.min_pairs and not result.low <= 0.2 <= result.high:
                missed += 1
                break
    assert missed <= 400 * 0.05


# The arithmetic


@pytest.mark.parametrize(
    ("tail", "freedom", "value"),  # Abramowitz and Stegun 1964, table 26.10
    [
        (0.25, 1, 1.000),
        (0.025, 1, 12.706),
        (0.025, 2, 4.303),
        (0.05, 3, 2.353),
        (0.005, 4, 4.604),
        (0.025, 5, 2.571),
        (0.005, 10, 3.169),
        (0.0025, 9, 3.690),
        (0.0005, 30, 3.646),
        (0.5, 6, 0.0),
    ],
)
def test_student_t(tail: float, freedom: int, value: float) -> None:
    assert student_t(tail, freedom) == pytest.approx(value, abs=6e-4)


def test_a_ratio_is_bounded_and_even() -> None:
    assert log_ratio(3.0, 3.0) == 0.0
    assert log_ratio(0.0, 0.0) == 0.0
    assert log_ratio(200.0, 100.0) == pytest.approx(math.log(2))
    assert log_ratio(100.0, 200.0) == pytest.approx(-math.log(2))
    assert log_ratio(1e-300, 1e300) == log_ratio(0.0, 5.0) == -math.log(10)
    assert log_ratio(1e300, 1e-300) == log_ratio(5.0, 0.0) == math.log(10)


@pytest.mark.parametrize(
    "absurd",
    [
        {"min_pairs": 1},
        {"min_pairs": 13},
        {"margin": -0.1},
        {"margin": 1.0},
        {"confidence": 1.0},
        {"confidence": 0.4},
        {"window_s": 0.0},
        {"settle_s": -0.1},
    ],
)
def test_absurd_settings_are_refused(absurd: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="canary"):
        replace(SETTINGS, **absurd)  # type: ignore[arg-type]
