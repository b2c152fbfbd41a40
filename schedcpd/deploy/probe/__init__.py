# SPDX-License-Identifier: GPL-2.0-or-later
"""The probes: tracing programs that are always in the kernel.

A child takes one into the kernel and sends its descriptors to the daemon, which needs nothing else:
the probe is there as long as they are open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

REASON_BYTES = 1024  # what the child says when there is no probe


@dataclass(frozen=True, slots=True)
class Kind:
    """One probe: the maps whose descriptors the daemon gets, and what the kernel must have."""

    maps: tuple[str, ...]
    needs: str  # the end of a sentence


RUNQUEUE = "runqueue"  # how long the tasks of each cgroup wait for a CPU
TASKS = "tasks"  # what starts and ends in watched cgroups
PROBES: Mapping[str, Kind] = MappingProxyType(
    {
        RUNQUEUE: Kind(("cgroups",), "built without CONFIG_SCHED_INFO"),
        TASKS: Kind(("events", "watched"), "built without CONFIG_FUNCTION_TRACER"),
    }
)
