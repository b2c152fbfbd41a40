# SPDX-License-Identifier: GPL-2.0-or-later
"""Profiles workloads: the summary always, the next tier only where the one before does not tell."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median_low

from schedcpd.errors import KernelText, ProbeFailed
from schedcpd.kernel import cgroupfs, sockets
from schedcpd.model import (
    ProbesProfile,
    SchedulingProfile,
    Tier,
    Workload,
    WorkloadClass,
    WorkloadProfile,
)
from schedcpd.profile.classify import Setting, classify, needs_probes, needs_scheduling
from schedcpd.profile.probes import ChildSettings, Prober, with_probes
from schedcpd.profile.scheduling import Observation
from schedcpd.profile.summary import Clocks, survey
from schedcpd.profile.tasks import Census

log = logging.getLogger(__name__)

# A class seldom changes within this time, and a workload under pressure is looked at every second.
FRESH_S = 10.0
# The probe is felt by every system call of the machine: once in so long for a workload, unasked.
PROBES_APART_S = 600.0


@dataclass(frozen=True, slots=True)
class _Known:
    at: float
    worker_program: str  # when others run, it says nothing any more
    seen: SchedulingProfile


@dataclass(frozen=True, slots=True)
class _Probed:
    at: float
    worker_program: str
    found: ProbesProfile | None  # None when the probe failed


def _nobody_knows(_: Workload) -> Sequence[int]:
    return ()


@dataclass(slots=True)
class Profiler:
    """``profile`` workloads below ``root``.

    Remembers for FRESH_S what the scheduling tier said, and for PROBES_APART_S what the probes did.
    """

    root: Path
    proc: Path
    cpus: int = field(default_factory=lambda: os.cpu_count() or 1)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clocks: Clocks = field(default_factory=Clocks)
    listeners: Callable[[], dict[int, int]] = sockets.listeners
    prober: Prober = field(default_factory=lambda: Prober(ChildSettings()))
    # The CPU time in ns that processes of a workload are expected to use, where that is known.
    expected: Callable[[Workload], Sequence[int]] = _nobody_knows
    _known: dict[int, _Known] = field(default_factory=dict)  # by cgroup id
    _last_probes: dict[int, _Probed] = field(default_factory=dict)  # by cgroup id

    async def profile(self, workload: Workload, tier: Tier | None = None) -> WorkloadProfile:
        """What ``workload`` is; raises WorkloadGone when it has ended.

        Without a ``tier`` it is looked at as closely as it takes to tell its class. That of the
        probes raises ProbeFailed when there is none.
        """
        profile, census = await survey(
            self.root,
            self.proc,
            workload,
            sleep=self.sleep,
            clocks=self.clocks,
            listeners=self.listeners,
        )
        setting = self._setting(workload, census)
        verdict = classify(profile, setting, self.cpus)
        closer = needs_scheduling(profile, verdict) if tier is None else tier is not Tier.SUMMARY
        if closer:
            seen = self._fresh(workload, profile) or await self._observe(workload, census)
            now, program = self.clocks.monotonic(), profile.worker_program
            self._known.setdefault(workload.cgroup_id, _Known(now, program, seen))
            profile = replace(profile, scheduling=seen)
            verdict = classify(profile, setting, self.cpus)
        if tier is Tier.PROBES:
            profile = self._probed(workload, profile, await self.prober.probe(workload))
            verdict = classify(profile, setting, self.cpus)
        elif tier is None and needs_probes(profile, verdict):
            profile = await self._probe_unasked(workload, profile)
            verdict = classify(profile, setting, self.cpus)
        if verdict.work is WorkloadClass.BATCH and profile.scheduling is not None:
            seen = _with_expected(profile.scheduling, self.expected(workload))
            profile = replace(profile, scheduling=seen)
        told = verdict.sentence
        if profile.processes:
            told = f"{told}; {profile.sentence}"
        return replace(profile, work=verdict.work, sentence=told)

    async def _probe_unasked(self, workload: Workload, profile: WorkloadProfile) -> WorkloadProfile:
        """The profile with what the probes say, or said lately, if it is to be had now."""
        now, here = self.clocks.monotonic(), workload.cgroup_id
        for key, last in tuple(self._last_probes.items()):
            if now - last.at >= PROBES_APART_S:
                del self._last_probes[key]
        known = self._last_probes.get(here)
        if known is not None:
            same = known.worker_program == profile.worker_program
            return _with_probes(profile, known.found if same else None)
        if not self.prober.free:
            return profile
        try:
            found: ProbesProfile | None = await self.prober.probe(workload)
        except ProbeFailed as error:
            log.warning("%s", error)
            found = None
        return self._probed(workload, profile, found)

    def _probed(
        self, workload: Workload, profile: WorkloadProfile, found: ProbesProfile | None
    ) -> WorkloadProfile:
        """The profile with what the probes have just found; that is remembered."""
        last = _Probed(self.clocks.monotonic(), profile.worker_program, found)
        self._last_probes[workload.cgroup_id] = last
        return _with_probes(profile, found)

    def _setting(self, workload: Workload, census: Census) -> Setting:
        try:
            limits = cgroupfs.read_limits(cgroupfs.directory(self.root, workload.id))
        except KernelText:
            limits = None  # files that make no sense ask for nothing
        nice, policy = census.median_nice(), census.usual_policy()
        if limits is None:
            return Setting(workload.id, nice=nice, policy=policy)
        return Setting(workload.id, limits.weight, limits.idle, nice, policy)

    def _fresh(self, workload: Workload, profile: WorkloadProfile) -> SchedulingProfile | None:
        """What is known already and still holds; what is outdated is forgotten."""
        now, here = self.clocks.monotonic(), workload.cgroup_id
        for key, known in tuple(self._known.items()):
            others = key == here and known.worker_program != profile.worker_program
            if others or now - known.at >= FRESH_S:
                del self._known[key]
        return self._known[here].seen if here in self._known else None

    async def _observe(self, workload: Workload, census: Census) -> SchedulingProfile:
        observation = Observation(
            proc=self.proc,
            place=cgroupfs.directory(self.root, workload.id),
            workers=[one.stat.pid for one in census.workers()],
            others=[one.stat.pid for one in census.others()],
            boot=self.clocks.boot,
            ticks_per_s=self.clocks.ticks_per_s,
            sleep=self.sleep,
        )
        return await observation.take()


def _with_expected(seen: SchedulingProfile, expected_ns: Sequence[int]) -> SchedulingProfile:
    if not expected_ns:
        return seen
    # Two digits are as much as a guess is worth, and tell nobody the size of another one's file.
    usual, longest = (
        float(f"{one / 1e9:.2g}") for one in (median_low(expected_ns), max(expected_ns))
    )
    return replace(seen, expected_s=usual, longest_s=longest)


def _with_probes(profile: WorkloadProfile, found: ProbesProfile | None) -> WorkloadProfile:
    if found is None or profile.scheduling is None:
        return profile
    return replace(profile, scheduling=with_probes(profile.scheduling, found), probes=found)
