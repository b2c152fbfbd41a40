# SPDX-License-Identifier: GPL-2.0-or-later
"""What the repository has beside policies and outcomes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Note:
    """What a person or an agent has found out, in their own words."""

    id: int
    at: float  # seconds since the epoch
    uid: int  # who wrote it
    kind: str  # what it is about: the kind and the name of an entry, or both empty
    name: str
    text: str


class Harm(StrEnum):
    """How an antipattern came to be known."""

    VERIFIER = "verifier"  # the policy did not pass its verification
    QUARANTINE = "quarantine"  # it did harm here, and is not attached again
    FAILURE = "failure"  # a deployment of it ended in harm


@dataclass(frozen=True, slots=True)
class Antipattern:
    """What failed, and why, in the words of the verifier, the circuit breaker or the kernel."""

    harm: Harm
    at: float  # seconds since the epoch
    policy: str
    object_sha256: str  # empty when it did not compile
    kernel_release: str
    workload: str  # empty: for every workload
    reason: str  # one sentence
    words: tuple[str, ...] = ()  # what was found, and what would mend it


@dataclass(frozen=True, slots=True)
class Standing:
    """What a person or an agent decided on a policy as a choice of the built-in planner."""

    policy: str
    retired: bool  # else promoted
    object_sha256: str  # that was promoted
    reason: str
    uid: int
    at: float  # seconds since the epoch


@dataclass(frozen=True, slots=True)
class Hit:
    """One entry of the repository that a search found; a higher score fits better."""

    kind: str
    name: str
    score: float
    title: str
    excerpt: str
