# SPDX-License-Identifier: GPL-2.0-or-later
"""``schedctl quarantine`` and ``schedctl release``: the policies that did harm."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from schedclient.errors import ClientError
from schedclient.exit import ExitCode
from schedclient.objects import Quarantine, as_json
from schedclient.text import visible
from schedctl.context import Context
from schedctl.report import Column, ago


async def run(context: Context, arguments: Namespace) -> ExitCode:
    """List the policies in quarantine."""
    async with context.daemon() as daemon:
        found = await daemon.quarantines()
    if context.json:
        context.report.json(as_json(found))
    elif arguments.names:
        for name in sorted({one.policy for one in found}):
            context.report.line(visible(name))
    elif found:
        context.report.table(found, columns(context.clock()))
    else:
        context.report.line("No policy is in quarantine.")
    return ExitCode.OK


def columns(now: float) -> Sequence[Column[Quarantine]]:
    """The columns of ``quarantine``."""
    return (
        Column("POLICY", lambda one: one.policy),
        Column("SINCE", lambda one: ago(one.since, now)),
        Column("KERNEL", lambda one: one.kernel_release, elastic=True),
        Column("FOR", lambda one: one.workload_id.rpartition("/")[2] or "every workload"),
        Column("WHY", lambda one: one.reason, elastic=True),
    )


async def release(context: Context, arguments: Namespace) -> ExitCode:
    """Let a policy out of quarantine."""
    async with context.daemon() as daemon:
        found = [one for one in await daemon.quarantines() if one.policy == arguments.policy]
        if not found:
            raise ClientError(
                f"{arguments.policy!r} is not in quarantine; 'schedctl quarantine' shows what is",
                ExitCode.NOT_FOUND,
            )
        await daemon.verb("Release", "s", arguments.policy)
    if context.json:
        context.report.json(as_json(found))
    else:
        context.report.line(f"{arguments.policy} is out of quarantine; it may be attached again.")
    return ExitCode.OK
