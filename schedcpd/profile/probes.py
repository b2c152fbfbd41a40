# SPDX-License-Identifier: GPL-2.0-or-later
"""The probes tier: has a child count all that a workload does for a second, and makes it a profile.

The probe is a program of our own (probes/workload.bpf.c) rather than those of bcc, which would need
a compiler and 100 MB on every machine at run time.
"""

from __future__ import annotations

import asyncio
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from schedcpd.errors import KernelText, ProbeFailed
from schedcpd.kernel import child
from schedcpd.kernel.syscalls import name_of
from schedcpd.kernel.text import printable
from schedcpd.kernel.workload import REPORT_LIMIT, Counted, Source, Span, Times, WakerCount, parse
from schedcpd.model import (
    Histogram,
    ProbesProfile,
    SchedulingProfile,
    SleepReason,
    SystemCall,
    Waker,
    WakerKind,
    Workload,
)

USUAL_S = 1.0
MOST_S = 10.0
_PIECE = 1 << 16
_SHOWN = 16  # wakers, and system calls
_COMM = 15
_REASON = 300
_LEAST_SHARE = 0.05  # of all sleep: less is not worth a word
_KINDS = {
    Source.ITSELF: WakerKind.ITSELF,
    Source.INSIDE: WakerKind.INSIDE,
    Source.OUTSIDE: WakerKind.OUTSIDE,
    Source.INTERRUPT: WakerKind.INTERRUPT,
    Source.TIMER: WakerKind.TIMER,
}
_REASONS = {
    SleepReason.LOCK: Span.LOCK,
    SleepReason.MESSAGE: Span.MESSAGE,
    SleepReason.TIMER: Span.TIMER,
    SleepReason.STORAGE: Span.STORAGE,
    SleepReason.OTHER: Span.OTHER,
    SleepReason.PREEMPTED: Span.PREEMPTED,
}
_WORDS = {
    SleepReason.LOCK: "locks",
    SleepReason.MESSAGE: "messages",
    SleepReason.TIMER: "a time",
    SleepReason.STORAGE: "storage",
    SleepReason.OTHER: "other things",
}


@dataclass(frozen=True, slots=True)
class ChildSettings:
    """Where the probe is installed, and how its child is run."""

    objects: Path = Path("/usr/lib/schedcp/probes")
    argv: tuple[str, ...] = child.tracing("schedcpd.profile.measure")
    start_s: float = 30.0  # the child takes as long to start and to end, at most


@dataclass(slots=True)
class Prober:
    """``probe`` workloads, one at a time on the whole machine.

    ``forbidden`` says why none may be probed now, as part of a sentence, or nothing.
    """

    settings: ChildSettings
    forbidden: Callable[[], str] = lambda: ""
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def free(self) -> bool:
        """Whether a probe could begin at once."""
        return not self._turn.locked() and not self.forbidden()

    async def probe(self, workload: Workload, duration_s: float = USUAL_S) -> ProbesProfile:
        """What all tasks of ``workload`` do for ``duration_s`` (at most MOST_S); ProbeFailed."""
        if not 0 < duration_s <= MOST_S:
            raise ProbeFailed(workload.id, f"it takes from 0 to {MOST_S:g} s")
        async with self._turn:
            if reason := self.forbidden():
                raise ProbeFailed(workload.id, reason)
            raw = await self._measure(workload, duration_s)
        try:
            return describe(parse(raw))
        except KernelText as exc:
            raise ProbeFailed(workload.id, str(exc)) from exc

    async def _measure(self, workload: Workload, duration_s: float) -> bytes:
        wanted = (str(workload.cgroup_id), str(workload.level), str(duration_s))
        argv = (*self.settings.argv, str(self.settings.objects), *wanted)
        try:
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=DEVNULL, stdout=PIPE, env=child.ENVIRONMENT
            )
        except OSError as exc:
            raise ProbeFailed(workload.id, f"its child could not be started: {exc}") from exc
        limit_s = duration_s + self.settings.start_s
        try:
            async with asyncio.timeout(limit_s):
                told = await _read(process)
                status = await process.wait()
        except TimeoutError as exc:
            raise ProbeFailed(workload.id, f"its child was not done in {limit_s:g} s") from exc
        finally:
            await _end(process)
        if status:
            reason = printable(told.decode("utf-8", "replace"), _REASON)
            raise ProbeFailed(workload.id, reason or f"its child ended with status {status}")
        return told


