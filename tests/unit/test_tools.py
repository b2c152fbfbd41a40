# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tools take, and how their answers are kept small and plain."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedclient.tools.answers import (
    LIMIT,
    PIECE,
    divided,
    fitted,
    lines,
    page,
    piece,
    plain_text,
    size_of,
)
from schedclient.tools.catalogue import catalogue
from schedclient.tools.schema import checked
from schedclient.tools.tool import Answer, Tool
from schedcpd.fields import BadField

HOSTILE = "\x1b[2J\u202eevil\u0000\n\u200b\U000e0041{}\"'"


def test_catalogue_is_described_for_a_model() -> None:
    for name, tool in catalogue.items():
        assert name == tool.name
        assert re.fullmatch(r"[a-z_]{3,40}", name)
        assert 150 < len(tool.description) < 900, name
        for schema in (tool.arguments, tool.result):
            assert schema["additionalProperties"] is False
        assert all(one["description"] for one in tool.arguments["properties"].values()), name


def test_catalogue_costs_a_model_little() -> None:
    words = [one.description + json.dumps(one.arguments) for one in catalogue.values()]
    assert sum(map(len, words)) < 20_000


def test_what_changes_something_says_so() -> None:
    changing = {name for name, tool in catalogue.items() if not tool.reads_only}
    assert changing == {
        *("deploy_policy", "classify_workload", "revert_workload"),
        *("enroll_policy", "record_finding"),
    }
    assert all(not tool.reads_only for tool in catalogue.values() if tool.takes_off)


def test_defaults_are_filled_in() -> None:
    found = checked(catalogue["classify_workload"].arguments, CLASSIFY)
    assert found == {**CLASSIFY, "weight": 0, "slice_us": 0}
    assert checked(catalogue["machine_status"].arguments, None) == {}


CLASSIFY = {"workload": "77", "policy": "scx_layers", "kind": "batch"}
DEPLOY = {
    "workload": "77",
    "policy": "scx_batch",
    "objective": "makespan",
    "reason": "39.5 threads are runnable on 2 CPUs",
}


@pytest.mark.parametrize(
    ("tool", "arguments", "complaint"),
    [
        ("classify_workload", [], "not a table"),
        ("classify_workload", {**CLASSIFY, "weight": "9"}, "weight is not a whole number"),
        ("classify_workload", {**CLASSIFY, "weight": True}, "weight is not a whole number"),
        ("classify_workload", {**CLASSIFY, "weight": 10_001}, "weight is 10001, not from 0"),
        ("classify_workload", {**CLASSIFY, "kind": "rt"}, "kind must be one of fair, batch"),
        ("classify_workload", {**CLASSIFY, "cpu": 1}, "unknown field 'cpu'"),
        ("classify_workload", {**CLASSIFY, "workload": ""}, "workload is empty"),
        ("classify_workload", {**CLASSIFY, "workload": "a\0b"}, "workload has a character"),
        ("classify_workload", {**CLASSIFY, "workload": "a\ud800"}, "workload has a character"),
        ("classify_workload", {**CLASSIFY, "workload": "x" * 4097}, "workload is longer"),
        ("classify_workload", {**CLASSIFY, "policy": "scx_a/../b"}, "policy must be"),
        ("classify_workload", {**CLASSIFY, "policy": "scx_batch\n"}, "policy must be"),
        ("classify_workload", {"workload": "77"}, "policy is missing"),
        ("deploy_policy", {**DEPLOY, "objective": "none"}, "objective must be one of"),
        ("deploy_policy", {**DEPLOY, "parameters": {"a": 0.5}}, "parameters.a is not a whole"),
        ("deploy_policy", {**DEPLOY, "parameters": {"a": 2**63}}, "parameters.a is 92"),
        ("deploy_policy", {**DEPLOY, "parameters": [1]}, "parameters is not a table"),
        (
            "deploy_policy",
            {**DEPLOY, "parameters": {str(key): 1 for key in range(65)}},
            "parameters has more than 64 entries",
        ),
        ("deploy_policy", {**DEPLOY, "reason": "x" * 201}, "reason is longer than 200"),
        ("list_workloads", {"cursor": "-1"}, "cursor must be"),
        ("list_workloads", {"cursor": "٣"}, "cursor must be"),
        ("list_workloads", {"cursor": "1" * 10}, "cursor is longer"),
        ("read_deployment", {"deployment": 2**63}, "deployment is 92"),
        ("read_deployment", {"deployment": 1.0}, "deployment is not a whole number"),
    ],
)
def test_every_complaint_names_the_field(tool: str, arguments: Any, complaint: str) -> None:
    with pytest.raises(BadField, match=re.escape(complaint)):
        checked(catalogue[tool].arguments, arguments)


