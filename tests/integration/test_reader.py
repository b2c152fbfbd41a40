# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of workloads over the reader's socket, which is served as systemd serves it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from schedcpd.errors import FileRefused, WorkloadGone
from schedcpd.model import Workload, WorkloadKind
from schedcpd.reader import Reader
from unit.test_reading import able

REPOSITORY = Path(__file__).parents[2]
USER = 65533

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not able(), reason="only real root can be somebody else"
)


class Place:
    """A cgroup with one process, which works in a folder, and a socket to ask."""

    def __init__(self, tmp_path: Path) -> None:
        self.socket = tmp_path / "read.sock"
        self.cgroup = tmp_path / "cgroup"
        self.folder = tmp_path / "work"
        self.cgroup.mkdir()
        self.folder.mkdir()
        # The reader looks at where processes really are, and the root cgroup has them all.
        self.workload = Workload("/", self.cgroup.stat().st_ino, "x", WorkloadKind.SERVICE, 0.0)

    def reader(self, answer_s: float = 10.0) -> Reader:
        return Reader(self.socket, self.cgroup, answer_s)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    place = Place(tmp_path)
    os.chown(place.folder, USER, USER)
    who = {"user": USER, "group": USER, "extra_groups": []}
    process = await asyncio.create_subprocess_exec("/bin/sleep", "600", cwd=place.folder, **who)  # type: ignore[arg-type]
    (place.cgroup / "cgroup.procs").write_text(f"{process.pid}\n")
    yield place
    process.kill()
    await process.wait()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One process for each connection, which has the socket as its input and output."""
    line = await reader.readline()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schedcpd.reading.serve"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=REPOSITORY,
    )
    answer, _ = await process.communicate(line)
    writer.write(answer)
    await writer.drain()
    writer.close()


@pytest.fixture
async def served(place: Place) -> AsyncIterator[None]:
    server = await asyncio.start_unix_server(serve, str(place.socket))
    yield
    server.close()
    await server.wait_closed()


async def test_a_file_is_read(place: Place, served: None) -> None:
    file = place.folder / "Makefile"
    file.write_text("all:\npassword=kangaroo\n")
    os.chown(file, USER, USER)
    excerpt = await place.reader().read(place.workload, "Makefile", 5, 10**9)
    assert (excerpt.text, excerpt.total) == ("password=[removed:password]\n", 33)


async def test_a_refusal_has_its_reason(place: Place, served: None) -> None:
    with pytest.raises(FileRefused, match=r"'Makefile' is not read: there is no such file") as gone:
        await place.reader().read(place.workload, "Makefile", 0, 10)
    assert gone.value.path == "Makefile"
    with pytest.raises(FileRefused, match="hidden"):
        await place.reader().read(place.workload, ".netrc", 0, 10)


async def test_a_workload_that_has_ended(place: Place, served: None) -> None:
    (place.cgroup / "cgroup.procs").write_text("")
    with pytest.raises(WorkloadGone):
        await place.reader().read(place.workload, "Makefile", 0, 10)
    another = Workload("/", 1, "x", WorkloadKind.SERVICE, 0.0)
    with pytest.raises(WorkloadGone):
        await place.reader().read(another, "Makefile", 0, 10)


async def test_nobody_answers(place: Place) -> None:
    with pytest.raises(FileRefused, match="No such file or directory"):
        await place.reader().read(place.workload, "Makefile", 0, 10)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "it ended without an answer"),
        (b"nonsense\n", "not understood"),
        (b"[]\n", "not a table"),
        (b'{"text": 5, "total": 1}\n', "text is not text"),
        (b'{"text": "' + b"x" * 16385 + b'", "total": 1}\n', "longer than 16384"),
        (b"x" * 300_000, "not understood"),
    ],
    ids=["nothing", "no-json", "no-table", "no-text", "too-much", "too-long"],
)
async def test_answers_that_make_no_sense(place: Place, answer: bytes, words: str) -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    server = await asyncio.start_unix_server(nonsense, str(place.socket))
    with pytest.raises(FileRefused, match=words):
        await place.reader().read(place.workload, "Makefile", 0, 10)
    server.close()
    await server.wait_closed()


async def test_a_reader_that_hangs_is_not_waited_for(place: Place) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(silent, str(place.socket))
    with pytest.raises(FileRefused, match=r"it was not there within 0\.05 s"):
        await place.reader(answer_s=0.05).read(place.workload, "Makefile", 0, 10)
    server.close()
    await server.wait_closed()
