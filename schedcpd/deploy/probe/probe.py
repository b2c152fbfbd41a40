# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon's end of the run-queue probe: has a child attach it and keeps its descriptors."""

from __future__ import annotations

import asyncio
import os
import socket
from array import array
from asyncio.subprocess import Process
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from schedcpd.deploy.loader import ENVIRONMENT
from schedcpd.deploy.probe import REASON_BYTES
from schedcpd.kernel.latency import CgroupLatency, read_latency
from schedcpd.kernel.text import printable

# Without a capability but the two that it takes to load and attach a tracing program.
CHILD_ARGV = (
    *("/usr/bin/setpriv", "--no-new-privs", "--inh-caps=-all", "--ambient-caps=-all"),
    *("--bounding-set=-all,+bpf,+perfmon",),
    *("/usr/bin/python3", "-I", "-m", "schedcpd.deploy.probe.load"),
)
FDS_LIMIT = 16


class NoProbe(Exception):
    """There is no probe; ``reason`` is part of a sentence."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """Where the probe is installed, and how long to wait for the child."""

    objects: Path = Path("/usr/lib/schedcp/probes")
    argv: tuple[str, ...] = CHILD_ARGV
    timeout_s: float = 20.0


class Probe:
    """The attached probe, which lives as long as these descriptors are open."""

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
    """Have a child attach the probe; NoProbe when it cannot or does not in time."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        ours.setblocking(False)
        with theirs:
            process = await _start(settings, theirs)
        try:
            async with asyncio.timeout(settings.timeout_s):
                code = await process.wait()
        except TimeoutError as exc:
            raise NoProbe(f"its child was not done in {settings.timeout_s:g} s") from exc
        finally:
            await _kill(process)
        # What it sent stays in the socket, descriptors as well, until somebody takes it.
        return _receive(ours, code)


async def _start(settings: ProbeSettings, channel: socket.socket) -> Process:
    try:
        return await asyncio.create_subprocess_exec(
            *settings.argv, str(settings.objects), stdin=channel.fileno(), env=ENVIRONMENT
        )
    except OSError as exc:
        raise NoProbe(f"its child could not be started: {exc}") from exc


async def _kill(process: Process) -> None:
    """Kill the child if it still lives."""
    if process.returncode is None:
        with suppress(ProcessLookupError):  # it went between the look and the signal
            process.kill()
        await process.wait()


def _receive(channel: socket.socket, code: int) -> Probe:
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
    if len(fds) > 1 and not flags & socket.MSG_CTRUNC:
        map_fd, *link_fds = fds
        return Probe(map_fd, tuple(link_fds))
    for fd in fds:
        os.close(fd)
    if not text:
        raise NoProbe(f"its child ended with status {code}")
    raise NoProbe(printable(text.decode("utf-8", "replace"), REASON_BYTES))
