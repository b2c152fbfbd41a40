# SPDX-License-Identifier: GPL-2.0-or-later
"""Pressure stall information: the parser, the trigger, and who waits most."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.errors import KernelText, NoPressure
from schedcpd.kernel.pressure import Pressure, open_trigger, parse_pressure, read_pressure
from schedcpd.model import Workload, WorkloadKind
from schedcpd.watch.pressure import PressureRanking, PressureWatcher

TEXT = "some avg10={:.2f} avg60=0.00 avg300=0.00 total={}\nfull avg10=0.00 total=0\n"


def test_pressure() -> None:
    assert parse_pressure(TEXT.format(12.5, 26949207).encode()) == Pressure(26949207, 0.125)
    assert parse_pressure(b"some avg10=0.00 avg60=0.00 avg300=0.00 total=7") == Pressure(7, 0.0)


@pytest.mark.parametrize(
    "raw",
    [b"", b"\n\n", b"full avg10=0.00 total=0\n", b"some avg10=x total=1", b"some total=-1 avg10=1"],
)
def test_what_is_no_pressure_is_refused(raw: bytes) -> None:
    with pytest.raises(KernelText):
        parse_pressure(raw)


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda raw: b"some " + raw))
def test_any_bytes_parse_or_are_refused(raw: bytes) -> None:
    with contextlib.suppress(KernelText):
        parse_pressure(raw)


def test_pressure_that_is_not_there(tmp_path: Path) -> None:
    assert read_pressure(str(tmp_path / "cpu.pressure")) is None
    with pytest.raises(NoPressure, match=r"No such file.*psi=1"):
        open_trigger(tmp_path / "cpu", 0.1, 1_000_000)


def test_the_trigger_asks_for_the_share_of_the_window(tmp_path: Path) -> None:
    (tmp_path / "cpu").touch()
    os.close(open_trigger(tmp_path / "cpu", 0.1, 1_000_000))
    assert (tmp_path / "cpu").read_bytes() == b"some 100000 1000000\0"


def test_without_privilege_the_window_of_the_kernel_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bytes] = []

    def write(descriptor: int, data: bytes) -> int:
        written.append(data)
        if b" 1000000" in data:
            raise OSError(errno.EINVAL, "Invalid argument")
        return len(data)

    (tmp_path / "cpu").touch()
    monkeypatch.setattr(os, "write", write)
    os.close(open_trigger(tmp_path / "cpu", 0.1, 1_000_000))
    assert written == [b"some 100000 1000000\0", b"some 200000 2000000\0"]


def test_a_refused_trigger_leaves_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(descriptor: int, data: bytes) -> int:
        raise OSError(errno.EBUSY, "Device or resource busy")

    (tmp_path / "cpu").touch()
    monkeypatch.setattr(os, "write", write)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(NoPressure, match="busy"):
        open_trigger(tmp_path / "cpu", 0.1, 1_000_000)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.fixture
def urgent() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A pair of sockets: urgent data on one gives POLLPRI on the other, as the trigger does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = socket.create_connection(server.getsockname())
        receiver, _ = server.accept()
    with sender, receiver:
        yield sender, receiver


async def test_the_watcher_hears_the_trigger(urgent: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = urgent
    watcher = PressureWatcher(trigger=lambda path, share, window_us: os.dup(receiver.fileno()))
    heard = asyncio.Event()

    def hear(_: None) -> None:
        receiver.recv(1, socket.MSG_OOB)
        heard.set()

    watcher.pressed.connect(hear)
    watcher.start()
    sender.send(b"x", socket.MSG_OOB)
    await asyncio.wait_for(heard.wait(), 5)
    watcher.stop()
    heard.clear()
    sender.send(b"x", socket.MSG_OOB)
    await asyncio.sleep(0)
    assert not heard.is_set()
    watcher.stop()  # twice is fine


async def test_ordinary_data_is_no_pressure(urgent: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = urgent
    watcher = PressureWatcher(trigger=lambda path, share, window_us: os.dup(receiver.fileno()))
    heard: list[None] = []
    watcher.pressed.connect(heard.append)
    watcher.start()
    sender.send(b"x")
    for _ in range(5):
        await asyncio.sleep(0)
    watcher.stop()
    assert heard == []


def workload(path: str) -> Workload:
    return Workload(path, 1, path[1:], WorkloadKind.SERVICE, 0.0)


def set_pressure(root: Path, name: str, total_us: int, avg10: float = 0.0) -> Workload:
    (root / name).mkdir(exist_ok=True)
    (root / name / "cpu.pressure").write_text(TEXT.format(avg10, total_us))
    return workload(f"/{name}")


def test_the_most_pressed_come_first(tmp_path: Path) -> None:
    now = 100.0
    ranking = PressureRanking(tmp_path, lambda: now)
    names = ("a.service", "b.service", "c.service")
    workloads = [set_pressure(tmp_path, name, 10_000_000) for name in names]
    ranking.most_pressed(workloads)
    now = 102.0
    set_pressure(tmp_path, "a.service", 10_000_000 + 20_000)  # 1 %
    set_pressure(tmp_path, "b.service", 10_000_000 + 400_000)
    set_pressure(tmp_path, "c.service", 10_000_000 + 1_900_000)
    assert [one.unit for one in ranking.most_pressed(workloads)] == ["c.service", "b.service"]
    now = 103.0
    assert ranking.most_pressed(workloads) == ()


def test_a_new_workload_is_not_overlooked(tmp_path: Path) -> None:
    ranking = PressureRanking(tmp_path, lambda: 100.0)
    quiet = set_pressure(tmp_path, "quiet.service", 10_000, avg10=0.1)
    fresh = set_pressure(tmp_path, "fresh.service", 200_000)
    recent = set_pressure(tmp_path, "recent.service", 0, avg10=90.0)
    assert ranking.most_pressed([quiet, fresh, recent]) == (recent, fresh)


def test_workloads_that_are_gone_or_garbled_are_left_out(tmp_path: Path) -> None:
    ranking = PressureRanking(tmp_path, lambda: 100.0)
    bad = set_pressure(tmp_path, "bad.service", 1)
    (tmp_path / "bad.service/cpu.pressure").write_text("?")
    assert ranking.most_pressed([workload("/gone.service"), bad]) == ()


def test_where_cgroups_have_no_psi_the_busy_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "a.service").mkdir()
    (tmp_path / "a.service/cpu.stat").write_text("usage_usec 100\n")
    ranking = PressureRanking(tmp_path, lambda: 100.0)
    assert ranking.most_pressed([workload("/a.service")]) == (workload("/a.service"),)
