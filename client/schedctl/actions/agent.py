# SPDX-License-Identifier: GPL-2.0-or-later
"""``schedctl agent``: what the language model's agent does, sends and spends."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from schedclient.errors import ClientError
from schedclient.exit import ExitCode
from schedclient.objects import as_json
from schedctl.context import Context
from schedctl.report import Column, ago, count, duration

if TYPE_CHECKING:
    from schedclient.agent import Agent

Run = Mapping[str, Any]
TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
MOST_RUNS = 1000


async def run(context: Context, arguments: Namespace) -> ExitCode:
    """Do what the verb says."""
    needs_subject = arguments.verb in ("analyse", "cancel", "preview", "show")
    if needs_subject != (arguments.subject is not None):
        wanted = "what for" if needs_subject else "no more than that"
        raise ClientError(f"agent {arguments.verb}: say {wanted}", ExitCode.USAGE)
    async with context.agent() as agent:
        return await _VERBS[arguments.verb](context, agent, arguments)


async def status(context: Context, agent: Agent, _: Namespace) -> ExitCode:
    """Say what it does."""
    found = await agent.status()
    if context.json:
        context.report.json(as_json(found))
        return ExitCode.OK
    report = context.report
    report.labelled("Agent", found.sentence)
    report.labelled("Mode", found.mode)
    report.labelled("Model", f"{found.model} at {found.server}")
    return ExitCode.OK


async def analyse(context: Context, agent: Agent, arguments: Namespace) -> ExitCode:
    """Begin a run."""
    number = await agent.analyse(arguments.subject)
    if context.json:
        context.report.json({"run": number})
    else:
        context.report.line(f"Run {number} has begun; 'schedctl agent' shows what it does.")
    return ExitCode.OK


async def cancel(context: Context, agent: Agent, arguments: Namespace) -> ExitCode:
    """End a run."""
    number = run_number(arguments.subject)
    await agent.cancel(number)
    if context.json:
        context.report.json({"run": number})
    else:
        context.report.line(f"Run {number} is cancelled.")
    return ExitCode.OK


async def history(context: Context, agent: Agent, arguments: Namespace) -> ExitCode:
    """List the newest runs."""
    runs = await agent.history(arguments.lines)
    if context.json:
        context.report.json(runs)
    elif runs:
        context.report.table(runs, columns(context.clock()))
    else:
        context.report.line("The agent has not analysed anything yet.")
    return ExitCode.OK


async def show(context: Context, agent: Agent, arguments: Namespace) -> ExitCode:
    """All that was said in a run."""
    number = run_number(arguments.subject)
    said = await agent.transcript(number)
    found = [one for one in await agent.history(MOST_RUNS) if one["id"] == number]
    if context.json:
        context.report.json({"run": found[0] if found else {}, "calls": said})
        return ExitCode.OK
    for one in found:
        context.report.labelled("Run", f"{number}: {one['state']}: {one['sentence']}")
        context.report.labelled("Workload", one["workload"])
        spent = f"{tokens(one)} tokens, {dollars(one['dollars'])}, {count(one['calls'], 'call')}"
        context.report.labelled("Spent", spent)
    seen: dict[str, int] = {}
    for exchange in said:
        for speaker, block in blocks(exchange, seen):
            context.report.line()
            context.report.indented(f"{exchange['role']}, {speaker}: ", block)
    return ExitCode.OK


async def preview(context: Context, agent: Agent, arguments: Namespace) -> ExitCode:
    """What would leave the machine."""
    found = await agent.preview(arguments.subject)
    if context.json:
        context.report.json(found)
        return ExitCode.OK
    report = context.report
    report.labelled("To", str(found["server"]))
    report.labelled("Size", f"{found['bytes']} bytes, at most {found['tokens_at_most']} tokens")
    report.line()
    for line in json.dumps(json.loads(found["request"]), indent=1, ensure_ascii=False).split("\n"):
        report.indented("", line)
    return ExitCode.OK


async def budget(context: Context, agent: Agent, _: Namespace) -> ExitCode:
    """What may be spent, and what was."""
    found = await agent.budget()
    if context.json:
        context.report.json(found)
        return ExitCode.OK
    for word in ("analysis", "workload", "day"):
        spent, most = found[f"{word}_spent_tokens"], found[f"{word}_tokens"]
        money = f"{dollars(found[f'{word}_spent_dollars'])} of {dollars(found[f'{word}_dollars'])}"
        context.report.labelled(word.capitalize(), f"{money}; {spent} of {most} tokens")
    return ExitCode.OK


_VERBS: Mapping[str, Callable[[Context, Agent, Namespace], Awaitable[ExitCode]]] = {
    "status": status,
    "analyse": analyse,
    "cancel": cancel,
    "history": history,
    "show": show,
    "preview": preview,
    "budget": budget,
}


def run_number(text: str) -> int:
    """The number of a run; raises ClientError."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ClientError(f"{text!r} is not the number of a run", ExitCode.USAGE)
    return int(text)


def columns(now: float) -> Sequence[Column[Run]]:
    """The columns of ``history``."""
    return (
        Column("RUN", lambda one: str(one["id"]), right=True),
        Column("STARTED", lambda one: ago(one["started"], now)),
        Column("LASTED", lambda one: duration((one["ended"] or now) - one["started"])),
        Column("STATE", lambda one: str(one["state"])),
        Column("TOKENS", lambda one: str(tokens(one)), right=True),
        Column("COST", lambda one: dollars(one["dollars"]), right=True),
        Column("WORKLOAD", lambda one: str(one["workload"]), elastic=True),
        Column("WHAT CAME OF IT", lambda one: str(one["sentence"]), elastic=True),
    )


def tokens(one: Run) -> int:
    """All tokens of a run."""
    return sum(int(one[name]) for name in TOKENS)


def dollars(amount: float) -> str:
    """An amount of money."""
    return f"${amount:.2f}" if amount >= 0.095 or not amount else f"${amount:.3f}"


def blocks(exchange: Mapping[str, Any], seen: dict[str, int]) -> list[tuple[str, str]]:
    """Who said what in an exchange; ``seen`` has how much of a role's conversation is known."""
    messages = json.loads(exchange["request"])["messages"]
    told = messages[seen.get(exchange["role"], 0) :]
    seen[exchange["role"]] = len(messages) + 1  # the reply comes back in the next request
    reply = json.loads(exchange["reply"])
    said: list[tuple[str, str]] = []
    for message in told:
        said += [("told", words(one)) for one in message["content"]]
    if "error" in reply:
        return [*said, ("no answer", reply["error"])]
    return [*said, *(("said", words(one)) for one in reply["content"])]


def words(block: Mapping[str, Any]) -> str:
    """A content block for a person."""
    match block["type"]:
        case "text":
            return str(block["text"])
        case "thinking":
            return f"(thinks) {block['thinking']}"
        case "tool_use":
            return f"{block['name']} {json.dumps(block['input'], ensure_ascii=False)}"
        case "tool_result":
            return " ".join(words(one) for one in block["content"])
    return f"({block['type']})"
