# SPDX-License-Identifier: GPL-2.0-or-later
"""Text for a terminal: columns, colours, durations; names that anybody chose made harmless."""

from __future__ import annotations

import json
import os
import re
import textwrap
import time
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TextIO, TypeVar

from schedclient.text import visible

Row = TypeVar("Row")

NARROWEST = 8  # a column is not shortened below this
LABEL_WIDTH = 11
USUAL_WIDTH = 80

_COMMAND = re.compile(r"\bsudo [^;)]*")  # to be copied from one line

_COLOURS = {"good": "32", "bad": "31", "warn": "33", "bold": "1"}
_WORD_COLOURS = {
    "managed": "good",
    "attached": "good",
    "ok": "good",
    "advised": "warn",
    "held": "warn",
    "attaching": "warn",
    "warn": "warn",
    "ejected": "bad",
    "failed": "bad",
    "fail": "bad",
    "canary": "warn",
    "passed": "good",
    "broken": "warn",
    "refused": "bad",
    "tripped": "bad",
}


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """A column is a title and a function."""

    title: str
    show: Callable[[Row], str]
    elastic: bool = False  # shortened when the terminal is narrow
    right: bool = False


class Report:
    """Writes to a terminal of a width, or to a file, which has none."""

    def __init__(self, out: TextIO, width: int | None, colour: bool) -> None:
        self._out = out
        self._width = width
        self._colour = colour
        self._passing = False  # whether a line stands there that the next one overwrites

    def line(self, text: str = "") -> None:
        """Write one line."""
        self._out.write(f"{self._clearing()}{text}\n")

    def passing(self, text: str) -> None:
        """Show a line until the next one is written; only on a terminal with colours."""
        if not self._colour or self._width is None:
            return
        self._out.write(f"{self._clearing()}{shorten(visible(text), self._width - 1)}")
        self._passing = True
        self.flush()

    def _clearing(self) -> str:
        passing, self._passing = self._passing, False
        return "\r\x1b[K" if passing else ""

    def indented(self, lead: str, text: str) -> None:
        """Write a text that wraps; its first line begins with ``lead``, the others with blanks."""
        for part in self._wrap(visible(text), columns_of(lead)):
            self.line(lead + part)
            lead = " " * columns_of(lead)

    def labelled(self, label: str, text: str) -> None:
        """Write a label and a text that wraps beside it; no line without a text."""
        if not text:
            return
        head = label.ljust(LABEL_WIDTH) + " "
        for part in self._wrap(visible(text), len(head)):
            self.line(self.paint("bold", head) + part if head.strip() else head + part)
            head = " " * len(head)

    def marked(self, mark: str, label: str, text: str) -> None:
        """Write a mark in its colour, a label and a text that wraps beside them."""
        lead = f"{self.word(mark.ljust(4))}  {label.ljust(LABEL_WIDTH)} "
        for part in self._wrap(visible(text), 6 + LABEL_WIDTH + 1):
            self.line(lead + part)
            lead = " " * (6 + LABEL_WIDTH + 1)

    def table(self, rows: Sequence[Row], columns: Sequence[Column[Row]], indent: int = 0) -> None:
        """Write rows below titles, within the width of the terminal."""
        cells = [[visible(column.show(row)) for column in columns] for row in rows]
        widths = [
            max([columns_of(column.title)] + [columns_of(line[place]) for line in cells])
            for place, column in enumerate(columns)
        ]
        self._shrink(widths, columns, indent)
        titles = self._cells([column.title for column in columns], widths, columns, plain=True)
        blanks = " " * indent
        self.line(blanks + self.paint("bold", titles))
        for line in cells:
            self.line(blanks + self._cells(line, widths, columns))

    def json(self, value: Any) -> None:
        """Write a value as JSON; ASCII only, so that no name can play tricks on a terminal."""
        self.line(json.dumps(value, indent=2))

    def json_line(self, value: Any) -> None:
        """Write a value as JSON on one line, at once."""
        self.line(json.dumps(value))
        self.flush()

    def flush(self) -> None:
        """Hand on what was written."""
        self._out.flush()

    def paint(self, colour: str, text: str) -> str:
        """The text in a colour, on a terminal that shows any."""
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if self._colour else text

    def word(self, word: str) -> str:
        """The word of a state, in the colour that it has."""
        colour = _WORD_COLOURS.get(word.strip())
        return self.paint(colour, word) if colour else word

    def _wrap(self, text: str, indent: int) -> list[str]:
        if self._width is None:
            return [text]
        width = max(self._width - indent, 20)
        joined = _COMMAND.sub(lambda match: match[0].replace(" ", "\0"), text)
        # A word that is too long is a path, which is to be copied whole.
        wrapped = textwrap.wrap(joined, width, break_on_hyphens=False, break_long_words=False)
        lines = wrapped or [""]
        return [line.replace("\0", " ") for line in lines]

    def _shrink(self, widths: list[int], columns: Sequence[Column[Any]], indent: int) -> None:
        if self._width is None:
            return
        elastic = [place for place, column in enumerate(columns) if column.elastic]
        excess = indent + sum(widths) + 2 * (len(widths) - 1) - self._width
        while excess > 0 and elastic:
            widest = max(elastic, key=lambda place: widths[place])
            if widths[widest] <= NARROWEST:
                return
            widths[widest] -= 1
            excess -= 1

    def _cells(
        self,
        cells: Sequence[str],
        widths: Sequence[int],
        columns: Sequence[Column[Any]],
        plain: bool = False,
    ) -> str:
        parts = []
        for cell, width, column in zip(cells, widths, columns, strict=True):
            shown = shorten(cell, width)
            blanks = " " * (width - columns_of(shown))
            shown = shown if plain else self.word(shown)
            parts.append(blanks + shown if column.right else shown + blanks)
        return "  ".join(parts).rstrip()


