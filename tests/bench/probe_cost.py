# SPDX-License-Identifier: GPL-2.0-or-later
"""What a probe costs: a pipe ping-pong and busy loops with it and without, in turns.

The ping-pong does nothing but switch and wake, which is the worst case. The workload probe is
measured twice: for a workload that has all tasks, and for one that has none of them, which is what
the rest of the machine feels while it counts. The machine's clock counts
instructions, as those of a shared host say nothing about 5 %; figures are ratios, pair by pair.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from lab import image, kernels, micro, roots
from lab.place import REPO, Lab, say
from schedcpd.repository.packaged import file_of

LOADS = {"pipe": "pipe ping-pong", "hog": "busy loops"}
SWITCHES_PER_TRIP = 2
NORMAL_95 = 1.96
INSTRUCTION_US = 0.002
RUN = """#!/bin/sh
export PYTHONPATH=/run/payload
exec python3 probe_guest.py {probe} {pairs} {window_ms}
"""
GUEST_PACKAGES = ("kernel", "model", "repository", "deploy/probe", "profile")
GUEST_MODULES = ("__init__", "errors", "fields", "deploy/__init__", "signals")
PROBES = {  # what is measured, and the object that it takes
    "runqueue": "runqueue",
    "workload": "workload",
    "workload-beside": "workload",
}


@dataclass(frozen=True, slots=True)
class Cost:
    """Medians per second, and with the probe / without: median, its 95 % interval, quartiles."""

    plain: float
    probe: float
    ratio: float
    interval: tuple[float, float]
    quartiles: tuple[float, float]


def cost_of(pairs: list[dict[str, float]]) -> Cost:
    """The figures of one load."""
    ratios = sorted(pair["probe"] / pair["plain"] for pair in pairs)
    low, ratio, high = statistics.quantiles(ratios)
    plain, probe = (statistics.median(pair[key] for pair in pairs) for key in ("plain", "probe"))
    # The order statistics between which the median lies, by the sign test.
    rank = max(int((len(ratios) - NORMAL_95 * math.sqrt(len(ratios))) / 2), 0)
    return Cost(plain, probe, ratio, (ratios[rank], ratios[-1 - rank]), (low, high))


def build_load(lab: Lab) -> bytes:
    """The program that makes the load, compiled in the build root."""
    out = REPO / "build" / "bench" / "probe_load"
    out.parent.mkdir(parents=True, exist_ok=True)
    argv = ("gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", f"/src/{out.relative_to(REPO)}")
    built = roots.run_in_root(
        (*argv, "/src/tests/bench/probe_load.c"), lab=lab, binds={REPO: "/src"}
    )
    built.check_returncode()
    return out.read_bytes()


def measure(
    lab: Lab, series: str, probe: str, objects: Path, pairs: int, window_ms: int
) -> dict[str, Cost]:
    """Measure under one kernel; RuntimeError with the payload's words when that fails."""
    files = {
        "run": RUN.format(probe=probe, pairs=pairs, window_ms=window_ms).encode(),
        "probe_guest.py": (REPO / "tests/bench/probe_guest.py").read_bytes(),
        "probe_load": build_load(lab),
        file_of(PROBES[probe]): (objects / file_of(PROBES[probe])).read_bytes(),
    }
    sources = [REPO / f"schedcpd/{module}.py" for module in GUEST_MODULES]
    sources += [path for name in GUEST_PACKAGES for path in (REPO / "schedcpd" / name).glob("*.py")]
    files |= {str(path.relative_to(REPO)): path.read_bytes() for path in sources}
    kernel = kernels.get(lab, series)
    say(f"{pairs} pairs of {window_ms} ms with kernel {kernel.version} ...")
    timeout_s = 60 + pairs * 4 * 10 * (window_ms / 1000 + 0.1)
    result = micro.run(
        image.current(lab), kernel, files, timeout_s=timeout_s, cpus=1, by_instructions=True
    )
    if not result.ok:
        raise RuntimeError(result.output + str(result.lost or ""))
    found = json.loads(result.output.splitlines()[-1])
    return {load: cost_of(found[load]) for load in LOADS}


def main() -> int:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.probe_cost", description=__doc__)
    parser.add_argument("--probe", choices=PROBES, default="runqueue")
    parser.add_argument("--objects", type=Path, default=REPO / "build/probes")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--kernel", default=kernels.DEFAULT_SERIES, metavar="SERIES")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--window-ms", type=int, default=100)
    options = parser.parse_args()
    lab = Lab.from_env()
    probe, length = options.probe, (options.pairs, options.window_ms)
    found = measure(lab, options.kernel, probe, options.objects, *length)
    out = options.out or REPO / f"build/bench/{probe}_cost.json"
    figures: dict[str, object] = {load: asdict(cost) for load, cost in found.items()}
    figures |= {
        "probe": probe,
        "kernel": options.kernel,
        "pairs": options.pairs,
        "window_ms": options.window_ms,
    }
    out.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"probe {probe}, kernel {options.kernel}, {options.pairs} pairs, with / without")
    for load, cost in found.items():
        (low, high), (first, third) = cost.interval, cost.quartiles
        print(
            f"  {LOADS[load]:15} {cost.ratio:.4f}   95 % {low:.4f} to {high:.4f}   "
            f"quartiles {first:.4f} to {third:.4f}   {cost.plain:.0f} a second without"
        )
    switch_us = 1e6 / found["pipe"].plain / SWITCHES_PER_TRIP
    share = 1 / found["pipe"].ratio - 1
    print(
        f"  {share * switch_us / INSTRUCTION_US:.0f} instructions a switch, on top of "
        f"{switch_us / INSTRUCTION_US:.0f}"
    )
    print(f"figures: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
