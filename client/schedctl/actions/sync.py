# SPDX-License-Identifier: GPL-2.0-or-later
"""The command that shares the memory of machines through a database."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field

from schedclient.daemon import Daemon
from schedclient.errors import ClientError
from schedclient.exit import ExitCode
from schedclient.text import visible
from schedctl import store
from schedctl.actions.repository import LONGEST_LINE, listed
from schedctl.context import Context
from schedctl.report import count

PROGRESS_LINES = 20  # a line takes the daemon some hundredths of a second


@dataclass(slots=True)
class _Taken:
    """What came of the lines of other machines."""

    new: Counter[str] = field(default_factory=Counter)  # entries by kind
    lines: int = 0
    signers: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)  # signer → why


async def run(context: Context, arguments: Namespace) -> ExitCode:
    """Leave this machine's bundle in the database, and take over those of the others.

    One that is refused does not keep the others from being taken.
    """
    async with context.daemon() as daemon, store.connected(arguments.conninfo) as database:
        own = [line async for line in daemon.export()]
        signer = own[0].partition(" ")[0] if own else ""
        if own:
            await database.put(signer, own)
        async with aclosing(database.others(signer, LONGEST_LINE)) as lines:
            taken = await _take(context, daemon, lines)
    if context.json:
        context.report.json(
            {
                "given": len(own),
                "machines": len(taken.signers),
                "taken": dict(sorted(taken.new.items())),
                "refused": dict(sorted(taken.refused.items())),
            }
        )
    else:
        _tell(context, len(own), taken)
    return ExitCode.REFUSED if taken.refused else ExitCode.OK


async def _take(context: Context, daemon: Daemon, lines: AsyncIterator[tuple[str, str]]) -> _Taken:
    """Have the daemon keep what is new in each line; of a machine, up to the first refused."""
    taken = _Taken()
    async for signer, line in lines:
        taken.signers.add(signer)
        if signer in taken.refused:
            continue
        try:
            taken.new.update(await daemon.take(line))
        except ClientError as error:
            if error.code is not ExitCode.REFUSED:
                raise
            taken.refused[signer] = error.sentence
        taken.lines += 1
        if taken.lines % PROGRESS_LINES == 0 and sys.stderr.isatty():
            context.errors.line(f"{count(taken.lines, 'line')} taken over …")
    return taken


def _tell(context: Context, given: int, taken: _Taken) -> None:
    left = f"{count(given, 'line')} left for the others" if given else "Nothing to leave yet"
    context.report.line(f"{left}; {count(len(taken.signers), 'other machine')} found.")
    context.report.line(f"Taken over: {listed(taken.new) or 'nothing new'}.")
    for signer, reason in sorted(taken.refused.items()):
        context.errors.line(f"of the machine with the key {visible(signer)}: {reason}")
