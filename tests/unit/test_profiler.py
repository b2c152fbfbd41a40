# SPDX-License-Identifier: GPL-2.0-or-later
"""When a workload is looked at closer, and what its profile says then."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedcpd.errors import ProbeFailed, WorkloadGone
from schedcpd.model import Histogram, ProbesProfile, SleepReason, Tier, Workload, WorkloadClass
from schedcpd.profile.probes import ChildSettings, Prober
from schedcpd.profile.profiler import FRESH_S, PROBES_APART_S, Profiler
from schedcpd.profile.scheduling import STEPS
from schedcpd.profile.summary import Clocks
from unit.made_tasks import MadeTasks

SUMMARY_SLEEPS = 2


@pytest.fixture
def made(tmp_path: Path) -> MadeTasks:
    made = MadeTasks(tmp_path)
    used = 0.0

    def step(elapsed_s: float) -> None:
        nonlocal used
        used = elapsed_s
        made.count(round(used * 1.9e6))

    made.step = step
    return made


def profiler_of(made: MadeTasks, prober: Prober | None = None) -> Profiler:
    made.write()
    clocks = Clocks(lambda: 5000.0, lambda: made.now, lambda: made.now, 100)
    prober = prober or FakeProber(None)
    return Profiler(made.root / "cgroup", made.proc, 2, made.sleep, clocks, dict, prober)


def batch(made: MadeTasks, program: str = "xz") -> None:
    for pid in range(1, 13):
        made.add(pid, comm=program, state="R")


async def test_a_build_is_known_by_the_names_of_its_compilers(made: MadeTasks) -> None:
    batch(made, "cc1")
    profile = await profiler_of(made).profile(made.workload)
    assert profile.work is WorkloadClass.BUILD
    assert profile.scheduling is None
    assert made.sleeps == SUMMARY_SLEEPS
    assert profile.sentence.startswith(
        "Parallel build, compilers run in parallel, goal: makespan; "
    )
    assert "12 processes (12 cc1)" in profile.sentence


async def test_a_batch_is_looked_at_closer(made: MadeTasks) -> None:
    batch(made)
    profile = await profiler_of(made).profile(made.workload)
    assert profile.work is WorkloadClass.BATCH
    assert profile.scheduling is not None
    assert profile.scheduling.tasks == 12
    assert made.sleeps == SUMMARY_SLEEPS + STEPS
    assert profile.command == "xz -j 2"


async def test_how_long_the_jobs_of_a_batch_are_expected_to_run(made: MadeTasks) -> None:
    """Asked at each look: it changes with every job that begins or ends."""
    batch(made)
    profiler = profiler_of(made)
    asked: list[Workload] = []
    known = [200_000_000] * 5 + [123_456_789, 4_800_000_000]

    def expected(workload: Workload) -> list[int]:
        asked.append(workload)
        return known

    profiler.expected = expected
    seen = (await profiler.profile(made.workload)).scheduling
    assert seen is not None
    assert (seen.expected_s, seen.longest_s) == (0.2, 4.8)
    del known[1:5]
    again = (await profiler.profile(made.workload)).scheduling
    assert again is not None
    assert (again.expected_s, again.longest_s) == (0.2, 4.8)
    known.clear()
    last = await profiler.profile(made.workload)
    assert last.scheduling is not None
    assert (last.scheduling.expected_s, last.scheduling.longest_s, last.skew) == (0.0, 0.0, 0.0)
    assert len(asked) == 3
    await profiler.profile(made.workload, Tier.SUMMARY)
    batch(made, "cc1")
    await profiler.profile(made.workload, Tier.SCHEDULING)
    assert len(asked) == 3


async def test_a_tier_that_is_asked_for_is_what_is_looked_at(made: MadeTasks) -> None:
    batch(made)
    profiler = profiler_of(made)
    summary = await profiler.profile(made.workload, Tier.SUMMARY)
    assert summary.scheduling is None
    assert made.sleeps == SUMMARY_SLEEPS
    assert (await profiler.profile(made.workload, Tier.SCHEDULING)).scheduling is not None


async def test_a_build_is_looked_at_closer_when_asked(made: MadeTasks) -> None:
    batch(made, "cc1")
    profile = await profiler_of(made).profile(made.workload, Tier.SCHEDULING)
    assert profile.work is WorkloadClass.BUILD
    assert profile.scheduling is not None
    assert profile.scheduling.tasks == 12


async def test_the_closer_look_may_change_the_class(made: MadeTasks) -> None:
    batch(made, "t-unit")
    count = made.step

    def step(elapsed_s: float) -> None:
        count(elapsed_s)
        new = made.sleeps + 12
        made.add(new, comm="t-unit", state="R")
        made.end(new - 12)

    made.step = step
    profile = await profiler_of(made).profile(made.workload)
    assert profile.work is WorkloadClass.BUILD
    assert "40 short processes a second" in profile.sentence


async def test_what_was_seen_holds_for_a_while(made: MadeTasks) -> None:
    batch(made)
    profiler = profiler_of(made)
    first = await profiler.profile(made.workload)
    again = await profiler.profile(made.workload)
    assert again.scheduling is first.scheduling
    assert again.work is WorkloadClass.BATCH
    assert made.sleeps == 2 * SUMMARY_SLEEPS + STEPS
    made.now += FRESH_S
    late = await profiler.profile(made.workload)
    assert late.scheduling is not None
    assert late.scheduling is not first.scheduling


async def test_other_programs_are_looked_at_anew(made: MadeTasks) -> None:
    batch(made)
    profiler = profiler_of(made)
    first = await profiler.profile(made.workload)
    batch(made, "gzip")
    made.write()
    other = await profiler.profile(made.workload)
    assert other.worker_program == "gzip"
    assert other.scheduling is not first.scheduling
    assert (await profiler.profile(made.workload)).scheduling is other.scheduling


async def test_what_the_cgroup_asks_for(made: MadeTasks) -> None:
    batch(made)
    (made.place / "cpu.idle").write_text("1\n")
    profile = await profiler_of(made).profile(made.workload)
    assert profile.work is WorkloadClass.BACKGROUND
    assert profile.scheduling is None


async def test_limits_that_make_no_sense_ask_for_nothing(made: MadeTasks) -> None:
    batch(made)
    (made.place / "cpu.weight").write_text("heavy\n")
    assert (await profiler_of(made).profile(made.workload)).work is WorkloadClass.BATCH


async def test_nothing_is_left(made: MadeTasks) -> None:
    profile = await profiler_of(made).profile(made.workload)
    assert profile.work is WorkloadClass.IDLE
    assert profile.sentence == "Idle, no process is left in it"


async def test_a_workload_that_ended(made: MadeTasks) -> None:
    workload = made.workload
    for file in made.place.iterdir():
        file.unlink()
    made.place.rmdir()
    profiler = Profiler(made.root / "cgroup", made.proc, 2, made.sleep, listeners=dict)
    with pytest.raises(WorkloadGone):
        await profiler.profile(workload)


class FakeProber(Prober):
    """Finds what a test wants, and counts how often it was asked."""

    def __init__(self, reason: SleepReason | None) -> None:
        super().__init__(ChildSettings())
        self.reason = reason
        self.asked = 0
        self.idle = True

    @property
    def free(self) -> bool:
        return self.idle

    async def probe(self, workload: Workload, duration_s: float = 1.0) -> ProbesProfile:
        self.asked += 1
        if self.reason is None:
            raise ProbeFailed(workload.id, "the kernel is too old")
        return ProbesProfile(1.0, 1, off_cpu={self.reason: Histogram((), 0.0, 1.0)})


def talker(made: MadeTasks, program: str = "relay") -> None:
    """One process that runs little and sleeps often: for what, only the probe knows."""
    made.add(1, comm=program, state="R")
    task = made.tasks[1]

    def step(elapsed_s: float) -> None:
        made.count(round(elapsed_s * 0.2e6))
        task.run_ns = round(elapsed_s * 0.2e9)
        task.voluntary = round((10 * elapsed_s) ** 3)  # at regular times it would be frames

    made.step = step


async def test_who_sleeps_for_nobody_knows_what_is_probed(made: MadeTasks) -> None:
    talker(made)
    prober = FakeProber(SleepReason.MESSAGE)
    profile = await profiler_of(made, prober).profile(made.workload)
    assert (profile.work, prober.asked) == (WorkloadClass.IO, 1)
    assert profile.probes is not None
    assert profile.scheduling is not None
    assert profile.scheduling.blocked_message == 1.0
    assert "100% of its threads wait for pipes and sockets" in profile.sentence


async def test_no_probe_where_the_class_is_known(made: MadeTasks) -> None:
    batch(made)
    prober = FakeProber(SleepReason.MESSAGE)
    profile = await profiler_of(made, prober).profile(made.workload)
    assert (profile.work, profile.probes, prober.asked) == (WorkloadClass.BATCH, None, 0)


async def test_no_probe_where_nothing_ever_sleeps(made: MadeTasks) -> None:
    made.add(1, comm="loop", state="R")
    prober = FakeProber(SleepReason.MESSAGE)
    profile = await profiler_of(made, prober).profile(made.workload)
    assert (profile.work, prober.asked) == (WorkloadClass.UNKNOWN, 0)


@pytest.mark.parametrize("reason", [SleepReason.MESSAGE, SleepReason.OTHER, None])
async def test_a_probe_holds_for_long(made: MadeTasks, reason: SleepReason | None) -> None:
    talker(made)
    prober = FakeProber(reason)
    profiler = profiler_of(made, prober)
    first = await profiler.profile(made.workload)
    for _ in range(3):
        made.now += FRESH_S
        again = await profiler.profile(made.workload)
        assert (again.work, again.probes) == (first.work, first.probes)
    assert prober.asked == 1
    made.now += PROBES_APART_S
    await profiler.profile(made.workload)
    assert prober.asked == 2


async def test_of_other_programs_nothing_is_known_and_nobody_asked_again(made: MadeTasks) -> None:
    talker(made)
    prober = FakeProber(SleepReason.MESSAGE)
    profiler = profiler_of(made, prober)
    await profiler.profile(made.workload)
    talker(made, "other")
    made.write()
    made.now += FRESH_S
    profile = await profiler.profile(made.workload)
    assert (profile.probes, prober.asked) == (None, 1)


async def test_not_while_another_probe_runs(made: MadeTasks) -> None:
    talker(made)
    prober = FakeProber(SleepReason.MESSAGE)
    profiler = profiler_of(made, prober)
    prober.idle = False
    assert (await profiler.profile(made.workload)).work is WorkloadClass.UNKNOWN
    prober.idle = True
    assert (await profiler.profile(made.workload)).work is WorkloadClass.IO


async def test_a_person_gets_a_probe_each_time(made: MadeTasks) -> None:
    batch(made)
    prober = FakeProber(SleepReason.LOCK)
    profiler = profiler_of(made, prober)
    for _ in range(2):
        profile = await profiler.profile(made.workload, Tier.PROBES)
        assert profile.scheduling is not None
        assert profile.scheduling.blocked_lock == 1.0
    assert prober.asked == 2
    prober.reason = None
    with pytest.raises(ProbeFailed):
        await profiler.profile(made.workload, Tier.PROBES)
