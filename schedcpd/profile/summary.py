# SPDX-License-Identifier: GPL-2.0-or-later
"""The summary profile: what a workload is and needs, in a third of a second."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from schedcpd.errors import KernelText, WorkloadGone
from schedcpd.kernel import cgroupfs, procfs, sockets
from schedcpd.kernel.pressure import read_pressure
from schedcpd.model import Program, Workload, WorkloadProfile
from schedcpd.profile.tasks import FULL_LOOK_TASKS, QUICK_LOOK_TASKS, Census

WINDOW_S = 0.3
_QUICK_LOOKS = 2  # then one full look, at the end
_PROGRAMS_SHOWN = 8
_ARGUMENTS_SHOWN = 3
_CGROUPS_SEARCHED = 200
# Of a workload that does less nobody asks whether it serves somebody.
_WORKS_CPUS = 0.02
_WORKS_RUNNABLE = 0.5


def _boot_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Clocks:
    """The clocks of a profile, in seconds; tests bring their own."""

    epoch: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    boot: Callable[[], float] = _boot_s  # what processes' start times count in
    ticks_per_s: int = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class _Counters:
    """The workload's counters at one moment; ``waited_us`` is None where the kernel has no PSI."""

    at: float
    cpu: cgroupfs.CpuStat
    waited_us: int | None


async def survey(
    root: Path,
    proc: Path,
    workload: Workload,
    window_s: float = WINDOW_S,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    clocks: Clocks | None = None,
    listeners: Callable[[], dict[int, int]] = sockets.listeners,
) -> tuple[WorkloadProfile, Census]:
    """Watch ``workload`` for ``window_s`` and say what it is, and which processes were seen.

    Processes that end meanwhile are no trouble; a cgroup that does raises WorkloadGone.
    """
    clocks = clocks or Clocks()
    place = cgroupfs.directory(root, workload.id)
    if cgroupfs.read_id(place) != workload.cgroup_id:
        raise WorkloadGone(workload.id)  # or another one of the same name
    census = Census(proc, place)
    before = _counters(place, workload, clocks)
    for _ in range(_QUICK_LOOKS):
        await census.look(QUICK_LOOK_TASKS)
        await sleep(window_s / _QUICK_LOOKS)
    await census.look(FULL_LOOK_TASKS)
    after = _counters(place, workload, clocks)
    profile = _add_up(census, before, after, clocks)
    profile = replace(
        profile,
        arguments=_arguments(proc, census),
        command=_command(proc, census),
        listeners=_listening(place, listeners()) if _works(profile) else 0,
    )
    return replace(profile, sentence=sentence(profile)), census


def _works(profile: WorkloadProfile) -> bool:
    return profile.cpus_used >= _WORKS_CPUS or profile.runnable >= _WORKS_RUNNABLE


def _counters(place: str, workload: Workload, clocks: Clocks) -> _Counters:
    try:
        cpu = cgroupfs.read_cpu_stat(place)
        pressure = read_pressure(f"{place}/cpu.pressure")
    except KernelText as exc:
        raise WorkloadGone(workload.id) from exc
    if cpu is None:
        raise WorkloadGone(workload.id)
    return _Counters(clocks.monotonic(), cpu, pressure.some_us if pressure else None)


def _add_up(census: Census, before: _Counters, after: _Counters, clocks: Clocks) -> WorkloadProfile:
    window_s = max(after.at - before.at, 1e-3)
    cpus_used = max(0, after.cpu.usage_us - before.cpu.usage_us) / 1e6 / window_s
    if before.waited_us is None or after.waited_us is None:
        pressure = census.crowded_share(cpus_used)
    else:
        pressure = min(1.0, max(0, after.waited_us - before.waited_us) / 1e6 / window_s)
    latest, boot_s, workers = census.latest(), clocks.boot(), census.workers()
    ages = census.ages(boot_s, clocks.ticks_per_s) or [0.0]
    looks = sum(one.looks for one in workers)
    return WorkloadProfile(
        taken_at=clocks.epoch(),
        window_s=window_s,
        processes=round(latest.processes * latest.scale),
        threads=round(latest.threads * latest.scale),
        runnable=census.mean_runnable(),
        cpus_used=cpus_used,
        throttled_s=max(0, after.cpu.throttled_us - before.cpu.throttled_us) / 1e6,
        pressure_some=pressure,
        youngest_s=min(ages),
        oldest_s=max(ages),
        programs=tuple(Program(*one) for one in census.programs()[:_PROGRAMS_SHOWN]),
        workers=census.mean_workers(),
        worker_share=sum(one.runnable for one in workers) / looks if looks else 0.0,
        worker_threads=sum(one.stat.threads for one in workers) / len(workers) if workers else 0.0,
        worker_age_s=census.median_worker_age(boot_s, clocks.ticks_per_s),
        worker_program=_majority(census.busy_programs()),
    )


def _majority(busy: Counter[str]) -> str:
    """The program that makes up more than half, if there is one."""
    return next((name for name, count in busy.items() if 2 * count > busy.total()), "")


def _arguments(proc: Path, census: Census) -> tuple[str, ...]:
    # Of workers alone: reading a command line can wait for a process that is stuck in the kernel.
    chosen = census.workers()[:_ARGUMENTS_SHOWN]
    lines = (procfs.read_arguments(proc, one.stat.pid) for one in chosen)
    return tuple(line for line in lines if line)


def _command(proc: Path, census: Census) -> str:
    oldest = census.oldest()
    # Reading a command line can wait for a process that is stuck in the kernel.
    if oldest is None or oldest.stat.state not in ("R", "S"):
        return ""
    return procfs.read_arguments(proc, oldest.stat.pid)


def _listening(place: str, by_cgroup: dict[int, int]) -> int:
    """How many listening sockets were made in the cgroup or in one below it."""
    if not by_cgroup:
        return 0
    identifiers = (cgroupfs.read_id(here) for here in cgroupfs.walk(place, _CGROUPS_SEARCHED))
    return sum(by_cgroup.get(one, 0) for one in identifiers if one is not None)


def sentence(profile: WorkloadProfile) -> str:
    """One plain sentence for a person."""
    if not profile.processes:
        return "No process is left in it"
    first, last = _age(profile.youngest_s), _age(profile.oldest_s)
    age = first if first == last else f"{first} to {last}"
    return (
        f"{_counted(profile.processes, 'process', 'processes')} ({_programs(profile)}) with "
        f"{_counted(profile.threads, 'thread', 'threads')}, {profile.runnable:.1f} of them "
        f"runnable, {'uses' if profile.processes == 1 else 'use'} {profile.cpus_used:.2f} CPUs; "
        f"some thread waited for a CPU {profile.pressure_some:.0%} of the time; {age} old"
    )


def _programs(profile: WorkloadProfile) -> str:
    shown = [f"{one.processes} {one.name}" for one in profile.programs[:3]]
    rest = len(profile.programs) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _age(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.0f} days"
