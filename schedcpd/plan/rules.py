# SPDX-License-Identifier: GPL-2.0-or-later
"""The conditions under which a workload is planned for as one of a class.

A batch, and a build, is judged by its workers, the processes with a runnable thread: a parent that
waits for them (make, xargs, a shell) may be as old as it likes, and neighbours that sleep do not
count. The other classes are what the profile says, where there is something to gain at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from schedcpd.config import Thresholds
from schedcpd.model import WorkloadClass, WorkloadProfile
from schedcpd.programs import serves

NOUNS: Mapping[WorkloadClass, str] = {
    WorkloadClass.BUILD: "a parallel build",
    WorkloadClass.BATCH: "a batch",
    WorkloadClass.LATENCY: "a service",
    WorkloadClass.INTERACTIVE: "an interactive application",
    WorkloadClass.FRAMES: "periodic frames",
    WorkloadClass.COMPUTE: "parallel computing",
    WorkloadClass.IO: "work that waits for storage or the network",
    WorkloadClass.BACKGROUND: "background work",
}
_QUIET_SHARE = 0.05  # of the window: whose threads wait less for CPUs has nothing to gain
_THROTTLED_SHARE = 0.2  # of the window; cpu.max then decides how fast the workload is
_CROWDED_PER_CPU = 1.5  # busy threads that queue for CPUs
_LEAST_WAKES = 1.0  # a second, of a thread that works for others
_SETTLED_S = 30.0  # a session that begins is busy for a while
_UNEVEN = 2.0  # times as long as a usual job: worth knowing which one that is
_POOL_MARGIN = 2  # threads that a pool of one a CPU has beside: a main thread, a timer
# A policy changes how much a thread gets done before it sleeps, which tells one from the other.
_CROWDS = (WorkloadClass.COMPUTE, WorkloadClass.LATENCY)


@dataclass(frozen=True, slots=True)
class Case:
    """What a rule decides on."""

    profile: WorkloadProfile
    cpus: int
    limits: Thresholds

    @property
    def crowd(self) -> float:
        """How many runnable threads make a queue that is worth ordering."""
        return max(self.limits.min_runnable, self.limits.runnable_per_cpu * self.cpus)

    @property
    def thread_limit(self) -> int:
        """Threads that a process of a batch may have."""
        return max(self.limits.max_threads, self.cpus + _POOL_MARGIN)


def classes(case: Case) -> tuple[WorkloadClass, ...]:
    """As what the workload may be planned for, what its profile says first; often as nothing.

    A batch is one by its figures alone, whatever else it looks like.
    """
    looked_at = dict.fromkeys((case.profile.work, WorkloadClass.BATCH))
    return tuple(work for work in looked_at if not objection(work, case))


def objection(work: WorkloadClass, case: Case) -> str:
    """Why the workload is not to be planned for as one of that class, or an empty string."""
    alike = work in NOUNS and case.profile.work is work
    if work is not WorkloadClass.BATCH and not alike:
        return f"it does not look like {NOUNS.get(work, 'work that any policy is for')}"
    return next(filter(None, (rule(case) for rule in _CONDITIONS.get(work, _USUAL))), "")


def uneven(profile: WorkloadProfile) -> bool:
    """Whether it matters in which order the jobs of a batch run, and that order is known."""
    return profile.skew >= _UNEVEN


def describe(work: WorkloadClass, case: Case) -> str:
    """What the workload does and is, as one of that class; a clause for a person."""
    profile = case.profile
    does = f"{_workers(profile)} keep {profile.runnable:.1f} threads runnable on {_cpus(case.cpus)}"
    if work is WorkloadClass.BATCH:
        does = f"{does}; half of them are younger than {_age(profile.worker_age_s)}"
        if uneven(profile):
            times = f"{profile.skew:.0f} times as long as a usual one"
            does = f"{does}; the longest is expected to take {times}"
    return f"{does}: {NOUNS[work]}"


def still_fits(
    profile: WorkloadProfile,
    cpus: int,
    thresholds: Thresholds | None = None,
    work: WorkloadClass = WorkloadClass.UNKNOWN,
) -> bool:
    """Whether a workload is still one of the class that it was planned for, a batch if unknown.

    Nothing is asked of pressure or share of CPUs: the policy itself changes both. The caller waits
    for more than one answer.
    """
    if work not in (WorkloadClass.UNKNOWN, WorkloadClass.BATCH, WorkloadClass.BUILD):
        alike = _CROWDS if work in _CROWDS else (work,)
        # One look that tells nothing is no other class.
        return bool(profile.processes) and profile.work in (*alike, WorkloadClass.UNKNOWN)
    case = Case(profile, cpus, thresholds or Thresholds())
    return (
        profile.runnable > case.limits.release_per_cpu * cpus
        and profile.worker_age_s <= case.limits.release_age_s
        and not _many_threads(case)
        and not _serves(case)
    )


# Each rule gives the reason for leaving a workload alone, or an empty string.


def _empty(case: Case) -> str:
    return "" if case.profile.processes else "no process is left in it"


def _few_runnable(case: Case) -> str:
    runnable = case.profile.runnable
    if runnable >= case.crowd:
        return ""
    return (
        f"{runnable:.1f} threads are runnable on {_cpus(case.cpus)}: "
        f"a queue worth ordering would have {case.crowd:g} or more"
    )


def _many_threads(case: Case) -> str:
    profile = case.profile
    a_worker = profile.runnable / profile.workers if profile.workers else 0.0
    if profile.worker_threads <= case.thread_limit and a_worker <= case.thread_limit:
        return ""
    return (
        f"{_workers(profile)} with {profile.worker_threads:.1f} threads each keep "
        f"{profile.runnable:.1f} threads runnable: a multi-threaded program, not a batch"
    )


def _few_workers(case: Case) -> str:
    if case.profile.workers >= case.limits.min_runnable:
        return ""
    return (
        f"{_workers(case.profile)} keep {case.profile.runnable:.1f} threads runnable: "
        f"a batch would have {case.limits.min_runnable} working processes or more"
    )


def _serves(case: Case) -> str:
    program = case.profile.worker_program
    if serves(program):
        return f"{program} serves clients: latency counts"
    number = case.profile.listeners
    if not number:
        return ""
    waits = "TCP socket waits" if number == 1 else "TCP sockets wait"
    return f"{number} {waits} for clients: a server, latency counts"


def _old(case: Case) -> str:
    if case.profile.worker_age_s <= case.limits.max_age_s:
        return ""
    return (
        f"half of its working processes are older than {_age(case.profile.worker_age_s)}; "
        f"a batch's would be younger than {_age(case.limits.max_age_s)}: long-lived, not short jobs"
    )


def _waits_elsewhere(case: Case) -> str:
    if case.profile.worker_share >= case.limits.min_share:
        return ""
    return (
        f"its working processes are runnable {case.profile.worker_share:.0%} of the time: "
        "they wait for something else than a CPU"
    )


def _throttled(case: Case) -> str:
    profile = case.profile
    if profile.throttled_s <= _THROTTLED_SHARE * profile.window_s:
        return ""
    return (
        f"cpu.max throttled it for {profile.throttled_s:.2f} s in {profile.window_s:.2f} s: "
        "its limit holds it up, not the order of its tasks"
    )


def _unpressed(case: Case) -> str:
    if case.profile.pressure_some >= case.limits.min_pressure:
        return ""
    return (
        f"some thread waits for a CPU {case.profile.pressure_some:.0%} of the time: "
        "there are CPUs enough"
    )


def _starved(case: Case) -> str:
    share = case.profile.cpus_used / case.cpus
    if share >= case.limits.min_cpu_share:
        return ""
    return (
        f"it gets {case.profile.cpus_used:.2f} of {_cpus(case.cpus)}: "
        "others hold it up, not the order of its tasks"
    )


def _uncrowded(case: Case) -> str:
    runnable = case.profile.runnable
    if runnable >= _CROWDED_PER_CPU * case.cpus:
        return ""
    return f"{runnable:.1f} threads are runnable on {_cpus(case.cpus)}: about one for each CPU"


def _undisturbed(case: Case) -> str:
    """Only threads that are woken are cut short by one another."""
    if case.profile.wakes_of_one >= _LEAST_WAKES:
        return ""
    return "its threads hardly ever wait for one another: the order of their turns changes little"


def _quiet(case: Case) -> str:
    if case.profile.pressure_some >= _QUIET_SHARE:
        return ""
    return (
        f"some thread waits for a CPU {case.profile.pressure_some:.0%} of the time: "
        "there is nothing to gain"
    )


def _begins(case: Case) -> str:
    if case.profile.oldest_s >= _SETTLED_S:
        return ""
    return "it has only begun: what it does now it will not go on doing"


_Rules = tuple[Callable[[Case], str], ...]
# The plainest reason comes first: it is the one that people see.
_BATCH: _Rules = (
    _empty,
    _few_runnable,
    _many_threads,
    _few_workers,
    _serves,
    _old,
    _waits_elsewhere,
    _throttled,
    _unpressed,
    _starved,
)
_USUAL: _Rules = (_empty, _throttled, _quiet)
_COMPUTE: _Rules = (*_USUAL, _uncrowded, _undisturbed)
# A build is a batch with a parent that starts it: what keeps servers out of one keeps them out of
# the other.
_CONDITIONS: Mapping[WorkloadClass, _Rules] = {
    WorkloadClass.BATCH: _BATCH,
    WorkloadClass.BUILD: _BATCH,
    WorkloadClass.INTERACTIVE: (*_USUAL, _begins),
    WorkloadClass.COMPUTE: _COMPUTE,
}


def _workers(profile: WorkloadProfile) -> str:
    number = round(profile.workers)
    processes = "1 process" if number == 1 else f"{number} processes"
    return f"{processes}, mostly {profile.worker_program}," if profile.worker_program else processes


def _cpus(number: int) -> str:
    return "1 CPU" if number == 1 else f"{number} CPUs"


def _age(seconds: float) -> str:
    return f"{max(seconds, 1):.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
