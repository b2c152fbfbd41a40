# SPDX-License-Identifier: GPL-2.0-or-later
"""What is written into the live maps of a policy, against struct."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.deploy.livemaps import (
    ENTRIES_AT_ONCE,
    LAYOUTS,
    Layout,
    batches,
    encode_cgroup,
    encode_class,
    encode_hint,
    encode_process,
)
from schedcpd.model import LayerClass, LayerKind, MapRole

U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
KINDS = {"fair": 0, "batch": 1, "longest": 2, "latency": 3, "background": 4}
CLASSES = st.builds(
    LayerClass,
    st.sampled_from(LayerKind),
    st.just(0) | st.integers(1, 10_000),
    st.just(0) | st.integers(100, 100_000),
)


@given(CLASSES, U64)
def test_classes_are_as_the_policy_reads_them(layer: LayerClass, cgroup_id: int) -> None:
    value = encode_class(layer)
    kind, weight, slice_ns = struct.unpack("@IIQ", value)
    assert (kind, weight, slice_ns) == (KINDS[layer.kind], layer.weight, layer.slice_us * 1000)
    assert struct.unpack("@Q", encode_cgroup(cgroup_id)) == (cgroup_id,)
    assert Layout(len(encode_cgroup(cgroup_id)), len(value)) == LAYOUTS[MapRole.CLASSES]


@given(U32, U64)
def test_hints_are_as_the_policy_reads_them(tgid: int, expected_ns: int) -> None:
    key, value = encode_hint(tgid, expected_ns)
    assert (struct.unpack("@I", key), struct.unpack("@Q", value)) == ((tgid,), (expected_ns,))
    assert key == encode_process(tgid)
    assert Layout(len(key), len(value)) == LAYOUTS[MapRole.HINTS]


@pytest.mark.parametrize("value", [-1, 2**64])
def test_numbers_that_do_not_fit(value: int) -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        encode_cgroup(value)
    with pytest.raises(ValueError, match="cannot be written"):
        encode_hint(1, value)
    with pytest.raises(ValueError, match="cannot be written"):
        encode_process(value)


@pytest.mark.parametrize(
    ("weight", "slice_us", "words"),
    [
        (-1, 0, "the weight is -1, not from 1 to 10000"),
        (10_001, 0, "the weight is 10001"),
        (0, 99, "the slice is 99, not from 100 to 100000"),
        (0, 100_001, "the slice is 100001"),
    ],
)
def test_parameters_out_of_bounds(weight: int, slice_us: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        encode_class(LayerClass(LayerKind.FAIR, weight, slice_us))


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (LayerClass(LayerKind.LATENCY), "latency"),
        (LayerClass(LayerKind.BATCH, 300, 5000), "batch, weight 300, slice 5000 us"),
    ],
)
def test_a_class_in_words(layer: LayerClass, words: str) -> None:
    assert str(layer) == words


@given(st.integers(0, 3 * ENTRIES_AT_ONCE), st.integers(0, 2 * ENTRIES_AT_ONCE))
def test_parts_are_small_enough_and_lose_nothing(updates: int, deletions: int) -> None:
    wanted = {encode_process(tgid): bytes(8) for tgid in range(updates)}
    unwanted = [encode_process(tgid) for tgid in range(deletions)]
    parts = list(batches(wanted, unwanted))
    assert [len(some) + len(others) for some, others in parts[:-1]] == (
        [ENTRIES_AT_ONCE] * ((updates + deletions - 1) // ENTRIES_AT_ONCE)
    )
    assert {key: value for some, _ in parts for key, value in some.items()} == wanted
    assert [key for _, others in parts for key in others] == unwanted
    for (written, _), (_, deleted) in itertools.pairwise(parts):
        assert not (written and deleted), "what is deleted goes first"
