# SPDX-License-Identifier: GPL-2.0-or-later
"""The corpus: what its sources expect, what is made of a report, and that nothing is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from corpus.entries import Entry, Expectation, HeaderError, make_card, parse_entry, read_corpus
from corpus.matrix import Result, Verdict, confusion, matrix_lines, read_report
from schedcpd.model import (
    Check,
    Finding,
    Report,
    Severity,
    StageOutcome,
    StageReport,
    VerifyStage,
)
from schedcpd.repository.cards import parse_card
from schedcpd.verify.analysis.rules import RULES
from schedcpd.verify.trial import CONSOLE_CHECK, DYNAMIC_CHECKS, KERNEL_CHECKS

POLICIES = Path(__file__).parents[1] / "policies"
LICENCE = "// SPDX-License-Identifier: GPL-2.0\n"
COMPILE, STATIC, KERNEL, DYNAMIC = VerifyStage
# No BPF program can make the kernel complain on its console before the policy is ejected.
NOT_CAUSED = {CONSOLE_CHECK}


@pytest.fixture(scope="module")
def corpus() -> tuple[Entry, ...]:
    return read_corpus(POLICIES)


def entry(text: str, name: str = "scx_one") -> Entry:
    return parse_entry(name, (LICENCE + text).encode())


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("stage=static rule=SCX101", Expectation(STATIC, "SCX101")),
        ("stage=compile rule=COMPILE", Expectation(COMPILE, "COMPILE")),
        ("stage=dynamic rule=fork-storm", Expectation(DYNAMIC, "fork-storm")),
        ("pass", Expectation(None)),
    ],
)
def test_what_a_source_expects(line: str, expected: Expectation) -> None:
    assert entry(f"// expect: {line}\n").expected == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/* no expectation */\n",
        "// expect: stage=sleep rule=SCX101\n",
        "// expect: stage=static\n",
        "// expect: stage=static rule=SCX1\n",
        "// expect: pass please\n",
        "\n// expect: pass\n",
    ],
)
def test_a_source_that_does_not_say_what_to_expect(text: str) -> None:
    with pytest.raises(HeaderError, match="scx_one: the first lines"):
        entry(text)


def test_a_source_without_its_licence_line() -> None:
    with pytest.raises(HeaderError, match="licence"):
        parse_entry("scx_one", b"// expect: pass\n// expect: pass\n")


@pytest.mark.parametrize("name", ["one", "scx_much_too_long", "scx_Upper", "scx_"])
def test_a_name_that_no_policy_can_have(name: str) -> None:
    with pytest.raises(HeaderError, match="no name of a policy"):
        entry("// expect: pass\n", name)


def test_the_usual_card() -> None:
    card = parse_card(entry("// expect: pass\n").card, "card")
    assert (card.name, card.timeout_ms, card.tunables) == ("scx_one", 5000, ())
    assert set(card.ignores) == {"nice", "cpu.weight", "cpu.max", "cpu.idle"}


def test_lines_for_the_card_end_with_the_first_other_line() -> None:
    text = "// expect: pass\n// card: timeout_ms = 7000\n/*\n// card: timeout_ms = 1\n"
    assert parse_card(entry(text).card, "card").timeout_ms == 7000


def test_a_card_with_replaced_lines_and_tables() -> None:
    lines = (
        "ignores = []",
        "max_wait_ms = 500",
        "[counters.nr_runs]",
        'description = "How many runs."',
    )
    card = parse_card(make_card("scx_one", lines).encode(), "card")
    assert (card.ignores, card.max_wait_ms) == ((), 500)
    assert card.counters == {"nr_runs": "How many runs."}
    assert card.honours == ("affinity",)


def test_a_line_that_no_card_has() -> None:
    with pytest.raises(HeaderError, match="'ignore everything' is no line"):
        make_card("scx_one", ["ignore everything"])


@pytest.mark.parametrize(
    ("folder", "expect"), [("good", "stage=static rule=SCX001"), ("bad", "pass")]
)
def test_a_policy_in_the_wrong_folder(tmp_path: Path, folder: str, expect: str) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "scx_one.bpf.c").write_text(f"{LICENCE}// expect: {expect}\n")
    with pytest.raises(HeaderError, match=f"in the folder {folder}"):
        read_corpus(tmp_path)


# ── what is made of a report


def report(*stages: StageReport) -> Report:
    return Report("scx_one", "0a", "0b", "7.3", "0c", "tcg", 1, stages)


PASSED_COMPILE = StageReport(COMPILE, StageOutcome.PASSED, 0.5)
PASSED_STATIC = StageReport(STATIC, StageOutcome.PASSED, 0.25)
SKIPPED = (
    StageReport(KERNEL, StageOutcome.SKIPPED),
    StageReport(DYNAMIC, StageOutcome.SKIPPED),
)
LOST = Finding("SCX101", Severity.REJECT, "a path loses the task")
ORDER = Finding("SCX109", Severity.SUSPECT, "served in fixed order")
REFUSED = report(
    PASSED_COMPILE,
    StageReport(STATIC, StageOutcome.FAILED, 0.25, "lost", (LOST, ORDER, LOST)),
    *SKIPPED,
)


def test_a_policy_that_the_static_analysis_refuses() -> None:
    result = read_report(REFUSED, Expectation(STATIC, "SCX101"), 1.0)
    assert (result.verdict, result.stage, result.rules) == (Verdict.REFUSED, STATIC, ("SCX101",))
    assert result.stage_seconds == {"compile": 0.5, "static": 0.25}
    assert result.reason == "lost"
    assert result.correct


@pytest.mark.parametrize(
    "expected",
    [
        Expectation(STATIC, "SCX109"),  # suspected only
        Expectation(STATIC, "SCX102"),
        Expectation(DYNAMIC, "SCX101"),
        Expectation(None),
    ],
)
def test_a_policy_refused_otherwise_than_it_must_be(expected: Expectation) -> None:
    assert not read_report(REFUSED, expected, 1.0).correct


def test_a_policy_that_fails_checks() -> None:
    checks = (
        Check("runnable", passed=True, message="all ran"),
        Check("pinned", passed=False, message="one did not"),
        Check("latency", passed=False, message="late"),
    )
    failed = StageReport(DYNAMIC, StageOutcome.FAILED, 9.0, "pinned: one did not", checks=checks)
    kernel = StageReport(KERNEL, StageOutcome.PASSED, 5.0)
    found = report(PASSED_COMPILE, PASSED_STATIC, kernel, failed)
    result = read_report(found, Expectation(DYNAMIC, "latency"), 15.0)
    assert result.rules == ("pinned", "latency")
    assert result.correct
    assert not read_report(found, Expectation(DYNAMIC, "runnable"), 15.0).correct


def unfinished() -> Report:
    return report(
        PASSED_COMPILE, PASSED_STATIC, StageReport(KERNEL, StageOutcome.BROKEN, 0, "no VM")
    )


def test_a_verifier_that_fails_is_neither() -> None:
    for expected in (Expectation(None), Expectation(KERNEL, "load")):
        result = read_report(unfinished(), expected, 1.0)
        assert (result.verdict, result.reason) == (Verdict.BROKEN, "no VM")
        assert not result.correct


def test_only_the_stages_that_were_wanted_count() -> None:
    assert read_report(unfinished(), Expectation(None), 1.0, STATIC).verdict is Verdict.PASSED
    later = read_report(unfinished(), Expectation(DYNAMIC, "pinned"), 1.0, STATIC)
    assert (later.verdict, later.correct) == (Verdict.UNDECIDED, True)
    missed = read_report(unfinished(), Expectation(STATIC, "SCX101"), 1.0, STATIC)
    assert (missed.verdict, missed.correct) == (Verdict.PASSED, False)
    early = read_report(REFUSED, Expectation(DYNAMIC, "pinned"), 1.0, STATIC)
    assert (early.verdict, early.correct) == (Verdict.REFUSED, False)


def made(expected: Expectation, stage: VerifyStage | None, rule: str = "") -> Result:
    verdict = Verdict.REFUSED if stage else Verdict.PASSED
    return Result("scx_one", expected, verdict, stage, (rule,), "", 1.0, {}, "")


def test_the_confusion_matrix() -> None:
    results = [
        made(Expectation(STATIC, "SCX101"), STATIC, "SCX101"),
        made(Expectation(STATIC, "SCX102"), STATIC, "SCX101"),
        made(Expectation(STATIC, "SCX103"), DYNAMIC, "runnable"),
        made(Expectation(DYNAMIC, "pinned"), None),
        made(Expectation(None), None),
        made(Expectation(None), STATIC, "SCX101"),
    ]
    assert confusion(results) == {
        ("static", "static"): 2,
        ("static", "dynamic"): 1,
        ("dynamic", "passed"): 1,
        ("sound", "passed"): 1,
        ("sound", "static"): 1,
    }
    heading, *rows, stopped, passed = matrix_lines(results)
    cells = {row.split()[0]: row.split()[1:] for row in rows}
    assert heading.split()[3:6] == ["compile", "static", "kernel"]
    assert cells["static"][:4] == [".", "2", ".", "1"]
    assert cells["sound"] == [".", "1", ".", ".", "1", ".", "."]
    assert stopped == "broken policies stopped as they must be: 1 of 4"
    assert passed == "sound policies passed: 1 of 2"


# ── what the corpus holds


def test_there_are_enough_policies(corpus: tuple[Entry, ...]) -> None:
    good = [one for one in corpus if one.expected.stage is None]
    assert len(corpus) - len(good) >= 45
    assert len(good) >= 15
    assert len({one.name for one in corpus}) == len(corpus)
    assert len({one.source for one in corpus}) == len(corpus)


def test_every_card_can_be_read(corpus: tuple[Entry, ...]) -> None:
    for one in corpus:
        assert parse_card(one.card, one.name).name == one.name


def test_every_rule_that_refuses_has_a_policy(corpus: tuple[Entry, ...]) -> None:
    certain = {rule.id for rule in RULES if rule.severity is Severity.REJECT}
    assert certain - {one.expected.rule for one in corpus} == set()


def test_every_check_has_a_policy(corpus: tuple[Entry, ...]) -> None:
    of_stage = {KERNEL: set(KERNEL_CHECKS), DYNAMIC: {*DYNAMIC_CHECKS, CONSOLE_CHECK} - NOT_CAUSED}
    for stage, checks in of_stage.items():
        assert checks == {one.expected.rule for one in corpus if one.expected.stage is stage}


def test_every_rule_that_a_policy_names_exists(corpus: tuple[Entry, ...]) -> None:
    known = {rule.id for rule in RULES}
    assert {one.expected.rule for one in corpus if one.expected.stage is STATIC} <= known
    assert {one.expected.rule for one in corpus if one.expected.stage is COMPILE} == {"COMPILE"}