@given(st.sampled_from(sorted(catalogue)), st.dictionaries(st.text(max_size=9), st.integers()))
def test_nonsense_is_refused_as_such(name: str, arguments: dict[str, int]) -> None:
    tool: Tool = catalogue[name]
    if set(arguments) <= set(tool.arguments["properties"]):
        return
    with pytest.raises(BadField, match="unknown field"):
        checked(tool.arguments, arguments)


def test_text_of_strangers_is_plain() -> None:
    shown = plain_text(HOSTILE)
    assert "evil" in shown
    assert shown.isprintable()
    assert plain_text("x" * 500, 10) == f"{'x' * 9}…"
    assert plain_text("two\nlines") == "two lines"
    assert piece("a\n\tb\x1b") == "a\n\tb\N{REPLACEMENT CHARACTER}"


WORDS = st.text(st.characters(codec="utf-8"), max_size=3000)
NESTED = st.recursive(
    WORDS | st.integers() | st.floats(allow_nan=False) | st.none(),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=40,
)


@given(NESTED)
def test_values_of_strangers_are_plain(value: Any) -> None:
    assert_plain(fitted(value))


def assert_plain(value: Any) -> None:
    """Fail where a text could move a cursor or hide."""
    if isinstance(value, dict):
        assert_plain([*value, *value.values()])
    elif isinstance(value, list):
        for one in value:
            assert_plain(one)
    elif isinstance(value, str):
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e]", value)


def test_large_tables_are_cut_to_the_room_there_is() -> None:
    words = {"arguments": ['"' * 4000] * 12, "programs": [['"' * 4000, 7]] * 12}
    assert size_of(fitted(words)) < LIMIT // 2
    assert fitted({"a": "x" * 300}) == {"a": "x" * 300}


def test_figures_are_told_from_words() -> None:
    found = {"threads": 4, "share": 0.123456789, "sub": {"n": 1, "who": "x"}, "name": "y", "no": []}
    figures, words = divided(found)
    assert figures == {"threads": 4, "share": 0.123457, "sub": {"n": 1}}
    assert words == {"sub": {"who": "x"}, "name": "y"}


@given(st.lists(WORDS, max_size=60))
def test_pages_have_everything_once(entries: list[str]) -> None:
    seen: list[Any] = []
    cursor = ""
    while True:
        rows, cursor = page(entries, cursor, lambda one: {"text": one[:500]})
        assert size_of(rows) <= LIMIT or len(rows) == 1
        seen += rows
        if not cursor:
            break
        assert rows
    assert seen == [{"text": one[:500]} for one in entries]


def test_page_beyond_the_end_is_empty() -> None:
    assert page([1, 2], "99", lambda one: {"n": one}) == ([], "")


@given(st.text(st.sampled_from('a"\\\n\x00é'), max_size=8000))
def test_piece_is_a_beginning_that_fits(text: str) -> None:
    shown = piece(text)
    assert size_of(shown) <= PIECE
    assert shown or not text
    plain = text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    assert plain.startswith(shown)


def test_lines_stop_where_there_is_no_room() -> None:
    assert lines(["a", "b"]) == ["a", "b"]
    assert len(lines(["x" * 400] * 100)) == 7


def test_cursor_is_in_the_document_where_there_is_one() -> None:
    assert Answer({"a": 1}).document() == {"a": 1}
    assert Answer({"a": 1}, "5").document() == {"a": 1, "cursor": "5"}
