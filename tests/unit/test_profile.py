# SPDX-License-Identifier: GPL-2.0-or-later
"""The summary profile, on a simulated machine whose window ends at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from schedcpd.errors import WorkloadGone
from schedcpd.kernel.text import REPLACEMENT
from schedcpd.model import Program, Workload, WorkloadKind, WorkloadProfile
from schedcpd.profile.summary import Clocks, sentence, survey

NAME = "batch.service"
STAT = "{} ({}) {} 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 {} 0 {} 0 0 0\n"


@dataclass
class Machine:
    """A cgroup and its processes in files; ``steps`` change them during the window."""

    root: Path
    now: float = 100_000.0
    steps: list[Callable[[], None]] = field(default_factory=list)
    listening: dict[int, int] = field(default_factory=dict)
    started: dict[int, int] = field(default_factory=dict)  # pid → clock ticks after boot

    def __post_init__(self) -> None:
        self.place.mkdir(parents=True)
        self.proc.mkdir()
        self.count(usage_us=0, waited_us=0)
        self.list_processes()

    @property
    def place(self) -> Path:
        return self.root / "cgroup" / NAME

    @property
    def proc(self) -> Path:
        return self.root / "proc"

    def count(self, usage_us: int, waited_us: int | None, throttled_us: int = 0) -> None:
        (self.place / "cpu.stat").write_text(
            f"usage_usec {usage_us}\nthrottled_usec {throttled_us}\n"
        )
        pressure = self.place / "cpu.pressure"
        if waited_us is None:
            pressure.unlink(missing_ok=True)
        else:
            pressure.write_text(f"some avg10=0.00 avg60=0.00 avg300=0.00 total={waited_us}\n")

    def process(
        self, pid: int, comm: str, states: str = "R", age_s: float = 2.0, command: bytes = b""
    ) -> None:
        """A process with one thread for each letter of ``states``."""
        started = self.started.setdefault(pid, round((self.now - age_s) * 100))
        threads = dict(enumerate(states, pid * 1000)) if len(states) > 1 else {pid: states}
        for tid, state in threads.items():
            task = self.proc / f"{pid}/task/{tid}"
            task.mkdir(parents=True, exist_ok=True)
            (task / "stat").write_text(STAT.format(tid, comm, state, len(states), started))
        text = STAT.format(pid, comm, states[0], len(states), started)
        (self.proc / f"{pid}/stat").write_text(text)
        (self.proc / f"{pid}/cmdline").write_bytes(command or comm.encode() + b"\0-9\0")
        self.list_processes()

    def end(self, pid: int, listed: bool = False) -> None:
        (self.proc / f"{pid}/stat").unlink()
        if not listed:
            del self.started[pid]
            self.list_processes()

    def list_processes(self) -> None:
        text = "".join(f"{pid}\n" for pid in self.started)
        (self.place / "cgroup.procs").write_text(text)

    @property
    def workload(self) -> Workload:
        inode = self.place.stat().st_ino
        return Workload(f"/{NAME}", inode, NAME, WorkloadKind.SERVICE, 900.0)

    async def summarise(self) -> WorkloadProfile:
        profile, _ = await survey(
            self.root / "cgroup",
            self.proc,
            self.workload,
            0.3,
            sleep=self._sleep,
            clocks=Clocks(lambda: 5000.0, lambda: self.now, lambda: self.now, 100),
            listeners=lambda: self.listening,
        )
        return profile

    async def _sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.steps:
            self.steps.pop(0)()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


async def test_a_batch(machine: Machine) -> None:
    machine.process(1, "bash", "S", age_s=7200.0)
    for pid in range(2, 32):
        machine.process(pid, "xz", "R", age_s=pid / 10)
    machine.steps = [lambda: machine.count(570_000, 290_000)]
    profile = await machine.summarise()
    assert (profile.processes, profile.threads) == (31, 31)
    assert profile.taken_at == 5000.0
    assert profile.window_s == pytest.approx(0.3)
    assert profile.cpus_used == pytest.approx(1.9)
    assert profile.pressure_some == pytest.approx(0.9667, abs=1e-3)
    assert profile.runnable == 30.0
    assert profile.oldest_s == pytest.approx(7200.3)
    assert profile.youngest_s == pytest.approx(0.5)
    assert profile.programs == (Program("xz", 30), Program("bash", 1))
    assert profile.arguments == ("xz -9", "xz -9", "xz -9")
    # The parent counts for nothing here.
    assert (profile.workers, profile.worker_share, profile.worker_threads) == (30.0, 1.0, 1.0)
    assert profile.worker_age_s == pytest.approx(1.95)
    assert profile.worker_program == "xz"
    assert profile.sentence == (
        "31 processes (30 xz, 1 bash) with 31 threads, 30.0 of them runnable, use 1.90 CPUs; "
        "some thread waited for a CPU 97% of the time; 0 s to 2 h old"
    )


async def test_pipelines_count_by_those_that_work(machine: Machine) -> None:
    for pid in range(1, 31, 3):
        machine.process(pid, "sh", "S")
        machine.process(pid + 1, "tar", "S")
        machine.process(pid + 2, "xz", "R")
    profile = await machine.summarise()
    assert profile.processes == 30
    assert (profile.workers, profile.worker_share) == (10.0, 1.0)
    assert profile.worker_program == "xz"
    assert profile.programs[0] == Program("xz", 10)  # of equals the busy one


async def test_a_multi_threaded_program(machine: Machine) -> None:
    machine.process(1, "java", "S" * 8 + "R" * 24)
    profile = await machine.summarise()
    assert (profile.processes, profile.threads, profile.runnable) == (1, 32, 24.0)
    assert (profile.workers, profile.worker_threads) == (1.0, 32.0)


async def test_a_server_that_works_now_and_then(machine: Machine) -> None:
    def turn(busy: range) -> None:
        for pid in range(1, 31):
            machine.process(pid, "worker", "R" if pid in busy else "S")

    turn(range(1, 11))
    machine.steps = [lambda: turn(range(11, 21)), lambda: turn(range(21, 31))]
    profile = await machine.summarise()
    assert profile.workers == 10.0
    assert profile.worker_share == pytest.approx(1 / 3)


async def test_short_jobs_that_come_and_go(machine: Machine) -> None:
    def generation(first: int, last: int) -> None:
        for pid in tuple(machine.started):
            machine.end(pid)
        for pid in range(first, last):
            machine.process(pid, "cc1", "R", age_s=0.1)

    generation(1, 21)
    machine.steps = [lambda: generation(100, 120), lambda: generation(200, 215)]
    profile = await machine.summarise()
    assert profile.processes == 15
    assert profile.programs == (Program("cc1", 15),)
    assert profile.runnable == pytest.approx(55 / 3)
    assert profile.worker_share == 1.0  # seen once, and busy: not a third of the time


async def test_processes_that_end_between_listing_and_reading(machine: Machine) -> None:
    machine.process(1, "xz")
    machine.process(2, "xz")
    machine.end(2, listed=True)
    profile = await machine.summarise()
    assert profile.processes == 1
    assert profile.runnable == 1.0


async def test_all_processes_end_in_the_window(machine: Machine) -> None:
    machine.process(1, "xz")
    machine.steps = [lambda: machine.end(1)]
    profile = await machine.summarise()
    assert profile.processes == 1  # as last seen
    assert profile.runnable == pytest.approx(1 / 3)
    assert profile.programs == (Program("xz", 1),)


async def test_an_empty_cgroup(machine: Machine) -> None:
    profile = await machine.summarise()
    assert profile.processes == 0
    assert profile.sentence == "No process is left in it"
    assert profile.programs == ()


async def test_a_pid_that_comes_back_is_another_process(machine: Machine) -> None:
    machine.process(1, "xz", "R", age_s=500.0)

    def come_back() -> None:
        machine.end(1)
        machine.process(1, "cat", "S", age_s=0.0)

    machine.steps = [come_back]
    profile = await machine.summarise()
    assert profile.programs == (Program("cat", 1),)
    assert profile.worker_program == "xz"


async def test_exec_changes_the_program(machine: Machine) -> None:
    machine.process(1, "sh", age_s=1.0)
    machine.steps = [lambda: machine.process(1, "xz")]
    profile = await machine.summarise()
    assert profile.programs == (Program("xz", 1),)


async def test_the_cgroup_vanishes(machine: Machine) -> None:
    machine.process(1, "xz")

    def vanish() -> None:
        for file in machine.place.iterdir():
            file.unlink()
        machine.place.rmdir()

    machine.steps = [vanish]
    with pytest.raises(WorkloadGone, match=r"batch\.service"):
        await machine.summarise()


async def test_another_cgroup_of_the_same_name_is_not_looked_at(machine: Machine) -> None:
    old = replace(machine.workload, cgroup_id=1)
    with pytest.raises(WorkloadGone):
        await survey(machine.root / "cgroup", machine.proc, old)


async def test_counters_that_make_no_sense(machine: Machine) -> None:
    (machine.place / "cpu.stat").write_text("usage\n")
    with pytest.raises(WorkloadGone):
        await machine.summarise()


async def test_counters_never_run_backwards(machine: Machine) -> None:
    machine.process(1, "xz")
    machine.count(900_000, 900_000, 900_000)
    machine.steps = [lambda: machine.count(0, 0, 0)]
    profile = await machine.summarise()
    assert (profile.cpus_used, profile.pressure_some, profile.throttled_s) == (0.0, 0.0, 0.0)


async def test_a_throttled_workload(machine: Machine) -> None:
    machine.process(1, "xz")
    machine.steps = [lambda: machine.count(60_000, 0, 240_000)]
    assert (await machine.summarise()).throttled_s == pytest.approx(0.24)


async def test_without_psi_crowding_tells_the_pressure(machine: Machine) -> None:
    machine.count(0, None)
    for pid in range(1, 11):
        machine.process(pid, "xz")
    machine.steps = [lambda: machine.count(600_000, None)]
    assert (await machine.summarise()).pressure_some == 1.0
    for pid in range(1, 11):
        machine.process(pid, "xz", "S")
    assert (await machine.summarise()).pressure_some == 0.0


async def test_hostile_programs(machine: Machine) -> None:
    machine.process(1, "a) R (b\x1b[2J", command=b"rm\0\n\x1b[31m\xff\0" + b"x" * 1_000_000)
    profile = await machine.summarise()
    assert profile.programs == (Program(f"a) R (b{REPLACEMENT}[2J", 1),)
    [arguments] = profile.arguments
    assert arguments.startswith(f"rm {REPLACEMENT * 2}[31m{REPLACEMENT} x")
    assert len(arguments) == 200
    assert profile.sentence.isprintable()


async def test_a_process_that_is_garbled_counts_for_nothing(machine: Machine) -> None:
    machine.process(1, "xz")
    machine.process(2, "xz")
    (machine.proc / "2/stat").write_text("2 (xz) what\n")
    assert (await machine.summarise()).processes == 1


async def summarise_counting(machine: Machine) -> tuple[WorkloadProfile, list[str]]:
    """The profile, and every file that was opened for it."""
    read: list[str] = []
    real = os.open

    def counting(path: str, flags: int) -> int:
        read.append(path)
        return real(path, flags)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", counting)
        return await machine.summarise(), read


async def test_many_processes_are_sampled(machine: Machine) -> None:
    machine.started = dict.fromkeys(range(1, 2001), 99_000)
    for pid in machine.started:
        directory = machine.proc / str(pid)
        directory.mkdir()
        state = "R" if pid % 4 == 0 else "S"
        (directory / "stat").write_text(STAT.format(pid, "job", state, 1, 99_000))
    machine.list_processes()
    profile, read = await summarise_counting(machine)
    assert len([path for path in read if path.endswith("/stat")]) <= 600
    assert profile.processes == 2000
    assert profile.programs == (Program("job", 2000),)
    assert profile.runnable == pytest.approx(500, rel=0.35)


async def test_thousands_of_threads_are_sampled(machine: Machine) -> None:
    machine.process(1, "java", "RRS" * 1000)
    machine.process(2, "java", "S" * 10)
    profile, read = await summarise_counting(machine)
    assert len([path for path in read if "/task/" in path]) <= 2000
    assert profile.threads == 3010
    assert 0 < profile.runnable <= 3010


async def test_who_does_nothing_is_not_asked_for_sockets(machine: Machine) -> None:
    machine.process(1, "httpd", "S")
    machine.listening = {machine.workload.cgroup_id: 1}
    assert (await machine.summarise()).listeners == 0
    machine.steps = [lambda: machine.count(60_000, 0)]  # a fifth of a CPU
    assert (await machine.summarise()).listeners == 1


async def test_the_command_is_that_of_the_oldest_process(machine: Machine) -> None:
    machine.process(1, "xz", age_s=2.0)
    machine.process(2, "make", "S", age_s=50.0, command=b"make\0-j8\0")
    assert (await machine.summarise()).command == "make -j8"
    machine.process(2, "make", "D", age_s=50.0, command=b"make\0-j8\0")
    assert (await machine.summarise()).command == ""  # reading it might wait


async def test_listening_sockets_of_the_cgroup_and_below(machine: Machine) -> None:
    for pid in range(1, 4):
        machine.process(pid, "httpd")
    (machine.place / "sub").mkdir()
    below = (machine.place / "sub").stat().st_ino
    machine.listening = {machine.workload.cgroup_id: 1, below: 2, 10**15: 7}
    assert (await machine.summarise()).listeners == 3


async def test_processes_of_cgroups_below_count(machine: Machine) -> None:
    machine.process(1, "xz")
    machine.process(2, "xz")
    (machine.place / "sub").mkdir()
    (machine.place / "sub/cgroup.procs").write_text("2\n")
    (machine.place / "cgroup.procs").write_text("1\n")
    assert (await machine.summarise()).processes == 2


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, "1 process (1 xz) with 1 thread, 1.0 of them runnable, uses 1.00 CPUs; "),
        ({"processes": 2}, "2 processes (1 xz) with 1 thread, 1.0 of them runnable, use 1.00"),
        ({"youngest_s": 1.0, "oldest_s": 250.0}, "; 1 s to 4 min old"),
        ({"youngest_s": 7200.0, "oldest_s": 864_000.0}, "; 2 h to 10 days old"),
        ({"programs": tuple(Program(name, 2) for name in "abcde")}, "(2 a, 2 b, 2 c and 2 more)"),
    ],
)
def test_the_sentence(changes: dict[str, object], shown: str) -> None:
    profile = WorkloadProfile(
        taken_at=0.0,
        window_s=0.3,
        processes=1,
        threads=1,
        runnable=1.0,
        cpus_used=1.0,
        throttled_s=0.0,
        pressure_some=0.0,
        youngest_s=3.0,
        oldest_s=3.0,
        programs=(Program("xz", 1),),
    )
    assert shown in sentence(replace(profile, **changes))  # type: ignore[arg-type]
