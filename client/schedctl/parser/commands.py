# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands, as data."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MOST_EVENTS = 1000
OBJECTIVES = ("makespan", "throughput", "latency", "frames", "energy")
TIERS = ("summary", "scheduling", "probes")
MOST_HITS = 50
KINDS = ("policy", "primitive", "outcome", "antipattern", "note")
PARTS = ("card", "text", "source")
AGENT_VERBS = ("status", "analyse", "cancel", "history", "show", "preview", "budget")
CLASSES = ("fair", "batch", "longest", "latency", "background")


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


def between(least: int, most: int) -> Callable[[str], int]:
    """A type for a whole number from one to the other."""

    def whole_number(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or not least <= int(text[:9]) <= most:
            raise ArgumentTypeError(f"{text!r} is not a number from {least} to {most}")
        return int(text)

    return whole_number


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

SET = Argument(
    ("--set",),
    {
        "metavar": "NAME=VALUE",
        "action": "append",
        "default": [],
        "help": "a parameter of the policy, as 'schedctl policies POLICY' shows them",
    },
)

COMMANDS = (
    Command("status", "what schedules now, for whom and why", "status:run"),
    Command("list", "the workloads that are known", "workloads:list_all", (NAMES,)),
    Command(
        "show",
        "all that is known of one workload",
        "workloads:show",
        (
            WORKLOAD,
            Argument(
                ("--tier",),
                {"choices": TIERS, "help": "look at it now, and how closely"},
            ),
        ),
    ),
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
        (
            WORKLOAD,
            Argument(("policy",), {"metavar": "POLICY", "help": "for example scx_batch"}),
            Argument(
                ("--class",),
                {
                    "metavar": "CLASS",
                    "dest": "kind",
                    "choices": CLASSES,
                    "help": f"in a policy for all, as scx_layers: {', '.join(CLASSES)}",
                },
            ),
            Argument(
                ("--weight",),
                {
                    "metavar": "N",
                    "type": between(1, 10_000),
                    "help": "1 to 10000, of the class; 100 is that of everybody else",
                },
            ),
            Argument(
                ("--slice",),
                {
                    "metavar": "US",
                    "type": between(100, 100_000),
                    "help": "100 to 100000 microseconds, of the class",
                },
            ),
            SET,
        ),
    ),
    Command(
        "optimize",
        "look at a workload, plan for it and do it now",
        "ask:optimize",
        (WORKLOAD,),
    ),
    Command(
        "propose",
        "have a policy tried for a workload, against what it has now",
        "ask:propose",
        (
            WORKLOAD,
            Argument(("policy",), {"metavar": "POLICY", "help": "for example scx_batch"}),
            SET,
            Argument(
                ("--objective",),
                {"choices": OBJECTIVES, "required": True, "help": "what it is to improve"},
            ),
            Argument(
                ("--reason",),
                {"metavar": "TEXT", "required": True, "help": "shown to whoever asks"},
            ),
        ),
    ),
    Command(
        "read-file",
        "read a file that a workload works with, as an agent would see it",
        "ask:read_file",
        (
            WORKLOAD,
            Argument(("path",), {"metavar": "PATH", "help": "below its working directory"}),
        ),
    ),
    Command(
        "deployment",
        "one deployment by its id, with what its trial showed",
        "past:deployment",
        (
            Argument(
                ("id",),
                {
                    "metavar": "ID",
                    "type": between(1, 999_999_999),
                    "help": "as in 'schedctl history'",
                },
            ),
        ),
    ),
    Command("why", "why a workload is scheduled as it is", "why:run", (WORKLOAD,)),
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
    Command(
        "revert",
        "go back to the kernel's default scheduler, or for one workload only",
        "verbs:revert",
        (ANY_WORKLOAD,),
    ),
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
        "enroll-foreign",
        "write a card for an installed scx_* program, so that it can be applied",
        "foreign:enroll",
        (Argument(("program",), {"metavar": "PROGRAM", "help": "for example /usr/bin/scx_lavd"}),),
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
        "search",
        "find policies, primitives, outcomes, failures and notes",
        "repository:search",
        (
            Argument(
                ("query",),
                {
                    "metavar": "WORD",
                    "nargs": "*",
                    "help": "what it is about; none lists everything",
                },
            ),
            Argument(
                ("--kind",),
                {
                    "metavar": "KIND",
                    "choices": KINDS,
                    "default": "",
                    "help": f"only these: {', '.join(KINDS)}",
                },
            ),
            Argument(
                ("-n", "--lines"),
                {
                    "metavar": "N",
                    "type": between(1, MOST_HITS),
                    "default": 10,
                    "help": "the best N (10)",
                },
            ),
        ),
    ),
    Command(
        "read",
        "the text of an entry that 'search' has found",
        "repository:read",
        (
            Argument(("kind",), {"metavar": "KIND", "choices": KINDS, "help": ", ".join(KINDS)}),
            Argument(("name",), {"metavar": "NAME", "help": "as 'search' shows it"}),
            Argument(
                ("part",),
                {
                    "metavar": "PART",
                    "nargs": "?",
                    "default": "",
                    "choices": ("", *PARTS),
                    "help": "card or source of a policy, text or source of a primitive",
                },
            ),
        ),
    ),
    Command(
        "note",
        "keep a note on an entry, on a workload or on the machine",
        "repository:note",
        (
            Argument(("text",), {"metavar": "TEXT", "help": "at most 4000 characters"}),
            Argument(
                ("--on",),
                {
                    "metavar": "KIND/NAME",
                    "default": "",
                    "help": "policy/scx_batch, or workload/NAME",
                },
            ),
        ),
    ),
    Command(
        "promote",
        "let the daemon choose a policy for the work that its card names",
        "repository:promote",
        (Argument(("policy",), {"metavar": "POLICY", "help": "for example scx_mine"}),),
    ),
    Command(
        "retire",
        "keep the daemon from choosing a policy; it can still be applied",
        "repository:retire",
        (
            Argument(("policy",), {"metavar": "POLICY", "help": "for example scx_batch"}),
            Argument(
                ("--reason",),
                {"metavar": "TEXT", "required": True, "help": "shown to whoever asks"},
            ),
        ),
    ),
    Command(
        "export",
        "write what was learnt here to a file for other machines",
        "repository:export",
        (Argument(("file",), {"metavar": "FILE", "help": "- for standard output"}),),
    ),
    Command(
        "import",
        "take over what another machine has exported",
        "repository:take",
        (Argument(("file",), {"metavar": "FILE", "help": "from a machine that is trusted"}),),
    ),
    Command(
        "sync",
        "share what was learnt with other machines through a PostgreSQL database",
        "sync:run",
        (
            Argument(
                ("conninfo",),
                {"metavar": "DATABASE", "help": "for example 'host=db.example dbname=fleet'"},
            ),
        ),
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
    Command(
        "agent",
        "the language model that plans: what it does, sends and spends",
        "agent:run",
        (
            Argument(
                ("verb",),
                {
                    "metavar": "VERB",
                    "nargs": "?",
                    "default": "status",
                    "choices": AGENT_VERBS,
                    "help": f"one of {', '.join(AGENT_VERBS)}; status when left out",
                },
            ),
            Argument(
                ("subject",),
                {
                    "metavar": "SUBJECT",
                    "nargs": "?",
                    "help": "of analyse and preview: a workload; of show and cancel: a run",
                },
            ),
            Argument(
                ("-n", "--lines"),
                {
                    "metavar": "N",
                    "type": between(1, 1000),
                    "default": 20,
                    "help": "history: the newest N runs (20)",
                },
            ),
        ),
    ),
    Command("doctor", "check this machine, and say what to do", "doctor:run"),
)
