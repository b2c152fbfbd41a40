# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the right entries are found, and that a query is nothing but words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.repository.index import EXCERPT_LIMIT, MOST_HITS, MOST_WORDS, expression, parse
from schedcpd.repository.repository import Repository
from unit.repository import recall
from unit.repository.samples import remembered

GOAL = 0.9


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    with remembered(tmp_path_factory.mktemp("repository")) as made:
        yield made


def names(repository: Repository, query: str, kind: str = "", limit: int = 10) -> list[str]:
    return [f"{one.kind}/{one.name}" for one in repository.search(query, kind, limit)]


def test_the_right_answers_are_among_the_first_three(tmp_path: Path) -> None:
    asked = recall.ask_all(tmp_path)
    assert sum(not one.held_out for one in asked) >= 28
    assert sum(one.held_out for one in asked) >= 12
    assert recall.mean(asked, held_out=False) >= GOAL
    assert recall.mean(asked, held_out=True) >= GOAL


def test_every_right_answer_is_an_entry(repository: Repository, tmp_path: Path) -> None:
    there_are = {
        f"{one.kind}/{one.name}"
        for kind in ("policy", "primitive", "outcome", "antipattern", "note")
        for one in repository.search("", kind, MOST_HITS)
    }
    assert {name for one in recall.ask_all(tmp_path) for name in one.right} <= there_are


def test_a_kind_narrows_the_search(repository: Repository) -> None:
    found = repository.search("cpu.max limits of containers", "primitive", 20)
    assert found[0].name == "cgroup_limits"
    assert {one.kind for one in found} == {"primitive"}
    assert names(repository, "cgroup_limits", "note") == ["note/6"]


def test_a_filter_must_hold(repository: Repository) -> None:
    assert set(names(repository, "workload:nginx.service")) == {"outcome/16", "outcome/17"}
    assert names(repository, "workload:nginx slower") == ["outcome/17"]
    assert set(names(repository, "policy:scx_throughput messages", "outcome")) == {"outcome/19"}
    assert "outcome/20" in names(repository, "class:interactive", "outcome")
    assert names(repository, "host:elsewhere") == []
    assert names(repository, "kernel:7.3.4 watchdog") == ["antipattern/failure-41", "outcome/41"]


def test_better_hits_have_higher_scores(repository: Repository) -> None:
    scores = [one.score for one in repository.search("batch of compression jobs", "", 20)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0
    assert all(len(one.excerpt) <= EXCERPT_LIMIT for one in repository.search("batch", "", 50))


def test_without_a_word_all_entries_are_listed(repository: Repository) -> None:
    found = names(repository, "", "policy")
    assert found == sorted(found)
    assert "policy/scx_layers" in found
    assert names(repository, " \t?!", "policy") == found
    assert len(names(repository, "", limit=3)) == 3
    assert len(names(repository, "", limit=10_000)) <= MOST_HITS


@pytest.mark.parametrize(
    "query",
    [
        'a" OR kind:*',
        "name:scx_batch",
        "NEAR(batch, 3)",
        "* AND NOT",
        "{title about} : xz",
        "^batch + -latency",
        "'; DROP TABLE entries; --",
        "x\0y \ud800 \N{COMBINING ACUTE ACCENT}",
        "(" * 400,
        "policy:\"'*",
        "policy:* workload:() class:\N{SNOWMAN}",
        "word " * 80,
    ],
)
def test_nothing_of_a_query_is_syntax(query: str, repository: Repository) -> None:
    repository.search(query, "", 10)
    assert names(repository, "latency of frames")[0] == "policy/scx_latency"


@given(st.text(max_size=600))
def test_any_text_is_a_query(text: str) -> None:
    query = parse(text)
    assert len(query.words) <= MOST_WORDS
    # Between quotes there are words only, so that nothing can end them.
    quoted = expression(query, {}).split('"')[1::2]
    assert all(character.isalnum() or character in " ._-" for word in quoted for character in word)


@pytest.mark.parametrize("text", ["a_b OR c", 'say "no"', "cpu.max", "x-y.z_9", "é ß Ω 日本"])
def test_any_text_can_be_searched_for(text: str, repository: Repository) -> None:
    assert isinstance(repository.search(text * 20, "", 5), tuple)
