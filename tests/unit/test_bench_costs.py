# SPDX-License-Identifier: GPL-2.0-or-later
"""What the daemon costs, and which parts are asked for."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from bench import costs, parts
from bench.__main__ import chosen
from bench.experiment import LEARNED, Bench
from bench.targets import judge
from lab.command import Command, Result, shown
from lab.machine import Machine


class FakeMachine:
    """Answers by the beginning of the command."""

    def __init__(self, answers: dict[str, Result]) -> None:
        self.answers = answers

    def run(self, command: Command, *, timeout_s: float = 60.0, check: bool = True) -> Result:
        line = shown(command)
        found = [answer for start, answer in self.answers.items() if start in line]
        return found[0] if found else Result(0, "", "")

    def start(self, command: Command, *, unit: str, user: str = "root") -> None: ...

    def wait_for(self, condition: Command, timeout_s: float) -> None: ...


def measured(act: Any, answers: dict[str, Result], rounds: int = 2) -> Any:
    machine = FakeMachine(answers)
    return act(Bench(machine, "part"), cast("Machine", machine), rounds)


def arrived(**more: object) -> Result:
    found = {
        "count": 4, "known_s": [0.01, 0.02, 0.03], "planned_s": [0.4], "cpu_percent": 2.0,
        "rss_mb": 30.0,
    }  # fmt: skip
    return Result(0, json.dumps({**found, **more}), "")


def test_arrivals_are_medians_in_milliseconds_and_lost_ones_show() -> None:
    rounds = measured(costs.arrivals, {"arrivals": arrived()})
    assert len(rounds) == 2
    figures = rounds[0][LEARNED].figures
    assert figures["known_ms"] == pytest.approx(20)
    assert figures["planned_ms"] == pytest.approx(400)
    assert figures["known_share"] == 0.75
    assert all(judge(target, rounds).reached for target in costs.ARRIVAL_TARGETS)


def test_no_arrival_seen_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="none of the new cgroups was known"):
        measured(costs.flood, {"arrivals": arrived(known_s=[])})


def test_a_policy_that_cannot_be_attached_has_no_time() -> None:
    answers = {
        "policies --names": Result(0, "scx_a\nscx_b\n", ""),
        "scx_a": Result(0, '{"attach_ms": 70.5}', ""),
        "scx_b": Result(1, "", "refused"),
    }
    (one, _) = measured(costs.attach, answers)
    assert one[LEARNED].figures == {"scx_a_ms": 70.5, "slowest_ms": 70.5}
    answers["scx_a"] = answers["scx_b"]
    with pytest.raises(RuntimeError, match="no policy"):
        measured(costs.attach, answers)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["idle"], ["idle"]),
        (["pipe", "messages"], ["messages", "pipe"]),
        (["harmless-[cs]*"], ["harmless-sequential", "harmless-copy", "harmless-service"]),
        (["nothing"], []),
    ],
)
def test_parts_are_chosen_as_by_a_shell_in_the_order_of_the_table(
    patterns: list[str], expected: list[str]
) -> None:
    assert chosen(parts.table(), patterns) == expected


def test_without_a_choice_all_parts_are_measured() -> None:
    assert chosen(parts.table(), []) == list(parts.table())
