# SPDX-License-Identifier: GPL-2.0-or-later
"""``schedctl apply``, ``revert``, ``pause`` and ``resume``."""

from __future__ import annotations

import re
from argparse import Namespace

from schedclient.choose import find_policy, find_workload
from schedclient.errors import ClientError
from schedclient.exit import ExitCode
from schedclient.names import workload_path
from schedclient.objects import Deployment, Machine, Policy, as_json
from schedclient.text import visible
from schedctl.context import Context
from schedctl.report import duration, layer_words, listing, parameter_words

TRUTHS = {"yes": 1, "no": 0}
NUMBER = re.compile(r"-?[0-9]{1,18}")


async def apply(context: Context, arguments: Namespace) -> ExitCode:
    """Attach a policy for a workload, or give it a class in one that is for all."""
    kind, weight, slice_us = arguments.kind, arguments.weight, arguments.slice
    if kind is not None and arguments.set:
        raise ClientError("--set is for a policy without a --class", ExitCode.USAGE)
    if kind is None and (weight is not None or slice_us is not None):
        raise ClientError("--weight and --slice go with a --class", ExitCode.USAGE)
    async with context.daemon() as daemon:
        workload = find_workload(await daemon.workloads(), arguments.workload)
        policy = find_policy(await daemon.policies(), arguments.policy)
        place = workload_path(workload.cgroup_id)
        if kind is None:
            path = await daemon.apply(place, policy.name, values_of(policy, arguments.set))
        else:
            wanted = (place, policy.name, kind, weight or 0, slice_us or 0)
            path = await daemon.verb("Classify", "ossuu", *wanted)
        deployment = await daemon.deployment(path)
    tell_applied(context, deployment, workload.unit)
    return ExitCode.OK


def values_of(policy: Policy, settings: list[str]) -> dict[str, int]:
    """What ``--set`` asks for, as the daemon takes it; raises ClientError."""
    return dict(value_of(policy, one) for one in settings)


def value_of(policy: Policy, setting: str) -> tuple[str, int]:
    """The name and the value in a NAME=VALUE, as the daemon takes it; raises ClientError."""
    name, _, text = setting.partition("=")
    tunable = next((one for one in policy.tunables if one.name == name and not one.role), None)
    if tunable is None:
        raise ClientError(
            f"{policy.name} has no tunable {name!r}; 'schedctl policies {policy.name}' lists them",
            ExitCode.USAGE,
        )
    if tunable.type == "bool" and text in TRUTHS:
        return name, TRUTHS[text]
    if text in tunable.choices:
        return name, tunable.choices.index(text)
    # Whether it is in range is for the daemon to say.
    if not tunable.choices and tunable.type != "bool" and NUMBER.fullmatch(text):
        return name, int(text)
    choices = f"one of {listing(tunable.choices)}" if tunable.choices else "a whole number"
    wanted = "yes or no" if tunable.type == "bool" else choices
    raise ClientError(f"{name} cannot be {text!r}: it must be {wanted}", ExitCode.USAGE)


def tell_applied(context: Context, deployment: Deployment, unit: str) -> None:
    """Say what was done, and how long it took."""
    if context.json:
        context.report.json(as_json(deployment))
    else:
        context.report.line(_applied(deployment, unit))


def _applied(deployment: Deployment, unit: str) -> str:
    if deployment.layer:
        return (
            f"{visible(unit)} is {layer_words(deployment.layer)} in {deployment.policy} "
            f"(deployment {deployment.id}, set in {deployment.attach_ms:.1f} ms)."
        )
    took = duration(deployment.attach_ms / 1000)
    with_what = f" with {parameter_words(deployment.parameters)}" if deployment.parameters else ""
    return (
        f"{deployment.policy}{with_what} is {deployment.state} for {visible(unit)} "
        f"(deployment {deployment.id}, {took})."
    )


async def revert(context: Context, arguments: Namespace) -> ExitCode:
    """Go back to the kernel default, or take off what one workload has."""
    if arguments.workload is None:
        return await _change(context, "Revert", "")
    async with context.daemon() as daemon:
        workload = find_workload(await daemon.workloads(), arguments.workload)
        await daemon.verb("Detach", "o", workload_path(workload.cgroup_id))
        machine = await daemon.machine()
    if context.json:
        context.report.json(as_json(machine))
    else:
        context.report.line(f"{visible(workload.unit)} is on its own. {outcome(machine)}")
    return ExitCode.OK


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
