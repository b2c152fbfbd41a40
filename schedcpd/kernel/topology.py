# SPDX-License-Identifier: GPL-2.0-or-later
"""The CPUs a machine can have and what sets them apart, as far as it matters to a scheduler.

sysfs tells the capacity, the last-level cache and the node of a CPU only while the CPU is online.
So a topology describes the CPUs that were online when it was read, and two topologies of one
machine agree when they agree about every CPU that both describe: hotplug does not set them apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CPU_LIMIT = 8192
NODE_LINK = re.compile(r"^node\d+$")
CORE_TYPES = ("cpu_core", "cpu_atom", "cpu_lowpower")


@dataclass(frozen=True, slots=True)
class Topology:
    """``possible`` and ``nodes`` are the kernel's lists; ``cpus`` maps each description to CPUs."""

    possible: str
    nodes: str
    cpus: Mapping[str, str]  # "llc 0, node 0, type core, capacity 1024" → "0-3,8"

    def difference(self, other: Topology) -> str:
        """How ``other`` is another machine, as part of a sentence; empty when it is not."""
        if self.possible != other.possible:
            return f"possible CPUs {other.possible} instead of {self.possible}"
        if self.nodes != other.nodes:
            return f"possible NUMA nodes {other.nodes} instead of {self.nodes}"
        there = other.by_cpu()
        for cpu, about in sorted(self.by_cpu().items()):
            if (now := there.get(cpu, about)) != about:
                return f"CPU {cpu} has {now} instead of {about}"
        return ""

    @property
    def kind(self) -> str:
        """What kind of machine it is: how many CPUs, caches, nodes and types of cores it has."""
        facts: dict[str, set[str]] = {"llc": set(), "node": set(), "type": set()}
        for about in self.cpus:
            for fact in about.split(", "):
                name, _, value = fact.partition(" ")
                if name in facts:
                    facts[name].add(value)
        counts = ", ".join(f"{name} {len(values)}" for name, values in facts.items())
        return f"cpus {len(parse_cpus(self.possible))}, {counts}"

    def by_cpu(self) -> dict[int, str]:
        """The description of each CPU that is described."""
        return {cpu: about for about, cpus in self.cpus.items() for cpu in parse_cpus(cpus)}


def parse_cpus(text: str) -> list[int]:
    """The CPUs of a list such as ``0-3,8``; ValueError when it is none or absurdly long."""
    cpus: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        low, high = int(first), int(last or first)
        if not 0 <= low <= high < CPU_LIMIT:
            raise ValueError(f"{part[:40]!r} is no range of CPUs")
        cpus.extend(range(low, high + 1))
    return cpus


def format_cpus(cpus: list[int]) -> str:
    """The shortest list for CPUs in ascending order: ``0-3,8``."""
    parts: list[str] = []
    for index, cpu in enumerate(cpus):
        if index and cpus[index - 1] == cpu - 1:
            first = parts.pop().partition("-")[0]
            parts.append(f"{first}-{cpu}")
        else:
            parts.append(str(cpu))
    return ",".join(parts)


def read_topology(sys: Path = Path("/sys")) -> Topology:
    """The topology of this machine, from sysfs; what the machine does not tell is left out."""
    devices = sys / "devices"
    types = {kind: _cpus(devices / kind / "cpus") for kind in CORE_TYPES}
    groups: dict[str, list[int]] = {}
    for cpu in _cpus(devices / "system/cpu/online"):
        kind = next((kind for kind, cpus in types.items() if cpu in cpus), "")
        about = _describe(devices / "system/cpu" / f"cpu{cpu}", kind)
        groups.setdefault(about, []).append(cpu)
    return Topology(
        possible=_read(devices / "system/cpu/possible"),
        nodes=_read(devices / "system/node/possible"),
        cpus={about: format_cpus(cpus) for about, cpus in groups.items()},
    )


def _describe(cpu: Path, kind: str) -> str:
    facts = {
        "llc": _last_level_cache(cpu / "cache"),
        "node": _node(cpu),
        "type": kind.removeprefix("cpu_"),
        "capacity": _read(cpu / "cpu_capacity"),
    }
    return ", ".join(f"{name} {value}" for name, value in facts.items() if value) or "no details"


def _last_level_cache(cache: Path) -> str:
    levels = [(_read(index / "level"), _read(index / "id")) for index in cache.glob("index[0-9]")]
    known = [(int(level), name) for level, name in levels if level.isdigit() and name]
    return max(known)[1] if known else ""


def _node(cpu: Path) -> str:
    try:
        names = [entry.name for entry in cpu.iterdir() if NODE_LINK.match(entry.name)]
    except FileNotFoundError:
        # The CPU was taken away since the list of online CPUs was read.
        return ""
    return min(names, default="node").removeprefix("node")


def _cpus(path: Path) -> frozenset[int] | list[int]:
    return parse_cpus(_read(path))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        # Not every machine tells everything, and an offline CPU tells nothing.
        return ""
