# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads the card of a policy; every complaint names the bad field."""

from __future__ import annotations

import re
from types import MappingProxyType

import tomli

from schedcpd.errors import CardError
from schedcpd.fields import BadField, Fields
from schedcpd.model import Card, Tunable

SIZE_LIMIT = 64 * 1024
COUNT_LIMIT = 64
# The kernel takes a struct_ops map name of 15 characters; "scx_" is how its tools tell ours.
POLICY_NAME = re.compile(r"scx_[a-z0-9_]{1,11}")
CLASS = re.compile(r"[a-z][a-z-]{0,31}")
IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,62}")
KERNEL_VERSION = re.compile(r"\d{1,3}\.\d{1,3}")
# The kernel refuses a longer timeout of its watchdog.
TIMEOUT_MAX_MS = 30_000
MAX_WAIT_MS = 2000  # where the card says nothing
# The card may come from the author of the policy, who is not to set the bound of his own trial.
LONGEST_WAIT_MS = 5000
ROLES = ("target-id", "target-level")
TYPE_RANGES = {
    "u32": (0, 2**32 - 1),
    "s32": (-(2**31), 2**31 - 1),
    "u64": (0, 2**64 - 1),
    "s64": (-(2**63), 2**63 - 1),
    "bool": (0, 1),
}
FIELDS = (
    *("name", "version", "title", "summary", "suits", "fails", "class", "min_kernel"),
    *("requires_kfuncs", "honours", "ignores", "timeout_ms", "max_wait_ms", "tunables", "counters"),
)
TUNABLE_FIELDS = ("type", "unit", "default", "min", "max", "description", "role")


def parse_card(data: bytes, path: str) -> Card:
    """The card in ``data``; ``path`` is only for CardError's message."""
    if len(data) > SIZE_LIMIT:
        raise CardError(path, f"it is larger than {SIZE_LIMIT} bytes")
    try:
        fields = Fields(tomli.loads(data.decode("utf-8")))
        return _card(fields)
    except (BadField, UnicodeDecodeError, tomli.TOMLDecodeError, RecursionError) as exc:
        raise CardError(path, str(exc)) from exc


def _card(fields: Fields) -> Card:
    fields.only(*FIELDS)
    _matching(fields, "class", CLASS)
    timeout_ms = fields.integer("timeout_ms", 1, TIMEOUT_MAX_MS)
    return Card(
        name=_matching(fields, "name", POLICY_NAME),
        version=_line(fields, "version", 32),
        title=_line(fields, "title", 100),
        summary=_line(fields, "summary", 1000),
        suits=_lines(fields, "suits"),
        fails=_lines(fields, "fails"),
        min_kernel=_matching(fields, "min_kernel", KERNEL_VERSION),
        requires_kfuncs=_identifiers(fields, "requires_kfuncs"),
        honours=_lines(fields, "honours"),
        ignores=_lines(fields, "ignores"),
        timeout_ms=timeout_ms,
        tunables=_tunables(fields),
        counters=MappingProxyType(_counters(fields)),
        max_wait_ms=_max_wait_ms(fields, timeout_ms),
    )


def _max_wait_ms(fields: Fields, timeout_ms: int) -> int:
    # A wait of half the timeout is one that the kernel's watchdog may be about to see.
    limit = min(max(timeout_ms // 2, 1), LONGEST_WAIT_MS)
    if "max_wait_ms" not in fields:
        return min(MAX_WAIT_MS, limit)
    return fields.integer("max_wait_ms", 1, limit)


def _tunables(fields: Fields) -> tuple[Tunable, ...]:
    if "tunables" not in fields:
        return ()
    table = fields.table("tunables")
    tunables = tuple(_tunable(_key(table, name), table.table(name)) for name in table)
    if len(tunables) > COUNT_LIMIT:
        raise BadField(f"tunables: more than {COUNT_LIMIT}")
    return tunables


def _tunable(name: str, fields: Fields) -> Tunable:
    fields.only(*TUNABLE_FIELDS)
    kind = fields.choice("type", TYPE_RANGES)
    low = fields.integer("min", *TYPE_RANGES[kind])
    high = fields.integer("max", low, TYPE_RANGES[kind][1])
    return Tunable(
        name=name,
        type=kind,
        unit=_line(fields, "unit", 32),
        default=fields.integer("default", low, high),
        minimum=low,
        maximum=high,
        description=_line(fields, "description", 500),
        role=fields.choice("role", ROLES) if "role" in fields else "",
    )


def _counters(fields: Fields) -> dict[str, str]:
    if "counters" not in fields:
        return {}
    table = fields.table("counters")
    counters = {}
    for name in table:
        entry = table.table(_key(table, name))
        entry.only("description")
        counters[name] = _line(entry, "description", 500)
    if len(counters) > COUNT_LIMIT:
        raise BadField(f"counters: more than {COUNT_LIMIT}")
    return counters


def _key(table: Fields, name: str) -> str:
    if not IDENTIFIER.fullmatch(name):
        raise BadField(f"{table.name(name)[:80]!r} is not the name of a variable")
    return name


def _matching(fields: Fields, key: str, pattern: re.Pattern[str]) -> str:
    value = fields.text(key)
    if not pattern.fullmatch(value):
        raise BadField(f"{fields.name(key)} does not match {pattern.pattern}")
    return value


def _identifiers(fields: Fields, key: str) -> tuple[str, ...]:
    values = fields.texts(key)
    for value in values:
        if not IDENTIFIER.fullmatch(value):
            raise BadField(f"{fields.name(key)}: {value[:80]!r} is not the name of a function")
    return values


def _line(fields: Fields, key: str, limit: int) -> str:
    value = fields.text(key, limit)
    if not value.isprintable():
        raise BadField(f"{fields.name(key)} has characters that cannot be printed")
    return value


def _lines(fields: Fields, key: str) -> tuple[str, ...]:
    values = fields.texts(key, limit=500)
    if not all(value.isprintable() for value in values):
        raise BadField(f"{fields.name(key)} has characters that cannot be printed")
    return values
