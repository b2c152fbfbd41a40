# SPDX-License-Identifier: GPL-2.0-or-later
"""The probes tier: what its child says, and the profile that it makes."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from schedcpd.errors import ProbeFailed
from schedcpd.kernel.workload import parse, report
from schedcpd.model import (
    Histogram,
    ProbesProfile,
    SchedulingProfile,
    SleepReason,
    SystemCall,
    Waker,
    WakerKind,
    Workload,
    WorkloadKind,
)
from schedcpd.profile.probes import MOST_S, ChildSettings, Prober, describe, with_probes
from unit import made_report

FAKE = (sys.executable, "-I", str(Path(__file__).with_name("fake_measure_child.py")))
REAL = (sys.executable, "-c", "from schedcpd.profile import measure; exit(measure.main())")
WORKLOAD = Workload("/a.slice/b.service", 42, "b.service", WorkloadKind.SERVICE, 0.0)


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail a test that leaks a child."""
    yield
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def prober(folder: Path, argv: tuple[str, ...] = FAKE, start_s: float = 30.0) -> Prober:
    return Prober(ChildSettings(folder, argv, start_s))


def children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def good(tmp_path: Path) -> Path:
    folder = tmp_path / "good"
    folder.mkdir(exist_ok=True)
    (folder / "report").write_bytes(made_report.service())
    return folder


@pytest.fixture(scope="module")
def found() -> ProbesProfile:
    return describe(parse(made_report.service()))


def test_what_was_counted(found: ProbesProfile) -> None:
    assert (found.window_s, found.tasks) == (2.0, 3)
    assert (found.queue.count, found.queue.mean_ms, found.queue.total_s) == (100, 0.05, 0.006)
    assert (found.run.mean_ms, found.run.total_s) == (4.0, 0.4)
    assert set(found.off_cpu) == {
        SleepReason.LOCK, SleepReason.MESSAGE, SleepReason.TIMER, SleepReason.PREEMPTED
    }  # fmt: skip
    assert found.off_cpu[SleepReason.LOCK] == Histogram((0,) * 40, 0.0, 2.0)
    assert (found.migrations, found.cache_migrations, found.forks, found.exits) == (5, 1, 1, 1)
    assert (found.lifetimes.count, found.lifetimes.mean_ms) == (1, 7.0)
    assert found.system_calls == 408
    assert found.calls == (
        SystemCall("epoll_wait", 400), SystemCall("read", 7), SystemCall("syscall_500", 1)
    )  # fmt: skip


def test_shares_of_all_sleep(found: ProbesProfile) -> None:
    assert found.asleep_share(SleepReason.LOCK) == 0.5
    assert found.asleep_share(SleepReason.MESSAGE) == 0.375
    assert found.asleep_share(SleepReason.TIMER) == 0.125
    assert found.asleep_share(SleepReason.STORAGE) == 0.0
    assert replace(found, off_cpu={}).asleep_share(SleepReason.LOCK) == 0.0


def test_wakers_come_most_first_with_harmless_names(found: ProbesProfile) -> None:
    assert found.wakers == (
        Waker(WakerKind.OUTSIDE, "client\N{REPLACEMENT CHARACTER}", "server", 100),
        Waker(WakerKind.TIMER, "", "server", 20),
    )


def test_sentence(found: ProbesProfile) -> None:
    assert found.sentence == (
        "3 tasks used 0.20 CPUs, 4.00 ms a turn; waited 0.05 ms for each, 1 in 100 more than 1.57; "
        "asleep 50% for locks and 38% for messages and 12% for a time; woken 60 times a second, "
        "mostly server by client\N{REPLACEMENT CHARACTER} from outside; "
        "204 system calls a second, mostly epoll_wait"
    )


@pytest.mark.parametrize(
    ("kind", "words"),
    [(0, "mostly server by its own threads"), (3, "mostly by interrupts"), (4, "by a timer")],
)
def test_who_wakes_most_in_words(kind: int, words: str) -> None:
    waker = made_report.waker(kind, b"x", b"server", 5)
    raw = made_report.service()
    assert words in describe(parse(raw[: len(raw) - 2 * len(waker)] + waker)).sentence


