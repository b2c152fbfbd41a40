# SPDX-License-Identifier: GPL-2.0-or-later
"""Tells the class of a workload from its profile, with the reason; the first rule that fits.

What somebody asked for comes first (background), then what programs and sockets say of themselves,
then how the tasks behave. ``needs_scheduling`` says when the summary alone does not tell, and
``needs_probes`` when the scheduling tier does not either.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from schedcpd import programs
from schedcpd.kernel.cgroupfs import WEIGHT_DEFAULT
from schedcpd.kernel.procfs import SCHED_IDLE
from schedcpd.model import SchedulingProfile, WorkloadClass, WorkloadProfile

_NICE_BACKGROUND = 10
_WEIGHT_BACKGROUND = 10  # of 100 that a cgroup has by default
_IDLE_CPUS = 0.01
_IDLE_RUNNABLE = 0.5
_PARALLEL = 1.5  # workers, or threads, at one moment, on average; fewer are one after the other
_COMPILERS_SEEN = 2
_SHORT_FORKS = 5.0  # processes a second that make a stream of short ones
_SHORT_LIFE_S = 3.0
_BATCH_WORKERS = 3
_BATCH_PER_CPU = 1.5  # workers for each CPU: fewer find a CPU each and are no queue
_BATCH_AGE_S = 3600.0
_POOL_THREADS = 4  # threads of a worker that still is one job
_POOL_MARGIN = 2  # threads that a pool of one a CPU has beside: a main thread, a timer
_BUSY_SHARE = 0.5  # of the looks that find a worker runnable
_COMPUTE_PER_CPU = 0.7  # busy threads for each CPU
_CROWDED_PER_CPU = 1.5  # more busy threads are no pool of one a CPU
_WAKES_OF_ONE = 5.0  # a second, of a thread that is woken for each request
_REQUEST_MS = 10.0  # of CPU time: what a client waits for at a desk takes less
_FRAME_MS = 50.0  # twenty a second: slower work has no deadlines that anybody sees
_FRAMES_RUN = 0.01
_IO_SHARE = 0.3  # of the sleeping threads
_MESSAGE_SHARE = 0.6
_MESSAGE_WAKES = 50.0
_LITTLE_RUN = 0.5  # of the time of each thread that runs, or waits for a CPU
_SESSION_CPUS = 0.3
_WORTH_ASKING_CPUS = 0.02
_WAKES_WORTH_ASKING = 5.0  # a second: of what never sleeps the tier before has seen all

_APPLICATION = re.compile(r"(?:app-|snap\.)[^/]+\.(?:scope|service)|[^/]+/app\.slice/(?!run-)[^/]+")
_SESSION = re.compile(r"session-c?[0-9]+\.scope|(?:vte|tmux)-spawn-[^/]+\.scope")
_BACKGROUND_SLICE = "/background.slice/"

_NAMES: Mapping[WorkloadClass, str] = {
    WorkloadClass.BUILD: "Parallel build",
    WorkloadClass.BATCH: "Batch of jobs",
    WorkloadClass.LATENCY: "Service that clients wait for",
    WorkloadClass.INTERACTIVE: "Interactive application",
    WorkloadClass.FRAMES: "Periodic frames",
    WorkloadClass.COMPUTE: "Parallel computing",
    WorkloadClass.IO: "Input and output",
    WorkloadClass.BACKGROUND: "Background work",
    WorkloadClass.IDLE: "Idle",
    WorkloadClass.UNKNOWN: "Work of no known class",
}
_GOALS: Mapping[WorkloadClass, str] = {
    WorkloadClass.BUILD: "makespan",
    WorkloadClass.BATCH: "makespan",
    WorkloadClass.LATENCY: "latency",
    WorkloadClass.INTERACTIVE: "latency",
    WorkloadClass.FRAMES: "frames in time",
    WorkloadClass.COMPUTE: "throughput",
    WorkloadClass.IO: "throughput",
    WorkloadClass.BACKGROUND: "to be in nobody's way",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a workload stands, and what was asked of the scheduler for it."""

    path: str  # of its cgroup
    weight: int = WEIGHT_DEFAULT
    idle: bool = False  # cpu.idle
    nice: float = 0.0  # median of the working processes
    policy: int = 0  # of sched(7), that most of them have


@dataclass(frozen=True, slots=True)
class Verdict:
    """The class, and why; ``certain`` when a closer look would not change it."""

    work: WorkloadClass
    reason: str  # a clause for a person
    certain: bool = True

    @property
    def sentence(self) -> str:
        """The class, the reason and the goal."""
        goal = _GOALS.get(self.work)
        return f"{_NAMES[self.work]}, {self.reason}{f', goal: {goal}' if goal else ''}"


