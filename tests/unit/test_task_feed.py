# SPDX-License-Identifier: GPL-2.0-or-later
"""The feed on a pipe instead of a ring buffer, whose own test is test_ringbuf.py."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.errors import KernelText
from schedcpd.kernel import bpf
from schedcpd.learn import events as module
from schedcpd.learn.events import EventKind, TaskEvent, TaskFeed, parse_event
from unit.task_records import record


class FakeRing:
    """Records of 136 bytes that come through a pipe."""

    made: list[FakeRing]

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.closed = False
        self.asked = 0
        self.unfinished = False
        self.made.append(self)

    def read(self, limit: int) -> list[bytes]:
        self.asked += 1
        if self.unfinished:
            return []
        try:
            raw = os.read(self.fd, limit * 136)
        except BlockingIOError:
            return []
        return [raw[at : at + 136] for at in range(0, len(raw), 136)]

    def close(self) -> None:
        self.closed = True


class Probe:
    """The feed, the writer's end of its pipe, and what it told."""

    def __init__(self) -> None:
        self.ring_fd, self.writing = os.pipe()
        os.set_blocking(self.ring_fd, False)
        self.others = tuple(os.memfd_create(name) for name in ("watched", "exec", "iterator"))
        self.feed = TaskFeed(self.ring_fd, self.others[0], self.others[1:])
        self.told: list[TaskEvent] = []
        self.seen = asyncio.Event()
        self.feed.told.connect(self._told)

    def _told(self, events: Sequence[TaskEvent]) -> None:
        self.told.extend(events)
        self.seen.set()

    def write(self, *records: bytes) -> None:
        os.write(self.writing, b"".join(records))

    async def until(self, number: int) -> None:
        async with asyncio.timeout(10):
            while len(self.told) < number:
                self.seen.clear()
                await self.seen.wait()


@pytest_asyncio.fixture
async def probe(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Probe]:
    monkeypatch.setattr(FakeRing, "made", [], raising=False)
    monkeypatch.setattr(module, "RingBuffer", FakeRing)
    made = Probe()
    made.feed.start()
    yield made
    made.feed.close()
    made.feed.close()
    os.close(made.writing)
    for fd in (made.ring_fd, *made.others):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
    assert FakeRing.made[0].closed


async def test_events_are_told(probe: Probe) -> None:
    probe.write(record(EventKind.EXIT, 7, cpu_ns=9, detail=256, lost=2, parent=6))
    await probe.until(1)
    assert probe.told == [TaskEvent(EventKind.EXIT, 7, 77, 5, 9, 0, 2, b"", b"", 256, 6)]


async def test_a_flood_is_taken_in_parts_with_pauses(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 4)
    monkeypatch.setattr(module, "PAUSE_S", 3600)
    probe.write(*(record(EventKind.EXIT, number) for number in range(18)))
    for number in (4, 8, 12, 16):
        await probe.until(number)
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(probe.told) == number  # and then it pauses
        probe.feed._go_on()
    await probe.until(18)
    assert [event.tgid for event in probe.told] == list(range(18))


async def test_a_record_that_is_not_finished_is_not_waited_for_in_a_circle(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "UNFINISHED_S", 3600)
    ring = FakeRing.made[0]
    ring.unfinished = True
    probe.write(record(EventKind.EXIT, 1))
    async with asyncio.timeout(10):
        while not ring.asked:
            await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert (ring.asked, probe.told) == (1, [])
    ring.unfinished = False
    probe.feed._go_on()
    await probe.until(1)


async def test_catching_up(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 4)
    probe.feed.catch_up()
    probe.write(*(record(EventKind.EXIT, number) for number in range(18)))
    probe.feed.catch_up()
    assert [event.tgid for event in probe.told] == list(range(18))


async def test_nonsense_ends_it(probe: Probe, caplog: pytest.LogCaptureFixture) -> None:
    probe.write(record(EventKind.EXIT, 1))
    await probe.until(1)
    probe.write(record(9, 2))
    async with asyncio.timeout(10):
        while FakeRing.made[0].asked < 2:
            await asyncio.sleep(0)
    probe.write(record(EventKind.EXIT, 3))
    for _ in range(10):
        await asyncio.sleep(0)
    assert (len(probe.told), FakeRing.made[0].asked) == (1, 2)
    assert "not told any more: the kernel's task event was not understood" in caplog.text


async def test_watching(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []

    def delete(*arguments: Any) -> None:
        calls.append(arguments)
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(bpf, "update", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(bpf, "delete", delete)
    probe.feed.watch(258)
    probe.feed.unwatch(258)
    key = b"\2\1\0\0\0\0\0\0"
    assert calls == [(probe.others[0], key, b"\1"), (probe.others[0], key)]


async def test_open_files(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    def create_iterator(link_fd: int) -> int:
        if link_fd != probe.others[1]:
            raise OSError(22, "Invalid argument")
        reading, writing = os.pipe()
        os.write(writing, record(EventKind.STDIN, 3, size=9, name=b"a"))
        os.write(writing, record(EventKind.FILE, 3, size=8, name=b"b"))
        os.close(writing)
        return reading

    monkeypatch.setattr(bpf, "create_iterator", create_iterator)
    found = probe.feed.open_files()
    assert [(one.kind, one.name, one.size) for one in found] == [
        (EventKind.STDIN, b"a", 9),
        (EventKind.FILE, b"b", 8),
    ]


async def test_no_iterator(probe: Probe) -> None:
    with pytest.raises(OSError, match="no iterator"):
        probe.feed.open_files()  # memfds are no links


async def test_no_map(probe: Probe) -> None:
    for call in (probe.feed.watch, probe.feed.unwatch):
        with pytest.raises(OSError, match="bpf"):
            call(1)  # a memfd is no map


def test_an_exec() -> None:
    arguments = b"xz\0-1\0"
    raw = record(1, 7, size=5, comm=b"xz", name=b"in", detail=6, arguments=arguments)
    event = parse_event(raw)
    assert (event.comm, event.name, event.size, event.arguments) == (b"xz", b"in", 5, arguments)


def test_a_command_line_that_was_cut() -> None:
    event = parse_event(record(1, detail=900, arguments=b"x" * 512))
    assert (event.detail, event.arguments) == (900, b"x" * 512)


@pytest.mark.parametrize("raw", [b"", record(1)[:-1], record(0), record(5)])
def test_what_is_no_event(raw: bytes) -> None:
    with pytest.raises(KernelText, match="task event"):
        parse_event(raw)


@given(st.binary(max_size=700))
def test_any_bytes(raw: bytes) -> None:
    try:
        event = parse_event(raw)
    except KernelText:
        return
    assert b"\0" not in event.comm + event.name
    assert len(event.arguments) <= 512
