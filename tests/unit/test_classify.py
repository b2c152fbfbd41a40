# SPDX-License-Identifier: GPL-2.0-or-later
"""The class of a workload: for each one what it looks like, and what only looks like it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.model import Program, SchedulingProfile, WorkloadClass, WorkloadProfile
from schedcpd.profile.classify import Setting, classify, needs_scheduling

UNIT = "/system.slice/job.service"
RUN = "/system.slice/run-u7.scope"
SESSION = "/user.slice/user-1000.slice/session-3.scope"
USER = "/user.slice/user-1000.slice/user@1000.service"
APP = f"{USER}/app.slice/app-gnome-firefox-1234.scope"


def a_profile(**changes: Any) -> WorkloadProfile:
    """One process that uses a twentieth of a CPU."""
    programs = changes.pop("programs", {"job": 1})
    values: dict[str, Any] = {
        "taken_at": 0.0, "window_s": 0.3, "processes": 1, "threads": 1, "runnable": 0.1,
        "cpus_used": 0.05, "throttled_s": 0.0, "pressure_some": 0.0, "youngest_s": 60.0,
        "oldest_s": 60.0, "workers": 0.1, "worker_share": 0.1, "worker_threads": 1.0,
        "worker_age_s": 60.0,
    }  # fmt: skip
    shown = tuple(Program(name, number) for name, number in programs.items())
    return WorkloadProfile(**{**values, **changes}, programs=shown)


def tasks(**changes: Any) -> SchedulingProfile:
    """One task that wakes up ten times a second."""
    values: dict[str, Any] = {
        "window_s": 0.5, "tasks": 1, "run_share": 0.05, "wait_share": 0.0, "mean_run_ms": 5.0,
        "mean_wait_ms": 0.0, "forks_per_s": 0.0, "exits_per_s": 0.0, "lifetime_s": 0.0,
        "voluntary_per_s": 10.0, "involuntary_per_s": 0.0, "blocked_io": 0.0, "blocked_lock": 0.0,
        "blocked_message": 0.0, "blocked_timer": 0.0, "period_ms": 0.0,
    }  # fmt: skip
    return SchedulingProfile(**{**values, **changes})


def jobs(number: float, program: str = "xz", **changes: Any) -> WorkloadProfile:
    """So many single-threaded processes that want a CPU all the time."""
    number = float(number)
    return a_profile(
        **{
            "processes": round(number) + 1,
            "threads": round(number) + 1,
            "runnable": number,
            "cpus_used": min(2.0, number),
            "pressure_some": 0.95,
            "workers": number,
            "worker_share": 1.0,
            "worker_age_s": 5.0,
            "worker_program": program,
            "programs": {program: round(number), "sh": 1},
            **changes,
        }
    )


def threads(number: float, busy: float, program: str = "solver", **changes: Any) -> WorkloadProfile:
    """One process with so many threads, of which some want a CPU."""
    busy = float(busy)
    return a_profile(
        **{
            "threads": round(number),
            "runnable": busy,
            "cpus_used": min(2.0, busy),
            "workers": 1.0,
            "worker_share": 1.0,
            "worker_threads": number,
            "worker_program": program,
            "programs": {program: 1},
            **changes,
        }
    )


COMPILERS = {"cc1": 8, "make": 2, "sh": 8, "as": 1}
QUIET_APP = a_profile(processes=9, threads=120, runnable=0.4, cpus_used=0.2, workers=0.4)
SLOW = {"run_share": 0.2, "wait_share": 0.02}


@dataclass(frozen=True)
class Case:
    name: str
    work: WorkloadClass
    profile: WorkloadProfile
    seen: SchedulingProfile | None = None
    path: str = UNIT
    asked: dict[str, Any] = field(default_factory=dict)
    cpus: int = 2

    @property
    def setting(self) -> Setting:
        return Setting(self.path, **self.asked)

    @property
    def whole(self) -> WorkloadProfile:
        return replace(self.profile, scheduling=self.seen)


W = WorkloadClass
CASES = (
    # Build
    Case("make", W.BUILD, jobs(9, "cc1", programs=COMPILERS)),
    Case("make, watched", W.BUILD, jobs(9, "cc1"), tasks(forks_per_s=40.0, lifetime_s=0.2)),
    Case("cargo", W.BUILD, jobs(4, "rustc", programs={"rustc": 4, "cargo": 1}, worker_threads=9.0)),
    Case("C++ in a container", W.BUILD, jobs(2.4, "cc1plus"), path="/docker/" + "a1" * 32),
    Case("ninja in a terminal", W.BUILD, jobs(8, "clang-19"), path=APP),
    Case(
        "compilers without a majority",
        W.BUILD,
        jobs(6, "", programs={"sh": 9, "cc1": 3, "ld": 1, "make": 4}),
    ),
    Case(
        "a test suite of short programs",
        W.BUILD,
        jobs(3, "t-unit"),
        tasks(forks_per_s=25.0, lifetime_s=0.15),
    ),
    Case("not a build: one file after the other", W.UNKNOWN, jobs(1, "cc1"), tasks()),
    Case("not a build: make runs long jobs", W.BATCH, jobs(8, programs={"xz": 8, "make": 1})),
    Case(
        "not a build: a language server",
        W.INTERACTIVE,
        threads(20, 1.2, "clangd", programs={"clangd": 1, "code": 9}),
        tasks(),
        path=APP,
    ),
    Case(
        "not a build: a shell script's short commands",
        W.UNKNOWN,
        jobs(1, "sed"),
        tasks(forks_per_s=150.0, lifetime_s=0.004),
    ),
    # Batch
    Case("forty compressions", W.BATCH, jobs(40)),
    Case("forty compressions, watched", W.BATCH, jobs(40), tasks(tasks=32, wait_share=28.0)),
    Case(
        "checksums by xargs", W.BATCH, jobs(6, "sha256sum", programs={"sha256sum": 6, "xargs": 1})
    ),
    Case("pipelines", W.BATCH, jobs(10, programs={"sh": 10, "tar": 10, "xz": 10})),
    Case("transcoding with small pools", W.BATCH, jobs(6, "ffmpeg", worker_threads=4.0)),
    Case("a batch on many CPUs", W.BATCH, jobs(200), cpus=64),
    Case(
        "jobs that began long ago, and end seldom",
        W.BATCH,
        jobs(12, worker_age_s=1800.0),
        tasks(exits_per_s=0.5, lifetime_s=900.0, forks_per_s=0.5),
    ),
    Case("not a batch: as many as CPUs", W.COMPUTE, jobs(64, "mpi"), tasks(), cpus=64),
    Case("not a batch: prefork workers", W.LATENCY, jobs(12, "php-fpm8.4")),
    Case("not a batch: workers that serve TCP", W.LATENCY, jobs(12, "server", listeners=1)),
    Case("not a batch: nice", W.BACKGROUND, jobs(40), asked={"nice": 19.0}),
    Case("not a batch: two jobs", W.COMPUTE, jobs(2), tasks()),
    # Latency
    Case("a web server", W.LATENCY, a_profile(listeners=2, cpus_used=0.4, runnable=0.5)),
    Case("a database", W.LATENCY, jobs(3, "postgres", worker_share=0.3)),
    Case("a busy JVM", W.LATENCY, threads(60, 8, "java", listeners=1)),
    Case("a server in a container", W.LATENCY, jobs(4, "gunicorn"), path="/docker/" + "b2" * 32),
    Case(
        "requests of a moment",
        W.LATENCY,
        threads(10, 8, "bench"),
        tasks(tasks=10, run_share=1.9, wait_share=6.0, voluntary_per_s=900.0),
    ),
    Case(
        "not requests: each computes for long",
        W.COMPUTE,
        threads(10, 8, "bench"),
        tasks(tasks=10, run_share=1.9, wait_share=6.0, voluntary_per_s=90.0),
    ),
    Case(
        "requests by messages",
        W.LATENCY,
        threads(34, 12, "queue", worker_share=0.8),
        tasks(tasks=32, voluntary_per_s=4000.0),
        cpus=4,
    ),
    Case("not latency: one listens, none comes", W.IDLE, a_profile(cpus_used=0.002, runnable=0.0)),
    Case(
        "not latency: an application that listens",
        W.INTERACTIVE,
        replace(QUIET_APP, listeners=3),
        tasks(),
        path=APP,
    ),
    Case("not latency: a build with a cache that listens", W.BUILD, jobs(6, "cc1", listeners=1)),
    Case(
        "not latency: more threads than CPUs that never sleep",
        W.COMPUTE,
        threads(10, 8),
        tasks(tasks=10, voluntary_per_s=1.0),
    ),
    # Interactive
    Case("a browser", W.INTERACTIVE, QUIET_APP, tasks(), path=APP),
    Case(
        "an office program by Flatpak",
        W.INTERACTIVE,
        QUIET_APP,
        path=f"{USER}/app.slice/app-flatpak-org.office.Writer-77.scope",
    ),
    Case("a snap", W.INTERACTIVE, QUIET_APP, path=f"{USER}/app.slice/snap.code.code-1.scope"),
    Case("an application by name", W.INTERACTIVE, QUIET_APP, path=f"{USER}/app.slice/mail.service"),
    Case("a login with an editor", W.INTERACTIVE, a_profile(programs={"vim": 1}), path=SESSION),
    Case(
        "a terminal",
        W.INTERACTIVE,
        a_profile(),
        path=f"{USER}/app.slice/vte-spawn-9b2f6c1e-0a7d-4f2e-8d3c-1b2a3c4d5e6f.scope",
    ),
    Case(
        "not interactive: a login that computes",
        W.UNKNOWN,
        jobs(1, "gzip"),
        tasks(run_share=1.0),
        path=SESSION,
    ),
    Case(
        "not interactive: a unit of systemd-run",
        W.UNKNOWN,
        a_profile(),
        tasks(),
        path=f"{USER}/app.slice/run-u12.service",
    ),
    Case("not interactive: an application at rest", W.IDLE, a_profile(cpus_used=0.001), path=APP),
    Case("not interactive: a build in an application", W.BUILD, jobs(8, "cc1"), path=APP),
    Case("not interactive: an application that computes", W.COMPUTE, threads(9, 8), path=APP),
    # Frames
    Case("a game", W.FRAMES, threads(30, 1.5, "game"), tasks(period_ms=16.67, run_share=0.9), APP),
    Case("a loop at 60 Hz", W.FRAMES, a_profile(cpus_used=0.2), tasks(period_ms=16.6)),
    Case("audio", W.FRAMES, a_profile(cpus_used=0.04), tasks(period_ms=5.33)),
    Case("video at 24 frames", W.FRAMES, threads(12, 0.6, "player"), tasks(period_ms=41.7)),
    Case(
        "virtual reality", W.FRAMES, a_profile(cpus_used=0.7, runnable=0.8), tasks(period_ms=11.1)
    ),
    Case(
        "frames beside the hogs of its own cgroup",
        W.FRAMES,
        jobs(3, "encoder"),
        tasks(tasks=4, period_ms=16.7, run_share=1.9),
    ),
    Case("not frames: too slow", W.UNKNOWN, a_profile(), tasks(period_ms=100.0)),
    Case("not frames: no clear period", W.UNKNOWN, a_profile(cpus_used=0.2), tasks()),
    Case(
        "not frames: hardly any work", W.UNKNOWN, a_profile(), tasks(period_ms=10, run_share=0.001)
    ),
    Case(
        "not frames: a server with a tick",
        W.LATENCY,
        a_profile(listeners=1),
        tasks(period_ms=20.0),
    ),
    # Compute
    Case("OpenMP", W.COMPUTE, threads(2, 2), tasks(tasks=2, voluntary_per_s=4.0)),
    Case("OpenMP with barriers", W.COMPUTE, threads(2, 1.9), tasks(voluntary_per_s=300.0)),
    Case("many CPUs", W.COMPUTE, threads(66, 60), tasks(), cpus=64),
    Case("MPI", W.COMPUTE, jobs(8, "mpi", worker_age_s=9000.0), tasks(), cpus=8),
    Case("long-lived and crowded", W.COMPUTE, jobs(8, "mpi", worker_age_s=9000.0), tasks()),
    Case("one CPU, two threads", W.COMPUTE, threads(2, 2), tasks(), cpus=1),
    Case("not computing: one busy thread", W.UNKNOWN, threads(1, 1), tasks(run_share=1.0)),
    Case("not computing: far fewer than CPUs", W.UNKNOWN, threads(5, 4), tasks(), cpus=64),
    Case(
        "not computing: threads that are hardly runnable",
        W.UNKNOWN,
        threads(16, 2.2, worker_share=0.3),
        tasks(tasks=16, run_share=1.0),
    ),
    # Input and output
    Case("a copy", W.IO, a_profile(cpus_used=0.2), tasks(blocked_io=0.9, **SLOW)),
    Case("a backup", W.IO, threads(16, 0.8), tasks(tasks=16, blocked_io=0.5, run_share=0.6)),
    Case("a scrub", W.IO, jobs(1, "find", cpus_used=0.3), tasks(blocked_io=1.0, **SLOW)),
    Case("a copy in a session", W.IO, a_profile(), tasks(blocked_io=0.8, **SLOW), path=SESSION),
    Case(
        "a transfer",
        W.IO,
        a_profile(cpus_used=0.2),
        tasks(blocked_message=0.9, voluntary_per_s=900.0, **SLOW),
    ),
    Case(
        "a synchronisation",
        W.IO,
        a_profile(processes=3, cpus_used=0.4),
        tasks(tasks=3, blocked_message=0.7, voluntary_per_s=300.0, run_share=0.4),
    ),
    Case(
        "not I/O: compression that reads",
        W.UNKNOWN,
        jobs(1),
        tasks(blocked_io=1.0, run_share=0.9),
    ),
    Case("not I/O: few of many", W.UNKNOWN, a_profile(), tasks(tasks=32, blocked_io=0.1)),
    Case(
        "not I/O: talks now and then",
        W.UNKNOWN,
        a_profile(),
        tasks(blocked_message=1.0, voluntary_per_s=5.0),
    ),
    # Background
    Case("cpu.idle", W.BACKGROUND, jobs(4), asked={"idle": True}),
    Case("SCHED_IDLE", W.BACKGROUND, threads(4, 4), asked={"policy": 5}),
    Case("nice 10", W.BACKGROUND, a_profile(), asked={"nice": 10.0}),
    Case("hardly any weight", W.BACKGROUND, jobs(9, "cc1"), asked={"weight": 1}),
    Case("background.slice", W.BACKGROUND, a_profile(), path=f"{USER}/background.slice/a.service"),
    Case("an indexer at rest", W.BACKGROUND, a_profile(cpus_used=0.0), asked={"nice": 19.0}),
    Case("not background: nice 5", W.BATCH, jobs(40), asked={"nice": 5.0}),
    Case("not background: half the weight", W.BATCH, jobs(40), asked={"weight": 50}),
    Case("not background: SCHED_BATCH", W.BATCH, jobs(40), asked={"policy": 3}),
    # Idle
    Case("nothing there", W.IDLE, a_profile(processes=0, threads=0, cpus_used=0.0, runnable=0.0)),
    Case("asleep", W.IDLE, a_profile(cpus_used=0.0, runnable=0.0)),
    Case("a daemon with a timer", W.IDLE, a_profile(cpus_used=0.004), tasks(period_ms=10.0)),
    Case("an idle JVM", W.IDLE, threads(40, 0.0, "java", cpus_used=0.008)),
    Case("an idle login", W.IDLE, a_profile(cpus_used=0.0), path=SESSION),
    Case("an idle application", W.IDLE, replace(QUIET_APP, cpus_used=0.005), path=APP),
    Case("not idle: a little work", W.UNKNOWN, a_profile(cpus_used=0.05), tasks()),
    Case("not idle: it waits for a CPU", W.UNKNOWN, jobs(1, cpus_used=0.0), tasks()),
    # Unknown
    Case("a sequential job", W.UNKNOWN, jobs(1, "gzip"), tasks(run_share=1.0)),
    Case("a script", W.UNKNOWN, jobs(1, "python3"), tasks(run_share=0.8)),
    Case("two programs that take turns", W.UNKNOWN, jobs(1.2), tasks(run_share=1.0)),
    Case("a service that does a little", W.UNKNOWN, a_profile(cpus_used=0.1), tasks()),
    Case("half a pool", W.UNKNOWN, threads(16, 8, worker_share=0.9), tasks(), cpus=16),
    Case("a timer job", W.UNKNOWN, a_profile(cpus_used=0.3, runnable=0.3), tasks(), path=RUN),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_class(case: Case) -> None:
    verdict = classify(case.whole, case.setting, case.cpus)
    assert verdict.work is case.work, verdict.sentence
    assert verdict.sentence.isprintable()


def test_each_class_has_its_cases() -> None:
    for work in WorkloadClass:
        assert len([case for case in CASES if case.work is work]) >= 6, work


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_small_noise_changes_nothing(case: Case) -> None:
    for seed in range(20):
        random = Random(seed)

        def shaken(value: Any, random: Random = random) -> Any:
            return value * random.uniform(0.97, 1.03) if isinstance(value, float) else value

        seen = case.seen and replace(case.seen, **_floats(case.seen, shaken))
        profile = replace(case.profile, **_floats(case.profile, shaken), scheduling=seen)
        assert classify(profile, case.setting, case.cpus).work is case.work


def _floats(value: Any, change: Any) -> dict[str, Any]:
    """The real numbers of a profile, each changed; one that a table rests on a bound stays."""
    kept = {"worker_threads", "period_ms"}
    names = [name for name in type(value).__slots__ if name not in kept]
    found = {name: getattr(value, name) for name in names}
    return {name: change(one) for name, one in found.items() if isinstance(one, float)}


def vars_of(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in type(value).__slots__}


FIGURES = [name for name, one in vars_of(tasks()).items() if isinstance(one, float)]


any_real = st.floats() | st.floats(0, 100)
any_count = st.integers(-(2**40), 2**40) | st.integers(0, 100)


@given(
    st.lists(any_real, min_size=13, max_size=13),
    st.lists(any_real, min_size=len(FIGURES), max_size=len(FIGURES)),
    any_count,
    st.text(max_size=300),
    st.booleans(),
)
def test_anything_has_a_class(
    reals: list[float], seen: list[float], number: int, text: str, watched: bool
) -> None:
    names = [name for name, one in vars_of(a_profile()).items() if isinstance(one, float)]
    changes: dict[str, Any] = dict(zip(names, reals, strict=False))
    counts = {"processes": number, "threads": number, "listeners": number}
    profile = a_profile(programs={text: number}, worker_program=text, **counts, **changes)
    if watched:
        profile = replace(profile, scheduling=tasks(**dict(zip(FIGURES, seen, strict=True))))
    verdict = classify(profile, Setting(text, number, watched, reals[0], number), number)
    assert verdict.work in WorkloadClass
    assert len(verdict.sentence) < 1000
    assert not needs_scheduling(replace(profile, scheduling=tasks()), verdict)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("make", False),  # compilers have names
        ("a web server", False),
        ("cpu.idle", False),
        ("asleep", False),
        ("forty compressions", True),  # or a stream of short ones
        ("an office program by Flatpak", True),  # or frames
        ("not interactive: an application that computes", True),
    ],
)
def test_a_closer_look_is_taken_only_where_it_tells_more(name: str, asked: bool) -> None:
    [case] = [case for case in CASES if case.name == name]
    verdict = classify(case.profile, case.setting, case.cpus)
    assert needs_scheduling(case.profile, verdict) is asked


def test_who_does_nothing_is_not_looked_at_closer() -> None:
    profile = a_profile(cpus_used=0.015, runnable=0.0)
    verdict = classify(profile, Setting(UNIT), 2)
    assert verdict.work is WorkloadClass.UNKNOWN
    assert not needs_scheduling(profile, verdict)


def test_the_sentence_gives_reason_and_goal() -> None:
    seen = tasks(forks_per_s=40.0, lifetime_s=0.2)
    profile = replace(jobs(9, "cc1", programs=COMPILERS), scheduling=seen)
    assert classify(profile, Setting(UNIT), 2).sentence == (
        "Parallel build, compilers run in parallel, 40 short processes a second, goal: makespan"
    )
    assert classify(jobs(1, "gzip"), Setting(UNIT), 2).sentence == (
        "Work of no known class, one busy thread"
    )
