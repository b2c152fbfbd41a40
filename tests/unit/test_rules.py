# SPDX-License-Identifier: GPL-2.0-or-later
"""The built-in rules: what is a batch, and above all what is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.config import Thresholds
from schedcpd.model import Objective, Plan, Policy, Program, WorkloadClass, WorkloadProfile
from schedcpd.plan import planner
from schedcpd.plan.planner import Situation
from schedcpd.plan.rules import Case, objection, still_fits
from unit.fakes import make_policy
from unit.test_classify import tasks

POLICIES = {name: make_policy(name) for name in ("scx_batch", "scx_fair")}
CPUS = 2

BATCH = WorkloadProfile(
    taken_at=0.0,
    window_s=0.3,
    processes=41,
    threads=41,
    runnable=38.2,
    cpus_used=1.97,
    throttled_s=0.0,
    pressure_some=0.99,
    youngest_s=0.0,
    oldest_s=7200.0,  # the shell that started it
    programs=(Program("xz", 40), Program("bash", 1)),
    workers=38.0,
    worker_share=0.97,
    worker_threads=1.0,
    worker_age_s=3.2,
    worker_program="xz",
)


def profile(**changes: Any) -> WorkloadProfile:
    return replace(BATCH, **changes)


def plan(
    seen: WorkloadProfile,
    cpus: int,
    policies: dict[str, Policy],
    thresholds: Thresholds | None = None,
) -> Plan:
    """What is planned where nothing is known but the cards."""
    thresholds = thresholds or Thresholds()
    return planner.plan(Situation("xz", seen, cpus, policies, thresholds=thresholds))


def test_a_batch_gets_the_policy() -> None:
    decided = plan(BATCH, CPUS, POLICIES)
    assert decided.policy == "scx_batch"
    assert decided.objective is Objective.MAKESPAN
    assert decided.parameters == {}
    assert decided.reason == (
        "38 processes, mostly xz, keep 38.2 threads runnable on 2 CPUs; "
        "half of them are younger than 3 s: a batch, makespan counts"
    )


BATCHES = {
    "40 pipelines of three processes": {"processes": 120, "threads": 120, "worker_share": 0.82},
    "xz with threads": {"threads": 108, "runnable": 80.0, "worker_threads": 2.7},
    "jobs that die in the window": {"worker_age_s": 0.1, "worker_share": 0.75},
    "two programs in equal parts": {"worker_program": ""},
    "some read from a disk": {"runnable": 24.0, "workers": 24.0, "worker_share": 0.6},
    "half of the machine is taken by others": {"cpus_used": 0.9},
    "just enough of them": {"runnable": 6.0, "workers": 6.0},
}


@pytest.mark.parametrize("changes", BATCHES.values(), ids=BATCHES)
def test_batches(changes: dict[str, Any]) -> None:
    decided = plan(profile(**changes), CPUS, POLICIES)
    assert decided.policy == "scx_batch", decided.reason
    assert still_fits(profile(**changes), CPUS)


# Each with the words of the reason that must be given.
NO_BATCHES: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({"processes": 0}, "no process"),
    "sleepers": (
        {"runnable": 0.0, "workers": 0.0, "cpus_used": 0.0, "pressure_some": 0.0},
        "0.0 threads are runnable on 2 CPUs: a queue worth ordering would have 6 or more",
    ),
    "a shell loop": ({"runnable": 1.2, "workers": 1.2}, "1.2 threads are runnable"),
    "make -j2 on two CPUs": ({"runnable": 2.4, "workers": 2.4}, "2.4 threads are runnable"),
    "a java server": (
        {"processes": 1, "threads": 300, "runnable": 40.0, "workers": 1.0, "worker_threads": 300.0},
        "multi-threaded",
    ),
    "a few programs with a pool each": (
        {"threads": 16, "runnable": 12.0, "workers": 4.0, "worker_threads": 4.0},
        "4 processes, mostly xz, keep 12.0 threads runnable: a batch would have 6",
    ),
    "a browser that starts": (
        {"threads": 400, "runnable": 20.0, "workers": 14.0, "worker_threads": 25.0},
        "multi-threaded",
    ),
    "a server that forks ahead": ({"worker_age_s": 86_400.0}, "older than 1440 min"),
    "a server just started": ({"listeners": 1}, "1 TCP socket waits for clients"),
    "one with two addresses": ({"listeners": 2}, "2 TCP sockets wait for clients"),
    "one on a socket of its own": ({"worker_program": "php-fpm8.4"}, "php-fpm8.4 serves"),
    "workers that wait for requests": ({"worker_share": 0.4}, "runnable 40% of the time"),
    "a limit": ({"throttled_s": 0.2}, "cpu.max throttled it for 0.20 s in 0.30 s"),
    "CPUs enough": ({"pressure_some": 0.2}, "waits for a CPU 20% of the time"),
    "others have the CPUs": ({"cpus_used": 0.1}, "0.10 of 2 CPUs"),
}


@pytest.mark.parametrize(("changes", "words"), NO_BATCHES.values(), ids=NO_BATCHES)
def test_all_else_is_left_alone(changes: dict[str, Any], words: str) -> None:
    decided = plan(profile(**changes), CPUS, POLICIES)
    assert decided.policy is None
    assert decided.objective is Objective.NONE
    assert words.lower() in decided.reason.lower()


CROWD = {"work": WorkloadClass.COMPUTE, "runnable": 3.0, "workers": 1.0, "worker_threads": 8.0}


@pytest.mark.parametrize(
    ("wakes", "changes", "words"),
    [
        (3.0, {}, ""),
        (2.0, {}, "hardly ever wait for one another"),
        (3.0, {"runnable": 2.9}, "2.9 threads are runnable on 2 CPUs: about one for each CPU"),
    ],
)
def test_computing_is_planned_for_where_threads_wake_one_another(
    wakes: float, changes: dict[str, Any], words: str
) -> None:
    seen = tasks(tasks=3, voluntary_per_s=wakes)
    case = Case(replace(BATCH, **{**CROWD, **changes}, scheduling=seen), CPUS, Thresholds())
    found = objection(WorkloadClass.COMPUTE, case)
    assert words in found if words else not found


@pytest.mark.parametrize(("age_s", "words"), [(29.9, "only begun"), (30.0, "")])
def test_a_session_that_begins_is_no_reason_to_change_the_scheduler(
    age_s: float, words: str
) -> None:
    seen = replace(BATCH, work=WorkloadClass.INTERACTIVE, oldest_s=age_s)
    found = objection(WorkloadClass.INTERACTIVE, Case(seen, CPUS, Thresholds()))
    assert words in found if words else not found


def test_what_is_a_queue_depends_on_the_cpus() -> None:
    assert plan(BATCH, 12, POLICIES).policy == "scx_batch"
    decided = plan(BATCH, 16, POLICIES)
    assert decided.policy is None
    assert "on 16 CPUs: a queue worth ordering would have 48 or more" in decided.reason
    assert "on 1 CPU;" in plan(BATCH, 1, POLICIES).reason


def test_a_pool_of_one_thread_a_cpu_is_no_server() -> None:
    many = profile(runnable=600.0, workers=40.0, worker_threads=17.0, threads=680, cpus_used=16.0)
    assert plan(many, 16, POLICIES).policy == "scx_batch"
    assert plan(many, 4, POLICIES).policy is None


def test_a_policy_that_is_not_installed() -> None:
    decided = plan(BATCH, CPUS, {"scx_fair": POLICIES["scx_fair"]})
    assert decided.policy is None
    assert decided.objective is Objective.MAKESPAN
    words = "makespan counts, but no installed policy is known to do better"
    assert decided.reason.endswith(words)


@pytest.mark.parametrize(
    ("thresholds", "changes"),
    [
        (Thresholds(runnable_per_cpu=20.0), {}),
        (Thresholds(min_runnable=39), {}),
        (Thresholds(max_age_s=3.0), {}),
        (Thresholds(min_share=0.98), {}),
        (Thresholds(min_pressure=1.0), {}),
        (Thresholds(min_cpu_share=0.99), {}),
        (Thresholds(max_threads=1), {"worker_threads": 4.5}),
    ],
)
def test_every_threshold_counts(thresholds: Thresholds, changes: dict[str, Any]) -> None:
    assert plan(profile(**changes), CPUS, POLICIES, thresholds).policy is None


def test_a_batch_that_ran_dry_no_longer_fits() -> None:
    assert still_fits(BATCH, CPUS)
    assert still_fits(profile(runnable=3.0), CPUS)  # fewer than it takes to begin: no flapping
    assert not still_fits(profile(runnable=2.0), CPUS)
    assert not still_fits(profile(runnable=1.0, processes=1), CPUS)
    assert not still_fits(profile(processes=0, runnable=0.0, workers=0.0), CPUS)


def test_what_the_policy_itself_changes_is_no_reason_to_let_go() -> None:
    assert still_fits(profile(pressure_some=0.1, cpus_used=0.05, worker_share=0.2), CPUS)
    assert still_fits(profile(worker_age_s=900.0), CPUS)


def test_what_turns_out_to_be_a_server_no_longer_fits() -> None:
    assert not still_fits(profile(worker_age_s=4000.0), CPUS)
    assert not still_fits(profile(listeners=1), CPUS)
    assert not still_fits(profile(worker_threads=50.0), CPUS)


def test_a_crowd_of_threads_may_be_a_service_at_times() -> None:
    for work in (WorkloadClass.COMPUTE, WorkloadClass.LATENCY):
        for seen in (WorkloadClass.COMPUTE, WorkloadClass.LATENCY):
            assert still_fits(profile(work=seen), CPUS, work=work)
        assert not still_fits(profile(work=WorkloadClass.IO), CPUS, work=work)
    assert not still_fits(profile(work=WorkloadClass.COMPUTE), CPUS, work=WorkloadClass.IO)


def test_a_service_fits_while_it_is_one() -> None:
    seen = profile(work=WorkloadClass.LATENCY, listeners=1, runnable=0.5)
    assert still_fits(seen, CPUS, work=WorkloadClass.LATENCY)
    assert not still_fits(seen, CPUS), "a batch it is not"
    unclear = replace(seen, work=WorkloadClass.UNKNOWN)
    assert still_fits(unclear, CPUS, work=WorkloadClass.LATENCY)
    other = replace(seen, work=WorkloadClass.IDLE)
    assert not still_fits(other, CPUS, work=WorkloadClass.LATENCY)
    assert not still_fits(replace(seen, processes=0), CPUS, work=WorkloadClass.LATENCY)


finite = st.floats(0, 1e6)


@given(
    st.builds(
        WorkloadProfile,
        taken_at=finite,
        window_s=st.floats(1e-3, 100),
        processes=st.integers(0, 10**6),
        threads=st.integers(0, 10**6),
        runnable=finite,
        cpus_used=finite,
        throttled_s=finite,
        pressure_some=st.floats(0, 1),
        youngest_s=finite,
        oldest_s=finite,
        workers=finite,
        worker_share=st.floats(0, 1),
        worker_threads=finite,
        worker_age_s=finite,
        listeners=st.integers(0, 10),
        work=st.sampled_from(WorkloadClass),
    ),
    st.integers(1, 1024),
)
def test_every_profile_has_one_sentence(seen: WorkloadProfile, cpus: int) -> None:
    decided = plan(seen, cpus, POLICIES)
    assert decided.reason.isprintable()
    assert decided.reason[0] == decided.reason[0].upper()
    if decided.policy is not None:
        # What is attached for a workload is not let go at the next look at the same workload.
        assert still_fits(seen, cpus)
        assert still_fits(seen, cpus, work=decided.work)
