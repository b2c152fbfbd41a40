# SPDX-License-Identifier: GPL-2.0-or-later
"""What the cgroup v2 filesystem tells; a cgroup that vanishes while it is read gives None."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from schedcpd.errors import KernelText
from schedcpd.kernel.text import is_gone, printable, read_raw

_FLAT_LIMIT = 16 * 1024
_PIDS_LIMIT = 1024 * 1024  # more than 100,000 processes
WEIGHT_DEFAULT = 100


@dataclass(frozen=True, slots=True)
class CpuStat:
    """The counters of cpu.stat that a profile needs, in microseconds since the cgroup was made."""

    usage_us: int
    throttled_us: int  # 0 where the cpu controller is not enabled


@dataclass(frozen=True, slots=True)
class CpuLimits:
    """CPU limits of one cgroup; ``quota_us`` None is no limit."""

    quota_us: int | None
    period_us: int
    weight: int
    idle: bool

    @property
    def is_default(self) -> bool:
        """Whether the cgroup has just what every cgroup has."""
        return self.quota_us is None and self.weight == WEIGHT_DEFAULT and not self.idle


def directory(root: Path, identifier: str) -> str:
    """The directory of the cgroup whose path below ``root`` is ``identifier``."""
    return f"{root}{identifier}" if identifier != "/" else str(root)


def parse_flat(raw: bytes) -> dict[str, int]:
    """A name and a number a line, as in cpu.stat or cgroup.events; raises KernelText."""
    values: dict[str, int] = {}
    for line in raw.splitlines():
        key, _, value = line.partition(b" ")
        if not key or not _is_number(value):
            raise KernelText("flat keyed file", f"a line reads {_shown(line)}")
        values[os.fsdecode(key)] = int(value)
    return values


def parse_pids(raw: bytes) -> list[int]:
    """A file with one process or thread id a line, as cgroup.procs; raises KernelText."""
    lines = raw.split()
    for line in lines:
        if not _is_number(line):
            raise KernelText("cgroup.procs", f"a line reads {_shown(line)}")
    return [int(line) for line in lines]


def parse_cpu_max(raw: bytes) -> tuple[int | None, int]:
    """Quota (None for max) and period of cpu.max, in microseconds; raises KernelText."""
    match raw.split():
        case [b"max", period] if _is_number(period):
            return None, int(period)
        case [quota, period] if _is_number(quota) and _is_number(period):
            return int(quota), int(period)
    raise KernelText("cpu.max", f"it reads {_shown(raw)}")


def parse_number(raw: bytes) -> int:
    """A file that holds one number, as cpu.weight; raises KernelText."""
    if not _is_number(raw.strip()):
        raise KernelText("number", f"it reads {_shown(raw)}")
    return int(raw)


def _is_number(field: bytes) -> bool:
    return field.isdigit() and len(field) <= 20


def _shown(raw: bytes) -> str:
    return repr(printable(os.fsdecode(raw[:64]), 40))


def read_id(place: str) -> int | None:
    """The kernel's id of the cgroup, which is its directory's inode number."""
    try:
        return Path(place).lstat().st_ino
    except OSError as error:
        if is_gone(error):
            return None
        raise


def read_populated(place: str) -> bool | None:
    """Whether the cgroup or one below it has processes, from cgroup.events."""
    raw = read_raw(f"{place}/cgroup.events", _FLAT_LIMIT)
    return None if raw is None else bool(parse_flat(raw).get("populated", 0))


def read_cpu_stat(place: str) -> CpuStat | None:
    """The CPU time of the cgroup and all below it."""
    raw = read_raw(f"{place}/cpu.stat", _FLAT_LIMIT)
    if raw is None:
        return None
    values = parse_flat(raw)
    return CpuStat(values.get("usage_usec", 0), values.get("throttled_usec", 0))


def read_limits(place: str) -> CpuLimits | None:
    """The CPU limits of the cgroup; None when it has none of the cpu controller's files."""
    maximum = read_raw(f"{place}/cpu.max", _FLAT_LIMIT)
    weight = read_raw(f"{place}/cpu.weight", _FLAT_LIMIT)
    idle = read_raw(f"{place}/cpu.idle", _FLAT_LIMIT)
    if maximum is None and weight is None and idle is None:
        return None
    quota_us, period_us = parse_cpu_max(maximum) if maximum is not None else (None, 100_000)
    return CpuLimits(
        quota_us,
        period_us,
        parse_number(weight) if weight is not None else WEIGHT_DEFAULT,
        idle=idle is not None and parse_number(idle) == 1,
    )


def delegates_cpu(place: str) -> bool:
    """Whether the cgroups below have the cpu controller's files."""
    raw = read_raw(f"{place}/cgroup.subtree_control", _FLAT_LIMIT)
    return raw is not None and b"cpu" in raw.split()


def children(place: str) -> list[str]:
    """The names of the cgroups directly below; empty when ``place`` is gone."""
    try:
        with os.scandir(place) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        if is_gone(error):
            return []
        raise


def walk(place: str, limit: int) -> Iterator[str]:
    """The directory and those below it, parents first, at most ``limit`` of them."""
    pending = [place]
    for _ in range(limit):
        if not pending:
            return
        here = pending.pop()
        yield here
        pending.extend(f"{here}/{name}" for name in children(here))


def read_pids(place: str, directories: int = 1000) -> list[int]:
    """The processes of the cgroup and of those below it, in at most ``directories`` cgroups."""
    pids: list[int] = []
    for here in walk(place, directories):
        # None in a threaded cgroup, whose processes its domain lists already.
        raw = read_raw(f"{here}/cgroup.procs", _PIDS_LIMIT)
        if raw:
            # The bound may have cut the last number short.
            pids.extend(parse_pids(raw if len(raw) < _PIDS_LIMIT else raw[: raw.rfind(b"\n")]))
    return pids
