# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs in the micro-VM: each load with the probe and without, in turns whose order is random."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from schedcpd.deploy.probe import RUNQUEUE
from schedcpd.kernel.libbpf import Libbpf, Link
from schedcpd.kernel.workload import MAX_CPUS
from schedcpd.profile import measure
from schedcpd.repository.packaged import file_of

SEED = 7
ROOT_CGROUP, NO_CGROUP = 1, 2**63


class Probe(Protocol):
    """What can be put into the kernel and taken out again."""

    def begin(self) -> None: ...

    def end(self) -> object: ...


class RunQueue:
    """The run-queue probe."""

    def __init__(self) -> None:
        self._object = Libbpf().open(Path(file_of(RUNQUEUE)).read_bytes(), RUNQUEUE)
        self._object.load()
        self._links: list[Link] = []

    def begin(self) -> None:
        self._links = self._object.attach_programs()

    def end(self) -> None:
        for link in self._links:
            link.destroy()


def workload(cgroup: int, level: int) -> measure.Probe:
    """The workload probe."""
    data = Path(file_of(measure.NAME)).read_bytes()
    return measure.Probe(Libbpf(), data, cgroup, level, [0] * MAX_CPUS)


def probe_of(name: str) -> Probe:
    """A probe as it is measured."""
    match name:
        case "workload":
            return workload(ROOT_CGROUP, 0)
        case "workload-beside":
            return workload(NO_CGROUP, 0)
        case _:
            return RunQueue()


def once(probe: Probe, load: str, window_ms: int, with_probe: bool) -> float:
    """What the load got done per second in one window."""
    if with_probe:
        probe.begin()
    argv = ("./probe_load", load, str(window_ms))
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE)
    if with_probe:
        probe.end()
    return float(done.stdout)


def main() -> None:
    """Arguments: probe, windows of each kind, and milliseconds of one; the answer is JSON."""
    name, *numbers = sys.argv[1:]
    pairs, window_ms = map(int, numbers)
    probe = probe_of(name)
    order = random.Random(SEED)
    found: dict[str, list[dict[str, float]]] = {"pipe": [], "hog": []}
    for _ in range(pairs):
        for load, results in found.items():
            pair = {}
            for with_probe in order.sample((False, True), 2):
                key = "probe" if with_probe else "plain"
                pair[key] = once(probe, load, window_ms, with_probe)
            results.append(pair)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
