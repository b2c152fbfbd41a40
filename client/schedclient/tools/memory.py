# SPDX-License-Identifier: GPL-2.0-or-later
"""Tools for the policy repository: what there is, what it did here, what was learnt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schedclient.daemon import Daemon
from schedclient.errors import ClientError
from schedclient.objects import Hit
from schedclient.tools import schema
from schedclient.tools.answers import (
    LIMIT,
    NAME_LIMIT,
    divided,
    excerpt,
    fitted,
    page,
    plain_text,
    rounded,
)
from schedclient.tools.find import workload_named
from schedclient.tools.schema import INTEGER, NUMBER, STRING, TABLE
from schedclient.tools.tool import Answer, Arguments, Progress, Tool, ToolError

KINDS = ("policy", "primitive", "outcome", "antipattern", "note")
MOST_FOUND = 50
MOST_OUTCOMES = 100
LONGEST_FINDING = 4_000
LONGEST_QUERY = 400

PARTS = ("", "card", "source", "text")
# What a note can be about: an entry of the repository, a workload, or nothing that has a name.
SUBJECTS = ("", "workload", "policy", "primitive", "outcome", "antipattern")


async def search_repository(daemon: Daemon, arguments: Arguments, _: Progress) -> Answer:
    """What the repository has that fits a query."""
    found = await daemon.search(arguments["query"], arguments["kind"], arguments["limit"])
    rows, cursor = page(found, arguments["cursor"], _hit)
    return Answer({"found": rows}, cursor)


def _hit(hit: Hit) -> dict[str, Any]:
    return {
        "kind": hit.kind,
        "name": plain_text(hit.name, NAME_LIMIT),
        "score": rounded(hit.score),
        "untrusted_title": plain_text(hit.title, NAME_LIMIT),
        "untrusted_excerpt": plain_text(hit.excerpt),
    }


SEARCH_REPOSITORY = Tool(
    name="search_repository",
    title="Search the policy repository",
    description="""\
Searches by meaning in what is known about scheduling here: policies (with what they suit and where
they fail), primitives (tested pieces of BPF C to build policies from), outcomes (what a policy did
for a workload), antipatterns (what failed, and why), notes. Cheap. Describe the workload and what
hurts, as in "many short compilers and one long link step". score: the higher the better,
comparable within one answer. Then read_policy for the whole text.""",
    arguments=schema.arguments(
        query=schema.text("what you look for, in words", LONGEST_QUERY, minLength=1),
        kind=schema.choice("only this kind; empty for all", ("", *KINDS), default=""),
        limit=schema.integer("how many at most", 1, MOST_FOUND, default=8),
        cursor=schema.CURSOR,
    ),
    result=schema.result(
        {
            "found": schema.rows(
                "the best first",
                schema.record(
                    {
                        "kind": schema.said(
                            STRING, "policy, primitive, outcome, antipattern, note"
                        ),
                        "name": schema.said(STRING, "that read_policy takes"),
                        "score": NUMBER,
                        "untrusted_title": STRING,
                        "untrusted_excerpt": STRING,
                    }
                ),
            )
        }
    ),
    reads_only=True,
    run=search_repository,
)


async def read_policy(daemon: Daemon, arguments: Arguments, _: Progress) -> Answer:
    """A part of a card, a source or a note."""
    offset = int(arguments["cursor"] or 0)
    kind, name, part = (arguments[one] for one in ("kind", "name", "part"))
    text, total = await daemon.read(kind, name, part, offset)
    return excerpt(text, total, offset)


READ_POLICY = Tool(
    name="read_policy",
    title="Read an entry of the repository",
    description="""\
The text of an entry of the repository, by the kind and name that search_repository gave. A policy
has the parts card (what it is for, where it fails, its tunables with units, defaults and ranges;
TOML) and source (its BPF C); a primitive has text (a tested example of its use) and source (its
header); the others have text. An empty part is the first of these. Read the card before
deploy_policy with parameters, and card and source of a near relation before writing a policy.
About 5,000 characters an answer; the cursor gives the next.""",
    arguments=schema.arguments(
        name=schema.text("as search_repository gave it", 200, minLength=1),
        part=schema.choice("what of it; empty for the first that there is", PARTS, default=""),
        kind=schema.choice("what it is", KINDS, default="policy"),
        cursor=schema.CURSOR,
    ),
    result=schema.EXCERPT,
    reads_only=True,
    run=read_policy,
)


async def outcomes(daemon: Daemon, arguments: Arguments, _: Progress) -> Answer:
    """What was measured here."""
    workload = await _identity(daemon, arguments["workload"])
    found = await daemon.outcomes(workload, arguments["policy"], arguments["count"])
    rows, cursor = page(found, arguments["cursor"], _outcome)
    return Answer({"outcomes": rows}, cursor)


async def _identity(daemon: Daemon, wanted: str) -> str:
    """What the outcomes of a workload are kept under; it may have ended long ago."""
    if not wanted:
        return ""
    try:
        return (await workload_named(daemon, wanted)).identity or wanted
    except (ClientError, ToolError):
        return wanted


def _outcome(one: Mapping[str, Any]) -> dict[str, Any]:
    figures, words = divided(one)
    return {"figures": figures, "untrusted_texts": fitted(words, LIMIT // 4)}


OUTCOMES = Tool(
    name="outcomes",
    title="What policies did here",
    description="""\
What policies did on this machine, as measured against the kernel default, the newest first: for
one workload (also from before it was started again), for one policy, or for both. effect 0.1 is
ten per cent better than the kernel default; low and high are the bounds of that: where low is
below 0, nothing is proven. Cheap. Look here before proposing what has been tried.""",
    arguments=schema.arguments(
        workload=schema.text("its number, unit or identity; empty for all", 4096, default=""),
        policy=schema.text("its name; empty for all", 15, default=""),
        count=schema.integer("how many at most", 1, MOST_OUTCOMES, default=20),
        cursor=schema.CURSOR,
    ),
    result=schema.result(
        {
            "outcomes": schema.rows(
                "the newest first",
                schema.record(
                    {
                        "figures": schema.said(TABLE, "effect, low, high, pairs, when, ..."),
                        "untrusted_texts": schema.said(
                            TABLE, "workload, policy, state, reason, ..."
                        ),
                    }
                ),
            )
        }
    ),
    reads_only=True,
    run=outcomes,
)


async def record_finding(daemon: Daemon, arguments: Arguments, _: Progress) -> Answer:
    """Note what was learnt."""
    asked = (arguments["kind"], arguments["name"], arguments["text"])
    return Answer({"id": await daemon.annotate(*asked)})


RECORD_FINDING = Tool(
    name="record_finding",
    title="Note what was learnt",
    description="""\
Notes in the repository what was learnt, for the next time: on a policy, a primitive, an outcome or
an antipattern that search_repository found, on a workload (name: its identity or unit), or on
nothing that has a name. What works and under which circumstances; what failed and must not be
tried again, with the verifier's or the breaker's words. Write figures, not impressions. Outcomes
of canaries and refusals of the verifier are kept without this. It is kept and shown to others: no
secrets, no text from files of the machine.""",
    arguments=schema.arguments(
        kind=schema.choice(
            "what it is about; empty for nothing that has a name", SUBJECTS, default=""
        ),
        name=schema.text("of what it is about, as search_repository gave it", 200, default=""),
        text=schema.text("what was learnt", LONGEST_FINDING, minLength=1),
    ),
    result=schema.result({"id": schema.said(INTEGER, "of the note")}),
    reads_only=False,
    run=record_finding,
)
