# SPDX-License-Identifier: GPL-2.0-or-later
"""What to do for a workload, and what was weighed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from schedcpd.model.layer import LayerClass
from schedcpd.model.workload import WorkloadClass


class Objective(StrEnum):
    """What a plan tries to improve."""

    MAKESPAN = "makespan"
    THROUGHPUT = "throughput"
    LATENCY = "latency"
    FRAMES = "frames"
    ENERGY = "energy"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A policy that a plan weighed, and what speaks for it or against it."""

    policy: str  # empty: the kernel default
    score: float  # expected relative gain over the kernel default; 0.1 is ten per cent better
    evidence: str  # one sentence: where the score comes from
    objection: str = ""  # one sentence: why it was out of the question; empty when it was not
    layer: LayerClass | None = None  # what the workload would be in it, if it has classes


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do for a workload; ``policy`` is None for "leave it alone"."""

    policy: str | None
    objective: Objective
    reason: str  # one sentence for a person
    parameters: Mapping[str, int] = field(default_factory=dict)
    candidates: tuple[Candidate, ...] = ()  # best first
    work: WorkloadClass = WorkloadClass.UNKNOWN  # as what the workload was planned for
    layer: LayerClass | None = None  # its class in ``policy``, if that has classes


@dataclass(frozen=True, slots=True)
class Proposal:
    """What an agent wants for a workload."""

    workload_id: str
    policy: str
    parameters: Mapping[str, int]
    objective: Objective
    reason: str  # one sentence, untrusted
