# SPDX-License-Identifier: GPL-2.0-or-later
"""Which CPU weights and limits are set on this machine, for policies that would ignore them."""

from __future__ import annotations

from pathlib import Path

from schedcpd.kernel import cgroupfs
from schedcpd.kernel.cgroupfs import WEIGHT_DEFAULT, CpuLimits
from schedcpd.kernel.text import printable

_PATH_SHOWN = 120


def find_limits(cgroup_root: Path, only: str = "/") -> tuple[str, ...]:
    """A sentence for each cgroup with processes that has a CPU weight or limit, in path order.

    ``only`` is the one cgroup to look at, or the root for all of them. Raises KernelText when a
    limit cannot be understood: an unknown limit is not no limit.
    """
    if only != "/":
        sentence = _limit_of(cgroup_root, only)
        return (sentence,) if sentence else ()
    found: list[tuple[str, str]] = []
    # The cpu controller is enabled from the top down: where it ends, so does the search.
    pending = [""] if cgroupfs.delegates_cpu(str(cgroup_root)) else []
    while pending:
        parent = pending.pop()
        for name in cgroupfs.children(f"{cgroup_root}{parent}"):
            path = f"{parent}/{name}"
            sentence = _limit_of(cgroup_root, path)
            if sentence:
                found.append((path, sentence))
            if cgroupfs.delegates_cpu(f"{cgroup_root}{path}"):
                pending.append(path)
    return tuple(sentence for _, sentence in sorted(found))


def _limit_of(cgroup_root: Path, path: str) -> str:
    place = cgroupfs.directory(cgroup_root, path)
    limits = cgroupfs.read_limits(place)
    if limits is None or limits.is_default or not cgroupfs.read_populated(place):
        return ""
    return f"{printable(path, _PATH_SHOWN)} has {describe(limits)}"


def describe(limits: CpuLimits) -> str:
    """What is set, for a person: "cpu.max 20 % of one CPU and cpu.weight 50 instead of 100"."""
    parts: list[str] = []
    if limits.quota_us is not None:
        share = limits.quota_us / max(1, limits.period_us)
        parts.append(f"cpu.max {share:.0%} of one CPU")
    if limits.idle:
        parts.append("cpu.idle")  # its weight then reads 0
    elif limits.weight != WEIGHT_DEFAULT:
        parts.append(f"cpu.weight {limits.weight} instead of {WEIGHT_DEFAULT}")
    return " and ".join(parts)
