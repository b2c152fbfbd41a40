# SPDX-License-Identifier: GPL-2.0-or-later
"""What the repository keeps and hands on, as tables of JSON and back; reading raises BadField."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TypeVar

from schedcpd.errors import CardError
from schedcpd.fields import BadField, Fields
from schedcpd.model import (
    Antipattern,
    Harm,
    Note,
    Objective,
    Outcome,
    OutcomeKind,
    Standing,
    WorkloadClass,
)
from schedcpd.repository import cards
from schedcpd.repository.policies import SOURCE_LIMIT

NAME_LIMIT = 200  # characters
TEXT_LIMIT = 4000  # of a note
REASON_LIMIT = 400
WORDS_LIMIT = 20  # of an antipattern
PATH_LIMIT = 4096  # of a workload's name
WIDE = 1e15  # any figure of ours, either sign

Value = TypeVar("Value", bound=StrEnum)
Text = Callable[[Fields, str, int], str]


@dataclass(frozen=True, slots=True)
class Source:
    """A policy as another machine sent it: text, which was not verified here."""

    name: str
    card: str
    source: str


Item = Note | Antipattern | Standing | Outcome | Source


def member(fields: Fields, key: str, kind: type[Value]) -> Value:
    """One of a closed set."""
    return kind(fields.choice(key, kind))


def plain(fields: Fields, key: str, limit: int) -> str:
    """Text of at most ``limit`` characters with nothing in it that a terminal would obey."""
    return _plain(fields.name(key), fields.text(key, limit))


def _plain(name: str, text: str) -> str:
    if not is_plain(text):
        raise BadField(f"{name} has characters that cannot be printed")
    return text


def is_plain(text: str) -> bool:
    """Whether a text has only what can be printed, and ends of lines and tabs."""
    return all(part.isprintable() for part in text.replace("\t", " ").split("\n"))


def cleaned(text: str, limit: int) -> str:
    """A text of anybody's as ``is_plain`` wants it, cut at ``limit`` characters."""
    shown = (one if one.isprintable() or one in "\n\t" else "\ufffd" for one in text[:limit])
    return "".join(shown)


def encode(item: Item) -> str:
    """The item as JSON in ASCII."""
    return json.dumps(asdict(item))


def reader(read: Callable[[Fields], Item]) -> Callable[[str], Item]:
    """What reads the JSON of such an item."""
    return lambda body: read(Fields(json.loads(body)))


def read_note(fields: Fields) -> Note:
    """A note from its table."""
    fields.only(*Note.__dataclass_fields__)
    return Note(
        id=fields.integer("id", 0, 2**32 - 1),
        at=fields.number("at"),
        uid=fields.integer("uid", 0, 2**32 - 1),
        kind=plain(fields, "kind", NAME_LIMIT),
        name=plain(fields, "name", PATH_LIMIT),
        text=plain(fields, "text", TEXT_LIMIT),
    )


def read_antipattern(fields: Fields) -> Antipattern:
    """An antipattern from its table."""
    fields.only(*Antipattern.__dataclass_fields__)
    return Antipattern(
        harm=member(fields, "harm", Harm),
        at=fields.number("at"),
        policy=plain(fields, "policy", NAME_LIMIT),
        object_sha256=plain(fields, "object_sha256", NAME_LIMIT),
        kernel_release=plain(fields, "kernel_release", NAME_LIMIT),
        workload=plain(fields, "workload", PATH_LIMIT),
        reason=plain(fields, "reason", REASON_LIMIT),
        words=tuple(
            _plain(fields.name("words"), one)
            for one in fields.texts("words", REASON_LIMIT, WORDS_LIMIT)
        ),
    )


def read_standing(fields: Fields) -> Standing:
    """What was decided on a policy from its table."""
    fields.only(*Standing.__dataclass_fields__)
    return Standing(
        policy=plain(fields, "policy", NAME_LIMIT),
        retired=fields.truth("retired"),
        object_sha256=plain(fields, "object_sha256", NAME_LIMIT),
        reason=plain(fields, "reason", REASON_LIMIT),
        uid=fields.integer("uid", 0, 2**32 - 1),
        at=fields.number("at"),
    )


def read_outcome(fields: Fields, text: Text = plain) -> Outcome:
    """An outcome from its table; ``text`` reads a text of at most so many characters."""
    fields.only(*Outcome.__dataclass_fields__)
    return Outcome(
        deployment=fields.integer("deployment", 0),
        at=fields.number("at", -WIDE, WIDE),
        workload=text(fields, "workload", PATH_LIMIT),
        work=member(fields, "work", WorkloadClass),
        objective=member(fields, "objective", Objective),
        policy=text(fields, "policy", NAME_LIMIT),
        object_sha256=text(fields, "object_sha256", NAME_LIMIT),
        kernel_release=text(fields, "kernel_release", NAME_LIMIT),
        topology=text(fields, "topology", NAME_LIMIT),
        kind=member(fields, "kind", OutcomeKind),
        metric=text(fields, "metric", NAME_LIMIT),
        effect=fields.number("effect", -WIDE, WIDE),
        low=fields.number("low", -WIDE, WIDE),
        high=fields.number("high", -WIDE, WIDE),
        pairs=fields.integer("pairs", 0, 2**32 - 1),
        reason=text(fields, "reason", REASON_LIMIT),
        # Not there in what older versions have written.
        host=text(fields, "host", NAME_LIMIT) if "host" in fields else "",
        parameters=_parameters(fields) if "parameters" in fields else {},
    )


def read_source(fields: Fields) -> Source:
    """A policy from its table; its card must be one, and name it."""
    fields.only(*Source.__dataclass_fields__)
    name = fields.text("name")
    if not cards.POLICY_NAME.fullmatch(name):
        raise BadField(f"{fields.name('name')} is not the name of a policy")
    card = plain(fields, "card", cards.SIZE_LIMIT)
    source = plain(fields, "source", SOURCE_LIMIT)
    try:
        named = cards.parse_card(card.encode(), fields.name("card")).name
    except CardError as exc:
        raise BadField(str(exc)) from exc
    if named != name:
        raise BadField(f"{fields.name('card')} is that of another policy")
    return Source(name, card, source)


def words_of(texts: Iterable[str]) -> tuple[str, ...]:
    """Findings as an antipattern has them."""
    every = (cleaned(" ".join(one.split()), REASON_LIMIT) for one in texts)
    return tuple(one for one in every if one)[:WORDS_LIMIT]


def _parameters(fields: Fields) -> dict[str, int]:
    parameters = fields.integers("parameters")
    if len(parameters) > cards.COUNT_LIMIT:
        raise BadField(f"{fields.name('parameters')} has more than {cards.COUNT_LIMIT} entries")
    if not all(cards.IDENTIFIER.fullmatch(name) for name in parameters):
        raise BadField(f"{fields.name('parameters')} has what is no name of a parameter")
    return parameters
