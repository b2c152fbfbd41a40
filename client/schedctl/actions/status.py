# SPDX-License-Identifier: GPL-2.0-or-later
"""``schedctl status``: what schedules now, in the kernel's words, with or without the daemon."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from schedclient.errors import KERNELS, ClientError, ObjectGoneError
from schedclient.exit import ExitCode
from schedclient.names import NO_OBJECT
from schedclient.objects import Classified, Deployment, Hold, Machine, Policy, Workload, as_json
from schedctl.actions.past import trial
from schedctl.context import Context
from schedctl.report import ago, class_words, count, listing, parameter_words, subject

if TYPE_CHECKING:
    from schedclient.daemon import Daemon
    from schedcpd.model import KernelState

Object = TypeVar("Object")

RECENT_S = 3600.0  # an ejection this long ago still needs attention
MOST_CLASSES = 8  # shown
WHOSE = {"manual": "a person's choice", "agent": "an agent's proposal"}
ENDED_BADLY = ("ejected", "failed", "tripped")


@dataclass(frozen=True, slots=True)
class Picture:
    """All that ``status`` tells when the daemon runs."""

    machine: Machine
    policies: Sequence[Policy]
    active: Deployment | None = None  # whose policy is attached
    workload: Workload | None = None  # of the active deployment
    last: Deployment | None = None  # that ended


async def run(context: Context, _: Namespace) -> ExitCode:
    """Show what schedules now; without the daemon, what the kernel says by itself."""
    try:
        async with context.daemon() as daemon:
            picture = await look(daemon)
    except ClientError as error:
        if error.code is not ExitCode.NOT_RUNNING:
            raise
        without_daemon(context, error)
        return error.code
    if context.json:
        context.report.json(picture_json(picture, context.clock()))
    else:
        with_daemon(context, picture)
    return ExitCode.OK


async def look(daemon: Daemon) -> Picture:
    """Ask the daemon for what ``status`` tells, and no more: there may be many workloads."""
    machine = await daemon.machine()
    active = await there(daemon.deployment, machine.active_deployment)
    return Picture(
        machine,
        await daemon.policies(),
        active,
        await there(daemon.workload, active.workload) if active else None,
        await there(daemon.deployment, machine.last_deployment),
    )


async def there(read: Callable[[str], Awaitable[Object]], path: str) -> Object | None:
    """The object at ``path``; None for no path, and when it has just left."""
    if path == NO_OBJECT:
        return None
    try:
        return await read(path)
    except ObjectGoneError:
        return None


def without_daemon(context: Context, error: ClientError) -> None:
    """Show what the kernel says, and that the daemon is missing."""
    from schedcpd.kernel.sched_ext import read_state  # takes time that a running daemon saves

    kernel = read_state(context.sys / "kernel/sched_ext")
    if context.json:
        owner = "foreign" if kernel.policy else "kernel-default"
        context.report.json(
            {
                "daemon": None,
                "error": error.sentence,
                "kernel": {
                    "release": os.uname().release,
                    "state": kernel.state,
                    "policy": kernel.policy,
                    "owner": owner,
                    "enable_seq": kernel.enable_seq,
                },
            }
        )
        return
    context.report.labelled("Scheduler", _scheduler_alone(kernel))
    context.report.labelled("Kernel", f"{os.uname().release}, {_sched_ext(kernel.state)}")
    context.report.labelled("Daemon", error.sentence)


def _scheduler_alone(kernel: KernelState) -> str:
    if kernel.policy:
        return f"{kernel.policy!r}, a sched_ext scheduler that is not schedcp's"
    return "the kernel default"


def with_daemon(context: Context, picture: Picture) -> None:
    """Show everything, one label after the other."""
    report, machine, now = context.report, picture.machine, context.clock()
    report.labelled("Scheduler", scheduler(picture, now))
    report.labelled("", why(picture))
    report.labelled("Daemon", f"schedcpd {machine.version}, {mode(machine)}")
    state = _sched_ext(machine.sched_ext_state)
    report.labelled("Kernel", f"{machine.kernel_release}, {state}, {count(machine.cpus, 'CPU')}")
    label = "Held"
    for hold in machine.holds:
        report.labelled(label, held(hold, now))
        label = ""
    report.labelled("Workloads", workloads(machine.workloads))
    label = "Classes"
    for sentence in classes(machine.classes, now):
        report.labelled(label, sentence)
        label = ""
    report.labelled("Policies", policies(picture.policies))
    if picture.last is not None:
        report.labelled("Last", ending(picture.last, now))
    label = "Attention"
    for sentence in attention(picture, now):
        report.labelled(label, sentence)
        label = ""


def scheduler(picture: Picture, now: float) -> str:
    """Who schedules, since when and for whom."""
    machine, active = picture.machine, picture.active
    if machine.owner == "foreign":
        return f"{machine.kernel_policy!r}, attached by somebody else; schedcp leaves it alone"
    if machine.owner == "kernel-default" and active is None:
        return "the kernel default"
    if active is None:
        return f"{machine.kernel_policy}, attached by schedcp"
    unit = picture.workload.unit if picture.workload else active.workload_id or subject("")
    if active.state == "attaching":
        return f"{active.policy} is being attached for {unit}"
    if active.state == "canary":
        shown = trial(active.canary)
        so_far = f"; so far {shown}" if shown else ""
        since = ago(active.started_at, now)
        return f"{active.policy}, on trial for {unit} since {since}, in turns{so_far}"
    whose = WHOSE.get(active.origin, "schedcp's own choice")
    set_to = f" with {parameter_words(active.parameters)}" if active.parameters else ""
    since = ago(active.started_at, now)
    kind = ", a foreign scheduler that nobody has verified" if active.kind == "foreign" else ""
    return f"{active.policy}{set_to}, attached {since} for {unit} ({whose}){kind}"


def why(picture: Picture) -> str:
    """Why the policy is attached."""
    return picture.workload.reason if picture.workload else ""


def mode(machine: Machine) -> str:
    """The mode, with what it means where that is easily forgotten."""
    match machine.mode:
        case "paused":
            return "paused: it decides nothing until 'schedctl resume'"
        case "advise":
            return "mode advise: it attaches nothing unasked"
        case "safe":
            return "safe mode: it attaches nothing unasked until 'schedctl resume'"
    return f"mode {machine.mode}"


def held(hold: Hold, now: float) -> str:
    """What is held, by whom and why."""
    what = hold.workload_id.rpartition("/")[2] or "the whole machine"
    return f"{what}, by user {hold.uid} since {ago(hold.since, now)}: {hold.reason}"


def workloads(states: Mapping[str, int]) -> str:
    """How many workloads there are, by state."""
    split = listing(f"{number} {state}" for state, number in sorted(states.items()))
    return f"{sum(states.values())}: {split}" if states else "none"


def classes(found: Sequence[Classified], now: float) -> list[str]:
    """Who has which class in the attached policy, since when, and how long it took to set."""
    told = [
        f"{subject(one.workload_id)}: {class_words(one.kind, one.weight, one.slice_us)}, "
        f"since {ago(one.since, now)}, set in {one.set_ms:.1f} ms"
        for one in found[:MOST_CLASSES]
    ]
    more = len(found) - MOST_CLASSES
    return [*told, f"and {more} more; 'schedctl show' tells of each"] if more > 0 else told


def policies(found: Sequence[Policy]) -> str:
    """Which policies there are, and which may be loaded."""
    return listing(standing(one) for one in found) or "none installed"


def standing(policy: Policy) -> str:
    """A policy by name, with what is special about it."""
    kind = "foreign" if policy.kind == "foreign" else ""
    refused = "not enrolled" if policy.unknown else "" if policy.admissible else "refused"
    words = ", ".join(word for word in (kind, refused) if word)
    return f"{policy.name} ({words})" if words else policy.name


def ending(last: Deployment, now: float) -> str:
    """How the last deployment ended."""
    whom = last.workload_id or subject("")
    what = f"{last.policy} for {whom} {last.state} {ago(last.ended_at, now)}"
    words = last.error or last.reason or last.exit_message or last.exit_reason
    return f"{what}: {words}" if words and last.state in ENDED_BADLY else what


def attention(picture: Picture, now: float) -> list[str]:
    """What a person may want to do something about."""
    machine, last = picture.machine, picture.last
    found = []
    if machine.unusable:
        found.append(f"nothing can be attached: {machine.unusable}")
    if machine.mode == "safe":
        found.append(f"safe mode: {machine.safe}; 'schedctl resume' ends it")
    if machine.sched_ext_state == "absent":
        found.append(f"for a kernel with sched_ext: {KERNELS}")
    if last and last.state in ENDED_BADLY and now - last.ended_at < RECENT_S:
        found.append(f"{last.policy} was {last.state}; 'schedctl log' has the details")
    found.extend(
        f"{policy.name} may not be loaded: {policy.token}"
        for policy in picture.policies
        if not (policy.admissible or policy.unknown) and machine.sched_ext_state != "absent"
    )
    return found


def _sched_ext(state: str) -> str:
    return "without sched_ext" if state == "absent" else f"sched_ext {state}"


def picture_json(picture: Picture, now: float) -> dict[str, Any]:
    """The shape that the man page documents."""
    machine, active, last = picture.machine, picture.active, picture.last
    return {
        "daemon": {"version": machine.version, "mode": machine.mode, "safe": machine.safe},
        "kernel": {
            "release": machine.kernel_release,
            "state": machine.sched_ext_state,
            "policy": machine.kernel_policy,
            "owner": machine.owner,
            "enable_seq": machine.enable_seq,
            "cpus": machine.cpus,
            "unusable": machine.unusable,
        },
        "active": as_json(active) if active else None,
        "last": as_json(last) if last else None,
        "workloads": dict(machine.workloads),
        "classes": as_json(machine.classes),
        "holds": as_json(machine.holds),
        "policies": {one.name: one.admissible for one in picture.policies},
        "attention": attention(picture, now),
    }
