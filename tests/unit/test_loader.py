# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from schedcpd.deploy.livemaps import ENTRIES_AT_ONCE
from schedcpd.deploy.loader import CHILD_ARGV, Attached, Checker, Loader, LoaderSettings
from schedcpd.deploy.messages import REQUEST_LIMIT
from schedcpd.errors import (
    CardError,
    Ejected,
    ForeignScheduler,
    KernelRejected,
    LoaderLost,
    MapRefused,
    NoSchedExt,
    NoSuchPolicy,
    SchedcpError,
    TokenRefused,
)

HERE = Path(__file__)
SETTINGS = LoaderSettings(
    schedulers=Path("/s"),
    enrolled=Path("/e"),
    tokens=Path("/t"),
    public_key=Path("/k"),
    argv=(sys.executable, "-I", str(HERE.with_name("fake_child.py"))),
    attach_timeout_s=30.0,
)


@pytest.fixture(autouse=True)
async def nothing_left_behind() -> AsyncIterator[None]:
    """Fail a test that leaks a task or a child."""
    yield
    async with asyncio.timeout(5):
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)
    assert children() == set()


def children() -> set[int]:
    text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return set(map(int, text.split()))


async def attach(policy: str, settings: LoaderSettings = SETTINGS) -> Loader:
    return await Loader.attach(settings, policy, {"slice_ns": 5})


async def test_attach_ask_detach() -> None:
    loader = await attach("good")
    assert loader.attached == Attached("good", 3, 12.5, 40.0)
    assert [(await loader.status()).counters["nr_enqueued"] for _ in range(3)] == [1, 2, 3]
    assert (await loader.status()).exit is None
    status = await loader.detach()
    assert status.exit is not None
    assert (status.exit.kind, status.counters) == (64, {"nr_enqueued": 5})
    assert await loader.ended() == status
    assert await loader.status() == status
    assert await loader.detach() == status


async def test_the_request_says_all_there_is_to_say() -> None:
    loader = await attach("echo")
    assert loader.attached.ops.startswith('{"policy": "echo", "schedulers": "/s", "enrolled": "/e"')
    await loader.detach()
    loader = await Loader.attach(SETTINGS, "echo-digest", {}, "ab" * 32)
    assert loader.attached.ops == "ab" * 32
    await loader.detach()


async def test_questions_at_the_same_time() -> None:
    loader = await attach("good")
    answers = await asyncio.gather(*(loader.status() for _ in range(10)))
    assert [answer.counters["nr_enqueued"] for answer in answers] == list(range(1, 11))
    await loader.detach()


@pytest.mark.parametrize(
    ("error", "expected", "words"),
    [
        ("TokenRefused", TokenRefused, "may not be loaded: why"),
        ("KernelRejected", KernelRejected, "at load: why"),
        ("ForeignScheduler", ForeignScheduler, "'why' was attached by somebody else"),
        ("NoSchedExt", NoSchedExt, "cannot be used here: why"),
        ("CardError", CardError, "why"),
        ("NoSuchPolicy", NoSuchPolicy, "there is no policy"),
        ("Ejected", Ejected, r"exit kind 1026\): a\[1\] failed to run"),
        ("SomethingNew", KernelRejected, "at load: why"),
    ],
)
async def test_failures_become_the_errors_they_are(
    error: str, expected: type[SchedcpError], words: str
) -> None:
    with pytest.raises(expected, match=words) as caught:
        await attach(f"fail:{error}")
    if isinstance(caught.value, KernelRejected):
        assert caught.value.log == "last words"
    if isinstance(caught.value, Ejected):
        assert caught.value.record is not None
        assert caught.value.record.dump == "d"


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("dies", "ended with status 7"),
        ("garbage", "nonsense: the line is not JSON"),
        ("long", "nonsense: a line is longer"),
        ("incomplete", "nonsense: enable_seq is missing"),
        ("wrong-event", "did not say that the policy is attached"),
    ],
)
async def test_a_child_that_makes_no_sense(policy: str, words: str) -> None:
    with pytest.raises(LoaderLost, match=words):
        await attach(policy)


async def test_a_child_that_says_nothing() -> None:
    with pytest.raises(LoaderLost, match=r"said nothing in 0\.2 s"):
        await attach("silent", replace(SETTINGS, attach_timeout_s=0.2))


async def test_a_child_that_cannot_be_started() -> None:
    with pytest.raises(LoaderLost, match="could not be started"):
        await attach("good", replace(SETTINGS, argv=("/nonexistent/loader",)))


async def test_cancelling_an_attach_leaves_no_child() -> None:
    attaching = asyncio.create_task(attach("silent"))
    async with asyncio.timeout(10):
        while not children():
            await asyncio.sleep(0.01)
    attaching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attaching


async def test_an_ejection_is_heard_unasked() -> None:
    loader = await attach("ejected-soon")
    async with asyncio.timeout(10):
        status = await loader.ended()
    assert status.exit is not None
    assert (status.exit.kind, status.exit.message) == (1026, "a[1] failed to run")
    assert status.counters == {"nr_enqueued": 4}


