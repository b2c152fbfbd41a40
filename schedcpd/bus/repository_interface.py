# SPDX-License-Identifier: GPL-2.0-or-later
"""``org.schedcp.Daemon1.Repository``: what there is to build on, and what was learnt before."""

from schedcpd.bus import names
from schedcpd.bus.authorisation import Action
from schedcpd.bus.clients import Clients
from schedcpd.bus.connection import ObjectInterface, current_caller
from schedcpd.bus.conversion import hit_struct, outcome_values, text
from schedcpd.bus.core import Library
from schedcpd.bus.members import Gate, method
from schedcpd.bus.requests import check_annotation, check_kind, check_retirement, check_text
from schedcpd.bus.signatures import (
    Bundle,
    Count,
    Counts,
    Hits,
    Outcomes,
    PartOfText,
    Position,
    Text,
)

LONGEST_QUERY = 400  # characters
LONGEST_READING = 16_000  # characters at once
MOST_HITS = 50
MOST_OUTCOMES = 100


class RepositoryInterface(ObjectInterface):
    """Search, reading and the verbs."""

    def __init__(self, library: Library, gate: Gate, clients: Clients) -> None:
        self.gate = gate
        self._library = library
        self._clients = clients
        super().__init__(names.REPOSITORY, names.ROOT_PATH)

    @method("Search", action=None)
    async def search(self, query: Text, kind: Text, limit: Count) -> Hits:
        """The entries that fit a query best, best first."""
        check_text("query", query, LONGEST_QUERY)
        check_kind(kind)
        found = self._library.search(query, kind, min(limit, MOST_HITS))
        return [hit_struct(hit) for hit in found]

    @method("Read", action=None)
    async def read(self, kind: Text, name: Text, part: Text, offset: Position) -> PartOfText:
        """A piece of the text of an entry from a position on, and how long all of it is."""
        for what, value in (("kind", kind), ("name", name), ("part", part)):
            check_text(what, value)
        whole = self._library.read(kind, name, part)
        return [text(whole[offset:], LONGEST_READING), len(whole)]

    @method("Outcomes", action=None)
    async def outcomes(self, workload: Text, policy: Text, count: Count) -> Outcomes:
        """What came of deployments, newest first."""
        check_text("workload", workload)
        check_text("policy", policy)
        found = self._library.outcomes(workload, policy, min(count, MOST_OUTCOMES))
        return [outcome_values(one) for one in found]

    @method("Annotate", action=Action.ANNOTATE)
    async def annotate(self, kind: Text, name: Text, note: Text) -> Count:
        """Keep a note of the caller's; returns its number."""
        check_annotation(kind, name, note)
        return self._library.annotate(kind, name, note, await self._uid())

    @method("Promote", action=Action.CONFIGURE)
    async def promote(self, policy: Text) -> None:
        """Let the built-in planner choose a policy."""
        check_text("policy", policy)
        self._library.promote(policy, await self._uid())

    @method("Retire", action=Action.CONFIGURE)
    async def retire(self, policy: Text, reason: Text) -> None:
        """Keep the built-in planner from choosing a policy."""
        check_text("policy", policy)
        check_retirement(reason)
        self._library.retire(policy, reason, await self._uid())

    @method("Export", action=Action.CONFIGURE)
    async def export(self, place: Position) -> Bundle:
        """A signed line of this machine's bundle, and the place of the next one, or 0."""
        line, following = self._library.export(place)
        return [line, following]

    @method("Import", action=Action.CONFIGURE)
    async def take(self, line: Text) -> Counts:
        """Keep what a line of another machine's bundle has: how many new ones of each kind."""
        return dict(self._library.take(line))

    async def _uid(self) -> int:
        return await self._clients.uid(current_caller().sender)
