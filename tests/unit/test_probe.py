# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from schedcpd.deploy.probe import PROBES, REASON_BYTES, RUNQUEUE, TASKS, load
from schedcpd.deploy.probe.probe import (
    NoProbe,
    Probe,
    ProbeSettings,
    attach_probe,
    start_probe,
)
from schedcpd.kernel.libbpf import Libbpf, LibbpfError
from schedcpd.repository import packaged

HERE = Path(__file__)
FAKE = (sys.executable, "-I", str(HERE.with_name("fake_probe_child.py")))
REAL = (
    *(sys.executable, "-c"),
    "from schedcpd.deploy.probe import load; load.main()",
)


def name_of(fd: int) -> str:
    """The last letter of the name of a descriptor of a fake probe; empty of any other."""
    try:
        link = os.fspath(Path(f"/proc/self/fd/{fd}").readlink())
    except FileNotFoundError:  # the listing's own
        return ""
    return link.partition("/memfd:probe-")[2][:1]


def held() -> dict[str, int]:
    fds = [int(path.name) for path in Path("/proc/self/fd").iterdir()]
    return {name: fd for fd in fds if (name := name_of(fd))}


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail a test that leaks one of the probe's descriptors or a child."""
    yield
    assert held() == {}
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


async def start(behaviour: str, argv: tuple[str, ...] = FAKE, timeout_s: float = 30.0) -> Probe:
    return await start_probe(ProbeSettings(Path("/p") / behaviour, argv, timeout_s))


async def test_the_descriptors_outlive_the_child() -> None:
    probe = await start("good")
    assert set(held()) == {"m", "a", "b", "c"}
    assert not any(os.get_inheritable(fd) for fd in held().values())
    probe.close()
    probe.close()


async def test_a_closed_probe_cannot_be_read() -> None:
    probe = await start("good")
    with pytest.raises(OSError, match="map of the run-queue probe"):
        probe.read()  # a memfd is no map
    probe.close()
    with pytest.raises(OSError, match="map of the run-queue probe"):
        probe.read()


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("refused", "^no \N{REPLACEMENT CHARACTER}good$"),
        ("long", "^x{1024}$"),
        ("map-only", "^attached$"),
        ("too-many", "^attached$"),
        ("dies", "ended with status 7"),
    ],
)
async def test_no_probe(behaviour: str, words: str) -> None:
    with pytest.raises(NoProbe, match=words):
        await start(behaviour)


@pytest.mark.parametrize("behaviour", ["hangs", "good-and-hangs"])
async def test_a_child_that_hangs_is_killed(behaviour: str) -> None:
    with pytest.raises(NoProbe, match=r"not done in 1\.5 s"):
        await start(behaviour, timeout_s=1.5)


async def test_a_child_that_cannot_be_started() -> None:
    with pytest.raises(NoProbe, match=r"could not be started: .*No such file"):
        await start("good", ("/nonexistent",))


async def test_cancelled_in_the_middle() -> None:
    starting = asyncio.create_task(start("hangs"))
    while not children():
        await asyncio.sleep(0.01)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting


def children() -> str:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()


async def test_the_child_itself_refuses_what_is_not_packaged(tmp_path: Path) -> None:
    (tmp_path / packaged.file_of(RUNQUEUE)).write_bytes(b"an object")
    (tmp_path / packaged.SUMS).write_text("")
    with pytest.raises(NoProbe, match="not as packaged: reinstall"):
        await start_probe(ProbeSettings(tmp_path, REAL))


def package(folder: Path, data: bytes = b"an object", name: str = RUNQUEUE) -> Path:
    (folder / packaged.file_of(name)).write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    (folder / packaged.SUMS).write_text(
        f"{digest}  {packaged.file_of(name)}\n{'0' * 64}  other.bpf.o\n"
    )
    return folder


def test_packaged(tmp_path: Path) -> None:
    assert packaged.packaged(package(tmp_path), RUNQUEUE) == b"an object"


