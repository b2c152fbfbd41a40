# SPDX-License-Identifier: GPL-2.0-or-later
"""The probes tier for a terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest

from schedctl.histograms import BAR, bar, describe, edge, histogram, span, totals
from schedctl.report import Report


def shown(found: dict[str, Any], width: int | None = 80) -> list[str]:
    out = io.StringIO()
    describe(Report(out, width, colour=False), found)
    return out.getvalue().splitlines()


@pytest.mark.parametrize(
    ("slot", "text"),
    [(0, "0 ns"), (1, "2 ns"), (9, "512 ns"), (10, "1.02 us"), (17, "131 us"), (20, "1.05 ms"),
     (30, "1.07 s"), (39, "550 s")],
)  # fmt: skip
def test_where_a_slot_begins(slot: int, text: str) -> None:
    assert edge(slot) == text


def test_bars_are_as_long_as_numbers_are_large() -> None:
    assert bar(10, 10) == "#" * BAR
    assert bar(5, 10) == "#" * (BAR // 2)
    assert bar(1, 10**9) == "#"
    assert bar(0, 10) == ""


def test_rare_slots_at_the_ends_are_left_out() -> None:
    assert span([0, 1, 500, 0, 400, 2, 0]) == (2, 4)
    assert span([0, 1, 0, 3]) == (1, 3)
    assert span([1] * 500) == (0, 499)


def test_histogram() -> None:
    slots = [0] * 14 + [98, 0, 0, 2] + [0] * 22
    assert histogram("waiting for a CPU", [slots, 0.05, 0.006]) == [
        "",
        "  waiting for a CPU: 100, 0.05 ms on average, 0.006 s in all",
        "   16.4 us to 32.8 us        98  ##############################",
        "   32.8 us to 65.5 us         0",
        "   65.5 us to 131 us          0",
        "    131 us to 262 us          2  #",
    ]


def test_the_last_slot_has_no_end() -> None:
    lines = histogram("on a CPU", [[0, 0, 5], 1.0, 1.0])
    assert lines[-1] == "      4 ns or more            5  ##############################"


def test_what_had_no_end_has_no_bars() -> None:
    assert histogram("asleep for a lock", [[0] * 40, 0.0, 2.0]) == [
        "", "  asleep for a lock: 2 s in all, without an end"
    ]  # fmt: skip
    assert histogram("preempted", [[], 0.0, 0.0]) == []


def test_counters_of_what_happened() -> None:
    found = {"migrations": 5, "cache_migrations": 1, "forks": 1, "execs": 2, "calls": [["read", 9]]}
    assert totals(found) == (
        "5 migrations; 1 of them to another cache; 1 process begun; 2 programs started; "
        "system calls: read 9"
    )
    assert totals({}) == ""


def test_all_of_it() -> None:
    slots = [0] * 23 + [100] + [0] * 16
    lines = shown(
        {
            "sentence": "3 tasks used 0.20 CPUs",
            "window_s": 1.0,
            "run": [slots, 10.0, 1.0],
            "off_cpu": {"message": [slots, 10.0, 1.0]},
            "migrations": 1,
            "wakers": [["outside", "client\x1b[2J", "server", 100], ["timer", "", "server", 20]],
        }
    )
    assert lines[0] == "Probes      3 tasks used 0.20 CPUs; in 1.0 s"
    assert lines[1] == "            1 migration"
    assert "  on a CPU: 100, 10 ms on average, 1 s in all" in lines
    assert "  asleep for a message: 100, 10 ms on average, 1 s in all" in lines
    assert lines[-3].split() == ["WAKER", "FROM", "WOKEN", "WAKE-UPS"]
    assert lines[-2].split() == ["client\ufffd[2J", "outside", "server", "100"]
    assert lines[-1].split() == ["-", "timer", "server", "20"]


def test_nothing_where_nobody_asked() -> None:
    assert shown({}) == []
