# SPDX-License-Identifier: GPL-2.0-or-later
"""Tools that look at the machine as a whole."""

from __future__ import annotations

from typing import Any

from schedclient.daemon import Daemon
from schedclient.objects import Classified, Event, Hold, Rule
from schedclient.tools import schema
from schedclient.tools.answers import LIST_LIMIT, NAME_LIMIT, moment, page, plain_text
from schedclient.tools.find import number_in
from schedclient.tools.schema import BOOLEAN, INTEGER, NUMBER, STRING, STRINGS, TABLE
from schedclient.tools.tool import Answer, Arguments, Progress, Tool

MOST_EVENTS = 1000


async def machine_status(daemon: Daemon, _arguments: Arguments, _progress: Progress) -> Answer:
    """What schedules the machine now."""
    machine = await daemon.machine()
    quarantines = await daemon.quarantines()
    return Answer(
        {
            "version": machine.version,
            "kernel_release": machine.kernel_release,
            "cpus": machine.cpus,
            "mode": machine.mode,
            "sched_ext": machine.sched_ext_state,
            "owner": machine.owner,
            "attached_policy": plain_text(machine.kernel_policy, NAME_LIMIT),
            "deployment": number_in(machine.active_deployment),
            "workloads": dict(machine.workloads),
            "classes": [_class(one) for one in machine.classes[:LIST_LIMIT]],
            "holds": [_hold(one) for one in machine.holds[:LIST_LIMIT]],
            "quarantined_policies": sorted({one.policy for one in quarantines})[:LIST_LIMIT],
            "cannot_attach_because": plain_text(machine.unusable),
            "safe_mode_because": plain_text(machine.safe),
        }
    )


def _class(one: Classified) -> dict[str, Any]:
    return {
        "class": one.kind,
        "weight": one.weight,
        "slice_us": one.slice_us,
        "untrusted_workload": plain_text(one.workload_id, NAME_LIMIT),
    }


def _hold(one: Hold) -> dict[str, Any]:
    return {
        "whole_machine": not one.workload_id,
        "uid": one.uid,
        "untrusted_workload": plain_text(one.workload_id, NAME_LIMIT),
        "untrusted_reason": plain_text(one.reason, NAME_LIMIT),
    }


MACHINE_STATUS = Tool(
    name="machine_status",
    title="What schedules the machine",
    description="""\
What schedules this machine now, as the kernel says it. Cheap; call it first. owner: kernel-default
(nothing attached), schedcp, or foreign (a scheduler of somebody else, which is left alone). mode:
auto (schedcp decides), advise (it only gives advice), paused, or safe (after a crash: nothing is
attached unasked). cannot_attach_because and safe_mode_because are empty when all is well.
deployment is the number of the attached one, 0 for none. holds are people who keep automation off:
respect them.""",
    arguments=schema.arguments(),
    result=schema.result(
        {
            "version": schema.said(STRING, "of schedcp"),
            "kernel_release": STRING,
            "cpus": schema.said(INTEGER, "online"),
            "mode": schema.said(STRING, "auto, advise, paused or safe"),
            "sched_ext": schema.said(STRING, "its state in the kernel; absent without it"),
            "owner": schema.said(STRING, "kernel-default, schedcp or foreign"),
            "attached_policy": schema.said(STRING, "empty for the kernel default"),
            "deployment": schema.said(INTEGER, "the attached or tried one; 0 for none"),
            "workloads": schema.said(TABLE, "how many are in each state"),
            "classes": schema.rows(
                "workloads with a class in the attached policy",
                schema.record(
                    {
                        "class": STRING,
                        "weight": INTEGER,
                        "slice_us": INTEGER,
                        "untrusted_workload": STRING,
                    }
                ),
            ),
            "holds": schema.rows(
                "who keeps automation off",
                schema.record(
                    {
                        "whole_machine": BOOLEAN,
                        "uid": INTEGER,
                        "untrusted_workload": STRING,
                        "untrusted_reason": STRING,
                    }
                ),
            ),
            "quarantined_policies": schema.said(STRINGS, "not to be attached again"),
            "cannot_attach_because": STRING,
            "safe_mode_because": STRING,
        }
    ),
    reads_only=True,
    run=machine_status,
)


async def events(daemon: Daemon, arguments: Arguments, _: Progress) -> Answer:
    """The newest events, newest first."""
    newest = (await daemon.events(arguments["count"]))[::-1]
    rows, cursor = page(newest, arguments["cursor"], _event)
    return Answer({"events": rows}, cursor)


def _event(event: Event) -> dict[str, Any]:
    return {
        "at": moment(event.at),
        "kind": event.kind,
        "untrusted_subject": plain_text(event.subject, NAME_LIMIT),
        "untrusted_message": plain_text(event.message),
    }


EVENTS = Tool(
    name="events",
    title="What happened lately",
    description="""\
The newest events of the daemon, newest first: workloads that came, plans, attachments, canaries,
trips of the circuit breaker, refusals, holds, verifications. at is seconds since the epoch. Cheap.
The cursor gives older ones among the count asked for.""",
    arguments=schema.arguments(
        count=schema.integer("how many", 1, MOST_EVENTS, default=50), cursor=schema.CURSOR
    ),
    result=schema.result(
        {
            "events": schema.rows(
                "newest first",
                schema.record(
                    {
                        "at": schema.said(NUMBER, "seconds since the epoch"),
                        "kind": STRING,
                        "untrusted_subject": schema.said(STRING, "a workload or a policy"),
                        "untrusted_message": STRING,
                    }
                ),
            )
        }
    ),
    reads_only=True,
    run=events,
)


async def rules(daemon: Daemon, arguments: Arguments, _: Progress) -> Answer:
    """The rules of the static analysis."""
    known = [one for one in await daemon.rules() if arguments["rule"] in ("", one.id)]
    rows, cursor = page(known, arguments["cursor"], _rule)
    return Answer({"rules": rows}, cursor)


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "rule": rule.id,
        "severity": rule.severity,
        "title": rule.title,
        "catches": rule.catches,
        "why": rule.why,
        "example": rule.example,
        "mend": rule.mend,
    }


RULES = Tool(
    name="rules",
    title="What the static analysis looks for",
    description="""\
The rules of the verifier's static analysis: what each catches, why that matters, an example, and
how to mend it. Read the rule that a finding of verify_policy names, or all before writing a
policy. severity: reject refuses a policy, suspect has the trial run look closer, warning is
advice. Cheap.""",
    arguments=schema.arguments(
        rule=schema.text("only this one, such as SCX101; empty for all", 40, default=""),
        cursor=schema.CURSOR,
    ),
    result=schema.result(
        {
            "rules": schema.rows(
                "in their order",
                schema.record(
                    {
                        "rule": STRING,
                        "severity": schema.said(STRING, "reject, suspect or warning"),
                        "title": STRING,
                        "catches": STRING,
                        "why": STRING,
                        "example": STRING,
                        "mend": STRING,
                    }
                ),
            )
        }
    ),
    reads_only=True,
    run=rules,
)