def width_of(stream: TextIO) -> int | None:
    """How many columns a terminal has; None for what is no terminal."""
    if not stream.isatty():
        return None
    wanted = os.environ.get("COLUMNS", "")
    if wanted.isascii() and wanted.isdigit() and int(wanted[:5]) > 0:
        return int(wanted[:5])
    try:
        return os.get_terminal_size(stream.fileno()).columns or USUAL_WIDTH
    except OSError:
        return USUAL_WIDTH


def columns_of(text: str) -> int:
    """How many columns of a terminal the text takes."""
    if text.isascii():
        return len(text)
    return sum(_columns(one) for one in text)


def _columns(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def shorten(text: str, width: int) -> str:
    """The text in at most ``width`` columns; the end of a name tells more than its middle."""
    if columns_of(text) <= width:
        return text
    kept: list[str] = []
    room = width - 1
    for character in text:
        room -= _columns(character)
        if room < 0:
            break
        kept.append(character)
    return "".join(kept) + "…"


def duration(seconds: float) -> str:
    """A length of time in its largest fitting unit."""
    seconds = max(seconds, 0.0)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for limit, length, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86400:.0f} days"


def ago(then: float, now: float) -> str:
    """How long ago something was."""
    return f"{duration(now - then)} ago"


def moment(at: float) -> str:
    """A point in time, in the local time zone."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    except (OverflowError, ValueError, OSError):
        return f"{at:.0f}"


def count(number: int, one: str, many: str = "") -> str:
    """A number and its noun."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def class_words(kind: str, weight: int, slice_us: int) -> str:
    """The class of a workload with what was set of it; 0 is the policy's own choice."""
    set_weight = f"weight {weight}" if weight else ""
    set_slice = f"slice {slice_us} us" if slice_us else ""
    return listing(part for part in (visible(kind), set_weight, set_slice) if part)


def layer_words(layer: Mapping[str, Any]) -> str:
    """The same, of the property of a workload or a deployment; empty without a class."""
    if not layer:
        return ""
    return class_words(layer.get("kind", ""), layer.get("weight", 0), layer.get("slice_us", 0))


def parameter_words(parameters: Mapping[str, int]) -> str:
    """The parameters of a policy that were set; empty without any."""
    return listing(f"{visible(name)}={value}" for name, value in sorted(parameters.items()))


def subject(workload_id: str) -> str:
    """What a deployment is for: the last part of the workload's id, or the whole machine."""
    return workload_id.rpartition("/")[2] if workload_id else "the whole machine"


def listing(parts: Iterable[str]) -> str:
    """Parts as an enumeration."""
    return ", ".join(parts)
