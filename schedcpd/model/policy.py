# SPDX-License-Identifier: GPL-2.0-or-later
"""Policies and their cards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from schedcpd.model.plan import Objective
from schedcpd.model.workload import WorkloadClass


class MapRole(StrEnum):
    """What a map of a policy is for that is written while the policy is attached."""

    CLASSES = "classes"  # cgroup id → class: ``struct layer_class``
    HINTS = "hints"  # process (tgid) → how long it is expected to run, in nanoseconds


class PolicyKind(StrEnum):
    """Who loads a policy into the kernel, and what that is trusted for."""

    BPF = "bpf"  # our loader, an object that was verified, for its token
    FOREIGN = "foreign"  # a program of somebody else, for its digest, which root has enrolled


@dataclass(frozen=True, slots=True)
class Tunable:
    """What can be set of a policy before it is loaded: a constant, or an argument of its program.

    The value of one with ``choices`` is the number of a choice, from 0.
    """

    name: str
    type: str  # u32, u64, s32, s64, bool; of an argument s64, bool, choice
    unit: str
    default: int
    minimum: int
    maximum: int
    description: str
    role: str = ""  # "target-id" or "target-level": filled in from the workload
    choices: tuple[str, ...] = ()
    flag: str = ""  # of an argument: how the program spells it


@dataclass(frozen=True, slots=True)
class Fit:
    """What a policy's card promises for one class of work, as measured by the bench."""

    # Relative, over the kernel default: 0.25 is a quarter more, or a quarter of the time saved.
    gain: float
    objective: Objective  # what it was measured in
    evidence: str  # one sentence: what was measured, and where


@dataclass(frozen=True, slots=True)
class ForeignProgram:
    """The program of a foreign policy, as root has enrolled it; it is trusted for nothing else."""

    path: str
    sha256: str  # empty: it is there, but nobody has enrolled it
    ops: str  # what the kernel calls its scheduler: this, or this and more after an underscore


@dataclass(frozen=True, slots=True)
class Card:
    """A policy's card: what it is, where it works and where it fails."""

    name: str
    version: str
    title: str
    summary: str
    suits: tuple[str, ...]
    fails: tuple[str, ...]
    min_kernel: str
    requires_kfuncs: tuple[str, ...]
    honours: tuple[str, ...]
    ignores: tuple[str, ...]  # promises of the kernel default that it does not keep, as "cpu.max"
    timeout_ms: int
    tunables: tuple[Tunable, ...]
    counters: Mapping[str, str]  # symbol in .bss → what it counts
    max_wait_ms: int = 2000  # how long a runnable task may wait in the trial run
    fits: Mapping[WorkloadClass, Fit] = field(default_factory=dict)
    # Maps that are written while it is attached: name in the object → role, one map a role.
    maps: Mapping[str, MapRole] = field(default_factory=dict)
    program: ForeignProgram | None = None  # only of a foreign policy

    @property
    def kind(self) -> PolicyKind:
        """Who loads it."""
        return PolicyKind.BPF if self.program is None else PolicyKind.FOREIGN

    @property
    def ops(self) -> str:
        """What the kernel calls it, or how that begins; see ``is_called``."""
        return self.name if self.program is None else f"{self.program.ops}_"

    @property
    def targeted(self) -> bool:
        """Whether the policy is for one workload, rather than for the whole machine."""
        return any(tunable.role for tunable in self.tunables)

    def live_map(self, role: MapRole) -> str:
        """The name of the map with that role; empty when the policy has none."""
        return next((name for name, one in self.maps.items() if one is role), "")


def is_called(ops: str, kernel_name: str) -> bool:
    """Whether that is the kernel's name for the policy whose card has those ``ops``.

    Foreign schedulers add version and machine to their name, after an underscore.
    """
    return kernel_name == ops or (ops.endswith("_") and f"{kernel_name}_".startswith(ops))


@dataclass(frozen=True, slots=True)
class Policy:
    """An installed policy, and whether the loader would take it now."""

    card: Card
    object_sha256: str
    admissible: bool
    token: str  # "valid until …" or the reason why the loader would refuse
    enrolled: bool = False  # put there by a person, rather than by the package
