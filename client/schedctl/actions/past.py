# SPDX-License-Identifier: GPL-2.0-or-later
"""``schedctl history``: what happened to a workload, and for what reason."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from schedclient.choose import find
from schedclient.exit import ExitCode
from schedclient.objects import Past, as_json
from schedctl.context import Context
from schedctl.report import Column, ago, duration, moment, parameter_words, subject


async def history(context: Context, arguments: Namespace) -> ExitCode:
    """List the newest deployments."""
    async with context.daemon() as daemon:
        key = ""
        if arguments.workload is not None:
            key = (await find(daemon, arguments.workload)).key
        past = await daemon.history(key, arguments.lines)
    if context.json:
        context.report.json(as_json(past))
    elif past:
        context.report.table(past, columns(context.clock()))
    else:
        context.report.line("No policy has been attached yet.")
    return ExitCode.OK


async def deployment(context: Context, arguments: Namespace) -> ExitCode:
    """Show one deployment, however long ago."""
    async with context.daemon() as daemon:
        found = await daemon.past_deployment(arguments.id)
    if context.json:
        context.report.json(as_json(found))
        return ExitCode.OK
    report, canary = context.report, found.canary
    report.labelled("Deployment", f"{found.id}, {found.state}, by {found.origin}")
    report.labelled("Workload", found.workload_id or subject(""))
    report.labelled("Policy", f"{found.policy} {parameter_words(found.parameters)}".rstrip())
    ended = f", ended {moment(found.ended_at)}" if found.ended_at else ""
    report.labelled("Since", f"{moment(found.started_at)}{ended}")
    report.labelled("Why", found.error or found.reason)
    report.labelled("Trial", trial(canary))
    report.labelled("Decision", f"{canary['decision']}: {canary['reason']}" if canary else "")
    return ExitCode.OK


def columns(now: float) -> Sequence[Column[Past]]:
    """The columns of ``history``."""
    return (
        Column("ID", lambda one: str(one.id), right=True),
        Column("STARTED", lambda one: ago(one.started_at, now)),
        Column("LASTED", lambda one: duration((one.ended_at or now) - one.started_at)),
        Column("POLICY", policy),
        Column("STATE", lambda one: one.state),
        Column("EFFECT", lambda one: effect(one.canary), right=True),
        Column("WORKLOAD", lambda one: subject(one.workload_id), elastic=True),
        Column("WHY", lambda one: one.error or one.reason or "-", elastic=True),
    )


def policy(one: Past) -> str:
    """The policy, which of its parameters were set, and whether an agent wanted it."""
    parameters = f" {parameter_words(one.parameters)}" if one.parameters else ""
    return f"{one.policy}{parameters}{' (agent)' * (one.origin == 'agent')}"


def effect(canary: Mapping[str, Any]) -> str:
    """What a canary showed: the mean difference; a dash without one."""
    mean = canary.get("effect")
    return f"{mean:+.0%}" if isinstance(mean, float) and canary.get("pairs") else "-"


def trial(canary: Mapping[str, Any]) -> str:
    """What a canary showed so far, as a clause with its bounds; empty without one."""
    if effect(canary) == "-":
        return ""
    low, high = canary.get("low", 0.0), canary.get("high", 0.0)
    pairs = canary.get("pairs", 0)
    return f"{effect(canary)} {canary.get('metric', '')} ({low:+.0%} to {high:+.0%}, {pairs} pairs)"
