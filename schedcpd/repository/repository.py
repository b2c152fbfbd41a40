# SPDX-License-Identifier: GPL-2.0-or-later
"""The repository: what there is to build on, what was tried, and what came of it.

Policies, primitives, outcomes and quarantines are looked up where they live; notes, refusals,
decisions and what other machines have sent are kept in ``memory``. All of it is searched together.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from schedcpd.errors import (
    CardError,
    NoSuchEntry,
    NoSuchPolicy,
    NotSuited,
    RepositoryDamaged,
)
from schedcpd.model import (
    Antipattern,
    Harm,
    Hit,
    Job,
    JobState,
    Note,
    Outcome,
    OutcomeKind,
    Policy,
    PolicyKind,
    Quarantine,
    Standing,
)
from schedcpd.repository import bundles, documents, items
from schedcpd.repository.bundles import Keys, Line
from schedcpd.repository.cards import parse_card
from schedcpd.repository.documents import Document, Kind
from schedcpd.repository.index import Index, Key
from schedcpd.repository.items import Item, Source
from schedcpd.repository.memory import Foreign, Memory
from schedcpd.repository.policies import PolicyStore
from schedcpd.repository.primitives import BadPrimitive, read_primitives
from schedcpd.repository.synonyms import expansions
from schedcpd.signals import Signal

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the entries live that the repository does not keep itself."""

    policies: PolicyStore
    primitives: Path
    headers: Path
    outcomes: Callable[[], tuple[Outcome, ...]]  # oldest first
    quarantines: Callable[[], tuple[Quarantine, ...]]
    installed: Callable[[], Mapping[str, Policy]]


