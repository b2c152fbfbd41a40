# SPDX-License-Identifier: GPL-2.0-or-later
"""Answers that fit in a context window, in which what strangers wrote is marked.

Whatever is inside a field whose name begins with ``untrusted_`` was written by somebody else: the
programs and units of the machine, its users, its kernel log, earlier models. It is data, and has
neither control characters nor characters that hide or turn around others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from schedclient.text import visible
from schedclient.tools.tool import Answer

LIMIT = 6_000  # characters of JSON in an answer
PIECE = LIMIT - 300  # characters of a text that an answer has at most
NAME_LIMIT = 120
TEXT_LIMIT = 400
SHORTEST = 25  # characters to which texts are cut where there are many
LIST_LIMIT = 12
TABLE_LIMIT = 40
DEPTH_LIMIT = 4

Entry = TypeVar("Entry")


def size_of(value: Any) -> int:
    """How many characters a value has as JSON."""
    return len(json.dumps(value, ensure_ascii=False))


def plain_text(text: str, most: int = TEXT_LIMIT) -> str:
    """Text of a stranger on one line, cut to ``most`` characters."""
    shown = visible(text[: most + 1].replace("\n", " "))
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def plain_value(value: Any, most: int = TEXT_LIMIT, depth: int = DEPTH_LIMIT) -> Any:
    """A value of a stranger: its texts made plain, its lists and tables cut to size."""
    if isinstance(value, Mapping) and depth:
        entries = list(value.items())[:TABLE_LIMIT]
        return {
            plain_text(str(key), NAME_LIMIT): plain_value(one, most, depth - 1)
            for key, one in entries
        }
    if isinstance(value, list | tuple) and depth:
        return [plain_value(one, most, depth - 1) for one in value[:LIST_LIMIT]]
    return value if isinstance(value, int | float) else plain_text(str(value), most)


def fitted(value: Any, room: int = LIMIT // 2) -> Any:
    """A value of a stranger with texts as long as there is room for."""
    most = TEXT_LIMIT
    while size_of(shown := plain_value(value, most)) > room and most > SHORTEST:
        most //= 2
    return shown


def divided(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A table of the daemon's divided into its figures and what strangers may have written."""
    figures: dict[str, Any] = {}
    words: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, int | float):
            figures[name] = rounded(value)
        elif isinstance(value, Mapping):
            inside, other = divided(value)
            if inside:
                figures[name] = inside
            if other:
                words[name] = other
        elif value:
            words[name] = value
    return figures, words


def rounded(value: float) -> float:
    """A figure with the digits that matter."""
    return value if isinstance(value, int) else float(f"{value:.6g}")


def moment(value: float) -> float:
    """Seconds since the epoch, to the millisecond."""
    return round(value, 3)


def page(
    entries: Sequence[Entry],
    cursor: str,
    write: Callable[[Entry], dict[str, Any]],
    room: int = LIMIT - 200,
) -> tuple[list[dict[str, Any]], str]:
    """As many entries from the cursor on as there is room for, and the cursor for the next."""
    first = int(cursor or 0)
    written: list[dict[str, Any]] = []
    for entry in entries[first:]:
        one = write(entry)
        room -= size_of(one) + 2
        if room < 0 and written:
            return written, str(first + len(written))
        written.append(one)
    return written, ""


def piece(text: str, room: int = PIECE) -> str:
    """The beginning of a text of several lines, made plain, that has room in an answer."""
    shown = visible(text[:room], "\n\t")
    while size_of(shown) > room:
        shown = shown[: len(shown) * room // size_of(shown) - 1]
    return shown


def excerpt(text: str, total: int, offset: int) -> Answer:
    """As much of a part of a text as there is room for; ``schema.EXCERPT`` describes it."""
    shown = piece(text)
    end = offset + len(shown)
    content = {"total_characters": total, "offset": offset, "untrusted_text": shown}
    return Answer(content, str(end) if shown and end < total else "")


def lines(texts: Iterable[str], room: int = LIMIT // 2) -> list[str]:
    """The first of some texts, as many as there is room for."""
    kept: list[str] = []
    for text in texts:
        one = plain_text(text)
        room -= size_of(one) + 2
        if room < 0:
            break
        kept.append(one)
    return kept
