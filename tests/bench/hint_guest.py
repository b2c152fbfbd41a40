# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs in the micro-VM: what the task probe tells of real processes, how right, and how soon.

The reader is real-time, as the daemon is. Delays are measured alone, and while others want all CPUs
twice over. A line of JSON is the answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from schedcpd.deploy.probe import PROBES, TASKS
from schedcpd.kernel.commandline import read_command_line
from schedcpd.kernel.libbpf import Libbpf
from schedcpd.learn.events import EventKind, TaskEvent, TaskFeed
from schedcpd.learn.hints import Hints, Sources
from schedcpd.learn.runtimes import Runtimes
from schedcpd.model import Workload, WorkloadKind
from schedcpd.repository.packaged import file_of

CGROUP = Path("/sys/fs/cgroup/hints")
ELSEWHERE = Path("/sys/fs/cgroup/elsewhere")
HOGS_PER_CPU = 2
TIMEOUT_S = 240
INPUT_BYTES = 4_000_000
# Reads its standard input once for each: a job of some 100 ms that begins every 100 ms or so.
STARTER = "sleep 1; i=0; while [ $i -lt %d ]; do i=$((i+1)); wc -l < /proc/self/fd/0; done"
SPIN = "i=0; while [ $i -lt %d ]; do i=$((i+1)); done"
THREADS = """
import hashlib, sys, threading
data = bytes(1 << 20)
work = lambda: [hashlib.sha256(data).digest() for _ in range(int(sys.argv[1]))]
threads = [threading.Thread(target=work) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


class Log:
    """All that was told, and when it was read; and when a hint would have been sent."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.events: list[TaskEvent] = []
        self.execs: dict[int, int] = {}
        self.delays_ns: list[int] = []
        self.hint_delays_ns: list[int] = []

    def told(self, events: Sequence[TaskEvent]) -> None:
        """Takes the events of one wake-up."""
        now = time.monotonic_ns()
        self.events.extend(events)
        for event in events:
            if event.kind is EventKind.EXEC:
                self.delays_ns.append(now - event.at_ns)
                self.execs[event.tgid] = event.at_ns
        self.changed.set()

    async def update_hints(
        self, updates: Mapping[int, int], deletions: Collection[int] = ()
    ) -> None:
        """In place of the deployer."""
        now = time.monotonic_ns()
        # Once each, the first: a hint changes when more is known.
        begun = [self.execs.pop(pid) for pid in updates if pid in self.execs]
        self.hint_delays_ns += [now - at_ns for at_ns in begun]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until enough was told; TimeoutError."""
        async with asyncio.timeout(TIMEOUT_S):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def of(self, kind: EventKind) -> list[TaskEvent]:
        """The events of one kind."""
        return [event for event in self.events if event.kind is kind]


def cgroup_id() -> int:
    """Of the cgroup that is watched."""
    return CGROUP.stat().st_ino


def load() -> TaskFeed:
    """The feed of a probe that this process has loaded itself."""
    probe = Libbpf().open(Path(file_of(TASKS)).read_bytes(), TASKS)
    probe.load()
    links = tuple(link.fileno() for link in probe.attach_programs())
    ring_fd, watched_fd = (probe.map_fd(name) for name in PROBES[TASKS].maps)
    return TaskFeed(ring_fd, watched_fd, links)


def start(cgroup: Path, *argv: str, stdin: Path = Path("/dev/null")) -> subprocess.Popen[bytes]:
    """Start a program in a cgroup, as an ordinary task."""

    def enter() -> None:
        (cgroup / "cgroup.procs").write_text("0")
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))

    with stdin.open("rb") as file:
        return subprocess.Popen(argv, stdin=file, stdout=subprocess.DEVNULL, preexec_fn=enter)


def used_ns(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    """Wait for a process; its pid and the CPU time that it used."""
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return process.pid, int((usage.ru_utime + usage.ru_stime) * 1e9)


async def check_short(log: Log, count: int) -> dict[str, object]:
    """Whether each of many short processes is seen to begin and to end."""
    pids = []
    for _ in range(count):
        process = start(CGROUP, "/bin/true", "one", "two")
        elsewhere = start(ELSEWHERE, "/bin/true")
        pids.append(process.pid)
        await asyncio.to_thread(process.wait)
        await asyncio.to_thread(elsewhere.wait)
    wanted = set(pids)
    await log.until(lambda: {event.tgid for event in log.of(EventKind.EXIT)} >= wanted)
    execs = [event for event in log.of(EventKind.EXEC) if event.comm == b"true"]
    return {
        "started": count,
        "execs": len({event.tgid for event in execs} & wanted),
        "exits": len({event.tgid for event in log.of(EventKind.EXIT)} & wanted),
        "others": len({event.tgid for event in log.events} - wanted),
        "arguments": all(event.arguments == b"/bin/true\0one\0two\0" for event in execs),
        "lost": log.events[-1].lost,
    }


async def check_cpu_time(log: Log, loops: int) -> list[dict[str, float]]:
    """The CPU time of processes with one thread and with several, against what wait4() says."""
    argvs = [["/bin/sh", "-c", SPIN % (loops * factor)] for factor in (1, 2, 4)]
    argvs += [["/usr/bin/python3", "-c", THREADS, str(factor)] for factor in (10, 20)]
    processes = [start(CGROUP, *argv) for argv in argvs]
    truth = dict([await asyncio.to_thread(used_ns, process) for process in processes])
    await log.until(lambda: {event.tgid for event in log.of(EventKind.EXIT)} >= set(truth))
    told = {event.tgid: event.cpu_ns for event in log.of(EventKind.EXIT)}
    return [{"told_s": told[pid] / 1e9, "true_s": ns / 1e9} for pid, ns in truth.items()]


async def check_files(feed: TaskFeed, log: Log, folder: Path) -> dict[str, object]:
    """Standard input and files that arguments name, of new processes and of one that runs."""
    (folder / "in.bin").write_bytes(bytes(300_000))
    (folder / "arg.bin").write_bytes(bytes(200_000))
    process = start(CGROUP, "/usr/bin/sha256sum", str(folder / "arg.bin"), stdin=folder / "in.bin")
    pid = process.pid
    await asyncio.to_thread(process.wait)
    await log.until(lambda: any(event.tgid == pid for event in log.of(EventKind.EXIT)))
    begun = next(event for event in log.of(EventKind.EXEC) if event.tgid == pid)
    opened = {event.name: event.size for event in log.of(EventKind.FILE) if event.tgid == pid}
    sleeper = start(CGROUP, "/bin/sleep", "600", stdin=folder / "in.bin")
    running = [event for event in feed.open_files() if event.tgid == sleeper.pid]
    # It may have files of its locale open as well, as it has just begun.
    found = [event for event in running if event.kind is not EventKind.FILE]
    sleeper.kill()
    await asyncio.to_thread(sleeper.wait)
    await log.until(lambda: any(event.tgid == sleeper.pid for event in log.of(EventKind.EXIT)))
    killed = next(event for event in log.of(EventKind.EXIT) if event.tgid == sleeper.pid)
    return {
        "stdin": [begun.name.decode(), begun.size],
        "argument": opened.get(b"arg.bin", 0),
        "running": [[event.kind.name, event.name.decode(), event.size] for event in found],
        "killed": killed.detail == signal.SIGKILL,
    }


async def check_delay(log: Log, feed: TaskFeed, folder: Path, count: int) -> dict[str, object]:
    """From exec to the event read, and to the hint handed over."""
    kind, now = WorkloadKind.SERVICE, time.time()
    workload = Workload("/hints", cgroup_id(), "hints", kind, now, "hints")
    runtimes = Runtimes(folder / "runtimes.db", time.time)
    sources = Sources(
        lambda _: (), lambda pid: read_command_line(Path("/proc"), pid), time.monotonic
    )
    hints = Hints(feed, runtimes, log, sources, lambda *_: None)
    hints.consider(workload, wanted=True)
    hints.policy_attached(takes_hints=True)
    (folder / "data").write_bytes(bytes(INPUT_BYTES))
    # Others are started by that one: the reader has nothing to do but to read.
    starter = start(CGROUP, "/bin/sh", "-c", STARTER % count, stdin=folder / "data")
    await log.until(lambda: any(event.tgid == starter.pid for event in log.of(EventKind.EXEC)))
    log.clear()
    await asyncio.to_thread(starter.wait)
    await log.until(lambda: any(event.tgid == starter.pid for event in log.of(EventKind.EXIT)))
    hints.vanished(workload.id)  # the next one has the feed to itself
    await hints.stop()
    runtimes.close()
    return {"exec_to_read_ns": log.delays_ns, "exec_to_hint_ns": log.hint_delays_ns}


async def measure(count: int, loops: int) -> dict[str, object]:
    """Everything, one after the other."""
    feed, log = load(), Log()
    feed.told.connect(log.told)
    feed.start()
    feed.watch(cgroup_id())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found: dict[str, object] = {
            "short": await check_short(log, count // 4),
            "cpu_time": await check_cpu_time(log, loops),
            "files": await check_files(feed, log, folder),
            "quiet": await check_delay(log, feed, folder, count),
        }
        hogs = [
            start(ELSEWHERE, "/bin/sh", "-c", "while :; do :; done")
            for _ in range(HOGS_PER_CPU * (os.cpu_count() or 1))
        ]
        found["busy"] = await check_delay(log, feed, folder, count)
        for hog in hogs:
            hog.kill()
            hog.wait()
    feed.close()
    return found


def main() -> None:
    """Arguments: how many short processes, and loops of a shell for the shortest long one."""
    count, loops = map(int, sys.argv[1:])
    for place in (CGROUP, ELSEWHERE):
        place.mkdir(exist_ok=True)
    os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    print(json.dumps(asyncio.run(measure(count, loops))))


if __name__ == "__main__":
    main()
