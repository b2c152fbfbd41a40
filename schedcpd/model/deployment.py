# SPDX-License-Identifier: GPL-2.0-or-later
"""A policy on a machine, from the request to its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from schedcpd.model.kernel import ExitRecord
from schedcpd.model.layer import LayerClass
from schedcpd.model.policy import PolicyKind


class Origin(StrEnum):
    """Who asked for a deployment."""

    AUTOMATIC = "automatic"  # the built-in planner
    AGENT = "agent"  # a plan from outside, taken no further than one of ours
    MANUAL = "manual"  # a person


class DeploymentState(StrEnum):
    """The life of one deployment; from REVERTED on they are final."""

    ATTACHING = "attaching"
    CANARY = "canary"  # in turns with the kernel default, until it is known which is better
    ATTACHED = "attached"  # promoted, or put there by a person
    REVERTED = "reverted"  # taken off by us: workload ended, a person, a pause, a shutdown, no gain
    TRIPPED = "tripped"  # taken off by the circuit breaker: somebody was worse off
    EJECTED = "ejected"  # thrown out by the kernel, or ended by an operator, or its loader died
    FAILED = "failed"  # never got to settle


class CanaryDecision(StrEnum):
    """What the windows of a canary say."""

    GOING_ON = "going-on"
    PROMOTE = "promote"
    NO_GAIN = "no-gain"
    WORSE = "worse"


@dataclass(frozen=True, slots=True)
class Canary:
    """What the windows of a canary have shown so far.

    The effect is the mean of the paired relative differences, candidate against kernel default, in
    the direction of the objective: 0.1 is ten per cent better. ``low`` and ``high`` bound it.
    """

    metric: str
    pairs: int
    effect: float
    low: float
    high: float
    decision: CanaryDecision
    reason: str = ""  # one sentence


@dataclass(frozen=True, slots=True)
class Quarantine:
    """A policy that must not be attached again, and why."""

    object_sha256: str
    policy: str
    kernel_release: str
    workload_id: str  # empty: for every workload
    since: float  # seconds since the epoch
    reason: str


@dataclass(frozen=True, slots=True)
class Transition:
    """One step of the machine's scheduler from one state to another, as the ledger keeps it."""

    at: float  # seconds since the epoch
    deployment: int  # 0 when it belongs to none
    before: str
    after: str
    reason: str


@dataclass(frozen=True, slots=True)
class Deployment:
    """One attachment of a policy, from the request to its end."""

    id: int
    workload_id: str  # empty: the whole machine
    policy: str
    origin: Origin
    state: DeploymentState
    started_at: float  # seconds since the epoch
    ended_at: float = 0.0  # 0 while it lasts
    attach_ms: float = 0.0
    exit: ExitRecord | None = None
    error: str = ""  # one sentence, when it failed or was ejected
    counters: Mapping[str, int] = field(default_factory=dict)  # last read
    reason: str = ""  # one sentence: why it is in this state
    object_sha256: str = ""
    canary: Canary | None = None
    revert_ms: float = 0.0  # from the decision to the kernel default, when it was taken off
    # The class of its workload, where the policy is attached for the whole machine by a deployment
    # of its own. Then ``attach_ms`` and ``revert_ms`` are what the policy's map took to change.
    layer: LayerClass | None = None
    # Tunables of the policy that were set by who asked for it; the others have their defaults.
    parameters: Mapping[str, int] = field(default_factory=dict)
    kind: PolicyKind = PolicyKind.BPF
    ops: str = ""  # of the policy's card
