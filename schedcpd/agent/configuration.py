# SPDX-License-Identifier: GPL-2.0-or-later
"""``/etc/schedcp/agent.toml``: how far the agent goes, whom it asks, and what it may spend."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from schedcpd import settings
from schedcpd.agent.money import Price
from schedcpd.settings import ANY, Check, Checks, Refused, number, shown, whole

_PATTERNS_LIMIT = 64
_PATTERN_LENGTH = 200
_TEXT_LENGTH = 200

# Dollars for a million tokens: input, output, read from the cache, written to it (for 5 minutes).
PRICES: Mapping[str, Price] = MappingProxyType(
    {
        "claude-sonnet-5-5": Price(2.0, 10.0, 0.1, 2.5),
        "claude-sonnet-5": Price(2.0, 10.0, 0.2, 2.5),
        "claude-opus-5-5": Price(4.0, 20.0, 0.2, 5.0),
        "claude-haiku-4-5": Price(1.0, 5.0, 0.1, 1.25),
    }
)


class AgentMode(StrEnum):
    """When the agent works."""

    OFF = "off"
    ASK = "ask"  # when a person says so
    AUTO = "auto"  # also on its own, where the built-in planner found nothing


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """Table [agent]."""

    mode: AgentMode = AgentMode.OFF
    rounds: int = 1  # refinements after a deployment; each has to beat what is there
    dwell_s: float = 3600.0  # after an analysis, the same workload rests this long
    deploy: bool = True  # else it only says what it would do
    redact: tuple[str, ...] = ()  # regular expressions for what must not leave the machine


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Table [model]: whom to ask, and how patiently."""

    name: str = "claude-sonnet-5-5"
    base_url: str = "https://api.anthropic.com"
    effort: str = ""  # low, medium or high; empty: the model's own
    max_tokens: int = 8192  # of one answer
    turns: int = 16  # answers in one role
    retries: int = 4
    answer_s: float = 300.0  # for one answer with all its retries
    silence_s: float = 60.0  # between two pieces of an answer


@dataclass(frozen=True, slots=True)
class BudgetSettings:
    """Table [budget]: hard stops; 24 hours for workload and day."""

    analysis_tokens: int = 300_000
    analysis_dollars: float = 0.6
    workload_tokens: int = 600_000
    workload_dollars: float = 1.2
    day_tokens: int = 2_000_000
    day_dollars: float = 4.0


@dataclass(frozen=True, slots=True)
class KeepSettings:
    """Table [transcripts]: how long requests and replies are kept."""

    runs: int = 200
    days: float = 30.0
    megabytes: int = 64


@dataclass(frozen=True, slots=True)
class Configuration:
    """The whole file; the defaults are those of a missing one."""

    agent: AgentSettings = field(default_factory=AgentSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    budget: BudgetSettings = field(default_factory=BudgetSettings)
    transcripts: KeepSettings = field(default_factory=KeepSettings)
    prices: Mapping[str, Price] = field(default_factory=lambda: PRICES)

    @property
    def price(self) -> Price | None:
        """What the model costs; None when the table does not say."""
        return self.prices.get(self.model.name)


def _mode(value: object) -> object:
    if value not in tuple(AgentMode):
        raise Refused(f'must be "off", "ask" or "auto", not {shown(value)}')
    return AgentMode(str(value))


def _truth(value: object) -> object:
    if not isinstance(value, bool):
        raise Refused(f"must be true or false, not {shown(value)}")
    return value


def _name(value: object) -> object:
    if not isinstance(value, str) or not re.fullmatch(r"[\w.:@/-]{1,100}", value, re.ASCII):
        raise Refused(f"must be the name of a model, not {shown(value)}")
    return value


def _base_url(value: object) -> object:
    """An address that does not send keys and prompts over a network in the clear."""
    if not isinstance(value, str) or len(value) > _TEXT_LENGTH or not value.isprintable():
        raise Refused(f"must be an https:// address, not {shown(value)}")
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname or "", parts.port
    except ValueError as exc:
        raise Refused(f"must be an https:// address, not {shown(value)}") from exc
    local = parts.scheme == "http" and host in ("localhost", "127.0.0.1", "::1")
    if not host or (parts.scheme != "https" and not local):
        raise Refused(f"must be an https:// address (http:// for localhost), not {shown(value)}")
    if parts.username is not None or parts.query or parts.fragment:
        raise Refused("must be an address without a user, a query or a fragment")
    return value


def _effort(value: object) -> object:
    if value not in ("", "low", "medium", "high"):
        raise Refused(f'must be "", "low", "medium" or "high", not {shown(value)}')
    return value


def _patterns(value: object) -> object:
    if not isinstance(value, list) or len(value) > _PATTERNS_LIMIT:
        raise Refused(f"must be a list of at most {_PATTERNS_LIMIT} strings, not {shown(value)}")
    for one in value:
        if not isinstance(one, str) or not 0 < len(one) <= _PATTERN_LENGTH:
            raise Refused(f"must have entries of 1 to {_PATTERN_LENGTH} characters")
        try:
            found = re.compile(one)
        except re.error as exc:
            raise Refused(f"has {shown(one)}, no regular expression: {exc}") from exc
        if found.match(""):
            raise Refused(f"has {shown(one)}, which is found everywhere")
    return tuple(value)


def _price(value: object) -> object:
    """A table of four numbers."""
    fields = ("input", "output", "cache_read", "cache_write")
    if not isinstance(value, dict) or set(value) != set(fields):
        raise Refused(f"must be a table of {', '.join(fields)}, not {shown(value)}")
    dollars: Check = number(0, 10_000)
    return Price(*(float(str(dollars(value[one]))) for one in fields))


_CHECKS: Checks = {
    "agent": {
        "mode": _mode,
        "rounds": whole(0, 5),
        "dwell_s": number(0, 604_800),
        "deploy": _truth,
        "redact": _patterns,
    },
    "model": {
        "name": _name,
        "base_url": _base_url,
        "effort": _effort,
        "max_tokens": whole(1024, 64_000),
        "turns": whole(2, 64),
        "retries": whole(0, 10),
        "answer_s": number(1, 3600),
        "silence_s": number(0.2, 600),
    },
    "budget": {
        "analysis_tokens": whole(0, 10_000_000),
        "analysis_dollars": number(0, 1000),
        "workload_tokens": whole(0, 100_000_000),
        "workload_dollars": number(0, 10_000),
        "day_tokens": whole(0, 1_000_000_000),
        "day_dollars": number(0, 100_000),
    },
    "transcripts": {
        "runs": whole(1, 10_000),
        "days": number(0.01, 3650),
        "megabytes": whole(1, 10_000),
    },
    "prices": {ANY: _price},
}


def load(path: Path) -> Configuration:
    """The settings of ``path`` and the files ``path``.d/*.toml; raises ConfigError."""
    return settings.load(path, Configuration(), _CHECKS)
