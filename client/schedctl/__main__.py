# SPDX-License-Identifier: GPL-2.0-or-later
"""Entry point of schedctl: parse, run the action, turn what goes wrong into a sentence."""

from __future__ import annotations

import importlib
import os
import sys
from argparse import Namespace
from collections.abc import Awaitable, Callable, Sequence
from typing import TextIO

from schedclient.errors import ClientError
from schedclient.exit import ExitCode
from schedclient.text import visible
from schedctl.context import Context
from schedctl.parser.build import parse
from schedctl.report import Report, width_of

Action = Callable[[Context, Namespace], Awaitable[int]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parsed = parse(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal may know less than UTF-8
    context = Context(
        report=Report(sys.stdout, width_of(sys.stdout), _colour(sys.stdout)),
        errors=Report(sys.stderr, None, colour=False),
        json=getattr(parsed, "json", False),
    )
    import asyncio  # takes time that --help and a wrong command line save

    try:
        code = asyncio.run(run(context, parsed))
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python flushes once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.BROKEN_PIPE
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    return code


async def run(context: Context, parsed: Namespace) -> int:
    """Run one command; an error becomes a sentence on the error stream."""
    module, _, name = parsed.function.partition(":")
    action: Action = getattr(importlib.import_module(f"schedctl.actions.{module}"), name)
    try:
        return await action(context, parsed)
    except ClientError as error:
        context.errors.line(f"schedctl: {visible(error.sentence)}")
        return error.code


def _colour(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


if __name__ == "__main__":
    sys.exit(main())
