# SPDX-License-Identifier: GPL-2.0-or-later
"""``schedctl verify`` and ``schedctl enroll``: the stages as they end, and the verdict."""

from __future__ import annotations

import contextlib
import re
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from schedclient.choose import find_policy
from schedclient.errors import SEE_VERIFIER, ClientError
from schedclient.exit import ExitCode
from schedclient.jobs import report_of, stages_of
from schedclient.objects import Job, Rule, as_json
from schedclient.text import visible
from schedcpd.reports import encode_report
from schedctl.context import Context
from schedctl.verdict import verdict, write_stage

SOURCE_SUFFIX = ".bpf.c"
LARGEST_SOURCE = 256 * 1024  # bytes; the daemon takes no more either
LARGEST_CARD = 64 * 1024

_POLICY = re.compile(r"scx_[a-z0-9_]{1,11}")


@dataclass(frozen=True, slots=True)
class Submission:
    """What is to be verified; no card and no source: an installed policy."""

    policy: str
    card: str = ""
    source: str = ""
    path: str = ""  # of the source, as it was given


async def verify(context: Context, arguments: Namespace) -> ExitCode:
    """Verify a file or an installed policy, or show what is looked for."""
    if arguments.rules:
        return await show_rules(context)
    if arguments.policy is None:
        raise ClientError(
            "what is to be verified? Give a FILE.bpf.c or the name of a policy; "
            "--rules shows what is looked for",
            ExitCode.USAGE,
        )
    if is_file(arguments.policy):
        return await submit(context, "Verify", read(arguments.policy, arguments.card))
    if arguments.card is not None:
        raise ClientError("--card goes with a FILE.bpf.c, not with a policy", ExitCode.USAGE)
    return await submit(context, "Verify", Submission(arguments.policy))


async def enroll(context: Context, arguments: Namespace) -> ExitCode:
    """Verify a file, and put the policy in the repository if it passes."""
    return await submit(context, "Enroll", read(arguments.policy, arguments.card))


def is_file(wanted: str) -> bool:
    """Whether a person means a file; policies have no dots and slashes in their names."""
    return wanted.endswith(".c") or "/" in wanted


def read(path: str, card: str | None) -> Submission:
    """The policy in a file, with its card; raises ClientError."""
    name = Path(path).name
    policy = name.removesuffix(SOURCE_SUFFIX)
    if not (name.endswith(SOURCE_SUFFIX) and _POLICY.fullmatch(policy)):
        raise ClientError(
            f"{path!r}: a policy's source is called scx_NAME.bpf.c, NAME having up to 11 of a-z, "
            "0-9 and _",
            ExitCode.USAGE,
        )
    card_path = card if card is not None else f"{path.removesuffix(SOURCE_SUFFIX)}.toml"
    source = read_text(path, LARGEST_SOURCE, f"there is no file {path!r}")
    no_card = f"there is no card {card_path!r}, which says what the policy is; --card names one"
    return Submission(policy, read_text(card_path, LARGEST_CARD, no_card), source, path)


def read_text(path: str, largest: int, missing: str) -> str:
    """A file of text that is not empty; raises ClientError, ``missing`` when there is none."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(largest + 1)
    except FileNotFoundError as error:
        raise ClientError(missing, ExitCode.NOT_FOUND) from error
    except OSError as error:
        raise ClientError(f"{path!r} cannot be read: {error.strerror}") from error
    if len(data) > largest:
        raise ClientError(f"{path!r} is larger than {largest // 1024} KiB", ExitCode.USAGE)
    if not data.strip():
        raise ClientError(f"{path!r} is empty", ExitCode.USAGE)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ClientError(f"{path!r} is not UTF-8 text", ExitCode.USAGE) from error
    if "\0" in text:  # which the bus would not carry
        raise ClientError(f"{path!r} has a NUL byte in it", ExitCode.USAGE)
    return text


async def submit(context: Context, member: str, wanted: Submission) -> ExitCode:
    """Have it verified, showing the stages as they end; Ctrl-C cancels it."""
    async with context.daemon() as daemon:
        if not wanted.source:
            find_policy(await daemon.policies(), wanted.policy)
        work = daemon.work(member, wanted.policy, wanted.card, wanted.source)
        shown = 0
        async with contextlib.aclosing(work) as changes:
            async for job in changes:
                if not context.json:
                    shown = show(context, job, shown, wanted.path)
    return conclude(context, job, wanted)


def show(context: Context, job: Job, shown: int, path: str) -> int:
    """Write the stages that have ended since ``shown`` of them were; returns how many there are."""
    stages = stages_of(job)
    for stage in stages[shown:]:
        write_stage(context.report, stage, path)
    if job.now:
        context.report.passing(f"{job.subject}: {job.now} ...")
    return len(stages)


def conclude(context: Context, job: Job, wanted: Submission) -> ExitCode:
    """Write the verdict, and give the exit status that goes with it."""
    report = report_of(job)
    if report is None:
        if job.state == "cancelled":
            raise ClientError(f"the verification of {wanted.policy} was cancelled")
        raise ClientError(f"{wanted.policy}: {job.error}; {SEE_VERIFIER}")
    if context.json:
        context.report.json(encode_report(report))
    else:
        context.report.line()
        context.report.indented("", verdict(context.report, report, wanted.path))
        for line in advice(job, wanted):
            context.report.indented("", line)
    match job.state:
        case "passed":
            return ExitCode.OK
        case "refused":
            return ExitCode.REFUSED
    return ExitCode.ERROR


def advice(job: Job, wanted: Submission) -> tuple[str, ...]:
    """What to do next."""
    if job.state == "broken":
        return (f"That says nothing about the policy; {SEE_VERIFIER}",)
    if job.state != "passed":
        return ("'schedctl verify --rules' explains each rule.",)
    if job.kind == "enroll":
        return (f"It is in the repository: 'schedctl policies {wanted.policy}' shows it.",)
    if wanted.path:
        return (f"'sudo schedctl enroll {wanted.path}' puts it in the repository.",)
    return ()


async def show_rules(context: Context) -> ExitCode:
    """Show the rules of the static analysis, one after the other."""
    async with context.daemon() as daemon:
        rules = await daemon.rules()
    if context.json:
        context.report.json(as_json(rules))
        return ExitCode.OK
    for number, rule in enumerate(rules):
        if number:
            context.report.line()
        write_rule(context, rule)
    return ExitCode.OK


def write_rule(context: Context, rule: Rule) -> None:
    """Write a rule: its name and severity, then what it is about."""
    report = context.report
    head = f"{visible(rule.title)} ({visible(rule.severity)})"
    report.line(f"{report.paint('bold', visible(rule.id))}  {head}")
    report.labelled("  Catches", rule.catches)
    report.labelled("  Why", rule.why)
    label = "  Example"
    for line in rule.example.splitlines():
        report.labelled(label, line)
        label = ""
    report.labelled("  Mend", rule.mend)
