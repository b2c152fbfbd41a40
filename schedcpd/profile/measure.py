# SPDX-License-Identifier: GPL-2.0-or-later
"""The child ``schedcp-probe``: has the workload probe count for a while, tells it, and ends.

Run as ``python3 -I -m schedcpd.profile.measure FOLDER CGROUP LEVEL SECONDS``. Its standard output
is a report as ``schedcpd.kernel.workload`` reads it and its status 0, or a reason and 1. When it
dies, the probe is out of the kernel; it lives no longer than it was told to, whatever happens.
"""

from __future__ import annotations

import errno
import os
import signal
import struct
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from schedcpd.kernel import bpf, syscalls, workload
from schedcpd.kernel.elf import ElfError
from schedcpd.kernel.libbpf import Libbpf, LibbpfError, Link
from schedcpd.kernel.objects import ObjectError, read_object
from schedcpd.kernel.topology import Topology, read_topology
from schedcpd.repository.packaged import RefusedError, packaged

NAME = "workload"
PROCESS = "schedcp-probe"
START_S = 30  # the kernel verifies the programs; an emulated machine takes its time
_KEY = struct.pack("=I", 0)
_COUNT_BYTES = 8
_LLC = "llc"
_REST_LIMIT = 4096  # the iterator itself writes nothing


def caches(topology: Topology) -> list[int]:
    """A number for the last-level cache of each CPU; 0 for those of which nothing is known."""
    about = topology.by_cpu()
    names = {
        cpu: next((fact for fact in told.split(", ") if fact.partition(" ")[0] == _LLC), "")
        for cpu, told in about.items()
    }
    numbers = {name: place for place, name in enumerate(sorted({"", *names.values()}))}
    return [numbers[names.get(cpu, "")] for cpu in range(workload.MAX_CPUS)]


class Probe:
    """The probe for one cgroup, ``level`` below the root; LibbpfError, ObjectError or ElfError."""

    def __init__(
        self, libbpf: Libbpf, data: bytes, cgroup: int, level: int, llcs: Sequence[int]
    ) -> None:
        self._object = libbpf.open(data, NAME)
        self._places = read_object(data).variables
        self._write("workload_cgroup", cgroup.to_bytes(8, "little"))
        self._write("workload_level", level.to_bytes(4, "little"))
        self._write("workload_calls", syscalls.table())
        self._write("workload_llcs", struct.pack(f"={workload.MAX_CPUS}H", *llcs))
        self._object.load()
        self._links: list[Link] = []
        self._began_ns = 0

    def begin(self) -> None:
        """Count from now on."""
        self._links = self._object.attach_programs()
        self._began_ns = time.monotonic_ns()
        self._write("workload_ended_ns", bytes(8))
        self._write("workload_began_ns", self._began_ns.to_bytes(8, "little"))

    def end(self) -> bytes:
        """Count no longer; the report, of all that was counted so far."""
        ended_ns = time.monotonic_ns()
        self._write("workload_ended_ns", ended_ns.to_bytes(8, "little"))
        self._add_rest()
        for link in self._links:
            link.destroy()
        wakers = self._object.keys("wakers", workload.WAKER_KEY_BYTES, workload.MAX_WAKERS)
        return workload.report(
            ended_ns - self._began_ns,
            self._object.lookup("counters", _KEY, workload.COUNTERS_BYTES),
            b"".join(key + self._object.lookup("wakers", key, _COUNT_BYTES) for key in wakers),
        )

    def _add_rest(self) -> None:
        """Have what lasts still added: the iterator does it as it goes through the tasks."""
        fd = _iterator(self._links)
        try:
            while os.read(fd, _REST_LIMIT):
                pass
        finally:
            os.close(fd)

    def _write(self, name: str, value: bytes) -> None:
        place = self._places.get(name)
        if place is None or place.size != len(value):
            raise ObjectError(f"it has no {name} of {len(value)} bytes")
        area = self._object.area(place.section)
        area[place.offset : place.offset + place.size] = value


def _iterator(links: Sequence[Link]) -> int:
    for link in links:
        try:
            return bpf.create_iterator(link.fileno())
        except OSError:
            continue  # only the iterator's link makes one
    raise LibbpfError("looking for the iterator", errno.ENOENT)


def measure(folder: Path, cgroup: int, level: int, duration_s: float) -> bytes:
    """The report of the packaged probe; OSError, RefusedError, ObjectError or LibbpfError."""
    data, llcs = packaged(folder, NAME), caches(read_topology())
    probe = Probe(Libbpf(), data, cgroup, level, llcs)
    probe.begin()
    time.sleep(duration_s)
    return probe.end()


def main() -> int:
    """Do it once; the exit status."""
    folder, cgroup, level, duration_s = sys.argv[1:]
    signal.alarm(START_S + int(float(duration_s)))
    Path("/proc/self/comm").write_text(PROCESS, encoding="ascii")
    try:
        told, status = measure(Path(folder), int(cgroup), int(level), float(duration_s)), 0
    except (OSError, LibbpfError, RefusedError, ObjectError, ElfError) as exc:
        told, status = str(exc).encode(), 1
    sys.stdout.buffer.write(told)
    sys.stdout.buffer.flush()
    return status


if __name__ == "__main__":
    # Taking the interpreter down would only keep the probe in the kernel.
    os._exit(main())
