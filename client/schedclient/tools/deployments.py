# SPDX-License-Identifier: GPL-2.0-or-later
"""Tools that attach policies, take them off, and follow what came of it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from schedclient.daemon import Daemon
from schedclient.errors import ObjectGoneError
from schedclient.names import ROOT_PATH, workload_path
from schedclient.objects import Deployment
from schedclient.tools import schema
from schedclient.tools.answers import NAME_LIMIT, divided, fitted, moment, plain_text, rounded
from schedclient.tools.find import number_in, workload_named
from schedclient.tools.schema import BOOLEAN, INTEGER, NUMBER, STRING, TABLE
from schedclient.tools.tool import Answer, Arguments, Progress, Tool, ToolError
from schedcpd.model import LayerKind, Objective

UNSETTLED = ("attaching", "canary")
LONGEST_WAIT_S = 3600
OBJECTIVES = tuple(str(one) for one in Objective if one is not Objective.NONE)


async def deploy_policy(daemon: Daemon, arguments: Arguments, _: Progress) -> Answer:
    """Propose a plan; the daemon tries it out in a canary."""
    workload = await workload_named(daemon, arguments["workload"])
    plan = (arguments[name] for name in ("policy", "parameters", "objective", "reason"))
    path = await daemon.propose(workload_path(workload.cgroup_id), *plan)
    return Answer({"deployment": number_in(path)})


DEPLOY_POLICY = Tool(
    name="deploy_policy",
    title="Try a policy for a workload",
    description="""\
Attaches an installed, verified policy for a workload on trial: it takes turns with the kernel
default (canary), stays if it is better and is taken off if it is not; a circuit breaker watches
everybody else. Answers at once with the number of the deployment: then call wait_for_deployment.
Refused, with the reason, when a person decided otherwise (hold, pause, manual choice), when the
policy is in quarantine or not verified, when a parameter is outside the range on the policy's card
(read_policy, part card), or too soon after the last change. A refusal is final for now: do not try
again in a loop.""",
    arguments=schema.arguments(
        workload=schema.WORKLOAD,
        policy=schema.POLICY,
        parameters=schema.integers("tunables of the card by name, such as slice_ns; else defaults"),
        objective=schema.choice("what is to get better", OBJECTIVES),
        reason=schema.REASON,
    ),
    result=schema.result({"deployment": schema.said(INTEGER, "its number")}),
    reads_only=False,
    run=deploy_policy,
)


async def classify_workload(daemon: Daemon, arguments: Arguments, _: Progress) -> Answer:
    """Give a workload a class."""
    workload = await workload_named(daemon, arguments["workload"])
    wanted = (arguments[name] for name in ("policy", "kind", "weight", "slice_us"))
    path = await daemon.verb("Classify", "ossuu", workload_path(workload.cgroup_id), *wanted)
    return Answer({"deployment": number_in(path)})


CLASSIFY_WORKLOAD = Tool(
    name="classify_workload",
    title="Give a workload a class",
    description="""\
Gives a workload a class in a policy that has classes (scx_layers), which is attached for the whole
machine if it is not there yet: fair, batch (runs to completion), longest (longest job first),
latency (early deadlines), background (only what others leave). Counts as a person's decision: it
takes effect at once, without a canary, and lasts until revert_workload or the end of the workload.
Use it only when a person asked for that; else deploy_policy.""",
    arguments=schema.arguments(
        workload=schema.WORKLOAD,
        policy=schema.POLICY,
        kind=schema.choice("the class", tuple(LayerKind)),
        weight=schema.integer(
            "1 to 10000, as cpu.weight; 0: the policy's own", 0, 10_000, default=0
        ),
        slice_us=schema.integer(
            "microseconds, 100 to 100000; 0: the policy's own", 0, 100_000, default=0
        ),
    ),
    result=schema.result({"deployment": schema.said(INTEGER, "that stands for the class")}),
    reads_only=False,
    run=classify_workload,
    takes_off=True,
)


async def revert_workload(daemon: Daemon, arguments: Arguments, _: Progress) -> Answer:
    """Take off what is attached for a workload."""
    workload = await workload_named(daemon, arguments["workload"])
    await daemon.verb("Detach", "o", workload_path(workload.cgroup_id))
    return Answer({"reverted": True})


REVERT_WORKLOAD = Tool(
    name="revert_workload",
    title="Take a workload's policy off",
    description="""\
