# SPDX-License-Identifier: GPL-2.0-or-later
"""The built-in rules: a batch of many short CPU-bound processes gets scx_batch, nothing else.

A batch is judged by its workers, the processes with a runnable thread: a parent that waits for them
(make, xargs, a shell) may be as old as it likes, and neighbours that sleep do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from schedcpd.config import Thresholds
from schedcpd.model import Card, Objective, Plan, WorkloadProfile

BATCH_POLICY = "scx_batch"
_THROTTLED_SHARE = 0.2  # of the window; cpu.max then decides how fast the workload is
_POOL_MARGIN = 2  # threads that a pool of one a CPU has beside: a main thread, a timer
# Programs that serve clients with many processes, and often on sockets that cannot be seen from
# outside (not TCP, or in a container). Just started and under load they look like a batch.
SERVERS = (
    "php-fpm*", "apache2*", "httpd*", "nginx*", "lighttpd*", "postgres*", "mysqld*", "mariadbd*",
    "gunicorn*", "uwsgi*", "unicorn*", "puma*", "passenger*", "celery*", "haproxy*", "varnishd*",
    "squid*", "exim4*", "smtpd*", "dovecot*", "imap*", "spamd*", "named*", "smbd*", "nfsd*",
)  # fmt: skip


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


def plan(
    profile: WorkloadProfile,
    cpus: int,
    policies: Mapping[str, Card],
    thresholds: Thresholds | None = None,
) -> Plan:
    """What to do for the workload on a machine with ``cpus`` CPUs."""
    case = Case(profile, cpus, thresholds or Thresholds())
    for rule in _OBJECTIONS:
        objection = rule(case)
        if objection:
            return Plan(None, Objective.NONE, _sentence(objection))
    reason = _sentence(
        f"{_workers(profile)} keep {profile.runnable:.1f} threads runnable on {_cpus(cpus)}; "
        f"half of them are younger than {_age(profile.worker_age_s)}: a batch, makespan counts"
    )
    if BATCH_POLICY not in policies:
        return Plan(None, Objective.MAKESPAN, f"{reason}, but {BATCH_POLICY} is not installed")
    return Plan(BATCH_POLICY, Objective.MAKESPAN, reason)


def still_fits(profile: WorkloadProfile, cpus: int, thresholds: Thresholds | None = None) -> bool:
    """Whether a batch still has a queue to order; the caller waits for more than one answer.

    Nothing is asked of pressure or share of CPUs: the policy itself changes both.
    """
    case = Case(profile, cpus, thresholds or Thresholds())
    return (
        profile.runnable > case.limits.release_per_cpu * cpus
        and profile.worker_age_s <= case.limits.release_age_s
        and not _many_threads(case)
        and not _serves(case)
    )


# Each objection is the reason for leaving a workload alone, or an empty string.


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
    if any(fnmatchcase(program, server) for server in SERVERS):
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


# The plainest reason comes first: it is the one that people see.
_OBJECTIONS: tuple[Callable[[Case], str], ...] = (
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


def _workers(profile: WorkloadProfile) -> str:
    number = round(profile.workers)
    processes = "1 process" if number == 1 else f"{number} processes"
    return f"{processes}, mostly {profile.worker_program}," if profile.worker_program else processes


def _cpus(number: int) -> str:
    return "1 CPU" if number == 1 else f"{number} CPUs"


def _age(seconds: float) -> str:
    return f"{max(seconds, 1):.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
