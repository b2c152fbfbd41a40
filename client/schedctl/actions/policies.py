# SPDX-License-Identifier: GPL-2.0-or-later
"""``schedctl policies``: the installed policies, or one with its card."""

from __future__ import annotations

from argparse import Namespace

from schedclient.choose import find_policy
from schedclient.exit import ExitCode
from schedclient.objects import Policy, Tunable, as_json
from schedctl.context import Context
from schedctl.report import Column, Report, duration, listing

COLUMNS: tuple[Column[Policy], ...] = (
    Column("POLICY", lambda one: one.name),
    Column("VERSION", lambda one: one.version),
    Column("FOR", lambda one: "one workload" if one.targeted else "the machine"),
    Column("KIND", lambda one: one.kind),
    Column("LOADABLE", lambda one: "yes" if one.admissible else "no"),
    Column("TITLE", lambda one: one.title, elastic=True),
)


async def run(context: Context, arguments: Namespace) -> ExitCode:
    """List the policies, or show one."""
    async with context.daemon() as daemon:
        policies = await daemon.policies()
    if arguments.policy is not None:
        policy = find_policy(policies, arguments.policy)
        if context.json:
            context.report.json(as_json(policy))
        else:
            describe(context.report, policy)
    elif context.json:
        context.report.json(as_json(policies))
    elif arguments.names:
        for policy in policies:
            context.report.line(policy.name)
    elif policies:
        context.report.table(policies, COLUMNS)
    else:
        context.report.line("There are no policies in /usr/lib/schedcp/schedulers.")
    return ExitCode.OK


def describe(report: Report, policy: Policy) -> None:
    """Write a policy's card."""
    report.labelled("Policy", f"{policy.name} {policy.version}: {policy.title}")
    report.labelled("About", policy.summary)
    _points(report, "Suits", policy.suits)
    _points(report, "Fails", policy.fails)
    report.labelled("Honours", listing(policy.honours))
    report.labelled("Ignores", listing(policy.ignores))
    report.labelled("For", "one workload" if policy.targeted else "the whole machine")
    report.labelled("From", origin(policy))
    report.labelled("Kernel", f"{policy.min_kernel} or newer")
    report.labelled("Timeout", f"the kernel ejects it after {duration(policy.timeout_ms / 1000)}")
    report.labelled("Loadable", f"{'yes' if policy.admissible else 'no'}: {policy.token}")
    report.labelled("SHA-256", policy.sha256)
    _points(report, "Tunables", tuple(tunable(one) for one in policy.tunables))
    _points(report, "Counts", tuple(f"{name}: {what}" for name, what in policy.counters.items()))


def origin(policy: Policy) -> str:
    """Where it came from."""
    if policy.kind == "foreign":
        whose = "enrolled by root" if policy.enrolled else "installed by somebody else"
        return f"{policy.program}, a foreign scheduler, {whose}"
    return "enrolled on this machine" if policy.enrolled else "the package"


def tunable(one: Tunable) -> str:
    """One tunable in a line."""
    if one.choices:
        default = one.choices[one.default]
        return f"{one.name} = {default}, one of {listing(one.choices)}: {one.description}"
    if one.type == "bool":
        return f"{one.name} = {'yes' if one.default else 'no'}, yes or no: {one.description}"
    if one.role:
        return f"{one.name}: {one.description} (set from the workload)"
    unit = f" {one.unit}" if one.unit else ""
    return f"{one.name} = {one.default}{unit}, {one.minimum} to {one.maximum}: {one.description}"


def _points(report: Report, label: str, points: tuple[str, ...]) -> None:
    for point in points:
        report.labelled(label, point)
        label = ""