@pytest.mark.parametrize("sums", ["", "{digest}  other.bpf.o\n", "{digest}x  runqueue.bpf.o\n"])
def test_not_in_the_sums(tmp_path: Path, sums: str) -> None:
    package(tmp_path)
    digest = hashlib.sha256(b"an object").hexdigest()
    (tmp_path / packaged.SUMS).write_text(sums.format(digest=digest))
    with pytest.raises(packaged.RefusedError):
        packaged.packaged(tmp_path, RUNQUEUE)


def test_changed_by_one_byte(tmp_path: Path) -> None:
    (package(tmp_path) / packaged.file_of(RUNQUEUE)).write_bytes(b"an objecT")
    with pytest.raises(packaged.RefusedError):
        packaged.packaged(tmp_path, RUNQUEUE)


class FakeLink:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd


class FakeObject:
    """An object whose map and links are memfds; ``fails`` names the step that does."""

    def __init__(self, fails: str, code: int) -> None:
        self.fds = [os.memfd_create(f"probe-{name}") for name in "mab"]
        self._fails = fails
        self._code = code

    def _step(self, name: str) -> None:
        if name == self._fails:
            raise LibbpfError(f"{name}ing", self._code)

    def load(self) -> None:
        self._step("load")

    def attach_programs(self) -> list[FakeLink]:
        self._step("attach")
        return [FakeLink(fd) for fd in self.fds[1:]]

    def map_fd(self, name: str) -> int:
        return self.fds[("cgroups", "watched", "events").index(name) % 2]


class FakeLibbpf:
    def __init__(self, fails: str = "", code: int = 0) -> None:
        self.object = FakeObject(fails, code)
        self.opened: list[tuple[bytes, str]] = []

    def open(self, data: bytes, name: str) -> FakeObject:
        self.opened.append((data, name))
        return self.object


def hand_over(folder: Path, library: FakeLibbpf, name: str = RUNQUEUE) -> tuple[bytes, list[int]]:
    """What arrives at the other end of a real socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        load.hand_over(theirs, folder, name, lambda: cast("Libbpf", library))
        text, fds, _, _ = socket.recv_fds(ours, REASON_BYTES, 16)
    for fd in library.object.fds:
        os.close(fd)
    return text, fds


def test_hand_over(tmp_path: Path) -> None:
    library = FakeLibbpf()
    text, fds = hand_over(package(tmp_path), library)
    assert text == load.ATTACHED
    assert [name_of(fd) for fd in fds] == ["m", "a", "b"]
    assert library.opened == [(b"an object", "runqueue")]
    for fd in fds:
        os.close(fd)


def test_the_descriptors_of_each_map_come_first(tmp_path: Path) -> None:
    library = FakeLibbpf()
    _, fds = hand_over(package(tmp_path, name=TASKS), library, TASKS)
    assert PROBES[TASKS].maps == ("events", "watched")
    assert [name_of(fd) for fd in fds] == ["m", "a", "a", "b"]  # its maps, then all links
    assert library.opened == [(b"an object", "tasks")]
    for fd in fds:
        os.close(fd)


async def test_a_probe_without_a_link_is_none() -> None:
    with pytest.raises(NoProbe, match=r"^attached$"):
        await attach_probe(ProbeSettings(Path("/p/two"), FAKE), TASKS)


@pytest.mark.parametrize(
    ("fails", "code", "words"),
    [
        ("load", errno.EPERM, "loading: EPERM: it takes CAP_BPF and CAP_PERFMON"),
        ("load", errno.EINVAL, "loading: EINVAL: this kernel may be too old"),
        ("attach", errno.ENOENT, "attaching: ENOENT: this kernel may be too old"),
        ("attach", 0, "attaching"),
    ],
)
def test_the_kernel_refuses(tmp_path: Path, fails: str, code: int, words: str) -> None:
    text, fds = hand_over(package(tmp_path), FakeLibbpf(fails, code))
    assert text.decode().startswith(words)
    assert fds == []


def test_nothing_is_opened_that_is_not_packaged(tmp_path: Path) -> None:
    library = FakeLibbpf()
    text, fds = hand_over(tmp_path, library)
    assert b"No such file" in text
    assert (fds, library.opened) == ([], [])
