# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands, as data."""

from __future__ import annotations

from argparse import ArgumentTypeError
from dataclasses import dataclass, field
from typing import Any

MOST_EVENTS = 1000


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a command: its names, and what argparse is told of it."""

    names: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its name, its help, its arguments, and the function that does it.

    The function is named ``module:function`` below ``schedctl.actions``, and loaded when called.
    """

    name: str
    help: str
    function: str
    arguments: tuple[Argument, ...] = ()
    program: bool = False  # whether a command line of another program may follow after --


def event_count(text: str) -> int:
    """A number of events, from 0 to what the daemon keeps."""
    if not (text.isascii() and text.isdigit()) or not 0 <= int(text[:9]) <= MOST_EVENTS:
        raise ArgumentTypeError(f"{text!r} is not a number from 0 to {MOST_EVENTS}")
    return int(text)


_WORKLOAD = {
    "metavar": "WORKLOAD",
    "help": "its id, its unit, its cgroup number, or a part of the id that only it has",
}
WORKLOAD = Argument(("workload",), _WORKLOAD)
ANY_WORKLOAD = Argument(("workload",), {**_WORKLOAD, "nargs": "?"})
CARD = Argument(
    ("--card",), {"metavar": "FILE", "help": "the policy's card; else the .toml beside its source"}
)
NAMES = Argument(
    ("--names",), {"action": "store_true", "help": "names only, one a line, for scripts"}
)

COMMANDS = (
    Command("status", "what schedules now, for whom and why", "status:run"),
    Command("list", "the workloads that are known", "workloads:list_all", (NAMES,)),
    Command("show", "all that is known of one workload", "workloads:show", (WORKLOAD,)),
    Command(
        "policies",
        "the installed policies, or one in full",
        "policies:run",
        (
            Argument(
                ("policy",), {"metavar": "POLICY", "nargs": "?", "help": "show this one in full"}
            ),
            NAMES,
        ),
    ),
    Command(
        "apply",
        "attach a policy for a workload",
        "verbs:apply",
        (WORKLOAD, Argument(("policy",), {"metavar": "POLICY", "help": "for example scx_batch"})),
    ),
    Command("why", "why a workload is scheduled as it is", "past:why", (WORKLOAD,)),
    Command(
        "history",
        "the deployments so far, also from before a restart",
        "past:history",
        (
            ANY_WORKLOAD,
            Argument(
                ("-n", "--lines"),
                {
                    "metavar": "N",
                    "type": event_count,
                    "default": 20,
                    "help": "the newest N deployments (20)",
                },
            ),
        ),
    ),
    Command("revert", "go back to the kernel's default scheduler", "verbs:revert"),
    Command("pause", "go back to it and decide nothing until 'resume'", "verbs:pause"),
    Command("resume", "let the daemon decide again", "verbs:resume"),
    Command(
        "hold",
        "keep automation off while a command runs, or until Ctrl-C",
        "hold:run",
        (
            ANY_WORKLOAD,
            Argument(
                ("--reason",),
                {"metavar": "TEXT", "required": True, "help": "shown to whoever asks"},
            ),
        ),
        program=True,
    ),
    Command(
        "verify",
        "check a policy for whether it may be attached, and say what is wrong",
        "verify:verify",
        (
            Argument(
                ("policy",),
                {
                    "metavar": "FILE|POLICY",
                    "nargs": "?",
                    "help": "scx_NAME.bpf.c, or the name of an installed policy",
                },
            ),
            CARD,
            Argument(("--rules",), {"action": "store_true", "help": "show what is looked for"}),
        ),
    ),
    Command(
        "enroll",
        "verify a policy and put it in the repository",
        "verify:enroll",
        (Argument(("policy",), {"metavar": "FILE", "help": "scx_NAME.bpf.c"}), CARD),
    ),
    Command(
        "revoke",
        "never let a policy be attached again, and take it off",
        "removal:revoke",
        (
            Argument(
                ("policy",),
                {"metavar": "POLICY", "help": "for example scx_batch; to undo, also a SHA-256"},
            ),
            Argument(("--undo",), {"action": "store_true", "help": "let it be attached again"}),
        ),
    ),
    Command(
        "withdraw",
        "remove a policy that was enrolled",
        "removal:withdraw",
        (Argument(("policy",), {"metavar": "POLICY", "help": "for example scx_mine"}),),
    ),
    Command(
        "quarantine", "the policies that did harm, and what they did", "quarantine:run", (NAMES,)
    ),
    Command(
        "release",
        "let a policy out of quarantine",
        "quarantine:release",
        (Argument(("policy",), {"metavar": "POLICY", "help": "for example scx_batch"}),),
    ),
    Command(
        "log",
        "what the daemon did and why",
        "log:run",
        (
            Argument(
                ("-n", "--lines"),
                {
                    "metavar": "N",
                    "type": event_count,
                    "default": 20,
                    "help": "the newest N events (20)",
                },
            ),
            Argument(("-f", "--follow"), {"action": "store_true", "help": "show what comes, too"}),
        ),
    ),
    Command("doctor", "check this machine, and say what to do", "doctor:run"),
)
