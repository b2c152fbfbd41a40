# SPDX-License-Identifier: GPL-2.0-or-later
"""``schedctl optimize``, ``propose`` and ``read-file``: what agents can ask for, and people too."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from typing import TYPE_CHECKING

from schedclient.choose import find_policy, find_workload
from schedclient.exit import ExitCode
from schedclient.names import workload_path
from schedclient.objects import Event
from schedclient.text import visible
from schedctl.actions.verbs import tell_applied, values_of
from schedctl.context import Context

if TYPE_CHECKING:
    from schedclient.daemon import Daemon

PART = 16_384  # characters of a file at once


async def optimize(context: Context, arguments: Namespace) -> ExitCode:
    """Have a workload planned for now; what happens meanwhile is shown."""
    async with context.daemon() as daemon, daemon.following() as news:
        workload = find_workload(await daemon.workloads(), arguments.workload)
        asked = asyncio.ensure_future(daemon.optimize(workload_path(workload.cgroup_id)))
        showing = asyncio.ensure_future(_show(context, workload.id, news))
        try:
            decision = await asked
        finally:
            asked.cancel()
            showing.cancel()
    if context.json:
        context.report.json({"workload_id": workload.id, "decision": decision})
    else:
        context.report.line(f"{visible(workload.unit)}: {visible(decision)}.")
    return ExitCode.OK


async def _show(
    context: Context, workload_id: str, news: asyncio.Queue[Event | bool | None]
) -> None:
    if context.json:
        return
    while (event := await news.get()) is not None:
        if isinstance(event, Event) and event.subject == workload_id:
            context.report.passing(f"{event.kind}: {event.message}")


async def propose(context: Context, arguments: Namespace) -> ExitCode:
    """Have a policy tried for a workload, in turns with the kernel default."""
    async with context.daemon() as daemon:
        workload = find_workload(await daemon.workloads(), arguments.workload)
        policy = find_policy(await daemon.policies(), arguments.policy)
        path = await daemon.propose(
            workload_path(workload.cgroup_id),
            policy.name,
            values_of(policy, arguments.set),
            arguments.objective,
            arguments.reason,
        )
        deployment = await daemon.deployment(path)
    tell_applied(context, deployment, workload.unit)
    return ExitCode.OK


async def read_file(context: Context, arguments: Namespace) -> ExitCode:
    """Write a file of a workload, without the secrets in it."""
    async with context.daemon() as daemon:
        workload = find_workload(await daemon.workloads(), arguments.workload)
        text = await _whole(daemon, workload_path(workload.cgroup_id), arguments.path)
    if context.json:
        context.report.json({"workload_id": workload.id, "path": arguments.path, "text": text})
        return ExitCode.OK
    for line in text.splitlines():
        context.report.line(visible(line.expandtabs()))
    return ExitCode.OK


async def _whole(daemon: Daemon, workload: str, path: str) -> str:
    """All that can be read; a file that grows meanwhile is read as long as it was at first."""
    text, total = await daemon.read_file(workload, path, 0, PART)
    while len(text) < total:
        more, _ = await daemon.read_file(workload, path, len(text), PART)
        if not more:
            break
        text += more
    return text
