# SPDX-License-Identifier: GPL-2.0-or-later
"""What the ledger keeps, as JSON and back; reading raises BadField (a ValueError)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from schedcpd.deploy.messages import decode_exit, encode_exit
from schedcpd.fields import Fields
from schedcpd.model import (
    Canary,
    CanaryDecision,
    Deployment,
    DeploymentState,
    LayerClass,
    LayerKind,
    Origin,
    Outcome,
    PolicyKind,
    Quarantine,
    Transition,
)
from schedcpd.repository import items

TEXT = 2**20  # characters; the kernel's dump of an exit has up to 32768
WIDE = 1e15  # any figure of ours, either sign


@dataclass(frozen=True, slots=True)
class KnownGood:
    """A policy that won its canary for a workload on a kernel."""

    workload_id: str
    kernel_release: str
    object_sha256: str
    policy: str
    since: float  # seconds since the epoch
    canary: Canary | None
    parameters: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the daemon, from start to stop."""

    boot_id: str
    started_at: float  # seconds since the epoch
    closed: bool  # it ended in order


Entry = Transition | Deployment | Quarantine | KnownGood | Outcome | Run


def encode(entry: Entry) -> str:
    """The entry as JSON in ASCII: names of cgroups need not be valid UTF-8."""
    if isinstance(entry, Deployment):
        fields = {name: getattr(entry, name) for name in Deployment.__dataclass_fields__}
        fields["layer"] = entry.layer and asdict(entry.layer)
        fields["counters"] = dict(entry.counters)
        fields["parameters"] = dict(entry.parameters)
        fields["exit"] = encode_exit(entry.exit)
        fields["canary"] = entry.canary and asdict(entry.canary)
        return json.dumps(fields)
    return json.dumps(asdict(entry))


def read_transition(body: str) -> Transition:
    """A transition from its JSON."""
    fields = Fields(json.loads(body))
    return Transition(
        at=_number(fields, "at"),
        deployment=fields.integer("deployment"),
        before=_text(fields, "before"),
        after=_text(fields, "after"),
        reason=_text(fields, "reason"),
    )


def read_deployment(body: str) -> Deployment:
    """A deployment from its JSON."""
    fields = Fields(json.loads(body))
    return Deployment(
        id=fields.integer("id"),
        workload_id=_text(fields, "workload_id"),
        policy=_text(fields, "policy"),
        origin=Origin(_text(fields, "origin")),
        state=DeploymentState(_text(fields, "state")),
        started_at=_number(fields, "started_at"),
        ended_at=_number(fields, "ended_at"),
        attach_ms=_number(fields, "attach_ms"),
        exit=decode_exit(fields, TEXT, TEXT),
        error=_text(fields, "error"),
        counters=fields.integers("counters"),
        reason=_text(fields, "reason"),
        object_sha256=_text(fields, "object_sha256"),
        canary=_canary(fields),
        revert_ms=_number(fields, "revert_ms"),
        layer=_layer(fields),
        parameters=_parameters(fields),
        # Not there in what versions without foreign policies have written.
        kind=PolicyKind(_text(fields, "kind")) if "kind" in fields else PolicyKind.BPF,
        ops=_text(fields, "ops") if "ops" in fields else "",
    )


def read_quarantine(body: str) -> Quarantine:
    """An entry of the quarantine from its JSON."""
    fields = Fields(json.loads(body))
    return Quarantine(
        object_sha256=_text(fields, "object_sha256"),
        policy=_text(fields, "policy"),
        kernel_release=_text(fields, "kernel_release"),
        workload_id=_text(fields, "workload_id"),
        since=_number(fields, "since"),
        reason=_text(fields, "reason"),
    )


def read_known_good(body: str) -> KnownGood:
    """A policy that is known to be good from its JSON."""
    fields = Fields(json.loads(body))
    return KnownGood(
        workload_id=_text(fields, "workload_id"),
        kernel_release=_text(fields, "kernel_release"),
        object_sha256=_text(fields, "object_sha256"),
        policy=_text(fields, "policy"),
        since=_number(fields, "since"),
        canary=_canary(fields),
        parameters=_parameters(fields),
    )


def read_outcome(body: str) -> Outcome:
    """What a deployment has taught from its JSON."""
    return items.read_outcome(Fields(json.loads(body)), lambda fields, key, _: _text(fields, key))


def read_run(body: str) -> Run:
    """A run from its JSON."""
    fields = Fields(json.loads(body))
    return Run(_text(fields, "boot_id"), _number(fields, "started_at"), fields.truth("closed"))


def _canary(fields: Fields) -> Canary | None:
    if fields.is_null("canary"):
        return None
    inner = fields.table("canary")
    return Canary(
        metric=_text(inner, "metric"),
        pairs=inner.integer("pairs"),
        effect=_number(inner, "effect"),
        low=_number(inner, "low"),
        high=_number(inner, "high"),
        decision=CanaryDecision(_text(inner, "decision")),
        reason=_text(inner, "reason"),
    )


def _layer(fields: Fields) -> LayerClass | None:
    # Not there in what versions without classes have written.
    if "layer" not in fields or fields.is_null("layer"):
        return None
    inner = fields.table("layer")
    return LayerClass(
        LayerKind(_text(inner, "kind")), inner.integer("weight"), inner.integer("slice_us")
    )


def _parameters(fields: Fields) -> dict[str, int]:
    # Not there in what versions without parameters have written.
    return fields.integers("parameters") if "parameters" in fields else {}


def _text(fields: Fields, key: str) -> str:
    return fields.text(key, TEXT)


def _number(fields: Fields, key: str) -> float:
    return fields.number(key, -WIDE, WIDE)
