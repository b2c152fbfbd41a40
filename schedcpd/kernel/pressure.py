# SPDX-License-Identifier: GPL-2.0-or-later
"""Pressure stall information: how long tasks waited for a CPU, and a trigger for when they do."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path

from schedcpd.errors import KernelText, NoPressure
from schedcpd.kernel.text import read_raw

_LIMIT = 4096
_TOTAL = re.compile(rb"[0-9]{1,20}")
_PERCENT = re.compile(rb"[0-9]{1,3}(?:\.[0-9]{1,6})?")
# Without CAP_SYS_RESOURCE the kernel takes only windows that are multiples of its own 2 s.
_UNPRIVILEGED_WINDOW_US = 2_000_000


@dataclass(frozen=True, slots=True)
class Pressure:
    """Stall time since boot, or since the cgroup was made, in microseconds."""

    some_us: int  # at least one task waited
    some_recent: float  # share of the last ten seconds, 0 to 1; the kernel renews it every 2 s
    full_us: int = 0  # every task that could run waited; only a cgroup has it


def parse_pressure(raw: bytes) -> Pressure:
    """The content of /proc/pressure/cpu or of a cgroup's cpu.pressure; raises KernelText."""
    lines: dict[bytes, dict[bytes, bytes]] = {}
    for line in raw.splitlines():
        kind, *fields = line.split() or [b""]
        lines[kind] = dict(field.split(b"=", 1) for field in fields if b"=" in field)
    some = lines.get(b"some", {})
    total, recent = some.get(b"total", b""), some.get(b"avg10", b"")
    if not (_TOTAL.fullmatch(total) and _PERCENT.fullmatch(recent)):
        raise KernelText("pressure file", "it has no line 'some avg10=… total=…'")
    full = lines.get(b"full", {}).get(b"total", b"")
    full_us = int(full) if _TOTAL.fullmatch(full) else 0
    return Pressure(int(total), float(recent) / 100, full_us)


def read_pressure(path: str) -> Pressure | None:
    """The pressure file at ``path``; None when it is gone or PSI is off."""
    raw = read_raw(path, _LIMIT)
    return None if raw is None else parse_pressure(raw)


def open_trigger(path: Path, share: float, window_us: int) -> int:
    """A descriptor that has POLLPRI when some task waited for ``share`` of ``window_us``.

    The kernel says it at most once a window. Falls back to the kernel's own window of 2 s where
    the shorter one is not allowed. Raises NoPressure.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        raise NoPressure(exc.strerror or "it cannot be opened") from exc
    try:
        _write_trigger(descriptor, share, window_us)
    except OSError as exc:
        os.close(descriptor)
        raise NoPressure(exc.strerror or "the trigger was refused") from exc
    return descriptor


def _write_trigger(descriptor: int, share: float, window_us: int) -> None:
    try:
        os.write(descriptor, _trigger(share, window_us))
    except OSError as exc:
        if exc.errno != errno.EINVAL or window_us % _UNPRIVILEGED_WINDOW_US == 0:
            raise
        os.write(descriptor, _trigger(share, _UNPRIVILEGED_WINDOW_US))


def _trigger(share: float, window_us: int) -> bytes:
    return b"some %d %d\0" % (int(share * window_us), window_us)
