# SPDX-License-Identifier: GPL-2.0-or-later
"""What becomes of targets, and the results file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from bench import batches, parts, report, results
from bench.experiment import DEFAULT, FIRST, LEARNED, POLICY, Round, Run
from bench.loads import BUILD_ALONE, MESSAGES
from bench.targets import Target, harmless, judge, ratios


def rounds(default: list[float], ours: list[float], figure: str = "build_s") -> list[Round]:
    """Rounds of one figure under the kernel default and schedcp."""
    return [
        {DEFAULT: Run(DEFAULT, {figure: one}), LEARNED: Run(LEARNED, {figure: two})}
        for one, two in zip(default, ours, strict=True)
    ]


def faster(limit: float) -> Target:
    return Target("faster", ratios("build_s", DEFAULT, LEARNED), at_least=limit, unit="times")


def test_a_median_beyond_the_limit_is_reached() -> None:
    found = judge(faster(2), rounds([10, 10, 10], [4, 5, 4]))
    assert found.reached
    assert found.reason == ""
    assert found.wanted == "≥ 2 times"


def test_an_interval_across_the_limit_is_said() -> None:
    found = judge(faster(2), rounds([10, 10, 10], [4, 4, 8]))
    assert found.reached
    assert "interval" in found.reason


def test_a_missed_target_says_who_scheduled_and_why() -> None:
    made = rounds([10, 10], [10, 9])
    made[1][LEARNED] = Run(LEARNED, {"build_s": 9}, ("scx_layers",), ("plan", "it is a build"))
    found = judge(faster(2), made)
    assert not found.reached
    assert "the kernel default scheduled 1 of 2 runs" in found.reason
    assert "scx_layers scheduled" in found.reason
    assert "it is a build" in found.reason


def test_harm_is_an_interval_wholly_above_one_percent() -> None:
    target = harmless("build_s", "time")
    assert judge(target, rounds([10] * 3, [10.05, 11, 12])).reached
    assert not judge(target, rounds([10] * 3, [10.2, 11, 12])).reached


def test_harm_to_what_should_be_large_is_seen_too() -> None:
    target = harmless("rate", "rate", more_is_better=True)
    assert not judge(target, rounds([10] * 3, [5] * 3, "rate")).reached
    assert judge(target, rounds([10] * 3, [20] * 3, "rate")).reached


def test_a_refused_condition_is_not_reached() -> None:
    made: list[Round] = [{DEFAULT: Run(DEFAULT, {"x": 1}), LEARNED: Run(LEARNED, {}, refused="no")}]
    found = judge(Target("x", ratios("x"), at_most=1), made)
    assert (found.reached, found.measured, found.reason) == (False, None, "no")


def test_no_gap_is_nothing_to_win() -> None:
    found = judge(Target("gap", lambda _: [math.nan], at_least=0.8), rounds([1], [1]))
    assert found.reached
    assert found.measured is None


def batch_run(condition: str, makespan_s: float) -> Run:
    """A run of a batch whose bound is 30 s."""
    jobs = [{"job": i, "cpu_s": 20.0, "arrived_s": 0.0, "end_s": makespan_s} for i in range(3)]
    answer = {"batch": {"makespan_s": makespan_s, "own_cpu_s": 0.1, "jobs": jobs}}
    return Run(condition, batches.figures(answer))


def test_the_shares_of_a_batch() -> None:
    made = {DEFAULT: 50.0, FIRST: 38.0, LEARNED: 32.0}
    one = {condition: batch_run(condition, value) for condition, value in made.items()}
    assert one[DEFAULT].figures["bound_s"] == 30
    assert batches.shares([one], FIRST) == [pytest.approx(0.6)]
    assert batches.shares([one], LEARNED) == [pytest.approx(0.9)]


@pytest.mark.parametrize(
    ("load", "figure", "values", "best", "reached"),
    [
        (BUILD_ALONE, "build_s", (10.0, 9.0, 8.8, 30.0), "scx_a", True),
        (BUILD_ALONE, "build_s", (10.0, 10.0, 8.0, 30.0), "scx_a", False),
        (MESSAGES, "requests_per_s", (30.0, 100.0, 90.0, 20.0), "scx_a", True),
        (MESSAGES, "requests_per_s", (30.0, 60.0, 90.0, 20.0), "scx_a", False),
    ],
)
def test_a_decision_is_compared_with_the_best_by_hand(
    load: Any, figure: str, values: tuple[float, ...], best: str, reached: bool
) -> None:
    names = (DEFAULT, LEARNED, f"{POLICY}scx_a", f"{POLICY}scx_b")
    one = {name: Run(name, {figure: value}) for name, value in zip(names, values, strict=True)}
    refused = {f"{POLICY}scx_c": Run(f"{POLICY}scx_c", {}, refused="it ignores cpu.max")}
    (target,) = parts.decision(load)([one | refused])
    assert best in target.title
    assert judge(target, [one | refused]).reached is reached


def entry() -> dict[str, Any]:
    made = rounds([10, 10, 10], [4, 4, 8])
    return results.measured("Group <b>", "a build", "2026-01-01 00:00", made, [faster(2)])


def test_results_are_kept_for_the_same_package_only(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    found = results.load(path, "one")
    found["parts"]["build"] = entry()
    results.save(path, found)
    assert results.load(path, "one") == json.loads(path.read_text())
    assert results.load(path, "two")["parts"] == {}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"parts": 3}', '{"format": 0, "parts": {}}'])
def test_a_damaged_results_file_is_begun_anew(tmp_path: Path, text: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    assert results.load(path, "one") == {"format": results.FORMAT, "package": "one", "parts": {}}


def whole() -> dict[str, Any]:
    """Results with a measured part and one that failed."""
    machine = {
        "kernel": "7.3", "cpus": 2, "memory_mb": 1984, "accelerator": "tcg", "emulated": True,
        "package": "schedcp.deb", "rounds": 3,
    }  # fmt: skip
    failed = results.failed("Other", "a copy", "2026-01-01 00:00", "no disk <&>")
    parts = {"build": entry(), "copy": failed}
    return {"package": "abc", "machine": machine, "parts": parts}


def test_the_page_has_every_target_and_every_failure_and_no_raw_markup() -> None:
    page = report.page(whole(), {"targets": "<?xml?><svg>drawing</svg>"})
    assert "1 of 1 targets reached" in page
    assert "<svg>drawing</svg>" in page
    assert "<?xml" not in page
    assert "no disk &lt;&amp;&gt;" in page
    assert "Group &lt;b&gt;" in page
    assert "emulated in software" in page


def test_the_text_says_what_the_page_says() -> None:
    text = report.text(whole()["parts"])
    assert "wanted ≥ 2 times, measured 2.5 times, interval 1.25 to 2.5 (75 %, 3 rounds)" in text
    assert "✓ reached: the interval reaches beyond the limit" in text
    assert "✗ not measured: no disk" in text


def batch_entry() -> dict[str, Any]:
    made = {DEFAULT: 50.0, FIRST: 38.0, LEARNED: 32.0}
    one = {condition: batch_run(condition, value) for condition, value in made.items()}
    return results.measured("Long-tail batches", "t", "w", [one, one], batches.TARGETS)


def decision_entry() -> dict[str, Any]:
    one = {name: Run(name, {"build_s": 9.0}) for name in (DEFAULT, LEARNED, f"{POLICY}scx_a")}
    targets = parts.decision(BUILD_ALONE)([one])
    return results.measured("Decisions", "t", "w", [one], targets, "build_s")


def test_plots_are_drawn_for_what_was_measured(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = whole()
    found["parts"] |= {"batch-x": batch_entry(), "decision-build": decision_entry()}
    report.write(found, list(found["parts"]), tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    expected = {
        f"{name}.{kind}" for name in ("batches", "targets", "decisions") for kind in ("png", "svg")
    }
    assert names == expected | {"report.html"}
    assert (tmp_path / "report.html").read_text().count("<svg") == 3


def test_every_part_has_a_name_that_a_shell_takes_as_one_word() -> None:
    table = parts.table()
    assert len(table) > 50
    assert all(name.replace("-", "").isalnum() and part.title for name, part in table.items())
