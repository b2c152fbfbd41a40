# SPDX-License-Identifier: GPL-2.0-or-later
"""A long-tail batch of real work, run in the lab: 40 processes at once, most short and few long.

    batch.py prepare KIND VARIANT FOLDER    cut the inputs to size for this machine
    batch.py run KIND VARIANT FOLDER        do all of it; makespan, CPU and end of each job as JSON
    batch.py kinds                          the kinds that this machine has the programs for

Kinds of work are in jobs.py. Standard library only; runs as an ordinary user.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.workloads.jobs import KINDS, Kind, missing

JOBS = 40
SHORT_S = 1.0  # CPU seconds of a short job
LONG_FACTOR = 24.0  # the long job against a short one
SEVERAL, SEVERAL_FACTOR = 4, 8.0
WAVES, WAVE_GAP_S = 4, 4.0
SECOND_SAMPLE = 4  # times the units of the first
SMALL = "BENCH_SHORT_S"  # in the environment: another length of a short job, for tests


@dataclass(frozen=True, slots=True)
class Job:
    """A job of a batch: its length against a short one, and when it arrives."""

    factor: float = 1.0
    wave: int = 0


def with_long(position: int) -> tuple[Job, ...]:
    """One long job among short ones."""
    return tuple(Job(LONG_FACTOR if index == position else 1.0) for index in range(JOBS))


def several() -> tuple[Job, ...]:
    """Several long jobs, evenly strewn, the last of them last."""
    apart = JOBS // SEVERAL
    return tuple(Job(SEVERAL_FACTOR if (i + 1) % apart == 0 else 1.0) for i in range(JOBS))


def waves() -> tuple[Job, ...]:
    """Jobs that arrive in waves; the long one begins the second."""
    each = JOBS // WAVES
    return tuple(Job(LONG_FACTOR if i == each else 1.0, i // each) for i in range(JOBS))


VARIANTS = {"first": with_long(0), "last": with_long(JOBS - 1), "several": several()}
VARIANTS["waves"] = waves()


def short_s() -> float:
    """CPU seconds of a short job."""
    return float(os.environ.get(SMALL, SHORT_S))


def spawn(argv: tuple[str, ...]) -> int:
    """Start a job, whose output is thrown away; its pid."""
    actions = (
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
    )
    return os.posix_spawn(argv[0], argv, os.environ, file_actions=actions, setsigmask=())


def cost_s(kind: Kind, place: Path, units: int) -> float:
    """CPU seconds that a job of so many units takes on this machine."""
    kind.write(place, units)
    for _ in range(2):  # the first one fills the caches
        kind.ready(place)
        _, status, usage = os.wait4(spawn(kind.command(place)), 0)
        if status != 0:
            sys.exit(f"the sample of {units} units failed with wait status {status}")
    return usage.ru_utime + usage.ru_stime


def units_of(kind: Kind, folder: Path, factors: set[float]) -> dict[float, int]:
    """The units of a job that is so many times as long as a short one."""
    if kind.whole:
        return {factor: round(factor) for factor in factors}
    samples = kind.sample, kind.sample * SECOND_SAMPLE
    small, large = (cost_s(kind, folder / f"sample-{units}", units) for units in samples)
    per_unit = max((large - small) / (samples[1] - samples[0]), 1e-9)
    start_s = max(small - per_unit * samples[0], 0.0)
    return {factor: max(1, round((factor * short_s() - start_s) / per_unit)) for factor in factors}


def place_of(folder: Path, index: int) -> Path:
    """Where the input of a job is."""
    return folder / f"job-{index:02d}"


def prepare(kind: Kind, jobs: tuple[Job, ...], folder: Path) -> None:
    """Write the inputs, a new folder full."""
    folder.mkdir(parents=True)
    units = units_of(kind, folder, {job.factor for job in jobs})
    for index, job in enumerate(jobs):
        kind.write(place_of(folder, index), units[job.factor])
    print(json.dumps({"units": units}))


def ended(timeout_s: float | None) -> Iterator[tuple[int, int, resource.struct_rusage]]:
    """The children that have ended; waits for one, but no longer than ``timeout_s`` seconds."""
    if timeout_s is not None:
        signal.sigtimedwait({signal.SIGCHLD}, max(timeout_s, 0.0))
    else:
        yield os.wait4(-1, 0)
    while True:
        try:
            found = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if found[0] == 0:
            return
        yield found


def run(kind: Kind, jobs: tuple[Job, ...], folder: Path) -> None:
    """Do all jobs, each in the moment it arrives; times in seconds from the first arrival."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # it is waited for
    places = [place_of(folder, index) for index in range(len(jobs))]
    for place in places:
        kind.ready(place)
    commands = [kind.command(place) for place in places]
    began = time.monotonic()
    arrivals = [(job.wave * WAVE_GAP_S * short_s() / SHORT_S, i) for i, job in enumerate(jobs)]
    running: dict[int, tuple[int, float]] = {}
    done = []
    while arrivals or running:
        while arrivals and arrivals[0][0] <= time.monotonic() - began:
            index = arrivals.pop(0)[1]
            running[spawn(commands[index])] = index, time.monotonic() - began
        gap_s = arrivals[0][0] - (time.monotonic() - began) if arrivals else None
        for pid, status, usage in ended(gap_s):
            index, arrived_s = running.pop(pid)
            if status != 0:
                sys.exit(f"job {index} failed with wait status {status}: {commands[index]}")
            cpu_s = usage.ru_utime + usage.ru_stime
            end_s = time.monotonic() - began
            done.append({"job": index, "cpu_s": cpu_s, "arrived_s": arrived_s, "end_s": end_s})
    own = resource.getrusage(resource.RUSAGE_SELF)
    makespan_s = max(job["end_s"] for job in done)
    found = {"makespan_s": makespan_s, "own_cpu_s": own.ru_utime + own.ru_stime, "jobs": done}
    print(json.dumps(found))


def main(argv: list[str]) -> None:
    """What the module's first lines say."""
    match argv:
        case ["kinds"]:
            print(json.dumps([name for name, kind in KINDS.items() if not missing(kind)]))
        case ["prepare" | "run" as verb, kind, variant, folder]:
            act = prepare if verb == "prepare" else run
            act(KINDS[kind], VARIANTS[variant], Path(folder))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
