# SPDX-License-Identifier: GPL-2.0-or-later
"""From the core's values to D-Bus values: pure functions, one for each interface.

Whatever comes out can be sent. Names of cgroups and programs are bytes that the kernel takes from
anybody, numbers may be of any size, and a bus drops a connection that sends a malformed string.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dbus_next.signature import Variant

from schedcpd.bus import names
from schedcpd.model import (
    Canary,
    Candidate,
    Deployment,
    DeploymentState,
    Event,
    ExitCause,
    Histogram,
    Hit,
    Hold,
    Job,
    KernelState,
    LayerClass,
    Outcome,
    Policy,
    ProbesProfile,
    Quarantine,
    Rule,
    SchedulingProfile,
    Tunable,
    WorkloadProfile,
    WorkloadRecord,
    is_called,
)
from schedcpd.reports import encode_report, encode_stage

Values = dict[str, Any]  # by property name; each fits the signature of its property

UNDER_WAY = (DeploymentState.ATTACHING, DeploymentState.CANARY, DeploymentState.ATTACHED)
LONGEST_TEXT = 8192  # characters

SCHEDULING_FIGURES = (
    *("window_s", "run_share", "wait_share", "mean_run_ms", "mean_wait_ms", "forks_per_s"),
    *("exits_per_s", "lifetime_s", "voluntary_per_s", "involuntary_per_s", "blocked_io"),
    *("blocked_lock", "blocked_message", "blocked_timer", "period_ms", "expected_s", "longest_s"),
)

PROBES_COUNTS = (
    *("wakeups", "system_calls", "migrations", "cache_migrations", "forks", "threads", "execs"),
    "exits",
)

# Of the properties of a deployment; its path says nothing when it is no object any more.
DEPLOYMENT_SIGNATURES = {
    **dict.fromkeys(("WorkloadId", "Policy", "Origin", "State", "Error", "Reason", "Kind"), "s"),
    **dict.fromkeys(("ExitReason", "ExitMessage", "ExitCause", "ObjectSha256"), "s"),
    **dict.fromkeys(("StartedAt", "EndedAt", "AttachMs", "RevertMs"), "d"),
    **dict.fromkeys(("Canary", "Layer"), "a{sv}"),
    "Id": "t",
    "ExitKind": "i",
    "ExitCode": "x",
    "Counters": "a{st}",
    "Parameters": "a{sx}",
}

_DETAIL = re.compile(r"(?<=[a-z])([A-Z])")
_UNSENDABLE = re.compile("[\0\ud800-\udfff]")
_TUNABLE_SIGNATURES = {"u32": "u", "u64": "t", "s32": "i", "s64": "x", "bool": "b"}
_RANGES = {"u": (0, 2**32 - 1), "t": (0, 2**64 - 1), "i": (-(2**31), 2**31 - 1)}
_RANGES["x"] = (-(2**63), 2**63 - 1)


def text(value: str, longest: int = LONGEST_TEXT) -> str:
    """A string that D-Bus takes: valid UTF-8 without NUL, of bounded length."""
    return _UNSENDABLE.sub("\N{REPLACEMENT CHARACTER}", value[:longest])


def whole_text(value: str) -> str:
    """A string that D-Bus takes whose length was bounded by whoever made it."""
    return _UNSENDABLE.sub("\N{REPLACEMENT CHARACTER}", value)


def texts(values: Sequence[str]) -> list[str]:
    """The strings of an ``as``."""
    return [text(value) for value in values]


def number(signature: str, value: int) -> int:
    """An integer brought into the range of its D-Bus type (u, t, i or x)."""
    lowest, highest = _RANGES[signature]
    return min(max(int(value), lowest), highest)


def real(value: float) -> float:
    """A finite number; JSON, where most readers of these go, knows no other."""
    return float(value) if math.isfinite(value) else 0.0


def workload_values(record: WorkloadRecord) -> Values:
    """The properties of ``org.schedcp.Daemon1.Workload``."""
    workload, profile, plan = record.workload, record.profile, record.plan
    return {
        "Id": text(workload.id),
        "CgroupId": number("t", workload.cgroup_id),
        "Identity": text(workload.identity),
        "Unit": text(workload.unit),
        "Kind": str(workload.kind),
        "State": str(record.state),
        "AppearedAt": real(workload.appeared_at),
        "Sentence": text(profile.sentence) if profile else "",
        "Profile": profile_details(profile) if profile else {},
        "Advice": text(plan.policy or "") if plan else "",
        "Objective": str(plan.objective) if plan else "",
        "Reason": text(plan.reason) if plan else "",
        "Layer": layer_details(record.layer),
        "Candidates": [candidate_struct(one) for one in plan.candidates] if plan else [],
    }


def candidate_struct(candidate: Candidate) -> list[Any]:
    """A policy that a plan weighed as ``(sdss)``; the kernel default has no name."""
    return [
        text(candidate.policy),
        real(candidate.score),
        text(candidate.evidence),
        text(candidate.objection),
    ]


def profile_details(profile: WorkloadProfile) -> dict[str, Variant]:
    """A profile as an ``a{sv}``; its sentence is a property of its own."""
    programs = [[text(one.name), number("u", one.processes)] for one in profile.programs]
    return {
        "taken_at": Variant("d", real(profile.taken_at)),
        "window_s": Variant("d", real(profile.window_s)),
        "processes": Variant("u", number("u", profile.processes)),
        "threads": Variant("u", number("u", profile.threads)),
        "runnable": Variant("d", real(profile.runnable)),
        "cpus_used": Variant("d", real(profile.cpus_used)),
        "throttled_s": Variant("d", real(profile.throttled_s)),
        "pressure_some": Variant("d", real(profile.pressure_some)),
        "youngest_s": Variant("d", real(profile.youngest_s)),
        "oldest_s": Variant("d", real(profile.oldest_s)),
        "programs": Variant("a(su)", programs),
        "arguments": Variant("as", texts(profile.arguments)),
        "workers": Variant("d", real(profile.workers)),
        "worker_share": Variant("d", real(profile.worker_share)),
        "worker_threads": Variant("d", real(profile.worker_threads)),
        "worker_age_s": Variant("d", real(profile.worker_age_s)),
        "worker_program": Variant("s", text(profile.worker_program)),
        "listeners": Variant("u", number("u", profile.listeners)),
        "command": Variant("s", text(profile.command)),
        "work": Variant("s", str(profile.work)),
        "scheduling": Variant("a{sv}", scheduling_details(profile.scheduling)),
        "probes": Variant("a{sv}", probes_details(profile.probes)),
    }


def probes_details(found: ProbesProfile | None) -> dict[str, Variant]:
    """The probes tier of a profile as an ``a{sv}``; empty where it was not asked for."""
    if found is None:
        return {}
    off_cpu = {str(reason): histogram_struct(one) for reason, one in found.off_cpu.items()}
    wakers = [
        [str(one.kind), text(one.waker), text(one.woken), number("t", one.wakeups)]
        for one in found.wakers
    ]
    return {
        "window_s": Variant("d", real(found.window_s)),
        "tasks": Variant("u", number("u", found.tasks)),
        "queue": Variant("(atdd)", histogram_struct(found.queue)),
        "run": Variant("(atdd)", histogram_struct(found.run)),
        "off_cpu": Variant("a{s(atdd)}", off_cpu),
        "wakers": Variant("a(ssst)", wakers),
        "calls": Variant(
            "a(st)", [[text(one.name), number("t", one.calls)] for one in found.calls]
        ),
        "lifetimes": Variant("(atdd)", histogram_struct(found.lifetimes)),
        "sentence": Variant("s", text(found.sentence)),
        **{name: Variant("t", number("t", getattr(found, name))) for name in PROBES_COUNTS},
    }


def histogram_struct(histogram: Histogram) -> list[Any]:
    """Spans of time as ``(atdd)``: slots, their mean in ms, seconds in all."""
    slots = [number("t", one) for one in histogram.slots]
    return [slots, real(histogram.mean_ms), real(histogram.total_s)]


def profile_answer(profile: WorkloadProfile) -> dict[str, Variant]:
    """A profile that was asked for as an ``a{sv}``, with all that is known."""
    return {**profile_details(profile), "sentence": Variant("s", text(profile.sentence))}


def scheduling_details(seen: SchedulingProfile | None) -> dict[str, Variant]:
    """The scheduling tier of a profile as an ``a{sv}``; empty where it was not asked for."""
    if seen is None:
        return {}
    figures = {name: Variant("d", real(getattr(seen, name))) for name in SCHEDULING_FIGURES}
    return {"tasks": Variant("u", number("u", seen.tasks)), **figures}


def policy_values(policy: Policy) -> Values:
    """The properties of ``org.schedcp.Daemon1.Policy``."""
    card = policy.card
    return {
        "Name": text(card.name),
        "Version": text(card.version),
        "Title": text(card.title),
        "Summary": text(card.summary),
        "Suits": texts(card.suits),
        "Fails": texts(card.fails),
        "Honours": texts(card.honours),
        "Ignores": texts(card.ignores),
        "MinKernel": text(card.min_kernel),
        "TimeoutMs": number("u", card.timeout_ms),
        "Targeted": card.targeted,
        "Sha256": text(policy.object_sha256),
        "Admissible": policy.admissible,
        "Token": text(policy.token),
        "Enrolled": policy.enrolled,
        "Kind": str(card.kind),
        "Program": text(card.program.path) if card.program else "",
        "Tunables": [tunable_struct(one) for one in card.tunables],
        "Counters": {text(symbol): text(counts) for symbol, counts in card.counters.items()},
    }


def tunable_struct(tunable: Tunable) -> list[Any]:
    """A tunable as ``(sssvvvssas)``; the type inside the variants is that of the constant."""
    signature = _TUNABLE_SIGNATURES.get(tunable.type, "x")

    def boxed(value: int) -> Variant:
        inside = bool(value) if signature == "b" else number(signature, value)
        return Variant(signature, inside)

    return [
        text(tunable.name),
        text(tunable.type),
        text(tunable.unit),
        boxed(tunable.default),
        boxed(tunable.minimum),
        boxed(tunable.maximum),
        text(tunable.description),
        text(tunable.role),
        texts(tunable.choices),
    ]


def deployment_values(
    deployment: Deployment, workload_path: str, cause: ExitCause | None
) -> Values:
    """The properties of ``org.schedcp.Daemon1.Deployment``; ``cause`` is None while it lasts."""
    ended = deployment.exit
    return {
        "Id": number("t", deployment.id),
        "Workload": workload_path,
        "WorkloadId": text(deployment.workload_id),
        "Policy": text(deployment.policy),
        "Origin": str(deployment.origin),
        "State": str(deployment.state),
        "StartedAt": real(deployment.started_at),
        "EndedAt": real(deployment.ended_at),
        "AttachMs": real(deployment.attach_ms),
        "ExitKind": number("i", ended.kind) if ended else 0,
        "ExitCode": number("x", ended.code) if ended else 0,
        "ExitReason": text(ended.reason) if ended else "",
        "ExitMessage": text(ended.message) if ended else "",
        "ExitCause": str(cause) if cause else "",
        "Error": text(deployment.error),
        "Counters": counters(deployment),
        "Reason": text(deployment.reason),
        "ObjectSha256": text(deployment.object_sha256),
        "Canary": canary_details(deployment.canary),
        "RevertMs": real(deployment.revert_ms),
        "Layer": layer_details(deployment.layer),
        "Kind": str(deployment.kind),
        "Parameters": parameters(deployment.parameters),
    }


def deployment_details(deployment: Deployment, cause: ExitCause | None) -> dict[str, Variant]:
    """One deployment as an ``a{sv}``, also one that is no object any more."""
    values = deployment_values(deployment, names.NO_OBJECT, cause)
    return {
        _DETAIL.sub(r"_\1", name).lower(): Variant(DEPLOYMENT_SIGNATURES[name], value)
        for name, value in values.items()
        if name in DEPLOYMENT_SIGNATURES
    }


def parameters(given: Mapping[str, int]) -> dict[str, int]:
    """The parameters of a policy that were given as an ``a{sx}``."""
    return {text(name): number("x", value) for name, value in given.items()}


def layer_details(layer: LayerClass | None) -> dict[str, Variant]:
    """The class of a workload as an ``a{sv}``; empty without one."""
    if layer is None:
        return {}
    return {
        "kind": Variant("s", str(layer.kind)),
        "weight": Variant("u", number("u", layer.weight)),
        "slice_us": Variant("u", number("u", layer.slice_us)),
    }


def class_structs(deployments: Iterable[Deployment]) -> list[list[Any]]:
    """The classes that workloads have now as an ``a(ssuudd)``."""
    return [
        [
            text(one.workload_id),
            str(one.layer.kind),
            number("u", one.layer.weight),
            number("u", one.layer.slice_us),
            real(one.started_at),
            real(one.attach_ms),
        ]
        for one in deployments
        if one.layer is not None and not one.ended_at
    ]


def canary_details(canary: Canary | None) -> dict[str, Variant]:
    """What a canary showed as an ``a{sv}``; empty without one."""
    if canary is None:
        return {}
    return {
        "metric": Variant("s", text(canary.metric)),
        "pairs": Variant("u", number("u", canary.pairs)),
        "effect": Variant("d", real(canary.effect)),
        "low": Variant("d", real(canary.low)),
        "high": Variant("d", real(canary.high)),
        "decision": Variant("s", str(canary.decision)),
        "reason": Variant("s", text(canary.reason)),
    }


def past_struct(deployment: Deployment) -> list[Any]:
    """A deployment as a line of the history."""
    return [
        number("t", deployment.id),
        text(deployment.workload_id),
        text(deployment.policy),
        str(deployment.origin),
        str(deployment.state),
        real(deployment.started_at),
        real(deployment.ended_at),
        real(deployment.attach_ms),
        real(deployment.revert_ms),
        text(deployment.reason),
        text(deployment.error),
        canary_details(deployment.canary),
        parameters(deployment.parameters),
    ]


def job_values(job: Job) -> Values:
    """The properties of ``org.schedcp.Daemon1.Job``; stages and report are JSON texts."""
    report = encode_report(job.report) if job.report else None
    return {
        "Id": number("t", job.id),
        "Kind": text(job.kind),
        "Subject": text(job.subject),
        "State": str(job.state),
        "Now": text(job.now),
        "Stages": json.dumps([encode_stage(stage) for stage in job.stages]),
        "Report": json.dumps(report) if report else "",
        "Error": text(job.error),
        "StartedAt": real(job.started_at),
        "EndedAt": real(job.ended_at),
    }


def hold_struct(hold: Hold) -> list[Any]:
    """A hold as ``(usussd)``."""
    return [
        number("u", hold.cookie),
        text(hold.owner),
        number("u", hold.uid),
        text(hold.workload_id),
        text(hold.reason),
        real(hold.since),
    ]


def quarantine_struct(quarantine: Quarantine) -> list[Any]:
    """A policy in quarantine as ``(ssssds)``."""
    return [
        text(quarantine.policy),
        text(quarantine.object_sha256),
        text(quarantine.kernel_release),
        text(quarantine.workload_id),
        real(quarantine.since),
        text(quarantine.reason),
    ]


def hit_struct(hit: Hit) -> list[Any]:
    """What a search found as ``(ssdss)``."""
    return [text(hit.kind), text(hit.name), real(hit.score), text(hit.title), text(hit.excerpt)]


def outcome_values(outcome: Outcome) -> Values:
    """What a deployment has taught as an ``a{sv}``."""
    return {
        "deployment": Variant("t", number("t", outcome.deployment)),
        "at": Variant("d", real(outcome.at)),
        "workload": Variant("s", text(outcome.workload)),
        "class": Variant("s", str(outcome.work)),
        "objective": Variant("s", str(outcome.objective)),
        "policy": Variant("s", text(outcome.policy)),
        "sha256": Variant("s", text(outcome.object_sha256)),
        "kernel": Variant("s", text(outcome.kernel_release)),
        "host": Variant("s", text(outcome.host)),
        "topology": Variant("s", text(outcome.topology)),
        "parameters": Variant("a{sx}", parameters(outcome.parameters)),
        "kind": Variant("s", str(outcome.kind)),
        "metric": Variant("s", text(outcome.metric)),
        "effect": Variant("d", real(outcome.effect)),
        "low": Variant("d", real(outcome.low)),
        "high": Variant("d", real(outcome.high)),
        "pairs": Variant("u", number("u", outcome.pairs)),
        "reason": Variant("s", text(outcome.reason)),
    }


def rule_struct(rule: Rule) -> list[Any]:
    """A rule of the static analysis as ``(sssssss)``."""
    words = (rule.severity, rule.title, rule.catches, rule.why, rule.example, rule.mend)
    return texts((rule.id, *(str(one) for one in words)))


def counters(deployment: Deployment) -> dict[str, int]:
    """A policy's counters as an ``a{st}``."""
    return {text(name): number("t", count) for name, count in deployment.counters.items()}


def event_line(event: Event) -> list[Any]:
    """An event as ``(dsss)``."""
    return [real(event.at), text(event.kind), text(event.subject), text(event.message)]


def owner(kernel: KernelState, deployments: Iterable[Deployment]) -> str:
    """Whose scheduler runs: ``kernel-default``, ``schedcp`` or ``foreign``.

    A policy is ours from before the kernel has it until after it is gone, so that nobody takes our
    own for foreign while it is attached or taken off.
    """
    if not kernel.policy:
        return "kernel-default"
    ours = (one.ops or one.policy for one in deployments if one.state in UNDER_WAY)
    return "schedcp" if any(is_called(ops, kernel.policy) for ops in ours) else "foreign"


def deployment_path(deployment: Deployment | None) -> str:
    """The path of a deployment, or ``/`` for none."""
    return names.deployment_path(deployment.id) if deployment else names.NO_OBJECT


def state_counts(records: Iterable[WorkloadRecord]) -> dict[str, int]:
    """How many workloads are in each state; a state without any is left out."""
    return dict(Counter(str(record.state) for record in records))
