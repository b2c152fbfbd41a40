# SPDX-License-Identifier: GPL-2.0-or-later
"""``schedctl apply``, ``revert``, ``pause`` and ``resume``."""

from __future__ import annotations

from argparse import Namespace

from schedctl.actions.choose import find_policy, find_workload
from schedctl.context import Context
from schedctl.exit import ExitCode
from schedctl.names import workload_path
from schedctl.objects import Machine, as_json
from schedctl.report import duration, visible


async def apply(context: Context, arguments: Namespace) -> ExitCode:
    """Attach a policy for a workload."""
    async with context.daemon() as daemon:
        workload = find_workload(await daemon.workloads(), arguments.workload)
        policy = find_policy(await daemon.policies(), arguments.policy)
        path = await daemon.verb("Apply", "os", workload_path(workload.cgroup_id), policy.name)
        deployment = await daemon.deployment(path)
    if context.json:
        context.report.json(as_json(deployment))
    else:
        took = duration(deployment.attach_ms / 1000)
        context.report.line(
            f"{deployment.policy} is {deployment.state} for {visible(workload.unit)} "
            f"(deployment {deployment.id}, {took})."
        )
    return ExitCode.OK


async def revert(context: Context, _: Namespace) -> ExitCode:
    """Go back to the kernel default."""
    return await _change(context, "Revert", "")


async def pause(context: Context, _: Namespace) -> ExitCode:
    """Go back to the kernel default and decide nothing."""
    return await _change(context, "Pause", " 'schedctl resume' ends the pause.")


async def resume(context: Context, _: Namespace) -> ExitCode:
    """Decide again."""
    return await _change(context, "Resume", "")


async def _change(context: Context, member: str, advice: str) -> ExitCode:
    async with context.daemon() as daemon:
        await daemon.verb(member)
        machine = await daemon.machine()
    if context.json:
        context.report.json(as_json(machine))
    else:
        context.report.line(f"{outcome(machine)} schedcp is in mode {machine.mode}.{advice}")
    return ExitCode.OK


def outcome(machine: Machine) -> str:
    """Who schedules after the change."""
    match machine.owner:
        case "foreign":
            policy = visible(repr(machine.kernel_policy))
            return f"Nothing of schedcp's is attached; {policy} of somebody else still schedules."
        case "schedcp":
            return f"{machine.kernel_policy} is attached."
    return "The kernel default schedules."