async def _read(process: Process) -> bytes:
    """What the child says until it ends; of what is too much only the beginning."""
    told = b""
    while process.stdout is not None and (piece := await process.stdout.read(_PIECE)):
        if len(told) <= REPORT_LIMIT:
            told += piece
    return told


async def _end(process: Process) -> None:
    """Kill the child if it still lives."""
    if process.returncode is None:
        with suppress(ProcessLookupError):  # it went between the look and the signal
            process.kill()
    await _read(process)  # asyncio takes it for gone only when its pipe is empty
    await process.wait()


# From what was counted to what a person wants to know


def describe(counted: Counted) -> ProbesProfile:
    """The profile that the probe's counters make."""
    totals, spans = counted.totals, counted.spans
    calls = sorted(counted.calls.items(), key=lambda one: (-one[1], one[0]))
    wakers = sorted(map(_waker, counted.wakers), key=lambda one: (-one.wakeups, one.woken))
    profile = ProbesProfile(
        window_s=counted.window_ns / 1e9,
        tasks=totals["tasks"],
        queue=_histogram(spans[Span.QUEUE]),
        run=_histogram(spans[Span.RUN]),
        off_cpu={
            reason: _histogram(spans[span])
            for reason, span in _REASONS.items()
            if spans[span].total_ns
        },
        wakeups=totals["wakeups"],
        wakers=tuple(wakers[:_SHOWN]),
        system_calls=sum(counted.calls.values()),
        calls=tuple(SystemCall(name_of(number), made) for number, made in calls[:_SHOWN]),
        migrations=totals["migrations"],
        cache_migrations=totals["llc_migrations"],
        forks=totals["forks"],
        threads=totals["threads"],
        execs=totals["execs"],
        exits=totals["exits"],
        lifetimes=_histogram(spans[Span.LIFE]),
    )
    return replace(profile, sentence=sentence(profile))


def _histogram(times: Times) -> Histogram:
    count = sum(times.slots)
    mean_ms = times.whole_ns / count / 1e6 if count else 0.0
    return Histogram(times.slots, mean_ms, times.total_ns / 1e9)


def _waker(count: WakerCount) -> Waker:
    waker, woken = (
        printable(one.decode("utf-8", "replace"), _COMM) for one in (count.waker, count.woken)
    )
    return Waker(_KINDS[count.source], waker, woken, count.wakeups)


def sentence(found: ProbesProfile) -> str:
    """One plain sentence for a person."""
    window_s = found.window_s
    tasks = "1 task" if found.tasks == 1 else f"{found.tasks} tasks"
    late_ns = found.queue.quantile_ns(0.99)
    parts = [
        f"{tasks} used {found.run.total_s / window_s:.2f} CPUs, {found.run.mean_ms:.2f} ms a turn"
    ]
    if late_ns is not None:
        parts.append(
            f"waited {found.queue.mean_ms:.2f} ms for each, 1 in 100 more than {late_ns / 1e6:.2f}"
        )
    asleep = sorted(
        ((found.asleep_share(reason), words) for reason, words in _WORDS.items()), reverse=True
    )
    slept = [f"{share:.0%} for {words}" for share, words in asleep if share >= _LEAST_SHARE]
    if slept:
        parts.append(f"asleep {' and '.join(slept)}")
    if found.wakers:
        parts.append(f"woken {found.wakeups / window_s:.0f} times a second, {_mostly(found)}")
    if found.calls:
        rate = found.system_calls / window_s
        parts.append(f"{rate:.0f} system calls a second, mostly {found.calls[0].name}")
    return "; ".join(parts)


def _mostly(found: ProbesProfile) -> str:
    first = found.wakers[0]
    match first.kind:
        case WakerKind.TIMER:
            return "mostly by a timer"
        case WakerKind.INTERRUPT:
            return "mostly by interrupts"
        case WakerKind.ITSELF:
            return f"mostly {first.woken} by its own threads"
        case _:
            return f"mostly {first.woken} by {first.waker} from {first.kind}"


def with_probes(seen: SchedulingProfile, found: ProbesProfile) -> SchedulingProfile:
    """The scheduling profile with what only the probe can tell."""
    return replace(
        seen,
        blocked_io=found.asleep_share(SleepReason.STORAGE),
        blocked_lock=found.asleep_share(SleepReason.LOCK),
        blocked_message=found.asleep_share(SleepReason.MESSAGE),
        blocked_timer=found.asleep_share(SleepReason.TIMER),
        wakers=found.wakers,
    )
