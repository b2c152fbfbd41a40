# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads the card of a policy; every complaint names the bad field."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import MappingProxyType

import tomli

from schedcpd.errors import CardError
from schedcpd.fields import BadField, Fields
from schedcpd.model import Card, Fit, MapRole, Objective, Tunable, WorkloadClass

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
    *("maps", "fit"),
)
FIT_FIELDS = ("gain", "objective", "evidence")
# A policy that stops a workload altogether loses 1; nobody has seen one gain twenty-fold.
GAINS = (-1.0, 20.0)
TUNABLE_FIELDS = ("type", "unit", "default", "min", "max", "description", "role")


def parse_card(data: bytes, path: str) -> Card:
    """The card in ``data``; ``path`` is only for CardError's message."""
    return parse(data, path, _card)


def parse(data: bytes, path: str, read: Callable[[Fields], Card]) -> Card:
    """The card that ``read`` finds in ``data``; CardError for whatever is wrong with it."""
    if len(data) > SIZE_LIMIT:
        raise CardError(path, f"it is larger than {SIZE_LIMIT} bytes")
    try:
        return read(Fields(tomli.loads(data.decode("utf-8"))))
    except (BadField, UnicodeDecodeError, tomli.TOMLDecodeError, RecursionError) as exc:
        raise CardError(path, str(exc)) from exc


def _card(fields: Fields) -> Card:
    fields.only(*FIELDS)
    matching(fields, "class", CLASS)
    timeout_ms = fields.integer("timeout_ms", 1, TIMEOUT_MAX_MS)
    return Card(
        name=matching(fields, "name", POLICY_NAME),
        version=line(fields, "version", 32),
        title=line(fields, "title", 100),
        summary=line(fields, "summary", 1000),
        suits=lines(fields, "suits"),
        fails=lines(fields, "fails"),
        min_kernel=matching(fields, "min_kernel", KERNEL_VERSION),
        requires_kfuncs=_identifiers(fields, "requires_kfuncs"),
        honours=lines(fields, "honours"),
        ignores=lines(fields, "ignores"),
        timeout_ms=timeout_ms,
        tunables=_tunables(fields),
        counters=MappingProxyType(_counters(fields)),
        max_wait_ms=_max_wait_ms(fields, timeout_ms),
        maps=MappingProxyType(_maps(fields)),
        fits=MappingProxyType(_fits(fields)),
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
    tunables = tuple(_tunable(variable(table, name), table.table(name)) for name in table)
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
        unit=line(fields, "unit", 32),
        default=fields.integer("default", low, high),
        minimum=low,
        maximum=high,
        description=line(fields, "description", 500),
        role=fields.choice("role", ROLES) if "role" in fields else "",
    )


def _counters(fields: Fields) -> dict[str, str]:
    if "counters" not in fields:
        return {}
    table = fields.table("counters")
    counters = {}
    for name in table:
        entry = table.table(variable(table, name))
        entry.only("description")
        counters[name] = line(entry, "description", 500)
    if len(counters) > COUNT_LIMIT:
        raise BadField(f"counters: more than {COUNT_LIMIT}")
    return counters


def _maps(fields: Fields) -> dict[str, MapRole]:
    if "maps" not in fields:
        return {}
    table = fields.table("maps")
    maps: dict[str, MapRole] = {}
    for name in table:
        entry = table.table(variable(table, name))
        entry.only("role", "description")
        role = MapRole(entry.choice("role", MapRole))
        if role in maps.values():
            raise BadField(f"{entry.name('role')}: another map is for {role}")
        if "description" in entry:
            line(entry, "description", 500)
        maps[name] = role
    return maps


def _fits(fields: Fields) -> dict[WorkloadClass, Fit]:
    if "fit" not in fields:
        return {}
    table = fields.table("fit")
    known = [work for work in WorkloadClass if work is not WorkloadClass.UNKNOWN]
    fits = {}
    for name in table:
        if name not in known:
            raise BadField(f"{table.name(name)[:80]!r} is not one of {', '.join(known)}")
        fits[WorkloadClass(name)] = _fit(table.table(name))
    return fits


def _fit(fields: Fields) -> Fit:
    fields.only(*FIT_FIELDS)
    objectives = [one for one in Objective if one is not Objective.NONE]
    return Fit(
        gain=fields.number("gain", *GAINS),
        objective=Objective(fields.choice("objective", objectives)),
        evidence=line(fields, "evidence", 500),
    )


def variable(table: Fields, name: str) -> str:
    """The name of an entry, which must be that of a variable; BadField."""
    if not IDENTIFIER.fullmatch(name):
        raise BadField(f"{table.name(name)[:80]!r} is not the name of a variable")
    return name


def matching(fields: Fields, key: str, pattern: re.Pattern[str]) -> str:
    """A text that the pattern fits as a whole; BadField."""
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


def line(fields: Fields, key: str, limit: int) -> str:
    """A text that can be printed; BadField."""
    value = fields.text(key, limit)
    if not value.isprintable():
        raise BadField(f"{fields.name(key)} has characters that cannot be printed")
    return value


def lines(fields: Fields, key: str) -> tuple[str, ...]:
    """A list of texts that can be printed; BadField."""
    values = fields.texts(key, limit=500)
    if not all(value.isprintable() for value in values):
        raise BadField(f"{fields.name(key)} has characters that cannot be printed")
    return values