@dataclass(frozen=True, slots=True)
class _Case:
    """What a rule decides on."""

    profile: WorkloadProfile
    setting: Setting
    cpus: int

    @property
    def scheduling(self) -> SchedulingProfile | None:
        return self.profile.scheduling

    @property
    def name(self) -> str:
        return self.setting.path.rsplit("/", 1)[-1]

    @property
    def application(self) -> bool:
        """Whether a desktop started it for a person."""
        tail = "/".join(self.setting.path.rsplit("/", 3)[1:])
        return any(map(_APPLICATION.fullmatch, (self.name, tail)))

    @property
    def parallel(self) -> bool:
        return self.profile.workers >= _PARALLEL and self.profile.runnable >= _PARALLEL

    @property
    def little_run(self) -> bool:
        """Whether its threads do something else than run or wait for a CPU most of the time."""
        seen = self.scheduling
        return seen is not None and seen.run_share + seen.wait_share < _LITTLE_RUN * max(
            1, seen.tasks
        )


def classify(profile: WorkloadProfile, setting: Setting, cpus: int) -> Verdict:
    """The class of a workload on a machine with ``cpus`` CPUs; never raises."""
    case = _Case(profile, setting, max(1, cpus))
    found = next(filter(None, (rule(case) for rule in _RULES)), None)
    return found or _unknown(case)


def needs_scheduling(profile: WorkloadProfile, verdict: Verdict) -> bool:
    """Whether the scheduling tier has to be asked: the class is open, and something runs."""
    runs = profile.cpus_used >= _WORTH_ASKING_CPUS or profile.runnable >= _IDLE_RUNNABLE
    return profile.scheduling is None and not verdict.certain and runs


def needs_probes(profile: WorkloadProfile, verdict: Verdict) -> bool:
    """Whether the probes have to be asked: nothing is known of tasks that sleep and wake up."""
    seen = profile.scheduling
    if seen is None or verdict.work is not WorkloadClass.UNKNOWN:
        return False
    return seen.voluntary_per_s >= _WAKES_WORTH_ASKING


def _background(case: _Case) -> Verdict | None:
    setting = case.setting
    reasons = (
        (setting.idle, "cpu.idle is set"),
        (setting.policy == SCHED_IDLE, "its processes run under SCHED_IDLE"),
        (setting.nice >= _NICE_BACKGROUND, f"nice {setting.nice:.0f}"),
        (setting.weight <= _WEIGHT_BACKGROUND, f"cpu.weight {setting.weight}"),
        (_BACKGROUND_SLICE in setting.path, "it is in background.slice"),
    )
    reason = next((reason for holds, reason in reasons if holds), "")
    return Verdict(WorkloadClass.BACKGROUND, reason) if reason else None


def _idle(case: _Case) -> Verdict | None:
    profile = case.profile
    if not profile.processes:
        return Verdict(WorkloadClass.IDLE, "no process is left in it")
    if profile.cpus_used >= _IDLE_CPUS or profile.runnable >= _IDLE_RUNNABLE:
        return None
    return Verdict(WorkloadClass.IDLE, "hardly anything runs in it")


def _compilation(case: _Case) -> Verdict | None:
    """A build by the names of its programs."""
    profile = case.profile
    compilers = sum(one.processes for one in profile.programs if programs.compiles(one.name))
    driven = any(programs.builds(one.name) for one in profile.programs)
    known = compilers >= _COMPILERS_SEEN or programs.compiles(profile.worker_program)
    if not case.parallel or not (known or (driven and compilers)):
        return None
    rate = _rate(case)
    return Verdict(WorkloadClass.BUILD, f"compilers run in parallel{f', {rate}' if rate else ''}")


def _server(case: _Case) -> Verdict | None:
    profile = case.profile
    names = (profile.worker_program, *(one.name for one in profile.programs[:1]))
    server = next(filter(programs.serves, names), "")
    if server:
        return Verdict(WorkloadClass.LATENCY, f"{server} serves clients")
    # Many an application of a desktop listens as well, for its own parts or a debugger.
    if not profile.listeners or case.application:
        return None
    waits = "TCP socket waits" if profile.listeners == 1 else "TCP sockets wait"
    return Verdict(WorkloadClass.LATENCY, f"{profile.listeners} {waits} for clients")


def _frames(case: _Case) -> Verdict | None:
    seen = case.scheduling
    if seen is None or not 0 < seen.period_ms <= _FRAME_MS or seen.run_share < _FRAMES_RUN:
        return None
    return Verdict(
        WorkloadClass.FRAMES,
        f"it wakes up every {seen.period_ms:.1f} ms, {1000 / seen.period_ms:.0f} times a second",
    )


