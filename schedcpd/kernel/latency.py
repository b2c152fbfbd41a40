# SPDX-License-Identifier: GPL-2.0-or-later
"""What the run-queue probe has counted for each cgroup, read from its map with bpf(2).

A lookup in a map whose descriptor one holds takes no privilege, and no libbpf, whose memory the
daemon would have to keep for good.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import add, sub
from pathlib import Path

from schedcpd.errors import KernelText
from schedcpd.kernel import bpf
from schedcpd.kernel.topology import parse_cpus
from schedcpd.model import Histogram

SLOTS = 32
CGROUPS_LIMIT = 2048  # max_entries of the probe's map
MAP_LOOKUP_BATCH = 24
POSSIBLE = Path("/sys/devices/system/cpu/possible")

_KEY = struct.Struct("=Q")
_COUNTERS = struct.Struct(f"={3 + SLOTS}Q")  # struct cgroup_latency of probes/runqueue.bpf.c
# Bounds the memory that a read takes; a machine with very many CPUs needs more for a few cgroups.
_BATCH_BYTES = 128 * 1024
_BATCH_LEAST = 8


@dataclass(frozen=True, slots=True)
class CgroupLatency:
    """How long tasks waited for a CPU before they got it, and how often they came to rest.

    Slot i of ``slots`` counts the waits of 2**i to 2**(i+1) ns, the last one all longer ones too.
    """

    waits: int = 0
    wait_ns: int = 0
    sleeps: int = 0  # by their own will; a task that ends comes to rest as well
    slots: tuple[int, ...] = (0,) * SLOTS


class Batch(ctypes.Structure):
    """The ``batch`` member of ``union bpf_attr``."""

    _fields_ = (
        ("in_batch", ctypes.c_uint64),
        ("out_batch", ctypes.c_uint64),
        ("keys", ctypes.c_uint64),
        ("values", ctypes.c_uint64),
        ("count", ctypes.c_uint32),
        ("map_fd", ctypes.c_uint32),
        ("elem_flags", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
    )


LookupBatch = Callable[[Batch], int]


def lookup_batch(batch: Batch) -> int:
    """The system call; 0 or an errno."""
    return -bpf.call(MAP_LOOKUP_BATCH, batch)


def read_latency(
    fd: int, lookup: LookupBatch = lookup_batch, possible: Path = POSSIBLE
) -> dict[int, CgroupLatency]:
    """The counters since the probe began, by the id of the cgroup that the tasks are in itself.

    Raises OSError, and KernelText when the kernel's answer makes no sense.
    """
    cpus = _count_cpus(possible)
    size = _COUNTERS.size * cpus
    room = max(_BATCH_BYTES // size, _BATCH_LEAST)
    keys, values = bytearray(), bytearray()
    position = ctypes.c_uint32()
    batch = Batch(out_batch=ctypes.addressof(position), map_fd=fd)
    found: dict[int, CgroupLatency] = {}
    while True:
        if len(keys) != room * _KEY.size:
            keys, values = bytearray(room * _KEY.size), bytearray(room * size)
            batch.keys, batch.values = _address(keys), _address(values)
        batch.count = room
        code = lookup(batch)
        if code == errno.ENOSPC and room < CGROUPS_LIMIT:
            room *= 2  # the next bucket of the hash holds more than there was room for
            continue
        if code not in (0, errno.ENOENT):
            raise OSError(code, os.strerror(code), "the map of the run-queue probe")
        if batch.count > room or len(found) > CGROUPS_LIMIT:
            raise KernelText("map of the run-queue probe", "it has more entries than it can have")
        found |= parse_batch(keys, values, batch.count, cpus)
        if code == errno.ENOENT:
            return found
        batch.in_batch = batch.out_batch


def parse_batch(
    keys: bytes | bytearray, values: bytes | bytearray, count: int, cpus: int
) -> dict[int, CgroupLatency]:
    """The first ``count`` cgroups of what one call gave, the counters of all CPUs added up."""
    size = _COUNTERS.size * cpus
    found = {}
    for index, (key,) in enumerate(_KEY.iter_unpack(keys[: count * _KEY.size])):
        per_cpu = _COUNTERS.iter_unpack(values[index * size : (index + 1) * size])
        waits, wait_ns, sleeps, *slots = map(sum, zip(*per_cpu, strict=True))
        found[key] = CgroupLatency(waits, wait_ns, sleeps, tuple(slots))
    return found


def difference(
    now: Mapping[int, CgroupLatency], before: Mapping[int, CgroupLatency]
) -> dict[int, CgroupLatency]:
    """What was counted between two reads, for the cgroups in which anything was."""
    changes = {
        key: _less(latency, before.get(key, CgroupLatency())) for key, latency in now.items()
    }
    return {key: change for key, change in changes.items() if change != CgroupLatency()}


def _less(now: CgroupLatency, before: CgroupLatency) -> CgroupLatency:
    if now.waits < before.waits or now.sleeps < before.sleeps:
        # They were removed with their cgroup, and a task that was still ending began anew.
        return now
    # Counters are read while they count: what seems to go backwards did not move.
    return CgroupLatency(
        now.waits - before.waits,
        max(now.wait_ns - before.wait_ns, 0),
        now.sleeps - before.sleeps,
        tuple(max(slot, 0) for slot in map(sub, now.slots, before.slots)),
    )


def total(latencies: Iterable[CgroupLatency]) -> CgroupLatency:
    """The sum, such as that of a workload over its cgroup and all below."""
    waits = wait_ns = sleeps = 0
    slots: tuple[int, ...] = (0,) * SLOTS
    for latency in latencies:
        waits += latency.waits
        wait_ns += latency.wait_ns
        sleeps += latency.sleeps
        slots = tuple(map(add, slots, latency.slots))
    return CgroupLatency(waits, wait_ns, sleeps, slots)


def quantile(latency: CgroupLatency, share: float) -> float | None:
    """The wait in ns that ``share`` (0 to 1) of the waits do not exceed; None without any."""
    return Histogram(latency.slots).quantile_ns(share)


def _count_cpus(possible: Path) -> int:
    try:
        cpus = len(parse_cpus(possible.read_text(encoding="ascii")))
    except ValueError as exc:
        raise KernelText("list of possible CPUs", str(exc)) from exc
    if not cpus:
        raise KernelText("list of possible CPUs", "it is empty")
    return cpus


def _address(buffer: bytearray) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))
