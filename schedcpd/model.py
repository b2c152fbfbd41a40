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
    SAFE = "safe"  # the last run ended in the middle of a deployment: like paused, until resume


class Origin(StrEnum):
    """Who asked for a deployment."""

    AUTOMATIC = "automatic"
    MANUAL = "manual"


class DeploymentState(StrEnum):
    """The life of one deployment; from REVERTED on they are final."""

    ATTACHING = "attaching"
    CANARY = "canary"  # in turns with the kernel default, until it is known which is better
    ATTACHED = "attached"  # promoted, or put there by a person
    REVERTED = "reverted"  # taken off by us: workload ended, a person, a pause, a shutdown, no gain
    TRIPPED = "tripped"  # taken off by the circuit breaker: somebody was worse off
    EJECTED = "ejected"  # thrown out by the kernel, or ended by an operator, or its loader died
    FAILED = "failed"  # never got to settle


class VerifyStage(StrEnum):
    """The stages of a verification, cheapest first; a failed one ends it."""

    COMPILE = "compile"
    STATIC = "static"
    KERNEL = "kernel"  # the kernel's own verifier, in the micro-VM
    DYNAMIC = "dynamic"  # the trial run, in the micro-VM


class StageOutcome(StrEnum):
    """How a stage ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"  # not needed (no source to compile), or an earlier stage failed
    BROKEN = "broken"  # the verifier could not do its work; says nothing about the policy


class Severity(StrEnum):
    """What a finding of the static analysis means."""

    REJECT = "reject"  # certain: no token
    SUSPECT = "suspect"  # the trial run has to show that it is harmless
    WARNING = "warning"  # worth knowing


class JobState(StrEnum):
    """How far a long piece of work is; from PASSED on it is over."""

    RUNNING = "running"
    PASSED = "passed"
    REFUSED = "refused"  # the policy was found wanting
    BROKEN = "broken"  # the work could not be done
    CANCELLED = "cancelled"


class CanaryDecision(StrEnum):
    """What the windows of a canary say."""

    GOING_ON = "going-on"
    PROMOTE = "promote"
    NO_GAIN = "no-gain"
    WORSE = "worse"


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
    max_wait_ms: int = 2000  # how long a runnable task may wait in the trial run

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
    enrolled: bool = False  # put there by a person, rather than by the package


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the static analysis; the severity is that of a certain finding."""

    id: str
    title: str
    severity: Severity
    catches: str
    why: str
    example: str
    mend: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that the compiler or the static analysis found in a policy."""

    rule: str  # "SCX101", or "COMPILE" for the compiler's own words
    severity: Severity
    message: str  # one sentence: what is wrong here
    mend: str = ""  # one sentence: what to change
    program: str = ""  # the callback it was found in
    file: str = ""
    line: int = 0  # 0 when unknown


@dataclass(frozen=True, slots=True)
class Check:
    """One named check of the kernel or dynamic stage, and its figure."""

    name: str
    passed: bool
    message: str  # one sentence for a person
    figure: float = 0.0
    unit: str = ""
    bound: float = 0.0  # what the figure had to stay within; 0 when there is none
    baseline: float = 0.0  # the same figure under the kernel default in the same VM; 0 if none


@dataclass(frozen=True, slots=True)
class StageReport:
    """What one stage of a verification found."""

    stage: VerifyStage
    outcome: StageOutcome
    seconds: float = 0.0
    reason: str = ""  # one sentence when it did not pass
    findings: tuple[Finding, ...] = ()
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """A whole verification; a token is signed only for one that ``passed``."""

    policy: str
    object_sha256: str  # empty when it did not compile
    card_sha256: str
    kernel_release: str
    kernel_build_id: str  # GNU build id of the kernel that the micro-VM booted, hexadecimal
    accelerator: str  # kvm or tcg; empty when no micro-VM was booted
    checked_at: int  # seconds since the epoch
    stages: tuple[StageReport, ...]
    cached: bool = False  # the verdict was reached earlier, for exactly the same bytes

    @property
    def passed(self) -> bool:
        """Whether every stage that was needed was passed."""
        outcomes = {one.stage: one.outcome for one in self.stages}
        # Only the compilation may be skipped: a packaged policy comes compiled.
        needed = tuple(stage for stage in VerifyStage if stage is not VerifyStage.COMPILE)
        compiled = outcomes.get(VerifyStage.COMPILE, StageOutcome.SKIPPED)
        return compiled in (StageOutcome.PASSED, StageOutcome.SKIPPED) and all(
            outcomes.get(stage) is StageOutcome.PASSED for stage in needed
        )

    @property
    def reason(self) -> str:
        """Why it did not pass, in one sentence; empty when it did."""
        reasons = (f"{one.stage}: {one.reason}" for one in self.stages if one.reason)
        return "" if self.passed else next(reasons, "it was not finished")


@dataclass(frozen=True, slots=True)
class Job:
    """A long piece of work that somebody asked for, and how far it is."""

    id: int
    kind: str  # verify
    subject: str  # the policy's name
    state: JobState
    started_at: float  # seconds since the epoch
    ended_at: float = 0.0  # 0 while it runs
    stages: tuple[StageReport, ...] = ()  # those that are done
    now: str = ""  # what it does at this moment, for a person
    report: Report | None = None
    error: str = ""  # one sentence when it is broken


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
class Hold:
    """Somebody on the bus who keeps automation off; ends with their connection."""

    cookie: int
    owner: str  # unique bus name
    uid: int
    workload_id: str  # empty: the whole machine
    reason: str
    since: float  # seconds since the epoch


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
    reason: str = ""  # one sentence: why it is in this state
    object_sha256: str = ""
    canary: Canary | None = None
    revert_ms: float = 0.0  # from the decision to the kernel default, when it was taken off


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the daemon's log, as shown to people."""

    at: float  # seconds since the epoch
    # workload, plan, attach, canary, promote, trip, revert, eject, refuse, quarantine, hold, mode,
    # kernel, config, verify, enroll, revoke, withdraw
    kind: str
    subject: str  # workload id, policy name or empty
    message: str
