# SPDX-License-Identifier: GPL-2.0-or-later
"""Settings files: TOML and its drop-ins, each value checked; a bad one is refused with its line.

The settings are a frozen dataclass with one field a table: a dataclass too, or a mapping where the
names of the keys are free.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import tomli

from schedcpd.errors import ConfigError
from schedcpd.kernel.text import printable

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Settings = TypeVar("Settings", bound="DataclassInstance")
Check = Callable[[object], object]
Checks = Mapping[str, Mapping[str, Check]]  # table, key

ANY = "*"  # the key of the check for every key of a table
SIZE_LIMIT = 64 * 1024
_STATEMENT_LINES = 300  # bounds the search for a line; a list has at most 256 entries


class Refused(ValueError):
    """What is wrong with one value."""


def whole(low: int, high: int) -> Check:
    """A check for a whole number from ``low`` to ``high``."""

    def check(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise Refused(f"must be a whole number from {low} to {high}, not {shown(value)}")
        return value

    return check


def number(low: float, high: float) -> Check:
    """A check for a number from ``low`` to ``high``."""

    def check(value: object) -> object:
        # The comparison refuses nan as well.
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not low <= value <= high
        ):
            raise Refused(f"must be a number from {low:g} to {high:g}, not {shown(value)}")
        return float(value)

    return check


def load(path: Path, settings: Settings, checks: Checks) -> Settings:
    """The settings of ``path`` and the files ``path``.d/*.toml in name order, over ``settings``.

    A later file wins key by key; a missing file is an empty one. Raises ConfigError.
    """
    for file in (path, *_drop_ins(path.with_name(f"{path.name}.d"))):
        text = _read(file)
        if text is not None:
            settings = _merge(settings, checks, file, text)
    return settings


def _drop_ins(directory: Path) -> list[Path]:
    try:
        found = [one for one in directory.iterdir() if one.name.endswith(".toml")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as exc:
        raise ConfigError(_name(directory), 0, f"cannot be read: {exc.strerror}") from exc
    # Editors leave hidden copies behind.
    return sorted(one for one in found if not one.name.startswith("."))


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            raw = file.read(SIZE_LIMIT + 1)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise ConfigError(_name(path), 0, f"cannot be read: {exc.strerror}") from exc
    if len(raw) > SIZE_LIMIT:
        raise ConfigError(_name(path), 0, f"is larger than {SIZE_LIMIT} bytes")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as exc:
        line = raw.count(b"\n", 0, exc.start) + 1
        raise ConfigError(_name(path), line, "is not UTF-8 text") from exc


def _merge(settings: Settings, checks: Checks, path: Path, text: str) -> Settings:
    try:
        document = tomli.loads(text)
    except tomli.TOMLDecodeError as exc:
        raise ConfigError(_name(path), exc.lineno, f"is not valid TOML: {_clean(exc.msg)}") from exc
    except RecursionError as exc:
        raise ConfigError(_name(path), 0, "is nested too deeply") from exc
    place: list[str] = []
    try:
        changes: dict[str, Any] = {}
        for table, values in document.items():
            place[:] = [table]
            before = getattr(settings, _known(table, checks, "table"))
            checked = _table(place, values, checks[table])
            by_name = isinstance(before, Mapping)
            changes[table] = {**before, **checked} if by_name else replace(before, **checked)
        return replace(settings, **changes)
    except Refused as exc:
        line = _line_of(text, tuple(place))
        raise ConfigError(_name(path), line, f"{_clean('.'.join(place))} {exc}") from exc


def _table(place: list[str], values: object, checks: Mapping[str, Check]) -> dict[str, Any]:
    """The checked values of one table; ``place`` follows what is being checked."""
    if not isinstance(values, dict):
        raise Refused(f"must be a table, not {shown(values)}")
    checked: dict[str, Any] = {}
    for key, value in values.items():
        place[1:] = [key]
        checked[key] = checks[ANY if ANY in checks else _known(key, checks, "key")](value)
    return checked


def _known(name: str, known: Mapping[str, object], what: str) -> str:
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
    raise Refused(f"is not a {what} that schedcp knows{hint}")


def _line_of(text: str, place: tuple[str, ...]) -> int:
    """The line on which the table or key ``place`` is set; 0 when it cannot be found.

    TOML has too many spellings of a key to search for one, so tomli itself is asked, by halves: the
    key is set by the first line after which the statement it belongs to gives the document the key.
    """
    lines = text.split("\n")
    low, high = 1, len(lines)
    while low < high:
        middle = (low + high) // 2
        found = _has(lines, middle, place)
        if found is None:
            return 0
        if found:
            high = middle
        else:
            low = middle + 1
    return low


def _has(lines: list[str], number: int, place: tuple[str, ...]) -> bool | None:
    """Whether the key is there after the statement that has line ``number``; None if unknown."""
    for end in range(number, min(number + _STATEMENT_LINES, len(lines)) + 1):
        try:
            node: object = tomli.loads("\n".join(lines[:end]) + "\n")
        except tomli.TOMLDecodeError:
            continue  # in the middle of a statement
        for part in place:
            if not isinstance(node, dict) or part not in node:
                return False
            node = node[part]
        return True
    return None


def shown(value: object) -> str:
    """A value as it would be written in TOML, as near as a message needs it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{_clean(value)}"'
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a table"
    return _clean(str(value))


def _clean(text: str) -> str:
    return printable(text, 120)


def _name(path: Path) -> str:
    return printable(str(path), 255)