def test_what_does_nothing() -> None:
    nothing = report(10**9, made_report.counters(tasks=1), b"")
    assert describe(parse(nothing)).sentence == "1 task used 0.00 CPUs, 0.00 ms a turn"


def test_the_scheduling_profile_is_filled(found: ProbesProfile) -> None:
    seen = with_probes(SchedulingProfile(0.5, 3, *(0.0,) * 14), found)
    assert (seen.blocked_lock, seen.blocked_message, seen.blocked_timer) == (0.5, 0.375, 0.125)
    assert seen.blocked_io == 0.0
    assert seen.wakers == found.wakers


async def test_a_child_counts(tmp_path: Path, found: ProbesProfile) -> None:
    assert await prober(good(tmp_path)).probe(WORKLOAD) == found


async def test_what_the_child_is_told() -> None:
    with pytest.raises(ProbeFailed, match=r"^'/a.slice/b.service' was not probed: 42 2 1.5 LANG"):
        await prober(Path("/p/arguments")).probe(WORKLOAD, 1.5)


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("refused", "probed: no \N{REPLACEMENT CHARACTER}good\N{REPLACEMENT CHARACTER}$"),
        ("dies", "its child ended with status 7"),
        ("nonsense", "it has 4 bytes"),
    ],
)
async def test_no_profile(behaviour: str, words: str) -> None:
    with pytest.raises(ProbeFailed, match=words):
        await prober(Path("/p") / behaviour).probe(WORKLOAD)


async def test_a_child_that_hangs_is_killed() -> None:
    with pytest.raises(ProbeFailed, match=r"not done in 0\.6 s"):
        await prober(Path("/p/hangs"), start_s=0.5).probe(WORKLOAD, 0.1)


async def test_a_child_that_says_too_much_is_killed() -> None:
    with pytest.raises(ProbeFailed, match=r"not done in 2\.1 s"):
        await prober(Path("/p/floods"), start_s=2.0).probe(WORKLOAD, 0.1)


async def test_a_child_that_cannot_be_started() -> None:
    with pytest.raises(ProbeFailed, match="could not be started"):
        await prober(Path("/p"), ("/nonexistent",)).probe(WORKLOAD)


async def test_cancelled_in_the_middle() -> None:
    one = prober(Path("/p/hangs"))
    probing = asyncio.create_task(one.probe(WORKLOAD))
    while not children():
        await asyncio.sleep(0.01)
    assert not one.free
    probing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probing
    assert one.free


@pytest.mark.parametrize("duration_s", [0.0, -1.0, MOST_S + 0.1, float("nan"), float("inf")])
async def test_no_longer_than_is_bearable(duration_s: float) -> None:
    with pytest.raises(ProbeFailed, match="from 0 to 10 s"):
        await prober(Path("/p/good")).probe(WORKLOAD, duration_s)


async def test_one_at_a_time(tmp_path: Path) -> None:
    one = prober(good(tmp_path))
    both = asyncio.gather(one.probe(WORKLOAD), one.probe(WORKLOAD))
    most = 0
    while not both.done():
        await asyncio.sleep(0.005)
        most = max(most, len(children()))
    assert most == 1
    first, second = both.result()
    assert first == second


async def test_not_while_something_forbids_it() -> None:
    one = Prober(ChildSettings(Path("/p/good"), FAKE), lambda: "a policy is on trial")
    assert not one.free
    with pytest.raises(ProbeFailed, match="a policy is on trial"):
        await one.probe(WORKLOAD)


async def test_the_real_child_refuses_what_is_not_packaged(tmp_path: Path) -> None:
    (tmp_path / "workload.bpf.o").write_bytes(b"an object")
    (tmp_path / "SHA256SUMS").write_text("")
    with pytest.raises(ProbeFailed, match="not as packaged: reinstall"):
        await prober(tmp_path, REAL).probe(WORKLOAD, 0.1)
