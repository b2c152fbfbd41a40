# SPDX-License-Identifier: GPL-2.0-or-later
"""The values that travel from stage to stage; standard library only, all immutable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum


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


class Objective(StrEnum):
    """What a plan tries to improve."""

    MAKESPAN = "makespan"
    NONE = "none"


class Mode(StrEnum):
    """How far the daemon may go on its own."""

    AUTO = "auto"  # attach what the planner chooses
    ADVISE = "advise"  # say it, never attach it unasked
    PAUSED = "paused"  # a person said pause: no automatic decision until resume


class Origin(StrEnum):
    """Who asked for a deployment."""

    AUTOMATIC = "automatic"
    MANUAL = "manual"


class DeploymentState(StrEnum):
    """The life of one deployment; the last three are final."""

    ATTACHING = "attaching"
    ATTACHED = "attached"
    REVERTED = "reverted"  # taken off by us: workload ended, a person, a pause, a shutdown
    EJECTED = "ejected"  # thrown out by the kernel, or ended by an operator, or its loader died
    FAILED = "failed"  # never got to settle


class ExitKind(IntEnum):
    """The kernel's ``enum scx_exit_kind``, as far as schedcp tells its values apart."""

    NONE = 0
    DONE = 1
    UNREG = 64
    UNREG_BPF = 65
    UNREG_KERN = 66
    SYSRQ = 67
    ERROR = 1024
    ERROR_BPF = 1025
    ERROR_STALL = 1026


class ExitCause(StrEnum):
    """What an exit means to us; only FAULT counts against a policy."""

    REVERTED = "reverted"  # we, or the death of the loader, let go of the link
    POLICY = "policy"  # the policy itself asked to leave
    HOTPLUG = "hotplug"  # a CPU came or went; attach again
    OPERATOR = "operator"  # sysrq-S at the console
    FAULT = "fault"  # runtime error, stall, error raised by the policy


@dataclass(frozen=True, slots=True)
class ExitRecord:
    """Why a policy left the kernel, in the kernel's own words."""

    kind: int  # enum scx_exit_kind, kept raw: newer kernels know more of them
    code: int
    reason: str
    message: str
    dump: str = ""


@dataclass(frozen=True, slots=True)
class KernelState:
    """What /sys/kernel/sched_ext says at this moment."""

    supported: bool
    state: str  # absent, disabled, enabling, enabled, disabling
    policy: str  # root/ops, empty when the kernel default schedules
    enable_seq: int
    hotplug_seq: int
    nr_rejected: int


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

    @property
    def level(self) -> int:
        """Depth of the cgroup; the root of the hierarchy has 0."""
        return len([part for part in self.id.split("/") if part])


@dataclass(frozen=True, slots=True)
class Program:
    """One program of a workload and how many processes run it."""

    name: str  # comm, control characters replaced
    processes: int


@dataclass(frozen=True, slots=True)
class WorkloadProfile:
    """Summary profile of one workload, taken over ``window_s`` seconds."""

    taken_at: float  # seconds since the epoch
    window_s: float
    processes: int
    threads: int
    runnable: float  # mean number of threads running or waiting for a CPU
    cpus_used: float  # CPU seconds per second
    throttled_s: float  # seconds throttled by cpu.max in the window
    pressure_some: float  # share of the window in which some thread waited for a CPU, 0 to 1
    youngest_s: float  # age of the youngest process
    oldest_s: float
    programs: tuple[Program, ...] = ()  # most processes first, at most 8
    arguments: tuple[str, ...] = ()  # command lines of up to 3 processes, bounded, printable
    sentence: str = ""  # one plain sentence for a person
    # A worker is a process with a runnable thread: what is left when parents that wait are ignored.
    workers: float = 0.0  # mean number of them at one moment
    worker_share: float = 0.0  # how often a worker that was looked at was runnable, 0 to 1
    worker_threads: float = 0.0  # mean number of threads of a worker, runnable or not
    worker_age_s: float = 0.0  # median age of the workers
    worker_program: str = ""  # what more than half of them run
    listeners: int = 0  # TCP sockets of the workload that wait for clients


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do for a workload; ``policy`` is None for "leave it alone"."""

    policy: str | None
    objective: Objective
    reason: str  # one sentence for a person
    parameters: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkloadRecord:
    """All that is known of one workload; replaced as a whole when anything changes."""

    workload: Workload
    state: WorkloadState
    profile: WorkloadProfile | None = None
    plan: Plan | None = None


@dataclass(frozen=True, slots=True)
class Tunable:
    """One constant of a policy that is set before it is loaded."""

    name: str
    type: str  # u32, u64, s32, s64, bool
    unit: str
    default: int
    minimum: int
    maximum: int
    description: str
    role: str = ""  # "target-id" or "target-level": filled in from the workload


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

    @property
    def targeted(self) -> bool:
        """Whether the policy is for one workload, rather than for the whole machine."""
        return any(tunable.role for tunable in self.tunables)


@dataclass(frozen=True, slots=True)
class Policy:
    """An installed policy, and whether the loader would take it now."""

    card: Card
    object_sha256: str
    admissible: bool
    token: str  # "valid until …" or the reason why the loader would refuse


@dataclass(frozen=True, slots=True)
class Deployment:
    """One attachment of a policy, from the request to its end."""

    id: int
    workload_id: str
    policy: str
    origin: Origin
    state: DeploymentState
    started_at: float  # seconds since the epoch
    ended_at: float = 0.0  # 0 while it lasts
    attach_ms: float = 0.0
    exit: ExitRecord | None = None
    error: str = ""  # one sentence, when it failed or was ejected
    counters: Mapping[str, int] = field(default_factory=dict)  # last read


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the daemon's log, as shown to people."""

    at: float  # seconds since the epoch
    kind: str  # workload, plan, attach, revert, eject, refuse, mode, kernel, config
    subject: str  # workload id, policy name or empty
    message: str
