# SPDX-License-Identifier: GPL-2.0-or-later
"""What only the repository knows, kept over restarts: notes, refusals, decisions, others' items.

Cards, sources, outcomes and quarantines have homes of their own and are not kept a second time.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from schedcpd.errors import RepositoryDamaged
from schedcpd.fields import Fields
from schedcpd.model import Antipattern, Note, Outcome, Standing
from schedcpd.records import Records, Shape, key_of
from schedcpd.repository import items
from schedcpd.repository.items import Item, Source

log = logging.getLogger(__name__)

Value = TypeVar("Value")

VERSION = 1


class Kind(StrEnum):
    """What a row is."""

    NOTE = "note"
    REFUSAL = "refusal"
    STANDING = "standing"
    # Of other machines, whoever they had it from.
    SOURCE = "source"
    OUTCOME = "outcome"
    ANTIPATTERN = "antipattern"
    REMARK = "remark"


@dataclass(frozen=True, slots=True)
class Foreign:
    """An item that another machine has signed."""

    signer: str  # the name of its key here
    host: str  # its own
    item: Item


READERS: Mapping[Kind, Callable[[Fields], Item]] = {
    Kind.SOURCE: items.read_source,
    Kind.OUTCOME: items.read_outcome,
    Kind.ANTIPATTERN: items.read_antipattern,
    Kind.REMARK: items.read_note,
}


def _foreign(kind: Kind) -> Callable[[str], Foreign]:
    def read(body: str) -> Foreign:
        fields = Fields(json.loads(body))
        item = READERS[kind](fields.table("item"))
        return Foreign(fields.text("signer"), fields.text("host"), item)

    return read


SHAPE = Shape(
    version=VERSION,
    kept={
        Kind.NOTE: 1000,
        Kind.REFUSAL: 500,
        Kind.STANDING: 500,
        Kind.SOURCE: 32,
        Kind.OUTCOME: 1000,
        Kind.ANTIPATTERN: 500,
        Kind.REMARK: 500,
    },
    readers={
        Kind.NOTE: items.reader(items.read_note),
        Kind.REFUSAL: items.reader(items.read_antipattern),
        Kind.STANDING: items.reader(items.read_standing),
        **{kind: _foreign(kind) for kind in READERS},
    },
)
KIND_OF: Mapping[type[Item], Kind] = {
    Source: Kind.SOURCE,
    Outcome: Kind.OUTCOME,
    Antipattern: Kind.ANTIPATTERN,
    Note: Kind.REMARK,
}


class Memory:
    """The file, or the reason why there is none: then nothing is remembered, and writing fails."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._records: Records | None = None
        self._reason = ""
        self._standings: dict[str, Standing] = {}  # asked for at every plan
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._records = Records(path, SHAPE, RepositoryDamaged)
        except (RepositoryDamaged, OSError) as error:
            log.error("the repository cannot be kept: %s", error)
            self._reason = str(error)
            return
        if self._records.damage:
            log.error("what was noted and decided is forgotten: %s", self._records.damage)
        self._standings = {
            one.policy: one for one in self._every(Kind.STANDING, items.read_standing)
        }

    def close(self) -> None:
        """Close the file."""
        if self._records is not None:
            self._records.close()

    def notes(self) -> tuple[Note, ...]:
        """The notes, oldest first."""
        return self._every(Kind.NOTE, items.read_note)

    def add_note(self, note: Note) -> Note:
        """Keep a note under a number of its own; the note with that; RepositoryDamaged."""
        records = self._opened()
        numbered = replace(note, id=1 + max((one.id for one in self.notes()), default=0))
        with records.transaction():
            records.store(Kind.NOTE, str(numbered.id), items.encode(numbered))
        return numbered

    def refusals(self) -> tuple[Antipattern, ...]:
        """What did not pass its verification, oldest first."""
        return self._every(Kind.REFUSAL, items.read_antipattern)

    def add_refusal(self, refusal: Antipattern) -> None:
        """Keep a refusal, in place of an older one of the same policy for the same reason."""
        records = self._opened()
        with records.transaction():
            key = key_of(refusal.policy, refusal.reason)
            records.store(Kind.REFUSAL, key, items.encode(refusal))

    def standing(self, policy: str) -> Standing | None:
        """What was decided on a policy last."""
        return self._standings.get(policy)

    def decide(self, standing: Standing) -> None:
        """Keep a decision in place of the one before; RepositoryDamaged."""
        records = self._opened()
        with records.transaction():
            records.store(Kind.STANDING, standing.policy, items.encode(standing))
        self._standings[standing.policy] = standing

    def foreign(self) -> tuple[Foreign, ...]:
        """The items of other machines, kind by kind, oldest first."""
        if self._records is None:
            return ()
        return tuple(one for kind in READERS for one in self._records.every(kind, _foreign(kind)))

    def take(self, foreign: tuple[Foreign, ...]) -> tuple[Foreign, ...]:
        """Keep items of another machine, each once; those that are new; RepositoryDamaged."""
        records = self._opened()
        known = {_body(one) for one in self.foreign()}
        new = {body: one for one in foreign if (body := _body(one)) not in known}
        with records.transaction():
            for body, one in new.items():
                records.store(KIND_OF[type(one.item)], _key(one), body)
        return tuple(new.values())

    def _every(self, kind: Kind, read: Callable[[Fields], Value]) -> tuple[Value, ...]:
        if self._records is None:
            return ()
        return self._records.every(kind, lambda body: read(Fields(json.loads(body))))

    def _opened(self) -> Records:
        if self._records is None:
            raise RepositoryDamaged(str(self._path), self._reason)
        return self._records


def _body(foreign: Foreign) -> str:
    item = json.loads(items.encode(foreign.item))
    return json.dumps({"signer": foreign.signer, "host": foreign.host, "item": item})


def _key(foreign: Foreign) -> str:
    """A newer source of one name and signer takes the place of the older one."""
    item = foreign.item
    if isinstance(item, Source):
        return key_of(foreign.signer, item.name)
    return key_of(foreign.signer, hashlib.sha256(items.encode(item).encode()).hexdigest())
