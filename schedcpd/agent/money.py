# SPDX-License-Identifier: GPL-2.0-or-later
"""Tokens and dollars: what a call costs, and what it may cost at most."""

from __future__ import annotations

from dataclasses import dataclass

MILLION = 1e6
# Fewer bytes than any text has for each token: an estimate that errs upwards.
BYTES_A_TOKEN = 2.5


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one or several calls."""

    input: int = 0  # neither read from the cache nor written to it
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.input + self.output + self.cache_read + self.cache_write

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input + other.input,
            self.output + other.output,
            self.cache_read + other.cache_read,
            self.cache_write + other.cache_write,
        )


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars for a million tokens of each kind."""

    input: float
    output: float
    cache_read: float
    cache_write: float

    def dollars(self, usage: Usage) -> float:
        """What a call costs."""
        return (
            usage.input * self.input
            + usage.output * self.output
            + usage.cache_read * self.cache_read
            + usage.cache_write * self.cache_write
        ) / MILLION

    def at_most(self, usage: Usage) -> float:
        """What it costs when none of the input is read from the cache."""
        dearest = max(self.input, self.cache_write)
        return (usage.input * dearest + usage.output * self.output) / MILLION


def estimated_tokens(request: bytes) -> int:
    """At least as many tokens as a request has."""
    return int(len(request) / BYTES_A_TOKEN) + 1
