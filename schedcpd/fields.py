# SPDX-License-Identifier: GPL-2.0-or-later
"""Typed getters for data that arrives as JSON or TOML; every complaint names the bad field."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

UINT64_MAX = 2**64 - 1
TEXT_LIMIT = 4096
LIST_LIMIT = 64


class BadField(ValueError):
    """A field is missing, unknown, of the wrong type or out of bounds; the message names it."""


class Fields:
    """One table of untrusted data; ``where`` is its place in the document, empty at the top."""

    def __init__(self, value: object, where: str = "") -> None:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise BadField(f"{where or 'the document'} is not a table")
        self._value: dict[str, object] = value
        self._where = where

    def __iter__(self) -> Iterator[str]:
        return iter(self._value)

    def name(self, key: str) -> str:
        """The full name of a field, for a complaint."""
        return f"{self._where}.{key}" if self._where else key

    def only(self, *known: str) -> None:
        """Refuse every field that is not in ``known``."""
        for key in self._value:
            if key not in known:
                raise BadField(f"unknown field {self.name(key)[:80]!r}")

    def _get(self, key: str, wanted: str) -> object:
        if key not in self._value:
            raise BadField(f"{self.name(key)} is missing: it must be {wanted}")
        return self._value[key]

    def is_null(self, key: str) -> bool:
        """Whether the field is there and empty."""
        return self._get(key, "null or a value") is None

    def text(self, key: str, limit: int = TEXT_LIMIT) -> str:
        """Text of at most ``limit`` characters."""
        value = self._get(key, "text")
        if not isinstance(value, str):
            raise BadField(f"{self.name(key)} is not text")
        if len(value) > limit:
            raise BadField(f"{self.name(key)} is longer than {limit} characters")
        return value

    def choice(self, key: str, choices: Iterable[str]) -> str:
        """One of the texts in ``choices``."""
        value, known = self.text(key), [str(one) for one in choices]
        if value not in known:
            raise BadField(f"{self.name(key)} must be one of {', '.join(known)}")
        return value

    def integer(self, key: str, low: int = -(2**63), high: int = UINT64_MAX) -> int:
        """A whole number from ``low`` to ``high``."""
        value = self._get(key, "a whole number")
        if not isinstance(value, int) or isinstance(value, bool):
            raise BadField(f"{self.name(key)} is not a whole number")
        if not low <= value <= high:
            raise BadField(f"{self.name(key)} is {value}, not from {low} to {high}")
        return value

    def number(self, key: str, low: float = 0.0, high: float = 1e12) -> float:
        """A number from ``low`` to ``high``."""
        value = self._get(key, "a number")
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise BadField(f"{self.name(key)} is not a number")
        if not low <= value <= high:
            raise BadField(f"{self.name(key)} is {value}, not from {low} to {high}")
        return float(value)

    def truth(self, key: str) -> bool:
        """True or false."""
        value = self._get(key, "true or false")
        if not isinstance(value, bool):
            raise BadField(f"{self.name(key)} is neither true nor false")
        return value

    def texts(self, key: str, limit: int = TEXT_LIMIT, most: int = LIST_LIMIT) -> tuple[str, ...]:
        """A list of at most ``most`` texts."""
        value = self._get(key, "a list of texts")
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise BadField(f"{self.name(key)} is not a list of texts")
        if len(value) > most or any(len(item) > limit for item in value):
            raise BadField(f"{self.name(key)} is too long")
        return tuple(value)

    def whole_numbers(self, key: str, most: int = LIST_LIMIT) -> tuple[int, ...]:
        """A list of at most ``most`` whole numbers from 0."""
        value = self._get(key, "a list of whole numbers")
        if not isinstance(value, list) or any(type(item) is not int for item in value):
            raise BadField(f"{self.name(key)} is not a list of whole numbers")
        if len(value) > most or any(not 0 <= item <= UINT64_MAX for item in value):
            raise BadField(f"{self.name(key)} is too long, or a number in it is out of bounds")
        return tuple(value)

    def pair(self, key: str) -> tuple[int, int]:
        """A list of two whole numbers, the first no larger than the second."""
        value = self._get(key, "a list of two whole numbers")
        if not isinstance(value, list) or [type(item) for item in value] != [int, int]:
            raise BadField(f"{self.name(key)} is not a list of two whole numbers")
        low, high = value
        if low > high:
            raise BadField(f"{self.name(key)} is an empty range")
        return low, high

    def table(self, key: str) -> Fields:
        """A table inside this one."""
        return Fields(self._get(key, "a table"), self.name(key))

    def tables(self, key: str, limit: int = LIST_LIMIT) -> tuple[Fields, ...]:
        """A list of at most ``limit`` tables."""
        value = self._get(key, "a list of tables")
        if not isinstance(value, list):
            raise BadField(f"{self.name(key)} is not a list")
        if len(value) > limit:
            raise BadField(f"{self.name(key)} has more than {limit} entries")
        where = self.name(key)
        return tuple(Fields(item, f"{where}[{number}]") for number, item in enumerate(value))

    def integers(self, key: str) -> dict[str, int]:
        """A table of whole numbers."""
        inner = self.table(key)
        return {name: inner.integer(name) for name in inner}
