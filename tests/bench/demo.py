# SPDX-License-Identifier: GPL-2.0-or-later
"""``make demo``: a real long-tail batch under the kernel default and under schedcpd, in turns."""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.experiment import as_user, script
from bench.programs import GUEST_FOLDER, WORKLOADS
from lab import image, kernels, snapshot
from lab.machine import Machine
from lab.place import REPO, Lab, say

BATCH = ("compress", "first")  # the kind of work, and the long job comes first
FOLDER = "/var/tmp/longtail"
DEFAULT, SCHEDCP = "kernel default", "schedcp"
SEED = 7
RUN_TIMEOUT_S = 300.0
POLL_S = 2.0  # every look costs the machine a little CPU, under either scheduler
CPUS = 2


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of the batch."""

    scheduler: str
    makespan_s: float
    cpu_s: float
    longest_s: float
    policy: str  # what the kernel said in the middle of the run; empty for its default

    @property
    def bound_s(self) -> float:
        """No schedule on this many CPUs can be shorter: max(longest job, all work / CPUs)."""
        return max(self.longest_s, self.cpu_s / CPUS)


def run_batch(machine: Machine, scheduler: str, name: str, show_status: bool) -> Run:
    """Run the batch as an ordinary user in a service of its own; nobody names it to schedcpd."""
    machine.run(["schedctl", "resume" if scheduler == SCHEDCP else "pause"])
    result = f"{FOLDER}-{name}.json"
    command = f"exec {script('batch', 'run', *BATCH, FOLDER)} >{result}"
    began = time.monotonic()
    machine.start(command, unit=name, user="user")
    policy = ""
    if scheduler == SCHEDCP:
        machine.wait_for("test -e /sys/kernel/sched_ext/root/ops", 60, interval_s=POLL_S)
        policy = machine.run("cat /sys/kernel/sched_ext/root/ops").stdout.strip()
        if show_status:
            status = machine.run(["schedctl", "status"], user="user").stdout
            print(f"\nschedctl status, {time.monotonic() - began:.0f} s into a run:\n\n{status}")
    machine.wait_for(f"! systemctl is-active --quiet {name}", RUN_TIMEOUT_S, interval_s=POLL_S)
    found = json.loads(machine.run(["cat", result]).stdout)
    cpu = [job["cpu_s"] for job in found["jobs"]]
    return Run(scheduler, found["makespan_s"], sum(cpu) + found["own_cpu_s"], max(cpu), policy)


def orders(pairs: int) -> list[tuple[str, str]]:
    """Which of the two goes first in each pair: balanced, shuffled with a fixed seed."""
    found = [(DEFAULT, SCHEDCP) if pair % 2 else (SCHEDCP, DEFAULT) for pair in range(pairs)]
    random.Random(SEED).shuffle(found)
    return found


def measure(machine: Machine, pairs: int) -> list[tuple[Run, Run]]:
    """Run the pairs; each is returned in the order in which it ran."""
    machine.copy_in(WORKLOADS, GUEST_FOLDER)
    say("cutting 40 files to compress, one of them 24 times as long")
    machine.run(as_user(script("batch", "prepare", *BATCH, FOLDER)), timeout_s=120)
    found = []
    for number, order in enumerate(orders(pairs), 1):
        runs: list[Run] = []
        for scheduler in order:
            say(f"pair {number} of {pairs}: {scheduler} ...")
            show = scheduler == SCHEDCP and number == 1
            name = f"longtail-{number}-{len(runs) + 1}"
            runs.append(run_batch(machine, scheduler, name, show))
            say(f"pair {number} of {pairs}: {scheduler}: {runs[-1].makespan_s:.1f} s")
        found.append((runs[0], runs[1]))
    return found


def by_scheduler(pair: tuple[Run, Run]) -> dict[str, Run]:
    """The two runs of a pair by scheduler."""
    return {run.scheduler: run for run in pair}


def ratios(pairs: list[tuple[Run, Run]]) -> list[float]:
    """Makespan under schedcp over makespan under the kernel default, per pair."""
    found = [by_scheduler(pair) for pair in pairs]
    return [pair[SCHEDCP].makespan_s / pair[DEFAULT].makespan_s for pair in found]


def medians(pairs: list[tuple[Run, Run]], figure: Callable[[Run], float]) -> tuple[float, float]:
    """The median of a figure under the kernel default, and under schedcp."""
    runs = [by_scheduler(pair) for pair in pairs]
    default, ours = ([figure(run[name]) for run in runs] for name in (DEFAULT, SCHEDCP))
    return statistics.median(default), statistics.median(ours)


def table(pairs: list[tuple[Run, Run]], bound_s: float) -> str:
    """What a person reads: a row a pair, then medians and spread."""
    lines = ["pair  first           kernel default    schedcp   ratio"]
    for number, (pair, ratio) in enumerate(zip(pairs, ratios(pairs), strict=True), 1):
        runs = by_scheduler(pair)
        default, ours = runs[DEFAULT].makespan_s, runs[SCHEDCP].makespan_s
        lines.append(
            f"{number:4}  {pair[0].scheduler:14} {default:13.1f} s {ours:8.1f} s {ratio:7.2f}"
        )
    found = ratios(pairs)
    default_s, ours_s = medians(pairs, lambda run: run.makespan_s)
    median = statistics.median(found)
    lines.append(f"median{default_s:29.1f} s {ours_s:8.1f} s {median:7.2f}")
    lines.append(f"ratios from {min(found):.2f} to {max(found):.2f} in {len(found)} pairs")
    lines.append(f"no schedule can be shorter than {bound_s:.1f} s: max(longest job, work / CPUs)")
    default_cpu_s, our_cpu_s = medians(pairs, lambda run: run.cpu_s)
    lines.append(
        f"the same work took {default_cpu_s:.1f} s of CPU under the kernel default and"
        f" {our_cpu_s:.1f} s under schedcp:\n"
        "switching between jobs costs CPU, more so in an emulated machine"
    )
    return "\n".join(lines)


def report(pairs: list[tuple[Run, Run]], machine: Machine, bound_s: float) -> dict[str, object]:
    """The figures for build/demo.json."""
    return {
        "pairs": [
            {"order": [run.scheduler for run in pair], "runs": [asdict(run) for run in pair]}
            for pair in pairs
        ],
        "ratios": ratios(pairs),
        "median_ratio": statistics.median(ratios(pairs)),
        "lower_bound_s": bound_s,
        "kernel": machine.run(["uname", "-r"]).stdout.strip(),
        "cpus": CPUS,
        "accelerator": machine.spec.accel,
        "long_job": "submitted first",
    }


def main() -> int:
    """Boot the lab with the package, measure, print, write the figures."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--deb", type=Path, required=True, help="the package to install in the lab")
    parser.add_argument("--pairs", type=int, default=3, help="interleaved pairs (default: 3)")
    parser.add_argument("--out", type=Path, default=REPO / "build" / "demo.json")
    options = parser.parse_args()
    if options.pairs < 3:
        parser.error("--pairs: at least 3, or the median says nothing")
    lab = Lab.from_env()
    saved = snapshot.get(image.build(lab, options.deb), kernels.get(lab), cpus=CPUS)
    with Machine.resume(saved) as machine:
        pairs = measure(machine, options.pairs)
        bound_s = min(run.bound_s for pair in pairs for run in pair)
        figures = report(pairs, machine, bound_s)
    options.out.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"\n{table(pairs, bound_s)}\n\nfigures: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
