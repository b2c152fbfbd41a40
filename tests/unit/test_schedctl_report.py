# SPDX-License-Identifier: GPL-2.0-or-later
"""Text for terminals: nothing harmful comes through, and it fits."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedclient.text import visible
from schedctl.report import Column, Report, columns_of, count, duration, moment, shorten

any_text = st.text(st.characters(exclude_categories=()), max_size=60)


def written(width: int | None = 80, colour: bool = False) -> tuple[Report, io.StringIO]:
    out = io.StringIO()
    return Report(out, width, colour), out


@given(any_text)
def test_visible_text_moves_no_cursor(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable() or all(one.isprintable() or one.isspace() for one in shown)
    assert not set(shown) & set("\x1b\x07\r\n\t\0\u202e\u200b\u2028")
    assert len(shown) == len(text)


@pytest.mark.parametrize("text", ["plain-1.service", "日本.scope", "dev\\x2dx.service", "naïve a"])
def test_ordinary_names_are_left_alone(text: str) -> None:
    assert visible(text) == text


@given(any_text, st.integers(1, 40))
def test_shortened_text_fits(text: str, width: int) -> None:
    shown = shorten(visible(text), width)
    assert columns_of(shown) <= width
    if columns_of(visible(text)) <= width:
        assert shown == visible(text)


def test_wide_and_combining_characters_are_counted() -> None:
    assert columns_of("日本") == 4
    assert columns_of("e\u0301") == 1


@given(st.lists(st.tuples(any_text, any_text), min_size=1, max_size=5), st.integers(30, 120))
def test_a_table_stays_within_the_terminal(rows: list[tuple[str, str]], width: int) -> None:
    report, out = written(width)
    columns: tuple[Column[tuple[str, str]], ...] = (
        Column("NAME", lambda row: row[0], elastic=True),
        Column("REASON", lambda row: row[1], elastic=True),
        Column("STATE", lambda _: "managed"),
    )
    report.table(rows, columns)
    lines = out.getvalue().split("\n")[:-1]
    assert len(lines) == len(rows) + 1
    assert all(columns_of(line) <= width for line in lines)


def test_an_indented_table_stays_within_the_terminal() -> None:
    report, out = written(30)
    column: Column[str] = Column("NAME", str, elastic=True)
    report.table(["x" * 300], [column], indent=4)
    assert [len(line) for line in out.getvalue().splitlines()] == [8, 30]


def test_what_passes_by_is_gone_with_the_next_line() -> None:
    report, out = written(20, colour=True)
    report.passing("compiling \x1b[2J" + "x" * 50)
    report.passing("trying it out")
    report.line("done")
    report.line("more")
    shown = out.getvalue().split("\r\x1b[K")
    assert [columns_of(one) for one in shown[:2]] == [19, 13]
    assert shown[2] == "done\nmore\n"


@pytest.mark.parametrize(("width", "colour"), [(None, True), (80, False)])
def test_nothing_passes_by_where_it_could_not_be_taken_back(
    width: int | None, colour: bool
) -> None:
    report, out = written(width, colour)
    report.passing("compiling")
    assert out.getvalue() == ""


def test_a_path_stays_whole() -> None:
    report, out = written(30)
    report.indented("  ", f"/{'long/' * 10}x.bpf.c:7: the task is lost on this path")
    first, *others = out.getvalue().splitlines()
    assert first == f"  /{'long/' * 10}x.bpf.c:7:"
    assert all(len(line) <= 30 for line in others)


def test_a_file_gets_names_in_full() -> None:
    report, out = written(width=None)
    column: Column[str] = Column("NAME", str, elastic=True)
    report.table(["x" * 300], [column])
    assert "x" * 300 in out.getvalue()


def test_labels_wrap_beside_their_text() -> None:
    report, out = written(width=40)
    report.labelled("Why", "thirty-nine threads are runnable on two CPUs of this machine")
    report.labelled("Nothing", "")
    assert out.getvalue() == (
        "Why         thirty-nine threads are\n"
        "            runnable on two CPUs of this\n"
        "            machine\n"
    )


def test_a_command_to_copy_stays_on_one_line() -> None:
    report, out = written(width=44)
    report.labelled("Daemon", "it is not there; start it: sudo systemctl start schedcpd; or not")
    assert "\n            sudo systemctl start schedcpd;\n" in out.getvalue()


def test_colours_only_where_they_are_wanted() -> None:
    for colour in (False, True):
        report, out = written(colour=colour)
        report.marked("fail", "kernel", "none")
        report.table(["ejected"], [Column("STATE", str)])
        assert ("\x1b" in out.getvalue()) == colour


def test_json_is_ascii_whatever_is_in_it() -> None:
    report, out = written()
    report.json({"id": "\u202e\x1b\udcff"})
    assert out.getvalue().isascii()
    assert "\x1b" not in out.getvalue()
    assert json.loads(out.getvalue()) == {"id": "\u202e\x1b\udcff"}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 ms"),
        (0.0315, "32 ms"),
        (3, "3 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7200, "2 h"),
        (200_000, "2 days"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_an_impossible_moment_is_still_shown() -> None:
    assert moment(1e300).startswith("1000")


def test_counts() -> None:
    assert [count(1, "process", "processes"), count(2, "process", "processes")] == [
        "1 process",
        "2 processes",
    ]
    assert count(0, "CPU") == "0 CPUs"