async def test_an_ejection_answers_a_question() -> None:
    loader = await attach("ejected")
    status = await loader.status()
    assert status.exit is not None
    assert status.exit.kind == 1026
    assert await loader.detach() == status


async def test_a_child_that_dies_in_the_middle() -> None:
    loader = await attach("dies-asked")
    with pytest.raises(LoaderLost, match="died with status 9"):
        await loader.status()
    assert (await loader.ended()).exit is None


async def test_a_child_that_is_killed() -> None:
    loader = await attach("good")
    await loader.status()
    (pid,) = children()
    os.kill(pid, 9)
    async with asyncio.timeout(10):
        status = await loader.ended()
    assert status.exit is None
    assert status.counters == {"nr_enqueued": 1}
    with pytest.raises(LoaderLost, match="died with status -9"):
        await loader.status()
    assert await loader.detach() == status


async def test_a_child_that_stops_answering_is_killed() -> None:
    loader = await attach("deaf", replace(SETTINGS, status_timeout_s=0.2))
    with pytest.raises(LoaderLost, match="stopped answering and was killed"):
        await loader.status()
    assert (await loader.ended()).exit is None


async def test_a_child_that_does_not_let_go_is_killed() -> None:
    loader = await attach("stubborn", replace(SETTINGS, detach_timeout_s=0.2))
    before = await loader.status()
    async with asyncio.timeout(10):
        assert await loader.detach() == before


async def test_a_child_that_goes_mad_is_killed() -> None:
    loader = await attach("nonsense")
    with pytest.raises(LoaderLost, match="died"):
        await loader.status()
    assert (await loader.ended()).exit is None


async def test_a_child_that_closes_its_end_is_killed() -> None:
    loader = await attach("closes", replace(SETTINGS, detach_timeout_s=0.2))
    with pytest.raises(LoaderLost):
        await loader.status()
    assert (await loader.ended()).exit is None


async def test_suspended_and_resumed() -> None:
    loader = await attach("good")
    for _ in range(2):
        assert (await loader.suspend()).exit is None
        assert (await loader.status()).counters["nr_enqueued"] > 0
        assert await loader.resume() == Attached("good", 4, 12.5, 30.0)
    await loader.suspend()
    assert (await loader.detach()).exit is not None


async def test_entries_of_live_maps() -> None:
    loader = await attach("shows")
    with pytest.raises(MapRefused, match=r'was not changed: {"01": "aa", "02": "bb"}'):
        await loader.update_map("hints", {b"\1": b"\xaa", b"\2": b"\xbb"})
    await loader.suspend()
    with pytest.raises(MapRefused, match=r'{"02": "bb", "03": "cc"}'):
        await loader.update_map("hints", {b"\3": b"\xcc"}, [b"\1"])
    await loader.detach()


async def test_an_update_that_is_given_up_halfway() -> None:
    loader = await attach("shows")
    updating = asyncio.create_task(loader.update_map("hints", {b"\1": b"\xaa"}))
    await asyncio.sleep(0)
    updating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await updating
    # Its late answer is not taken for the answer to the next one.
    with pytest.raises(MapRefused, match='"02": "bb"'):
        await loader.update_map("hints", {b"\2": b"\xbb"})
    await loader.detach()


async def test_as_many_entries_as_there_may_be() -> None:
    loader = await attach("good")
    entries = {number.to_bytes(8, "little"): bytes(16) for number in range(ENTRIES_AT_ONCE)}
    await loader.update_map("layers", entries)
    with pytest.raises(MapRefused, match="more than 4096 entries"):
        await loader.update_map("layers", entries, [b"another"])
    with pytest.raises(MapRefused, match="too large"):
        await loader.update_map("layers", {b"key": bytes(REQUEST_LIMIT)})
    assert (await loader.status()).counters == {"nr_enqueued": 2}, "those were not even sent"
    await loader.detach()


@pytest.mark.parametrize(
    ("policy", "expected", "words"),
    [
        ("hints", MapRefused, "the map 'hints' of hints was not changed: it is full"),
        ("updates-badly", LoaderLost, "died"),
        ("dies-asked", LoaderLost, "died with status 9"),
        ("ejected-soon", Ejected, "failed to run"),
    ],
)
async def test_entries_that_are_not_taken(
    policy: str, expected: type[SchedcpError], words: str
) -> None:
    loader = await attach(policy)
    with pytest.raises(expected, match=words):
        await loader.update_map("hints", {b"key": b"value"})
    await loader.detach()


@pytest.mark.parametrize(
    ("policy", "expected", "words"),
    [
        ("fails-resuming:ForeignScheduler", ForeignScheduler, "'why' was attached"),
        ("fails-resuming:KernelRejected", KernelRejected, "at attach: why"),
        ("resumes-badly", LoaderLost, "nonsense: enable_seq"),
        ("dies-asked", LoaderLost, "died with status 9"),
    ],
)
async def test_a_policy_that_cannot_be_resumed(
    policy: str, expected: type[SchedcpError], words: str
) -> None:
    loader = await attach(policy)
    with pytest.raises(expected, match=words):
        await loader.resume()
    assert (await loader.ended()).exit is None
    with pytest.raises(SchedcpError):
        await loader.suspend()


