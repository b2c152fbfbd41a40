# SPDX-License-Identifier: GPL-2.0-or-later
"""What deployments have taught."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from schedcpd.model.plan import Objective
from schedcpd.model.workload import WorkloadClass


class OutcomeKind(StrEnum):
    """What a deployment has taught."""

    EFFECT = "effect"  # how much better or worse the workload did, in figures
    HARMLESS = "harmless"  # not worse while it ran; what it gains shows only at its end
    FAILURE = "failure"  # the circuit breaker took it off, or the kernel threw it out


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a policy did for a workload here, kept for the next time.

    The effect and its bounds are those of ``Canary``; only kind EFFECT has them.
    """

    deployment: int
    at: float  # seconds since the epoch
    workload: str  # its identity, or its cgroup's path where it has none
    work: WorkloadClass
    objective: Objective
    policy: str
    object_sha256: str
    kernel_release: str
    topology: str  # what kind of machine it is, in words
    kind: OutcomeKind
    metric: str = ""
    effect: float = 0.0
    low: float = 0.0
    high: float = 0.0
    pairs: int = 0
    reason: str = ""  # one sentence
    host: str = ""  # the machine's name; empty in what older versions wrote
    parameters: Mapping[str, int] = field(default_factory=dict)  # of the policy
