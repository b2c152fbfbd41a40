# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs in the micro-VM: what tasks get under the kernel default and under policies, in turns.

Arguments: rounds, the length of a window in milliseconds, and names of policies, whose objects and
cards are beside this file. The answer is one line of JSON: promise → measure → condition → values.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from schedcpd.deploy.attachment import Attachment
from schedcpd.kernel.libbpf import Libbpf
from schedcpd.repository.cards import parse_card

CGROUPS = Path("/sys/fs/cgroup")
SCHED_EXT = Path("/sys/kernel/sched_ext")
DEFAULT = "default"
SEED = 7
SETTLE_S = 0.4
SLEEP_S = 0.005
PRIORITY = 10


@dataclass(frozen=True, slots=True)
class Tasks:
    """So many tasks of a kind, measured together; ``cgroup`` is below the root, "" for the root."""

    measure: str
    count: int
    nice: int = 0
    cpu: int = -1  # pinned to it; -1: not
    cgroup: str = ""
    sleeps: bool = False


@dataclass(frozen=True, slots=True)
class Promise:
    """Tasks that compete, and the settings of their cgroups: (cgroup, file) → text."""

    tasks: tuple[Tasks, ...]
    settings: dict[tuple[str, str], str] = field(default_factory=dict)


PROMISES: dict[str, Promise] = {
    "nice": Promise(tuple(Tasks(f"nice {nice}", 2, nice=nice) for nice in (0, 5, 10))),
    "nice, one CPU": Promise(tuple(Tasks(f"nice {n}", 1, nice=n, cpu=0) for n in (0, 5, 10))),
    "affinity": Promise((Tasks("pinned to CPU 0", 2, cpu=0), Tasks("free", 1))),
    "cpu.weight": Promise(
        (Tasks("weight 300", 2, cgroup="a"), Tasks("weight 100", 4, cgroup="b")),
        {("a", "cpu.weight"): "300", ("b", "cpu.weight"): "100"},
    ),
    "cpu.weight, two levels": Promise(
        (
            Tasks("weight 200 in 100", 2, cgroup="p/a"),
            Tasks("weight 100 in 100", 2, cgroup="p/b"),
            Tasks("weight 100", 2, cgroup="q"),
        ),
        {("p/a", "cpu.weight"): "200"},
    ),
    "cpu.max": Promise(
        (Tasks("limit 30 %", 2, cgroup="a"), Tasks("no limit", 2, cgroup="b")),
        {("a", "cpu.max"): "30000 100000"},
    ),
    "cpu.max, one level up": Promise(
        (
            Tasks("weight 300 in limit 80 %", 2, cgroup="p/a"),
            Tasks("weight 100 in limit 80 %", 2, cgroup="p/b"),
            Tasks("no limit", 2, cgroup="q"),
        ),
        {("p", "cpu.max"): "40000 50000", ("p/a", "cpu.weight"): "300"},
    ),
    "wake-ups": Promise((Tasks("CPU-bound", 4), Tasks("wait of a sleeper", 2, sleeps=True))),
}


def work(tasks: Tasks) -> None:
    """What a task does, for ever."""
    os.setpriority(os.PRIO_PROCESS, 0, tasks.nice)
    if tasks.cpu >= 0:
        os.sched_setaffinity(0, {tasks.cpu})
    if tasks.cgroup:
        (CGROUPS / tasks.cgroup / "cgroup.procs").write_text("0")
    while True:
        if tasks.sleeps:
            time.sleep(SLEEP_S)


def start(promise: Promise) -> dict[Tasks, list[int]]:
    """Make the cgroups and start the tasks; their processes."""
    for name in sorted({tasks.cgroup for tasks in promise.tasks} - {""}):
        for folder in (*reversed((CGROUPS / name).relative_to(CGROUPS).parents), Path(name)):
            (CGROUPS / folder).mkdir(exist_ok=True)
            if folder != Path(name):
                (CGROUPS / folder / "cgroup.subtree_control").write_text("+cpu")
    for (name, file), text in promise.settings.items():
        (CGROUPS / name / file).write_text(text)
    pids: dict[Tasks, list[int]] = {}
    for tasks in promise.tasks:
        for _ in range(tasks.count):
            pid = os.fork()
            if not pid:
                work(tasks)
            pids.setdefault(tasks, []).append(pid)
    return pids


def stop(promise: Promise, pids: dict[Tasks, list[int]]) -> None:
    """End the tasks and take the cgroups away."""
    for pid in (pid for group in pids.values() for pid in group):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    names = {tasks.cgroup for tasks in promise.tasks} - {""}
    folders = {folder for name in names for folder in (Path(name), *Path(name).parents)}
    for folder in sorted(folders - {Path()}, reverse=True):
        (CGROUPS / folder).rmdir()


def schedstat(pid: int) -> tuple[int, ...]:
    """Nanoseconds on a CPU and waiting for one, and the number of runs."""
    return tuple(map(int, Path(f"/proc/{pid}/schedstat").read_text().split()))


def window(pids: dict[Tasks, list[int]], window_s: float) -> dict[str, float]:
    """One window: per cent of a CPU of all tasks of a kind; of sleepers, the mean wait in ms."""
    time.sleep(SETTLE_S)
    before = {pid: schedstat(pid) for group in pids.values() for pid in group}
    began = time.monotonic()
    time.sleep(window_s)
    after = {pid: schedstat(pid) for pid in before}
    elapsed_ns = (time.monotonic() - began) * 1e9
    found = {}
    for tasks, group in pids.items():
        ran, waited, runs = (
            sum(after[pid][column] - before[pid][column] for pid in group) for column in range(3)
        )
        value = waited / max(runs, 1) / 1e6 if tasks.sleeps else 100 * ran / elapsed_ns
        found[tasks.measure] = value
    return found


class Conditions:
    """Puts one policy or none into the kernel."""

    def __init__(self, policies: list[str]) -> None:
        self._attached: dict[str, Attachment] = {}
        for name in policies:
            card = parse_card(Path(f"{name}.toml").read_bytes(), name)
            one = Attachment(card, SCHED_EXT)
            one.load(Libbpf(), Path(f"{name}.bpf.o").read_bytes(), {})
            one.attach()
            one.settle(SETTLE_S)
            one.suspend()
            self._attached[name] = one
        self._now = DEFAULT

    def enter(self, condition: str) -> None:
        """Leave what is there and go to ``condition``; AssertionError when it was thrown out."""
        if self._now != DEFAULT:
            thrown_out = self._attached[self._now].suspend()
            assert thrown_out is None, f"{self._now} was thrown out: {thrown_out}"
        self._now = condition
        if condition != DEFAULT:
            self._attached[condition].resume(SETTLE_S)


def main() -> None:
    """Measure all promises under all conditions."""
    rounds, window_ms, *policies = sys.argv[1:]
    os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY))
    conditions = Conditions(policies)
    order = random.Random(SEED)
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for name, promise in PROMISES.items():
        pids = start(promise)
        measures = found.setdefault(name, {tasks.measure: {} for tasks in promise.tasks})
        for _ in range(int(rounds)):
            for condition in order.sample([DEFAULT, *policies], len(policies) + 1):
                conditions.enter(condition)
                for measure, value in window(pids, int(window_ms) / 1000).items():
                    measures[measure].setdefault(condition, []).append(value)
        conditions.enter(DEFAULT)
        stop(promise, pids)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
