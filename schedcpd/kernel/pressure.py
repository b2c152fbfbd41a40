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


def parse_pressure(raw: bytes) -> Pressure:
    """The content of /proc/pressure/cpu or of a cgroup's cpu.pressure; raises KernelText."""
    for line in raw.splitlines():
        kind, *fields = line.split() or [b""]
        if kind == b"some":
            values = dict(field.split(b"=", 1) for field in fields if b"=" in field)
            total, recent = values.get(b"total", b""), values.get(b"avg10", b"")
            if _TOTAL.fullmatch(total) and _PERCENT.fullmatch(recent):
                return Pressure(int(total), float(recent) / 100)
    raise KernelText("pressure file", "it has no line 'some avg10=… total=…'")


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
