# SPDX-License-Identifier: GPL-2.0-or-later
"""The classes of workloads in a policy for the whole machine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class LayerKind(StrEnum):
    """How scx_layers treats the tasks of a cgroup."""

    FAIR = "fair"  # as every other task
    BATCH = "batch"  # run to completion, oldest process first
    LONGEST = "longest"  # longest job first, by runtime hints
    LATENCY = "latency"  # early deadlines, preempts others when it wakes up
    BACKGROUND = "background"  # only what the others leave, never starved


@dataclass(frozen=True, slots=True)
class LayerClass:
    """The class of one workload in scx_layers and its parameters; 0 is the policy's default."""

    kind: LayerKind
    weight: int = 0  # 1 to 10000, as cpu.weight; multiplies what the cgroup has
    slice_us: int = 0  # 100 to 100000

    @property
    def objection(self) -> str:
        """Why there can be no such class, in one sentence, or an empty string."""
        bounds = (("weight", self.weight, 1, 10_000), ("slice", self.slice_us, 100, 100_000))
        for name, value, low, high in bounds:
            if value and not low <= value <= high:
                return f"the {name} is {value}, not from {low} to {high}, or 0 for the default"
        return ""

    def __str__(self) -> str:
        weight = f", weight {self.weight}" if self.weight else ""
        slice_ = f", slice {self.slice_us} us" if self.slice_us else ""
        return f"{self.kind}{weight}{slice_}"
