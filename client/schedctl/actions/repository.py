# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands on the repository: search and reading, notes, what may be chosen, bundles."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from schedclient.errors import ClientError
from schedclient.exit import ExitCode
from schedclient.objects import Hit, as_json
from schedclient.text import visible
from schedctl.context import Context
from schedctl.report import Column, count, listing

LONGEST_LINE = 380 * 1024  # characters; the daemon takes no more either
STANDARD = "-"

COLUMNS: tuple[Column[Hit], ...] = (
    Column("KIND", lambda one: one.kind),
    Column("NAME", lambda one: one.name),
    Column("TITLE", lambda one: one.title, elastic=True),
)


async def search(context: Context, arguments: Namespace) -> ExitCode:
    """List what fits a query, best first."""
    async with context.daemon() as daemon:
        found = await daemon.search(" ".join(arguments.query), arguments.kind, arguments.lines)
    if context.json:
        context.report.json(as_json(found))
    elif found:
        context.report.table(found, COLUMNS)
    else:
        context.report.line("Nothing in the repository fits.")
    return ExitCode.OK


async def read(context: Context, arguments: Namespace) -> ExitCode:
    """Write the text of an entry."""
    async with context.daemon() as daemon:
        text = await daemon.read_whole(arguments.kind, arguments.name, arguments.part)
    if context.json:
        context.report.json({"kind": arguments.kind, "name": arguments.name, "text": text})
    else:
        for line in text.split("\n"):
            context.report.line("\t".join(visible(part) for part in line.split("\t")))
    return ExitCode.OK


async def note(context: Context, arguments: Namespace) -> ExitCode:
    """Keep a note."""
    kind, _, name = arguments.on.partition("/")
    if bool(kind) != bool(name):
        raise ClientError("--on wants KIND/NAME, for example policy/scx_batch", ExitCode.USAGE)
    async with context.daemon() as daemon:
        number = await daemon.annotate(kind, name, arguments.text)
    if context.json:
        context.report.json({"note": number})
    else:
        context.report.line(f"Kept as note {number}.")
    return ExitCode.OK


async def promote(context: Context, arguments: Namespace) -> ExitCode:
    """Let the daemon choose a policy."""
    policy = arguments.policy
    async with context.daemon() as daemon:
        await daemon.promote(policy)
    return _done(context, policy, f"{policy} may be chosen for the work that its card names.")


async def retire(context: Context, arguments: Namespace) -> ExitCode:
    """Keep the daemon from choosing a policy."""
    policy = arguments.policy
    async with context.daemon() as daemon:
        await daemon.retire(policy, arguments.reason)
    words = f"{policy} is chosen no more; 'schedctl promote {policy}' takes that back."
    return _done(context, policy, words)


def _done(context: Context, policy: str, words: str) -> ExitCode:
    if context.json:
        context.report.json({"policy": policy})
    else:
        context.report.line(visible(words))
    return ExitCode.OK


async def export(context: Context, arguments: Namespace) -> ExitCode:
    """Write the bundle of this machine, signed, to a file."""
    async with context.daemon() as daemon:
        lines = [line async for line in daemon.export()]
    if arguments.file == STANDARD:
        for line in lines:
            context.report.line(line)
        return ExitCode.OK
    write(arguments.file, lines)
    if context.json:
        context.report.json({"file": arguments.file, "lines": len(lines)})
    elif lines:
        key = lines[0].partition(" ")[0]
        context.report.line(f"{count(len(lines), 'line')} written to {visible(arguments.file)}.")
        context.report.indented(
            "",
            f"A machine takes it that has this key in /etc/schedcp/trusted-keys.d/NAME.pub: {key}",
        )
    else:
        context.report.line("There is nothing to hand on yet.")
    return ExitCode.OK


def write(path: str, lines: list[str]) -> None:
    """Write a bundle to a file; raises ClientError."""
    try:
        with Path(path).open("w", encoding="ascii") as file:
            file.writelines(f"{line}\n" for line in lines)
    except OSError as error:
        raise ClientError(f"{path!r} cannot be written: {error.strerror}") from error


async def take(context: Context, arguments: Namespace) -> ExitCode:
    """Have the daemon keep what the lines of a bundle have, up to the first that it refuses."""
    taken: Counter[str] = Counter()
    async with context.daemon() as daemon:
        for line in _lines(arguments.file):
            taken.update(await daemon.take(line))
    if context.json:
        context.report.json(dict(sorted(taken.items())))
    else:
        context.report.line(f"Taken over: {listed(taken) or 'nothing new'}.")
    return ExitCode.OK


def listed(taken: Mapping[str, int]) -> str:
    """How many entries of each kind were taken over."""
    return visible(listing(f"{number} {kind}" for kind, number in sorted(taken.items())))


def _lines(path: str) -> Iterator[str]:
    """The lines of a bundle; raises ClientError."""
    try:
        with Path(path).open(encoding="ascii") as file:
            while line := file.readline(LONGEST_LINE + 2):
                if len(line) > LONGEST_LINE + 1:
                    raise ClientError(f"{path!r} is no bundle: it has a line that is too long")
                if line.strip():
                    yield line.rstrip("\n")
    except OSError as error:
        raise ClientError(f"{path!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ClientError(f"{path!r} is no bundle: it is not ASCII text") from error
