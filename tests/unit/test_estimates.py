# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.learn.estimates import (
    ASSUMED_NS_PER_BYTE,
    LEAST_NS,
    MOST_NS,
    NS_PER_S,
    Basis,
    Estimate,
    Known,
    Sample,
    estimate,
    rate_of,
)

MB = 1_000_000
SAMPLES = st.builds(Sample, st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
KNOWN = st.builds(Known, st.lists(SAMPLES, max_size=8), st.lists(SAMPLES, max_size=32))
SIZES = st.integers(0, 2**63 - 1)


def seconds(known: Known, size: int = 0, whole: bool = True) -> float:
    found = estimate(known, size, whole)
    assert found is not None
    return found.cpu_ns / NS_PER_S


def test_nobody_knows() -> None:
    assert estimate(Known(), 0, True) is None
    assert estimate(Known(), 4095, True) is None
    assert estimate(Known(alike=[Sample(NS_PER_S, 0)]), 0, True) is None


def test_at_first_sight_the_size_is_all_there_is() -> None:
    found = estimate(Known(), MB, True)
    assert found == Estimate(int(MB * ASSUMED_NS_PER_BYTE), Basis.SIZE)


def test_many_arguments_are_more_to_do_than_few() -> None:
    assert estimate(Known(), 0, True, operands=3) is None
    assert estimate(Known(), 0, True, operands=24) == Estimate(24 * NS_PER_S, Basis.COUNT)
    by_size = estimate(Known(), MB, True, operands=24)
    assert by_size is not None
    assert by_size.basis is Basis.SIZE


def test_a_repeat_takes_what_it_took() -> None:
    runs = [Sample(n * NS_PER_S, 0) for n in (3, 90, 4, 5, 4, 4)]
    found = estimate(Known(repeats=runs), 0, True)
    assert found == Estimate(4 * NS_PER_S, Basis.REPEAT)


def test_only_the_last_runs_of_a_command_count() -> None:
    runs = [Sample(60 * NS_PER_S, 0)] * 5 + [Sample(NS_PER_S, 0)] * 5
    assert seconds(Known(repeats=runs)) == 1


@pytest.mark.parametrize(
    ("size", "whole", "expected"),
    [
        (MB, True, 10),
        (1_200_000, True, 10),  # much the same
        (3 * MB, True, 30),
        (3 * MB, False, 30),
        (MB // 2, True, 5),
        (MB // 2, False, 10),  # there may be more to come
        (0, True, 10),
    ],
)
def test_a_repeat_whose_input_has_changed(size: int, whole: bool, expected: float) -> None:
    runs = [Sample(10 * NS_PER_S, MB)] * 3
    assert seconds(Known(repeats=runs), size, whole) == pytest.approx(expected)


def test_a_rate() -> None:
    alike = [Sample(NS_PER_S, MB), Sample(2 * NS_PER_S, 2 * MB), Sample(8, 0)]
    found = estimate(Known(alike=alike), 24 * MB, True)
    assert found == Estimate(24 * NS_PER_S, Basis.RATE)
    assert estimate(Known(alike=alike), 0, True) is None


def test_the_larger_input_counts_more() -> None:
    small = [Sample(NS_PER_S, 10_000)] * 2  # nearly all of it to start the program
    large = [Sample(2 * NS_PER_S, 10 * MB)] * 2
    rate = rate_of(small + large)
    assert rate is not None
    assert rate.middle == pytest.approx(200)


def test_when_sizes_do_not_tell() -> None:
    alike = [Sample(n * NS_PER_S, MB) for n in (1, 1, 1, 30, 30, 30, 30)]
    found = estimate(Known(alike=alike), 100 * MB, True)
    assert found == Estimate(30 * NS_PER_S, Basis.KIND)


@given(KNOWN, SIZES, st.booleans(), st.integers(0, 2**63))
def test_an_estimate_is_bounded_whatever_was_seen(
    known: Known, size: int, whole: bool, operands: int
) -> None:
    found = estimate(known, size, whole, operands)
    assert found is None or LEAST_NS <= found.cpu_ns <= MOST_NS


@given(
    st.lists(st.tuples(st.floats(1, 500), st.integers(MB, 2 * MB)), min_size=11, max_size=30),
    SAMPLES,
    st.integers(0, 29),
)
def test_one_outlier_stays_within_what_others_took(
    sane: list[tuple[float, int]], outlier: Sample, place: int
) -> None:
    samples = [Sample(int(rate * size), size) for rate, size in sane]
    rates = [one.cpu_ns / one.size for one in samples]
    samples.insert(place, outlier)
    rate = rate_of(samples)
    assert rate is not None
    assert min(rates) <= rate.middle <= max(rates)


@given(st.lists(SAMPLES, max_size=32), SIZES, SIZES)
def test_more_input_is_never_expected_to_take_less(
    alike: list[Sample], one: int, other: int
) -> None:
    less, more = (
        estimate(Known(alike=alike), size, True) for size in (min(one, other), max(one, other))
    )
    if less is not None:
        assert more is not None
        assert more.cpu_ns >= less.cpu_ns


@given(st.lists(SAMPLES, min_size=1, max_size=32))
def test_quartiles_are_in_order(samples: list[Sample]) -> None:
    rate = rate_of(samples)
    if rate is not None:
        assert rate.low <= rate.middle <= rate.high
