# SPDX-License-Identifier: GPL-2.0-or-later
"""A cgroup whose tasks' counters are files; a window of a profile passes as fast as it can."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from schedcpd.model import Workload, WorkloadKind
from schedcpd.profile.scheduling import Observation

STAT = "{} ({}) {} 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 {} {} 0 {} 0 0 0\n"
STATUS = "Name:\tx\nvoluntary_ctxt_switches:\t{}\nnonvoluntary_ctxt_switches:\t{}\n"


@dataclass
class MadeTask:
    """One thread of a process; counters as the kernel keeps them."""

    pid: int
    tid: int
    comm: str = "job"
    state: str = "S"
    wchan: str = "0"
    run_ns: int = 0
    wait_ns: int = 0
    runs: int = 0
    voluntary: int = 0
    involuntary: int = 0


@dataclass
class MadeTasks:
    """``step`` is called each time that the profile sleeps, with the seconds that passed."""

    root: Path
    unit: str = "job.service"
    now: float = 1000.0
    tasks: dict[int, MadeTask] = field(default_factory=dict)
    step: Callable[[float], None] = lambda elapsed_s: None
    began: float = 1000.0
    sleeps: int = 0

    def __post_init__(self) -> None:
        (self.root / "cgroup" / self.unit).mkdir(parents=True)
        self.proc.mkdir()
        self.count(0)
        self.write()

    @property
    def proc(self) -> Path:
        return self.root / "proc"

    @property
    def place(self) -> Path:
        return self.root / "cgroup" / self.unit

    @property
    def workload(self) -> Workload:
        inode = self.place.stat().st_ino
        return Workload(f"/{self.unit}", inode, self.unit, WorkloadKind.SERVICE, 900.0)

    def count(self, usage_us: int) -> None:
        (self.place / "cpu.stat").write_text(f"usage_usec {usage_us}\nthrottled_usec 0\n")

    def add(self, pid: int, tid: int = 0, **values: object) -> MadeTask:
        task = MadeTask(pid, tid or pid, **values)  # type: ignore[arg-type]
        self.tasks[task.tid] = task
        return task

    def end(self, pid: int) -> None:
        for tid in [tid for tid, one in self.tasks.items() if one.pid == pid]:
            del self.tasks[tid]
            for file in (self.proc / f"{pid}/task/{tid}").iterdir():
                file.unlink()
        (self.proc / f"{pid}/stat").unlink()

    def write(self) -> None:
        """Make the files say what the tasks are."""
        pids = {one.pid for one in self.tasks.values()}
        for one in self.tasks.values():
            threads = sum(other.pid == one.pid for other in self.tasks.values())
            task = self.proc / f"{one.pid}/task/{one.tid}"
            task.mkdir(parents=True, exist_ok=True)
            stat = STAT.format(one.tid, one.comm, one.state, 0, threads, round(self.began * 100))
            (task / "stat").write_text(stat)
            (self.proc / f"{one.pid}/stat").write_text(stat)
            (task / "schedstat").write_text(f"{one.run_ns} {one.wait_ns} {one.runs}\n")
            (task / "status").write_text(STATUS.format(one.voluntary, one.involuntary))
            (task / "wchan").write_text(one.wchan)
            (self.proc / f"{one.pid}/cmdline").write_bytes(one.comm.encode() + b"\0-j\x002\0")
        (self.place / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in sorted(pids)))

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.sleeps += 1
        self.step(self.now - self.began)
        self.write()

    def observation(self, workers: list[int], others: list[int] | None = None) -> Observation:
        self.write()
        return Observation(
            self.proc, str(self.place), workers, others or [], lambda: self.now, 100, self.sleep
        )
