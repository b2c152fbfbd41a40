# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs in the micro-VM: each load with the probe and without, in turns whose order is random."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

from schedcpd.deploy.probe.load import FILE, NAME
from schedcpd.kernel.libbpf import BpfObject, Libbpf

SEED = 7


def measure(probe: BpfObject, load: str, window_ms: int, with_probe: bool) -> float:
    """What the load got done per second in one window."""
    links = probe.attach_programs() if with_probe else []
    argv = ("./probe_load", load, str(window_ms))
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE)
    for link in links:
        link.destroy()
    return float(done.stdout)


def main() -> None:
    """Arguments: windows of each kind, and milliseconds of one; a line of JSON is the answer."""
    pairs, window_ms = map(int, sys.argv[1:])
    probe = Libbpf().open(Path(FILE).read_bytes(), NAME)
    probe.load()
    order = random.Random(SEED)
    found: dict[str, list[dict[str, float]]] = {"pipe": [], "hog": []}
    for _ in range(pairs):
        for load, results in found.items():
            pair = {}
            for with_probe in order.sample((False, True), 2):
                key = "probe" if with_probe else "plain"
                pair[key] = measure(probe, load, window_ms, with_probe)
            results.append(pair)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
