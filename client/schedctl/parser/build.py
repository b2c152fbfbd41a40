# SPDX-License-Identifier: GPL-2.0-or-later
"""The parser, made from the commands."""

from __future__ import annotations

import sys
from argparse import SUPPRESS, ArgumentParser, HelpFormatter, Namespace
from collections.abc import Sequence

from schedcpd import __version__
from schedctl.parser.commands import COMMANDS
from schedctl.report import USUAL_WIDTH, width_of

PROGRAM_SEPARATOR = "--"


def parse(words: Sequence[str]) -> Namespace:
    """The command line as parsed; leaves with a usage message when it is wrong.

    What stands after ``--`` is the command line of another program where one may follow. argparse
    would take its first word for an argument of ours that was left out.
    """
    ours, line = list(words), []
    command = next((word for word in ours if not word.startswith("-")), "")
    if PROGRAM_SEPARATOR in ours and any(one.name == command and one.program for one in COMMANDS):
        place = ours.index(PROGRAM_SEPARATOR)
        ours, line = ours[:place], ours[place + 1 :]
    parsed = build().parse_args(ours)
    parsed.command_line = line
    return parsed


def build() -> ArgumentParser:
    """A parser for the whole command line; ``function`` of the result names what does it."""
    parser = ArgumentParser(
        prog="schedctl",
        description="Show and steer schedcp, which gives each workload the scheduler it needs.",
        epilog="See schedctl(1) for the exit status and the shape of the JSON.",
        allow_abbrev=False,
        formatter_class=_formatter,
    )
    parser.add_argument("--version", action="version", version=f"schedctl {__version__}")
    _add_json(parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        sub = commands.add_parser(
            command.name,
            help=command.help,
            description=_sentence(command.help),
            allow_abbrev=False,
            formatter_class=_formatter,
            epilog="A command line may follow after --." if command.program else None,
        )
        _add_json(sub)
        for argument in command.arguments:
            sub.add_argument(*argument.names, **argument.options)
        sub.set_defaults(function=command.function)
    return parser


def _formatter(prog: str) -> HelpFormatter:
    # Told its width, argparse does not load shutil, and with it four compression libraries.
    return HelpFormatter(prog, width=(width_of(sys.stdout) or USUAL_WIDTH) - 2)


def _add_json(parser: ArgumentParser) -> None:
    # Before and after the command; SUPPRESS, so that the second does not undo the first.
    parser.add_argument(
        "--json", action="store_true", default=SUPPRESS, help="print JSON, for programs"
    )


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