Takes off what is attached for one workload: its class, or a policy that is attached for it alone.
The kernel default schedules it then; other workloads keep their classes. Takes milliseconds. Says
so when nothing is attached for it.""",
    arguments=schema.arguments(workload=schema.WORKLOAD),
    result=schema.result({"reverted": BOOLEAN}),
    reads_only=False,
    run=revert_workload,
    takes_off=True,
)


_DEPLOYMENT = {
    "deployment": INTEGER,
    "workload": schema.said(STRING, "its number; empty when it has ended, or for the machine"),
    "policy": STRING,
    "parameters": schema.said(TABLE, "tunables that were set; the others have their defaults"),
    "origin": schema.said(STRING, "who chose it: automatic, manual or agent"),
    "state": schema.said(
        STRING,
        "attaching, canary or attached; at the end reverted, tripped (somebody was worse off), "
        "ejected (by the kernel) or failed",
    ),
    "started_at": schema.said(NUMBER, "seconds since the epoch"),
    "ended_at": schema.said(NUMBER, "seconds since the epoch; 0 while it lasts"),
    "attach_ms": NUMBER,
    "canary": schema.said(
        TABLE,
        "pairs of turns, mean effect against the kernel default (0.1 is ten per cent better), its "
        "bounds low and high; empty without a canary",
    ),
    "canary_metric": STRING,
    "canary_decision": schema.said(STRING, "going-on, promote, no-gain, worse, or empty"),
    "exit_cause": schema.said(STRING, "reverted, policy, hotplug, operator, fault, or empty"),
    "counters": schema.said(TABLE, "of the policy; its card says what they count"),
    "untrusted_name": schema.said(STRING, "the workload"),
    "untrusted_texts": schema.said(TABLE, "reasons and error messages, also the kernel's own"),
}

_TEXTS = ("reason", "error", "exit_reason", "exit_message")


def content_of(one: Deployment) -> dict[str, Any]:
    """A deployment as an answer has it."""
    canary, words = divided(one.canary)
    metric, decision = (str(words.pop(name, "")) for name in ("metric", "decision"))
    texts = {name: getattr(one, name) for name in _TEXTS if getattr(one, name)}
    if words.get("reason"):
        texts["canary_reason"] = words["reason"]
    number = number_in(one.workload)
    return {
        "deployment": one.id,
        "workload": str(number) if number else "",
        "policy": one.policy,
        "parameters": fitted(one.parameters),
        "origin": one.origin,
        "state": one.state,
        "started_at": moment(one.started_at),
        "ended_at": moment(one.ended_at),
        "attach_ms": rounded(one.attach_ms),
        "canary": canary,
        "canary_metric": plain_text(metric, NAME_LIMIT),
        "canary_decision": plain_text(decision, NAME_LIMIT),
        "exit_cause": one.exit_cause,
        "counters": fitted(one.counters),
        "untrusted_name": plain_text(one.workload_id, NAME_LIMIT),
        "untrusted_texts": fitted(texts, 2_000),
    }


async def read_deployment(daemon: Daemon, arguments: Arguments, _: Progress) -> Answer:
    """A deployment as it is now, or was at its end."""
    number = arguments["deployment"]
    try:
        one = await daemon.deployment(f"{ROOT_PATH}/deployment/{number}")
    except ObjectGoneError:
        one = await daemon.past_deployment(number)
    return Answer(content_of(one))


READ_DEPLOYMENT = Tool(
    name="read_deployment",
    title="What came of a deployment",
    description="""\
One attachment of a policy as it is now: its state, what its canary showed (effect 0.1 is ten per
cent better than the kernel default, low and high are the bounds of that), how it ended, and why.
Cheap. The newest 200 are kept.""",
    arguments=schema.arguments(deployment=schema.DEPLOYMENT),
    result=schema.result(_DEPLOYMENT),
    reads_only=True,
    run=read_deployment,
)


async def wait_for_deployment(daemon: Daemon, arguments: Arguments, progress: Progress) -> Answer:
    """Wait until a deployment is decided, or the time is over."""
    number, timeout_s = arguments["deployment"], arguments["timeout_s"]
    clock = asyncio.get_running_loop().time
    begin = clock()
    one: Deployment | None = None
    changes = daemon.deployment_changes(number)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s), contextlib.aclosing(changes):
            try:
                async for one in changes:
                    if one.state not in UNSETTLED:
                        break
                    await progress(min(1.0, (clock() - begin) / timeout_s), _now(one))
            except ObjectGoneError:
                one = await daemon.past_deployment(number)
    if one is None:
        raise ToolError(f"schedcpd told nothing of deployment {number} within {timeout_s} s")
    return Answer({"settled": one.state not in UNSETTLED, **content_of(one)})


def _now(one: Deployment) -> str:
    pairs, effect = one.canary.get("pairs", 0), one.canary.get("effect", 0.0)
    if one.state == "canary" and pairs:
        return f"{one.policy}: {pairs} pairs of turns, {effect:+.1%} so far"
    return f"{one.policy}: {one.state}"


WAIT_FOR_DEPLOYMENT = Tool(
    name="wait_for_deployment",
    title="Wait for a deployment",
    description="""\
Waits until a deployment is decided, then answers as read_deployment does. A canary takes from one
to several minutes. settled is false when timeout_s seconds were over first: call it again, the
deployment goes on. state attached: it was promoted. state reverted: there was no gain, or somebody
took it off.""",
    arguments=schema.arguments(
        deployment=schema.DEPLOYMENT,
        timeout_s=schema.integer("seconds to wait at most", 1, LONGEST_WAIT_S, default=300),
    ),
    result=schema.result({"settled": BOOLEAN, **_DEPLOYMENT}),
    reads_only=True,
    run=wait_for_deployment,
)
