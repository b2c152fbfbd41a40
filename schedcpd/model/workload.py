# SPDX-License-Identifier: GPL-2.0-or-later
"""A workload: a cgroup with processes that belong together."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class WorkloadKind(StrEnum):
    """What systemd or a container engine calls the cgroup of a workload."""

    SERVICE = "service"
    SCOPE = "scope"
    CONTAINER = "container"


class WorkloadState(StrEnum):
    """Where a workload stands with schedcp."""

    NEW = "new"  # seen, not profiled yet
    LEFT_ALONE = "left-alone"  # profiled; the kernel default suits it, or nothing else fits
    ADVISED = (
        "advised"  # a policy would suit it, but nothing may be attached (mode, limits, kernel)
    )
    MANAGED = "managed"  # a policy is attached for it
    HELD = "held"  # a person decided; automation keeps off until the workload ends


class WorkloadClass(StrEnum):
    """What kind of work a workload does."""

    BUILD = "build"  # parallel build: many short processes, a parent that starts them
    BATCH = "batch"  # a set of independent jobs that all have to finish, some perhaps much longer
    LATENCY = "latency"  # a service with requests that wait for it
    INTERACTIVE = "interactive"  # an application that a person works with
    FRAMES = "frames"  # periodic work with a deadline each: audio, video, a game
    COMPUTE = "compute"  # data-parallel: about as many long-lived busy threads as CPUs
    IO = "io"  # waits for storage or the network most of the time
    BACKGROUND = "background"  # asked to keep out of the way: cpu.idle, SCHED_IDLE, nice 10 or more
    IDLE = "idle"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Workload:
    """A cgroup with processes that belong together.

    ``id`` is the cgroup's path below the cgroup root, with its leading slash; ``cgroup_id`` is the
    inode number of its directory, which the kernel uses as the cgroup's id.
    """

    id: str
    cgroup_id: int
    unit: str  # last systemd unit in the path, or the container's id
    kind: WorkloadKind
    appeared_at: float  # seconds since the epoch
    identity: str = ""  # the same after a restart; empty when only the path is known

    @property
    def level(self) -> int:
        """Depth of the cgroup; the root of the hierarchy has 0."""
        return len([part for part in self.id.split("/") if part])

    def is_same(self, other: Workload) -> bool:
        """Whether both are one cgroup, rather than two of the same name or number."""
        return (self.id, self.cgroup_id) == (other.id, other.cgroup_id)


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A part of a text file of a workload, and how many characters of it can be read."""

    text: str
    total: int
