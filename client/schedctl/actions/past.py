# SPDX-License-Identifier: GPL-2.0-or-later
"""``schedctl why`` and ``schedctl history``: what happened to a workload, and for what reason."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from schedctl.actions.choose import find_workload
from schedctl.context import Context
from schedctl.errors import ClientError
from schedctl.exit import ExitCode
from schedctl.names import workload_path
from schedctl.objects import Past, as_json
from schedctl.report import Column, ago, duration

if TYPE_CHECKING:
    from schedctl.daemon import Daemon

MOST_PAST = 1000


async def why(context: Context, arguments: Namespace) -> ExitCode:
    """Say why a workload is scheduled as it is, or was."""
    async with context.daemon() as daemon:
        workload_id, key = await find(daemon, arguments.workload)
        lines = await daemon.why(key)
    if context.json:
        context.report.json({"workload_id": workload_id, "why": list(lines)})
        return ExitCode.OK
    context.report.labelled("Workload", workload_id)
    label = "Why"
    for line in lines or ("nothing has been decided for it yet",):
        context.report.labelled(label, line)
        label = ""
    return ExitCode.OK


async def history(context: Context, arguments: Namespace) -> ExitCode:
    """List the newest deployments."""
    async with context.daemon() as daemon:
        key = ""
        if arguments.workload is not None:
            _, key = await find(daemon, arguments.workload)
        past = await daemon.history(key, arguments.lines)
    if context.json:
        context.report.json(as_json(past))
    elif past:
        context.report.table(past, columns(context.clock()))
    else:
        context.report.line("No policy has been attached yet.")
    return ExitCode.OK


async def find(daemon: Daemon, wanted: str) -> tuple[str, str]:
    """The workload that a person means, which may have ended; raises ClientError.

    Its id, and what the daemon knows it by: an id that is no text can be shown, but not sent back.
    """
    try:
        workload = find_workload(await daemon.workloads(), wanted)
        return workload.id, workload_path(workload.cgroup_id)
    except ClientError:
        ended = {one.workload_id for one in await daemon.history("", MOST_PAST)}
        matching = [one for one in ended if wanted in (one, one.rpartition("/")[2])]
        if len(matching) != 1:
            raise
        return matching[0], matching[0]


def columns(now: float) -> Sequence[Column[Past]]:
    """The columns of ``history``."""
    return (
        Column("ID", lambda one: str(one.id), right=True),
        Column("STARTED", lambda one: ago(one.started_at, now)),
        Column("LASTED", lambda one: duration((one.ended_at or now) - one.started_at)),
        Column("POLICY", lambda one: one.policy),
        Column("STATE", lambda one: one.state),
        Column("EFFECT", lambda one: effect(one.canary), right=True),
        Column("WORKLOAD", lambda one: one.workload_id.rpartition("/")[2], elastic=True),
        Column("WHY", lambda one: one.error or one.reason or "-", elastic=True),
    )


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
