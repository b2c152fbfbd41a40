# SPDX-License-Identifier: GPL-2.0-or-later
"""Asks the reader's service for a part of a file of a workload: one connection a request."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from schedcpd.errors import FileRefused, KernelText, WorkloadGone
from schedcpd.fields import BadField, Fields
from schedcpd.kernel import cgroupfs
from schedcpd.model import Excerpt, Workload
from schedcpd.reading import request as requests
from schedcpd.reading.request import ANSWER_LIMIT, MOST_LENGTH, MOST_OFFSET, MOST_PIDS, Request

SOCKET = Path("/run/schedcp-read.sock")
ANSWER_S = 30.0  # a working directory can be on a server that does not answer
CGROUPS_SEARCHED = 64


class Reader:
    """The reader behind the socket at ``path``, for workloads below the cgroup root ``cgroup``."""

    def __init__(self, path: Path, cgroup: Path, answer_s: float = ANSWER_S) -> None:
        self._path = path
        self._cgroup = cgroup
        self._answer_s = answer_s

    async def read(self, workload: Workload, path: str, offset: int, length: int) -> Excerpt:
        """A part of a file below the working directory of one of its processes.

        ``offset`` and ``length`` are characters, at most 16384 of them. FileRefused, WorkloadGone.
        """
        requests.check_path(path)
        request = Request(
            cgroup=workload.id,
            pids=self._pids(workload),
            path=path,
            offset=min(offset, MOST_OFFSET),
            length=min(length, MOST_LENGTH),
        )
        try:
            async with asyncio.timeout(self._answer_s):
                line = await self._ask(requests.encode(request))
            return _excerpt(line, path)
        except TimeoutError as exc:
            raise FileRefused(path, f"it was not there within {self._answer_s:g} s") from exc
        except OSError as exc:
            raise FileRefused(path, f"{self._path}: {exc.strerror}") from exc
        except ValueError as exc:  # a line that is too long, no JSON, or a bad field
            raise FileRefused(path, f"the reader was not understood: {exc}") from exc

    def _pids(self, workload: Workload) -> tuple[int, ...]:
        place = cgroupfs.directory(self._cgroup, workload.id)
        try:
            same = cgroupfs.read_id(place) == workload.cgroup_id
            pids = cgroupfs.read_pids(place, CGROUPS_SEARCHED)
        except KernelText as exc:
            raise WorkloadGone(workload.id) from exc
        if not same or not pids:
            raise WorkloadGone(workload.id)
        return tuple(pids[:MOST_PIDS])

    async def _ask(self, line: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(str(self._path), limit=ANSWER_LIMIT)
        try:
            writer.write(line)
            await writer.drain()
            return await reader.readline()
        finally:
            writer.close()


def _excerpt(line: bytes, path: str) -> Excerpt:
    if not line:
        raise BadField("it ended without an answer")
    fields = Fields(json.loads(line))
    if "refused" in fields:
        raise FileRefused(path, fields.text("refused"))
    return Excerpt(fields.text("text", MOST_LENGTH), fields.integer("total", 0))
