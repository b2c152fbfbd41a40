# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon's end of a probe: has a child attach it and keeps its descriptors."""

from __future__ import annotations

import asyncio
import os
import socket
from array import array
from asyncio.subprocess import Process
from dataclasses import dataclass
from pathlib import Path

from schedcpd.deploy.probe import PROBES, REASON_BYTES, RUNQUEUE
from schedcpd.kernel import child
from schedcpd.kernel.latency import CgroupLatency, read_latency
from schedcpd.kernel.text import printable

CHILD_ARGV = child.tracing("schedcpd.deploy.probe.load")
FDS_LIMIT = 16


class NoProbe(Exception):
    """There is no probe; ``reason`` is part of a sentence."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """Where the probes are installed, and how long to wait for a child."""

    objects: Path = Path("/usr/lib/schedcp/probes")
    argv: tuple[str, ...] = CHILD_ARGV
    timeout_s: float = 60.0


class Probe:
    """The attached run-queue probe, which lives as long as these descriptors are open."""

    def __init__(self, map_fd: int, link_fds: tuple[int, ...]) -> None:
        self._map_fd = map_fd
        self._fds = (map_fd, *link_fds)

    def read(self) -> dict[int, CgroupLatency]:
        """The counters since the probe began, by cgroup id; OSError or KernelText."""
        return read_latency(self._map_fd)

    def close(self) -> None:
        """Take the probe out of the kernel."""
        fds, self._fds, self._map_fd = self._fds, (), -1
        for fd in fds:
            os.close(fd)


async def start_probe(settings: ProbeSettings) -> Probe:
    """Have a child attach the run-queue probe; NoProbe when it cannot or does not in time."""
    map_fd, *link_fds = await attach_probe(settings, RUNQUEUE)
    return Probe(map_fd, tuple(link_fds))


async def attach_probe(settings: ProbeSettings, name: str) -> tuple[int, ...]:
    """Have a child attach a probe; the descriptors of its maps, and then of what holds it there.

    They are the caller's to close. Raises NoProbe.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        ours.setblocking(False)
        with theirs:
            process = await _start(settings, name, theirs)
        try:
            async with asyncio.timeout(settings.timeout_s):
                code = await process.wait()
        except TimeoutError as exc:
            raise NoProbe(f"its child was not done in {settings.timeout_s:g} s") from exc
        finally:
            await child.kill(process)
        # What it sent stays in the socket, descriptors as well, until somebody takes it.
        return _receive(ours, code, len(PROBES[name].maps))


async def _start(settings: ProbeSettings, name: str, channel: socket.socket) -> Process:
    argv = (*settings.argv, str(settings.objects), name)
    try:
        return await asyncio.create_subprocess_exec(
            *argv, stdin=channel.fileno(), env=child.ENVIRONMENT
        )
    except OSError as exc:
        raise NoProbe(f"its child could not be started: {exc}") from exc


def _receive(channel: socket.socket, code: int, maps: int) -> tuple[int, ...]:
    fds = array("i")
    try:
        # socket.recv_fds() of Python 3.11 drops the flag.
        text, ancillary, flags, _ = channel.recvmsg(
            REASON_BYTES, socket.CMSG_SPACE(FDS_LIMIT * fds.itemsize), socket.MSG_CMSG_CLOEXEC
        )
    except OSError as exc:
        raise NoProbe(f"its child could not be heard: {exc}") from exc
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    if len(fds) > maps and not flags & socket.MSG_CTRUNC:
        return tuple(fds)
    for fd in fds:
        os.close(fd)
    if not text:
        raise NoProbe(f"its child ended with status {code}")
    raise NoProbe(printable(text.decode("utf-8", "replace"), REASON_BYTES))
