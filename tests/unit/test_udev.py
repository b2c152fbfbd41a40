# SPDX-License-Identifier: GPL-2.0-or-later
"""Uevents of sched_ext, with a source that plays the kernel."""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from schedcpd.kernel.text import REPLACEMENT
from schedcpd.watch.udev import SchedExtWatcher, Uevent


@dataclass
class FakeUevent:
    action: str | None
    variables: dict[str, str] = field(default_factory=dict)

    def get(self, key: str, default: str = "") -> str:
        return self.variables.get(key, default)


class FakeSource:
    """A source that is readable as long as something is queued."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self._queue: deque[Uevent | OSError] = deque()
        self.started = False

    def start(self) -> None:
        self.started = True

    def fileno(self) -> int:
        return self._reader

    def put(self, *events: Uevent | OSError) -> None:
        self._queue.extend(events)
        os.write(self._writer, b"x")

    def poll(self, timeout: float | None = None) -> Uevent | None:
        assert timeout == 0, "the event loop must not wait"
        if not self._queue:
            os.read(self._reader, 1)
            return None
        event = self._queue.popleft()
        if isinstance(event, OSError):
            raise event
        return event

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)


@pytest.fixture
def source() -> Iterator[FakeSource]:
    one = FakeSource()
    yield one
    one.close()


async def heard(source: FakeSource, count: int) -> list[tuple[str, str]]:
    watcher = SchedExtWatcher(lambda: source)
    told: list[tuple[str, str]] = []
    done = asyncio.Event()

    def hear(value: tuple[str, str]) -> None:
        told.append(value)
        if len(told) == count:
            done.set()

    watcher.sched_ext_changed.connect(hear)
    watcher.start()
    await asyncio.wait_for(done.wait(), 5)
    watcher.stop()
    watcher.stop()  # twice is fine
    return told


async def test_attach_and_eject(source: FakeSource) -> None:
    source.put(
        FakeUevent("add", {"SCXOPS": "scx_batch"}), FakeUevent("remove", {"SCXOPS": "scx_batch"})
    )
    assert await heard(source, 2) == [("add", "scx_batch"), ("remove", "scx_batch")]
    assert source.started


async def test_a_hostile_name_is_made_printable(source: FakeSource) -> None:
    source.put(FakeUevent(None, {"SCXOPS": "a\x1b[2J" + "b" * 500}))
    [(action, name)] = await heard(source, 1)
    assert action == "change"
    assert name.startswith(f"a{REPLACEMENT}[2J")
    assert len(name) == 128


async def test_lost_events_are_told(source: FakeSource, caplog: pytest.LogCaptureFixture) -> None:
    source.put(OSError(errno.ENOBUFS, "No buffer space available"))
    assert await heard(source, 1) == [("lost", "")]
    assert "No buffer space" in caplog.text
