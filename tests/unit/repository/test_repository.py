# SPDX-License-Identifier: GPL-2.0-or-later
"""What the repository keeps, tells, and lets the planner choose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from integration.samples import LOST, report
from schedcpd.errors import (
    NoSuchEntry,
    NoSuchPolicy,
    NotSuited,
    RepositoryDamaged,
)
from schedcpd.model import Job, JobState, OutcomeKind, Policy
from schedcpd.repository.memory import Memory
from schedcpd.repository.policies import PolicyStore
from schedcpd.repository.repository import Repository
from unit.repository.samples import NOW, install, installed, opened, outcome, quarantine

REFUSED = Job(
    1, "verify", "scx_mine", JobState.REFUSED, NOW, NOW, report=report(LOST), stages=(LOST,)
)


@pytest.fixture
def store(tmp_path: Path) -> PolicyStore:
    return install(tmp_path / "schedulers")


@pytest.fixture
def policies(store: PolicyStore) -> dict[str, Policy]:
    return installed(store, "scx_longest", "scx_layers")


@pytest.fixture
def repository(
    tmp_path: Path, store: PolicyStore, policies: dict[str, Policy]
) -> Iterator[Repository]:
    with opened(tmp_path, installed=lambda: policies) as made:
        yield made


def test_a_policy_can_be_read_as_it_is_in_its_files(
    repository: Repository, store: PolicyStore
) -> None:
    card = store.card_bytes("scx_batch").decode()
    assert repository.read("policy", "scx_batch", "") == card
    assert repository.read("policy", "scx_batch", "card") == card
    source = repository.read("policy", "scx_batch", "source")
    assert source == store.source_bytes("scx_batch").decode()
    assert "struct sched_ext_ops" in source


def test_a_primitive_can_be_read_with_its_header(repository: Repository) -> None:
    assert "credit_spend(k, now, used)" in repository.read("primitive", "bounded_priority", "")
    header = repository.read("primitive", "bounded_priority", "source")
    assert "#ifndef SCX_CREDIT_BPF_H" in header


@pytest.mark.parametrize(
    ("kind", "name", "part", "words"),
    [
        ("policy", "scx_none", "", "no policy 'scx_none'"),
        ("", "scx_batch", "", "no entry 'scx_batch'"),
        ("policy", "../scx_batch", "", "no policy"),
        ("policy", "scx_batch", "object", "there is: card, source"),
        ("primitive", "bounded_priority", "card", "there is: text, source"),
    ],
)
def test_what_is_not_there_cannot_be_read(
    kind: str, name: str, part: str, words: str, repository: Repository
) -> None:
    with pytest.raises(NoSuchEntry, match=words):
        repository.read(kind, name, part)


def test_a_policy_without_its_source_is_one_all_the_same(tmp_path: Path) -> None:
    store = install(tmp_path / "schedulers")
    (tmp_path / "schedulers/scx_fair/scx_fair.bpf.c").unlink()
    (tmp_path / "schedulers/scx_batch/scx_batch.toml").write_text("no card")
    with opened(tmp_path, policies=store) as repository:
        assert repository.read("policy", "scx_fair", "")
        with pytest.raises(NoSuchEntry):
            repository.read("policy", "scx_fair", "source")
        with pytest.raises(NoSuchEntry):
            repository.read("policy", "scx_batch", "")


def test_a_note_is_found_and_outlives_the_daemon(tmp_path: Path, store: PolicyStore) -> None:
    told: list[tuple[str, str]] = []
    with opened(tmp_path) as repository:
        repository.noted.connect(told.append)
        assert repository.search("zebra", "", 5) == ()
        text = "zebra stripes\nsecond line \x1b[2J"
        assert repository.annotate("policy", "scx_fair", text, 1000) == 1
        assert repository.annotate("workload", "/a.service", "other", 0) == 2
        assert [one.name for one in repository.search("zebra", "", 5)] == ["1"]
    assert told == [("scx_fair", "note 1 by user 1000"), ("/a.service", "note 2 by user 0")]
    with opened(tmp_path) as repository:
        (hit,) = repository.search("policy:scx_fair zebra", "note", 5)
        assert hit.title == "zebra stripes"
        whole = repository.read("note", "1", "")
        assert whole == "on policy scx_fair\n\nzebra stripes\nsecond line \ufffd[2J"
        assert repository.annotate("", "", "third", 0) == 3


def test_a_note_is_on_what_there_is(repository: Repository) -> None:
    with pytest.raises(NoSuchEntry):
        repository.annotate("policy", "scx_none", "text", 0)


def test_only_so_many_notes_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from schedcpd.repository import memory

    few = {**memory.SHAPE.kept, memory.Kind.NOTE: 3}
    monkeypatch.setattr(memory, "SHAPE", replace(memory.SHAPE, kept=few))
    with opened(tmp_path) as repository:
        for number in range(1, 6):
            assert repository.annotate("", "", f"note {number}", 0) == number
        assert [one.name for one in repository.search("", "note", 9)] == ["3", "4", "5"]


def test_a_refused_policy_becomes_an_antipattern_in_the_verifier_s_words(tmp_path: Path) -> None:
    with opened(tmp_path) as repository:
        repository.verdict(replace(REFUSED, state=JobState.BROKEN))
        repository.verdict(replace(REFUSED, state=JobState.PASSED))
        assert repository.search("", "antipattern", 5) == ()
        repository.verdict(REFUSED)
        repository.verdict(REFUSED)
    with opened(tmp_path) as repository:
        (hit,) = repository.search("enqueue queues the task nowhere", "antipattern", 5)
        text = repository.read("antipattern", hit.name, "")
    assert hit.name == f"verifier-scx_mine-{'ab' * 6}"
    assert "scx_mine did not pass its verification: static: SCX101" in text
    assert "end each path with scx_bpf_dsq_insert" in text


def test_harm_is_looked_up_where_it_is_kept(tmp_path: Path) -> None:
    failed = outcome(deployment=9, kind="failure", reason="runnable task stall")
    harm = [quarantine("scx_bad", "cd" * 32, "/a.service", "others waited 40 ms")]
    with opened(tmp_path, outcomes=lambda: (failed,), quarantines=lambda: tuple(harm)) as found:
        hits = {one.name for one in found.search("", "antipattern", 9)}
        assert hits == {"failure-9", f"quarantine-scx_bad-{'cd' * 6}"}
        harm.clear()
        found.changed()
        assert {one.name for one in found.search("", "antipattern", 9)} == {"failure-9"}


def test_outcomes_are_told_newest_first(tmp_path: Path) -> None:
    taught = (
        outcome(deployment=1, workload="a"),
        outcome(deployment=2, workload="b", parameters={"slice_ns": 5}),
        outcome(deployment=3, workload="a", policy="scx_fair"),
    )
    with opened(tmp_path, outcomes=lambda: taught) as repository:
        assert [one.deployment for one in repository.outcomes("", "", 9)] == [3, 2, 1]
        assert [one.deployment for one in repository.outcomes("", "", 1)] == [3]
        assert [one.deployment for one in repository.outcomes("a", "scx_batch", 9)] == [1]
        assert repository.outcomes("", "", 0) == ()
        assert "slice_ns = 5" in repository.read("outcome", "2", "")
        assert repository.read("outcome", "1", "").count("the defaults") == 1


def test_failure_has_no_figures(tmp_path: Path) -> None:
    for kind, words in ((OutcomeKind.FAILURE, "it failed"), (OutcomeKind.HARMLESS, "no harm")):
        with opened(tmp_path, outcomes=lambda kind=kind: (outcome(kind=kind),)) as repository:
            assert words in repository.read("outcome", "1", "")


# What the planner may choose


def test_an_enrolled_policy_is_chosen_once_it_is_promoted(
    tmp_path: Path, repository: Repository, policies: dict[str, Policy]
) -> None:
    mine = policies["scx_longest"]
    assert "schedctl promote scx_longest" in repository.objection(mine)
    repository.promote("scx_longest", 0)
    assert repository.objection(mine) == ""
    # Another object of the same name is another policy.
    assert repository.objection(replace(mine, object_sha256="ef" * 32))
    repository.close()
    with opened(tmp_path, installed=lambda: policies) as again:
        assert again.objection(mine) == ""


def test_a_retired_policy_is_chosen_no_more_until_it_is_promoted(
    repository: Repository, policies: dict[str, Policy]
) -> None:
    packaged = policies["scx_batch"]
    assert repository.objection(packaged) == ""
    repository.retire("scx_batch", "the jobs here spin", 1000)
    assert repository.objection(packaged) == "scx_batch was retired: the jobs here spin"
    assert repository.objection(replace(packaged, object_sha256="ef" * 32))
    repository.promote("scx_batch", 1000)
    assert repository.objection(packaged) == ""


def test_only_what_fits_something_is_promoted(repository: Repository) -> None:
    with pytest.raises(NotSuited, match="scx_fair"):
        repository.promote("scx_fair", 0)
    with pytest.raises(NoSuchPolicy):
        repository.promote("scx_no", 0)
    with pytest.raises(NoSuchPolicy):
        repository.retire("scx_no", "reason", 0)


# Damage


def test_a_damaged_file_is_moved_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "repository.db"
    path.write_bytes(b"rubbish" * 1000)
    with opened(tmp_path) as repository:
        assert repository.annotate("", "", "first", 0) == 1
    assert path.with_name("repository.db.damaged-1").exists()
    assert "forgotten" in caplog.text


def test_a_byte_that_the_disk_changed_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "repository.db"
    with opened(tmp_path) as repository:
        repository.annotate("", "", "a remark on slices", 0)
    data = path.read_bytes()
    assert data.count(b"remark on slices") == 1
    path.write_bytes(data.replace(b"remark on slices", b"remark on sloces"))
    with opened(tmp_path) as repository:
        assert repository.search("", "note", 5) == ()
    assert path.with_name("repository.db.damaged-1").exists()


def test_without_a_place_to_write_the_rest_is_found_all_the_same(
    tmp_path: Path, store: PolicyStore, policies: dict[str, Policy]
) -> None:
    (tmp_path / "repository.db").mkdir()
    with opened(tmp_path, installed=lambda: policies) as repository:
        assert repository.search("fair sharing", "policy", 1)
        assert repository.objection(policies["scx_batch"]) == ""
        repository.verdict(REFUSED)  # told in the log
        with pytest.raises(RepositoryDamaged):
            repository.annotate("", "", "x", 0)
        with pytest.raises(RepositoryDamaged):
            repository.retire("scx_batch", "x", 0)


def test_missing_primitives_hide_nothing_else(
    tmp_path: Path, store: PolicyStore, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path, primitives=tmp_path / "none") as repository:
        assert repository.search("", "primitive", 5) == ()
        assert repository.search("", "policy", 5)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/thing.bpf.c").write_text("int x;")
    with opened(tmp_path, primitives=tmp_path / "bad") as repository:
        assert repository.search("", "primitive", 5) == ()
    assert "thing.bpf.c" in caplog.text


def test_memory_closes_without_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    Memory(tmp_path / "x").close()