def _stream(case: _Case) -> Verdict | None:
    """A build by its short processes, whatever they are called."""
    seen = case.scheduling
    if seen is None or not case.parallel or seen.forks_per_s < _SHORT_FORKS:
        return None
    if not 0 < seen.lifetime_s <= _SHORT_LIFE_S:
        return None
    return Verdict(WorkloadClass.BUILD, _rate(case))


def _batch(case: _Case) -> Verdict | None:
    profile, cpus = case.profile, case.cpus
    jobs = profile.workers >= max(_BATCH_WORKERS, _BATCH_PER_CPU * cpus)
    single = profile.worker_threads <= max(_POOL_THREADS, cpus + _POOL_MARGIN)
    busy = profile.worker_share >= _BUSY_SHARE and profile.worker_age_s <= _BATCH_AGE_S
    if not (jobs and single and busy):
        return None
    reason = f"{profile.workers:.0f} processes want a CPU each on {_cpus(cpus)}"
    return Verdict(WorkloadClass.BATCH, reason, certain=profile.scheduling is not None)


def _requests(case: _Case) -> Verdict | None:
    """A service by its threads: more than there are CPUs, woken often and for a moment each."""
    profile = case.profile
    if profile.runnable <= _CROWDED_PER_CPU * case.cpus or profile.wakes_of_one < _WAKES_OF_ONE:
        return None
    if profile.worker_threads <= case.cpus + _POOL_MARGIN or _request_ms(case) >= _REQUEST_MS:
        return None
    return Verdict(
        WorkloadClass.LATENCY,
        f"{profile.runnable:.0f} threads queue for {_cpus(case.cpus)} "
        f"and wake up {profile.wakes_of_one:.0f} times a second each",
    )


def _request_ms(case: _Case) -> float:
    """CPU time from one sleep of a thread to its next one."""
    seen = case.scheduling
    return 1000 * seen.run_share / seen.voluntary_per_s if seen and seen.voluntary_per_s else 0.0


def _compute(case: _Case) -> Verdict | None:
    profile = case.profile
    if profile.runnable < max(_PARALLEL, _COMPUTE_PER_CPU * case.cpus):
        return None
    if profile.worker_share < _BUSY_SHARE:
        return None
    reason = f"{profile.runnable:.1f} threads are busy on {_cpus(case.cpus)}"
    return Verdict(WorkloadClass.COMPUTE, reason, certain=profile.scheduling is not None)


def _io(case: _Case) -> Verdict | None:
    seen = case.scheduling
    if seen is None or not case.little_run:
        return None
    if seen.blocked_io >= _IO_SHARE:
        return Verdict(WorkloadClass.IO, f"{seen.blocked_io:.0%} of its threads wait for storage")
    talks = seen.blocked_message >= _MESSAGE_SHARE and seen.voluntary_per_s >= _MESSAGE_WAKES
    if not talks or case.application:
        return None
    return Verdict(
        WorkloadClass.IO, f"{seen.blocked_message:.0%} of its threads wait for pipes and sockets"
    )


def _interactive(case: _Case) -> Verdict | None:
    profile = case.profile
    # What a closer look may find is frames, or a busy disk.
    certain = profile.scheduling is not None
    if case.application and profile.runnable < _CROWDED_PER_CPU * case.cpus:
        reason = "a desktop started it for a person"
        return Verdict(WorkloadClass.INTERACTIVE, reason, certain)
    if _SESSION.fullmatch(case.name) and profile.cpus_used < _SESSION_CPUS:
        reason = "a login session in which little runs"
        return Verdict(WorkloadClass.INTERACTIVE, reason, certain)
    return None


def _unknown(case: _Case) -> Verdict:
    profile = case.profile
    alone = _BUSY_SHARE <= profile.runnable < _PARALLEL
    reason = "one busy thread" if alone else "nothing about it stands out"
    return Verdict(WorkloadClass.UNKNOWN, reason, certain=profile.scheduling is not None)


_RULES: tuple[Callable[[_Case], Verdict | None], ...] = (
    _background,
    _idle,
    _compilation,
    _server,
    _frames,
    _stream,
    _batch,
    _requests,
    _compute,
    _io,
    _interactive,
)


def _rate(case: _Case) -> str:
    """How many processes begin in a second, where that was seen."""
    seen = case.scheduling
    if seen is None or seen.forks_per_s < 1:
        return ""
    return f"{seen.forks_per_s:.0f} short processes a second"


def _cpus(number: int) -> str:
    return "1 CPU" if number == 1 else f"{number} CPUs"
