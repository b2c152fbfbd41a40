# SPDX-License-Identifier: GPL-2.0-or-later
"""``schedctl list`` and ``schedctl show``."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from schedclient.choose import find_workload
from schedclient.exit import ExitCode
from schedclient.names import workload_path
from schedclient.objects import Deployment, Workload, as_json
from schedclient.text import visible
from schedctl import histograms
from schedctl.actions.past import trial
from schedctl.context import Context
from schedctl.report import (
    Column,
    Report,
    ago,
    count,
    duration,
    layer_words,
    listing,
    moment,
    parameter_words,
)

LEAST_SHARE = 0.05  # of the sleeping tasks: less is not worth a word


async def list_all(context: Context, arguments: Namespace) -> ExitCode:
    """List the workloads."""
    async with context.daemon() as daemon:
        workloads = await daemon.workloads()
    if context.json:
        context.report.json(as_json(workloads))
    elif arguments.names:
        for workload in workloads:
            context.report.line(visible(workload.id))
    elif workloads:
        context.report.table(workloads, columns(context.clock()))
    else:
        context.report.line("There are no workloads.")
    return ExitCode.OK


def columns(now: float) -> Sequence[Column[Workload]]:
    """The columns of ``list``."""
    return (
        Column("WORKLOAD", lambda one: one.unit, elastic=True),
        Column("STATE", lambda one: one.state),
        Column("POLICY", lambda one: one.advice or "-"),
        Column("PROCS", lambda one: _figure(one, "processes", "d"), right=True),
        Column("RUNNABLE", lambda one: _figure(one, "runnable", ".1f"), right=True),
        Column("CPUS", lambda one: _figure(one, "cpus_used", ".2f"), right=True),
        Column("AGE", lambda one: duration(now - one.appeared_at), right=True),
        Column("KIND", lambda one: one.kind),
    )


def _figure(workload: Workload, name: str, form: str) -> str:
    value = workload.profile.get(name)
    return format(value, form) if isinstance(value, int | float) else "-"


async def show(context: Context, arguments: Namespace) -> ExitCode:
    """Show one workload and the deployments made for it."""
    async with context.daemon() as daemon:
        workload = find_workload(await daemon.workloads(), arguments.workload)
        if arguments.tier is not None:
            profile = await daemon.profile(workload_path(workload.cgroup_id), arguments.tier)
            workload = replace(workload, profile=profile, sentence=profile.get("sentence", ""))
        deployments = [one for one in await daemon.deployments() if one.workload_id == workload.id]
    if context.json:
        context.report.json({**as_json(workload), "deployments": as_json(deployments)})
        return ExitCode.OK
    describe(context.report, workload, context.clock())
    label = "History"
    for deployment in reversed(deployments):
        context.report.labelled(label, _story(deployment, context.clock()))
        label = ""
    return ExitCode.OK


def describe(report: Report, workload: Workload, now: float) -> None:
    """Write all that is known of a workload."""
    report.labelled("Workload", workload.unit)
    report.labelled("Id", workload.id)
    report.labelled("Known as", workload.identity)
    report.labelled("Cgroup", f"{workload.cgroup_id}, a {workload.kind}")
    since = f"{moment(workload.appeared_at)}, {ago(workload.appeared_at, now)}"
    report.labelled("Since", since)
    report.labelled("State", workload.state)
    report.labelled("Class", layer_words(workload.layer))
    report.labelled("Policy", workload.advice or ("none" if workload.reason else ""))
    report.labelled("Why", workload.reason)
    report.labelled("Seen", workload.sentence)
    if workload.profile:
        report.labelled("Work", str(workload.profile.get("work", "")))
        report.labelled("Profile", features(workload, now))
        report.labelled("Tasks", scheduling(workload.profile.get("scheduling", {})))
        report.labelled("Programs", _programs(workload))
        label = "Commands"
        for line in workload.profile.get("arguments", ()):
            report.labelled(label, str(line))
            label = ""
        histograms.describe(report, workload.profile.get("probes", {}))


def features(workload: Workload, now: float) -> str:
    """The figures of a workload's profile, as a clause."""
    profile = workload.profile
    processes = count(profile.get("processes", 0), "process", "processes")
    youngest, oldest = (duration(profile.get(name, 0.0)) for name in ("youngest_s", "oldest_s"))
    return listing(
        (
            f"{processes} with {count(profile.get('threads', 0), 'thread')}",
            f"{profile.get('runnable', 0.0):.1f} runnable",
            f"{profile.get('cpus_used', 0.0):.2f} CPUs used",
            f"some waited {profile.get('pressure_some', 0.0):.0%} of the time",
            f"{youngest} to {oldest} old",
            f"taken {ago(profile.get('taken_at', now), now)}",
        )
    )


def scheduling(seen: Mapping[str, Any]) -> str:
    """What the scheduler did with the tasks, as a clause; empty where nobody looked."""
    if not seen:
        return ""
    figure = {name: float(value) for name, value in seen.items()}.get
    asleep = {"storage": "io", "a lock": "lock", "a message": "message", "a time": "timer"}
    blocked = [
        f"{share:.0%} for {what}"
        for what, name in asleep.items()
        if (share := figure(f"blocked_{name}", 0.0)) >= LEAST_SHARE
    ]
    lived = figure("lifetime_s", 0.0)
    period_ms = figure("period_ms", 0.0)
    parts = (
        f"{count(int(figure('tasks', 0)), 'task')} looked at",
        f"ran {figure('mean_run_ms', 0.0):.1f} ms at a time",
        f"waited {figure('mean_wait_ms', 0.0):.1f} ms",
        f"slept {figure('voluntary_per_s', 0.0):.0f} times a second",
        f"preempted {figure('involuntary_per_s', 0.0):.0f} times a second",
        f"{figure('forks_per_s', 0.0):.0f} processes began a second",
        f"half of those that ended lived under {duration(lived)}" if lived else "",
        f"asleep {' and '.join(blocked)}" if blocked else "",
        f"woke up every {period_ms:.1f} ms" if period_ms else "",
    )
    return listing(part for part in parts if part)


def _programs(workload: Workload) -> str:
    return listing(f"{number} {name}" for name, number in workload.profile.get("programs", ()))


def _story(deployment: Deployment, now: float) -> str:
    since = ago(deployment.ended_at or deployment.started_at, now)
    lasted = (
        f" after {duration(deployment.ended_at - deployment.started_at)}"
        if deployment.ended_at
        else ""
    )
    took = f"set in {deployment.attach_ms:.1f} ms" if deployment.layer else ""
    parameters = parameter_words(deployment.parameters)
    counters = listing(f"{name} {number}" for name, number in deployment.counters.items())
    words = deployment.error or deployment.exit_message or deployment.reason
    parts = [
        f"{deployment.id}: {deployment.policy} {deployment.state} {since}{lasted}",
        words,
        took,
        f"with {parameters}" if parameters else "",
        trial(deployment.canary),
        f"counted: {counters}" if counters else "",
    ]
    return "; ".join(part for part in parts if part)
