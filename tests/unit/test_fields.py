# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from collections.abc import Callable

import pytest

from schedcpd.fields import BadField, Fields


@pytest.mark.parametrize("value", [None, [], 3, "text", {1: 2}])
def test_only_a_table_has_fields(value: object) -> None:
    with pytest.raises(BadField, match=r"request\.place is not a table"):
        Fields(value, "request.place")


@pytest.mark.parametrize(
    ("get", "value", "message"),
    [
        (lambda f: f.text("a"), 1, "a is not text"),
        (lambda f: f.text("a", 3), "long", "a is longer than 3 characters"),
        (lambda f: f.integer("a"), True, "a is not a whole number"),
        (lambda f: f.integer("a"), 1.0, "a is not a whole number"),
        (lambda f: f.integer("a", 0, 5), 6, "a is 6, not from 0 to 5"),
        (lambda f: f.integer("a"), 2**64, "not from"),
        (lambda f: f.number("a"), "1", "a is not a number"),
        (lambda f: f.number("a"), False, "a is not a number"),
        (lambda f: f.number("a"), float("nan"), "a is nan, not from"),
        (lambda f: f.truth("a"), 1, "a is neither true nor false"),
        (lambda f: f.texts("a"), "text", "a is not a list of texts"),
        (lambda f: f.texts("a"), ["x", 1], "a is not a list of texts"),
        (lambda f: f.texts("a"), ["x"] * 65, "a is too long"),
        (lambda f: f.texts("a", 2), ["xyz"], "a is too long"),
        (lambda f: f.pair("a"), [1], "a is not a list of two whole numbers"),
        (lambda f: f.pair("a"), [True, 2], "a is not a list of two whole numbers"),
        (lambda f: f.pair("a"), [2, 1], "a is an empty range"),
        (lambda f: f.table("a"), [], "a is not a table"),
        (lambda f: f.integers("a"), {"b": "c"}, r"a\.b is not a whole number"),
        (lambda f: f.text("b"), 1, "b is missing: it must be text"),
        (lambda f: f.only("b"), 1, "unknown field 'a'"),
    ],
)
def test_complaints_name_the_field(
    get: Callable[[Fields], object], value: object, message: str
) -> None:
    with pytest.raises(BadField, match=message):
        get(Fields({"a": value}))


def test_what_is_right_comes_back() -> None:
    fields = Fields({"t": "x", "i": -5, "n": 2, "b": True, "l": ["y"], "p": [1, 1], "m": {"k": 3}})
    fields.only("t", "i", "n", "b", "l", "p", "m")
    assert (fields.text("t"), fields.integer("i"), fields.number("n")) == ("x", -5, 2.0)
    assert (fields.truth("b"), fields.texts("l"), fields.pair("p")) == (True, ("y",), (1, 1))
    assert fields.integers("m") == {"k": 3}
    assert list(fields.table("m")) == ["k"]
