# SPDX-License-Identifier: GPL-2.0-or-later
"""Full-text search over documents: SQLite's FTS5, ranked by bm25 with a weight for each column.

The index is made from the documents, in a database that ends with the process: it is never older
than they are, and no version of SQLite meets one that another has written. A query is text of a
person; of it only words get through to FTS5, each quoted, and filters as ``policy:scx_batch``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from schedcpd.database import Connection, open_scratch
from schedcpd.model import Hit
from schedcpd.repository.documents import Document, Kind

QUERY_LIMIT = 400  # characters
MOST_WORDS = 32
WORD_LIMIT = 40
MOST_HITS = 50
COLUMN_LIMIT = 64 * 1024  # characters that an entry is found by
PREFIX = 5  # letters of a word that may be the beginning of another
EXCERPT_WORDS = 24
EXCERPT_LIMIT = 240

# How much a word counts where it stands. What a policy does not suit has the words of what people
# look for as well. Sources are not in it: bm25 thinks little of a word in a long text.
WEIGHTS: Mapping[str, float] = {
    "sort": 2.0,
    "name": 5.0,
    "title": 5.0,
    "about": 3.0,
    "policy": 2.0,
    "workload": 5.0,
    "work": 2.0,
    "kernel": 1.0,
    "host": 1.0,
    "details": 0.3,
    "warnings": 0.5,
}
# What may be asked for by name, and the column it is in.
FILTERS: Mapping[str, str] = {
    "policy": "policy",
    "workload": "workload",
    "class": "work",
    "kernel": "kernel",
    "host": "host",
}
COLUMNS = tuple(WEIGHTS)
TABLE = (
    f"CREATE VIRTUAL TABLE entries USING fts5(kind UNINDEXED, {', '.join(COLUMNS)},"
    " tokenize = 'porter unicode61 remove_diacritics 2')"
)
INSERT = f"INSERT INTO entries VALUES (?, {', '.join('?' for _ in COLUMNS)})"
RANK = f"bm25(entries, 0.0, {', '.join(str(weight) for weight in WEIGHTS.values())})"

# What people call the kinds.
SORTS: Mapping[str, str] = {
    Kind.POLICY: "policy scheduler",
    Kind.PRIMITIVE: "primitive fragment building block",
    Kind.OUTCOME: "outcome result effect measured history",
    Kind.ANTIPATTERN: "antipattern failure failed wrong refused rejected harm",
    Kind.NOTE: "note finding remark annotation",
}

# Words that stand in every question.
IGNORED = frozenset(
    "a about all an and any are as at be but by can did do does for from has have how i if in into"
    " is it its just like make makes me my of on one or our own scx should so than that the their"
    " them then there these they this to too under us was we were what when where which while"
    " who why will with without would you your".split()
)
Key = tuple[str, str]  # kind and name

# A word with dots or dashes in it, as cpu.max or scx_bpf_kick_cpu, is to FTS5 a row of words.
_WORD = re.compile(r"[^\W_]+(?:[._-][^\W_]+)*")
_FILTER = re.compile(rf"\b({'|'.join(FILTERS)}):(\S+)")


@dataclass(frozen=True, slots=True)
class Query:
    """What somebody looks for: words, best all of them, and what a column must have."""

    words: tuple[str, ...]
    filters: tuple[tuple[str, tuple[str, ...]], ...]  # column, words that it must have in a row


def parse(text: str) -> Query:
    """The query in a text of anybody's."""
    text = text[:QUERY_LIMIT]
    filters = tuple((FILTERS[key], _words(value)) for key, value in _FILTER.findall(text))
    words = _words(_FILTER.sub(" ", text))
    telling = tuple(word for word in words if word not in IGNORED)
    return Query((telling or words)[:MOST_WORDS], tuple(one for one in filters if one[1]))


def _words(text: str) -> tuple[str, ...]:
    found = (word[:WORD_LIMIT] for word in _WORD.findall(text.lower()))
    return tuple(dict.fromkeys(found))


def expression(query: Query, synonyms: Mapping[str, tuple[str, ...]]) -> str:
    """The query in the language of FTS5; empty when nothing is looked for."""
    filters = [f'{column} : "{" ".join(words)}"' for column, words in query.filters[:MOST_WORDS]]
    more = (other for word in query.words for other in synonyms.get(word, ()))
    words = tuple(dict.fromkeys((*query.words, *more)))
    wanted = " OR ".join(f'"{word}"{"*" if len(word) >= PREFIX else ""}' for word in words)
    return " AND ".join([*filters, *([f"({wanted})"] if wanted else [])])


class Index:
    """The documents that were shown to it last, to be searched."""

    def __init__(self, synonyms: Mapping[str, tuple[str, ...]]) -> None:
        self._synonyms = synonyms
        self._db: Connection = open_scratch()
        self._db.execute(TABLE)
        self._rows: dict[Key, tuple[int, Document]] = {}
        self._shown: Mapping[Key, Document] = {}

    def show(self, documents: Mapping[Key, Document]) -> None:
        """Take these documents in place of those before; what stays the same costs nothing."""
        if documents is self._shown:
            return
        self._shown = documents
        gone = [key for key, (_, one) in self._rows.items() if documents.get(key) != one]
        rows = [(self._rows.pop(key)[0],) for key in gone]
        self._db.execute("BEGIN")
        self._db.executemany("DELETE FROM entries WHERE rowid = ?", rows)
        for key, one in documents.items():
            if key not in self._rows:
                self._rows[key] = (self._insert(one), one)
        self._db.execute("COMMIT")

    def _insert(self, one: Document) -> int:
        number = self._db.execute(INSERT, _row(one)).lastrowid
        assert number is not None  # SQLite gives one to every insertion
        return number

    def close(self) -> None:
        """Forget it."""
        self._db.close()

    def search(self, text: str, kind: str, limit: int) -> tuple[Hit, ...]:
        """The documents (of a kind) that fit a query best; all, by name, for an empty one."""
        wanted = expression(parse(text), self._synonyms)
        limit = min(limit, MOST_HITS)
        if not wanted:
            rows = self._db.execute(
                "SELECT kind, name, 0.0, title, substr(about, 1, ?3) FROM entries"
                " WHERE kind = ?1 OR ?1 = '' ORDER BY kind, name LIMIT ?2",
                (kind, limit, EXCERPT_LIMIT),
            )
        else:
            rows = self._db.execute(
                f"SELECT kind, name, -{RANK} AS score, title,"
                f" snippet(entries, -1, '', '', '…', {EXCERPT_WORDS}) FROM entries"
                " WHERE entries MATCH ?1 AND (kind = ?2 OR ?2 = '')"
                " ORDER BY score DESC, kind, name LIMIT ?3",
                (wanted, kind, limit),
            )
        return tuple(_hit(*row) for row in rows)


def _row(one: Document) -> tuple[str, ...]:
    values = (SORTS[one.kind], *(getattr(one, column) for column in COLUMNS[1:]))
    return (one.kind, *(_writable(value)[:COLUMN_LIMIT] for value in values))


def _writable(text: str) -> str:
    """SQLite takes no halves of characters."""
    return text.encode(errors="replace").decode()


def _hit(kind: str, name: str, score: float, title: str, excerpt: str) -> Hit:
    return Hit(kind, name, round(score, 3), title, " ".join(excerpt.split())[:EXCERPT_LIMIT])