class Repository:
    """Raises NoSuchEntry, NoSuchPolicy, NotSuited, BundleRefused and RepositoryDamaged.

    ``noted`` tells the daemon's log of what was changed: subject and message. ``clock`` gives
    seconds since the epoch.
    """

    def __init__(
        self, memory: Memory, sources: Sources, keys: Keys, host: str, clock: Callable[[], float]
    ) -> None:
        self.noted: Signal[tuple[str, str]] = Signal()
        self._memory = memory
        self._sources = sources
        self._keys = keys
        self._host = host
        self._clock = clock
        self._documents: dict[Key, Document] | None = None
        self._foreign: tuple[Document, ...] | None = None
        self._index: Index | None = None

    def close(self) -> None:
        """Close the files."""
        if self._index is not None:
            self._index.close()
            self._index = None
        self._memory.close()

    def changed(self) -> None:
        """Something that is searched has changed: the next search looks for what it is."""
        self._documents = None

    # Reading

    def search(self, query: str, kind: str, limit: int) -> tuple[Hit, ...]:
        """The entries (of a kind) that fit a query best, best first; all for an empty query."""
        if self._index is None:
            self._index = Index(expansions())
        self._index.show(self._all())
        return self._index.search(query, kind, limit)

    def read(self, kind: str, name: str, part: str) -> str:
        """The text of a part of an entry, its first part when empty; NoSuchEntry."""
        found = self._all().get((kind, name))
        if found is None:
            raise NoSuchEntry(kind, name)
        return found.part(part)

    def outcomes(self, workload: str, policy: str, count: int) -> tuple[Outcome, ...]:
        """The newest outcomes (for a workload, of a policy), newest first."""
        found = [
            one
            for one in self._sources.outcomes()
            if workload in ("", one.workload) and policy in ("", one.policy)
        ]
        return tuple(reversed(found[-count:])) if count > 0 else ()

    def _all(self) -> dict[Key, Document]:
        if self._documents is None:
            # Of two of one name the first counts, which is never another machine's.
            found: dict[Key, Document] = {}
            for one in self._gather():
                found.setdefault((one.kind, one.name), one)
            self._documents = found
        return self._documents

    def _gather(self) -> Iterator[Document]:
        sources, memory = self._sources, self._memory
        for name in sources.policies.names():
            try:
                yield self._policy(name)
            except (CardError, NoSuchPolicy) as error:
                log.warning("%s is not in the repository: %s", name, error)
        yield from self._primitives()
        for outcome in sources.outcomes():
            yield documents.of_outcome(outcome)
        for antipattern, named in self._antipatterns():
            yield documents.of_antipattern(antipattern, named)
        for note in memory.notes():
            yield documents.of_note(note)
        if self._foreign is None:
            self._foreign = tuple(of_foreign(one) for one in memory.foreign())
        yield from self._foreign

    def _policy(self, name: str) -> Document:
        text = self._sources.policies.card_bytes(name)
        card = self._sources.policies.parse(name, text)
        source = self._sources.policies.source_bytes(name)
        return documents.of_policy(card, text.decode(), source.decode(errors="replace"))

    def _primitives(self) -> Iterator[Document]:
        try:
            found = read_primitives(self._sources.primitives, self._sources.headers)
        except (OSError, UnicodeDecodeError, BadPrimitive) as error:
            log.warning("the primitives cannot be read: %s", error)
            return
        yield from map(documents.of_primitive, found)

    def _antipatterns(self) -> Iterator[tuple[Antipattern, str]]:
        for quarantine in self._sources.quarantines():
            harm = documents.of_quarantine(quarantine)
            yield harm, documents.antipattern_name(harm)
        for outcome in self._sources.outcomes():
            if outcome.kind is OutcomeKind.FAILURE:
                yield documents.of_failure(outcome), f"{Harm.FAILURE}-{outcome.deployment}"
        for refusal in self._memory.refusals():
            yield refusal, documents.antipattern_name(refusal)

    # Writing

    def annotate(self, kind: str, name: str, text: str, uid: int) -> int:
        """Keep a note on an entry, on a workload or on nothing; its number; NoSuchEntry."""
        if kind in list(Kind) and (kind, name) not in self._all():
            raise NoSuchEntry(kind, name)
        made = Note(0, self._clock(), uid, kind, name, items.cleaned(text, items.TEXT_LIMIT))
        note = self._memory.add_note(made)
        self.changed()
        self.noted.emit((name, f"note {note.id} by user {uid}"))
        return note.id

    def verdict(self, job: Job) -> None:
        """Remember what a policy was refused for."""
        if job.state is not JobState.REFUSED or job.report is None:
            return
        try:
            self._memory.add_refusal(documents.of_report(job.report))
        except RepositoryDamaged as error:
            log.warning("a refusal is not remembered: %s", error)
        self.changed()

    # What the built-in planner may choose

    def promote(self, name: str, uid: int) -> None:
        """Let the planner choose a policy, as it is now, for the work that its card names."""
        policy = self._installed(name)
        if not policy.card.fits:
            raise NotSuited(name)
        self._decide(Standing(name, False, policy.object_sha256, "", uid, self._clock()))
        work = ", ".join(policy.card.fits)
        self.noted.emit((name, f"promoted by user {uid}: it may be chosen for {work}"))

    def retire(self, name: str, reason: str, uid: int) -> None:
        """Keep the planner from choosing a policy until it is promoted."""
        policy = self._installed(name)
        self._decide(Standing(name, True, policy.object_sha256, reason, uid, self._clock()))
        self.noted.emit((name, f"retired by user {uid}: {reason}"))

    def _installed(self, name: str) -> Policy:
        policy = self._sources.installed().get(name)
        if policy is None:
            raise NoSuchPolicy(name)
        return policy

    def _decide(self, standing: Standing) -> None:
        self._memory.decide(standing)
        self.changed()

    def objection(self, policy: Policy) -> str:
        """Why the planner must not choose a policy, or an empty string."""
        name = policy.card.name
        standing = self._memory.standing(name)
        if standing is not None and standing.retired:
            return f"{name} was retired: {standing.reason}"
        promoted = standing is not None and standing.object_sha256 == policy.object_sha256
        if policy.enrolled and not promoted:
            return f"{name} was enrolled; 'schedctl promote {name}' lets it be chosen"
        return ""

    # Other machines

    def export(self, place: int) -> tuple[str, int]:
        """A line of the bundle of this machine's own entries, and the place of the next, or 0."""
        lines = bundles.packed(self._own())
        if place >= len(lines):
            return "", 0
        line = bundles.seal(Line(self._host, self._clock(), lines[place]), self._keys)
        following = place + 1
        return line, following if following < len(lines) else 0

    def _own(self) -> Iterator[Item]:
        """What another machine may use. What cannot be written so that it can be read stays."""
        store = self._sources.policies
        # A foreign one is a program, whose card says nothing without it.
        enrolled = [
            name
            for name, one in self._sources.installed().items()
            if one.enrolled and one.card.kind is PolicyKind.BPF
        ]
        for name in sorted(enrolled):
            card, source = store.card_bytes(name), store.source_bytes(name)
            yield Source(name, card.decode(errors="replace"), source.decode(errors="replace"))
        for outcome in self._sources.outcomes():
            yield replace(outcome, host=outcome.host or self._host)
        for antipattern, _ in self._antipatterns():
            yield antipattern
        yield from self._memory.notes()

    def take(self, line: str) -> Mapping[str, int]:
        """Keep what a line of another machine's bundle has: how many new entries of each kind.

        BundleRefused unless a key that is trusted here has signed it.
        """
        opened, signer = bundles.open_line(line, self._keys)
        every = tuple(Foreign(signer, opened.host, one) for one in opened.items)
        new = self._memory.take(every)
        if not new:
            return {}
        self._foreign = None
        self.changed()
        kinds = [bundles.NAMES[type(one.item)] for one in new]
        counts = {kind: kinds.count(kind) for kind in sorted(set(kinds))}
        told = ", ".join(f"{number} {kind}" for kind, number in counts.items())
        self.noted.emit(("", f"taken from {opened.host}, signed by {signer}: {told}"))
        return counts


def of_foreign(foreign: Foreign) -> Document:
    """The item of another machine as a document."""
    signer, host = foreign.signer, foreign.host
    match foreign.item:
        case Source() as one:
            card = parse_card(one.card.encode(), f"{one.name}.toml")
            return documents.of_policy(card, one.card, one.source, signer, host)
        case Outcome() as one:
            return documents.of_outcome(one, signer)
        case Antipattern() as one:
            return documents.of_antipattern(one, documents.antipattern_name(one), signer, host)
        case Note() as one:
            return documents.of_note(one, signer, host)
    raise TypeError(f"no document is made of {foreign.item!r}")