async def test_a_policy_that_is_ejected_while_it_is_suspended() -> None:
    loader = await attach("ejected-suspending")
    with pytest.raises(Ejected, match=r"exit kind 1026\): a\[1\] failed to run"):
        await loader.suspend()
    assert (await loader.ended()).exit is not None


async def test_a_switch_that_is_given_up_halfway() -> None:
    loader = await attach("good")
    suspending = asyncio.create_task(loader.suspend())
    await asyncio.sleep(0)
    suspending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await suspending
    # Its late answer is not taken for the answer to another question.
    assert (await loader.status()).exit is None
    assert (await loader.resume()).enable_seq == 4
    await loader.detach()


async def test_a_child_that_does_not_switch_is_killed() -> None:
    loader = await attach("deaf", replace(SETTINGS, switch_timeout_s=0.2))
    with pytest.raises(LoaderLost, match="stopped answering"):
        await loader.suspend()
    assert (await loader.ended()).exit is None


async def test_waiting_for_the_end_can_be_given_up() -> None:
    loader = await attach("good")
    waiting = asyncio.create_task(loader.ended())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await loader.status()).exit is None
    await loader.detach()


async def counted(checker: Checker) -> tuple[int, int]:
    """The process that checks, and how many policies it has checked."""
    pid, number = (await checker.check("counts")).split()
    return int(pid), int(number)


async def test_one_child_checks_several_policies() -> None:
    async with Checker(SETTINGS) as checker:
        assert children() == set(), "there may be nothing to check"
        assert await checker.check("good") == "valid until tomorrow"
        for error, expected in (("TokenRefused", TokenRefused), ("CardError", CardError)):
            with pytest.raises(expected, match="why"):
                await checker.check(f"fail:{error}")
        with pytest.raises(NoSuchPolicy):
            await checker.check("fail:NoSuchPolicy")
        pid, number = await counted(checker)
        assert (children(), number) == ({pid}, 5)
    assert children() == set()


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("dies", "it ended with status 7 before the policy was checked"),
        ("garbage", "nonsense: the line is not JSON"),
        ("long", "nonsense: a line is longer"),
        ("incomplete", "nonsense: it did not say whether"),
        ("wrong-event", "nonsense: it did not say whether"),
        ("fail:Ejected", "nonsense: no check fails with 'Ejected'"),
        ("silent", r"said nothing in 3 s"),
    ],
)
async def test_a_child_that_is_lost_checking_costs_one_policy(policy: str, words: str) -> None:
    async with Checker(replace(SETTINGS, attach_timeout_s=3.0)) as checker:
        before, _ = await counted(checker)
        with pytest.raises(LoaderLost, match=words):
            await checker.check(policy)
        assert children() == set()
        after, number = await counted(checker)
        assert (children(), number) == ({after}, 1)
        assert after != before


async def test_a_child_that_is_lost_between_two_checks_costs_none() -> None:
    async with Checker(SETTINGS) as checker:
        assert await checker.check("dies-later") == "valid until tomorrow"
        before, number = await counted(checker)
        assert number == 1
        os.kill(before, signal.SIGKILL)
        after, number = await counted(checker)
        assert (after != before, number) == (True, 1)


async def test_a_check_over_its_deadline_is_asked_of_a_child_of_its_own() -> None:
    async with Checker(replace(SETTINGS, attach_timeout_s=3.0)) as checker:
        before, _ = await counted(checker)
        os.kill(before, signal.SIGSTOP)
        after, number = await counted(checker)
        assert (after != before, number) == (True, 1)
        assert children() == {after}


async def test_a_checker_that_cannot_be_started() -> None:
    async with Checker(replace(SETTINGS, argv=("/nonexistent/loader",))) as checker:
        for _ in range(2):
            with pytest.raises(LoaderLost, match="could not be started"):
                await checker.check("good")


async def test_cancelling_a_check_leaves_no_child() -> None:
    async with Checker(SETTINGS) as checker:
        await checker.check("good")
        checking = asyncio.create_task(checker.check("silent"))
        await asyncio.sleep(0)
        checking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await checking
        assert children() == set()


def test_the_daemon_stays_light() -> None:
    code = "import sys, schedcpd.deploy.loader; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        cwd=HERE.parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {"ctypes", "cryptography", "elftools", "schedcpd.token", "schedcpd.kernel.libbpf"}
    assert heavy.isdisjoint(loaded.stdout.split())


def test_the_child_gets_two_capabilities() -> None:
    assert "--bounding-set=-all,+bpf,+perfmon" in CHILD_ARGV
    assert "--no-new-privs" in CHILD_ARGV
    assert CHILD_ARGV[-4:] == ("/usr/bin/python3", "-I", "-m", "schedcpd.deploy.load")
