# SPDX-License-Identifier: GPL-2.0-or-later
"""Which parameters a policy takes, by its card."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedcpd import parameters
from schedcpd.errors import BadParameter
from schedcpd.repository.cards import parse_card

CARD = Path(__file__).parents[2] / "schedulers/scx_batch/scx_batch.toml"
BATCH = parse_card(CARD.read_bytes(), str(CARD))


@pytest.mark.parametrize(
    "given",
    [{}, {"batch_weight": 15}, {"batch_weight": 88761, "sip_percent": 1}, {"hold_sips": 0}],
)
def test_what_is_in_range_is_taken(given: dict[str, int]) -> None:
    parameters.check(BATCH, given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"batch_weight": 14}, "batch_weight is 14, not from 15 to 88761 weight"),
        ({"batch_weight": 88762}, "batch_weight is 88762, not from 15 to 88761"),
        ({"sip_percent": -1}, "sip_percent is -1, not from 1 to 50 percent"),
        ({"batch_wait": 1}, "no parameter 'batch_wait'; there are: batch_weight, batch_slice_ns,"),
        ({"x" * 5000: 1}, f"no parameter '{'x' * 40}'; there"),
        ({"batch_cgid": 5}, "batch_cgid says which workload it is for"),
        ({"sip_percent": 5, "batch_level": 0}, "batch_level says which workload"),
    ],
)
def test_what_is_not_is_refused_with_its_range(given: dict[str, int], words: str) -> None:
    with pytest.raises(BadParameter, match="scx_batch cannot be attached so") as refusal:
        parameters.check(BATCH, given)
    assert words in str(refusal.value)
    assert "batch_cgid" not in str(refusal.value) or "batch_cgid" in given


def test_a_policy_without_tunables_takes_none() -> None:
    card = parse_card(CARD.read_bytes().partition(b"[tunables")[0], str(CARD))
    with pytest.raises(BadParameter, match="there are: none"):
        parameters.check(card, {"slice_ns": 1})


def test_words_have_one_order() -> None:
    assert parameters.words({"b": 2, "a": 1}) == parameters.words({"a": 1, "b": 2}) == "a=1, b=2"
    assert parameters.with_words("scx_batch", {"a": 1}) == "scx_batch with a=1"
    assert parameters.with_words("scx_batch", {}) == "scx_batch"
