# SPDX-License-Identifier: GPL-2.0-or-later
"""Runtime hints: how long each process of a batch is expected to run, told to the policy in time.

The task probe is told to watch a workload when its processes are a batch, or its policy asks for
hints; with none watched it has nothing to tell, and nothing here runs. Watching begins before there
is a policy, because what processes take without one is worth as much the next time. It goes on
until the workload ends, or is no batch any more and the last process that was seen has ended.

Many events are one message to the policy: while one is on its way, what comes in is collected.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from schedcpd.errors import KernelText
from schedcpd.kernel.commandline import CommandLine
from schedcpd.learn.estimates import NS_PER_S, Basis
from schedcpd.learn.events import ARGS_BYTES, MAX_WATCHED, EventKind, Feed, TaskEvent
from schedcpd.learn.processes import Processes
from schedcpd.learn.runtimes import Run, Runtimes
from schedcpd.model import Workload

log = logging.getLogger(__name__)

STORM = 500  # execs of one workload in a second: too short-lived for a hint to matter
_SIGNAL = 0x7F  # of a status of wait(2): not 0 when a signal ended the process


class Sink(Protocol):
    """Who passes hints on; ``deploy.deployer.Deployer`` is the real one."""

    async def update_hints(
        self, updates: Mapping[int, int], deletions: Collection[int] = ()
    ) -> None:
        """Process id → the CPU time in ns that it is expected to use in all; never raises."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What is asked about a process or a workload at once, without waiting."""

    pids: Callable[[Workload], Sequence[int]]  # those that run in it now; may raise KernelText
    command_line: Callable[[int], CommandLine | None]
    monotonic: Callable[[], float]  # seconds


@dataclass(slots=True)
class Watched:
    """One workload that is watched."""

    workload: Workload
    wanted: bool = True
    second: float = 0.0  # when the second began in which execs are counted
    execs: int = 0


class Hints:
    """Watches workloads, learns from their processes, and tells a policy what to expect.

    ``note`` is called with the workload's id and a sentence for a person.
    """

    def __init__(
        self,
        feed: Feed,
        runtimes: Runtimes,
        sink: Sink,
        sources: Sources,
        note: Callable[[str, str], None],
    ) -> None:
        self._feed = feed
        self._sink = sink
        self._sources = sources
        self._note = note
        self._processes = Processes(runtimes)
        self._watched: dict[int, Watched] = {}  # by cgroup id
        self._stormy: set[str] = set()  # workloads that are not watched any more
        self._taken = False  # whether a policy takes hints
        self._hinted: set[int] = set()  # processes that the policy has a hint for, or soon has
        self._updates: dict[int, int] = {}
        self._deletions: set[int] = set()
        self._sending: asyncio.Task[None] | None = None
        self._lost = 0
        feed.told.connect(self._told)

    async def stop(self) -> None:
        """Send nothing more."""
        self._taken = False
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)

    # Which workloads

    def consider(self, workload: Workload, wanted: bool) -> None:
        """Begin to watch a workload, or stop when nobody wants it and nothing of it runs."""
        watched = self._watched.get(workload.cgroup_id)
        if watched is not None:
            watched.wanted = wanted
            self._let_go_unwanted(watched)
        elif wanted and workload.id not in self._stormy:
            self._watch(workload)

    def expected(self, workload: Workload) -> Sequence[int]:
        """The CPU time in ns that each process of a workload is expected to use, where known.

        It is watched from now on if it was not, until ``consider`` says that nobody wants it.
        """
        self.consider(workload, wanted=True)
        found = (one.expected_ns for one in self._processes.of(workload))
        return [expected_ns for expected_ns in found if expected_ns]

    def vanished(self, workload_id: str) -> None:
        """A workload has ended."""
        self._stormy.discard(workload_id)
        if any(one.workload.id == workload_id for one in self._watched.values()):
            # The process that ended last is the one that took longest.
            self._feed.catch_up()
        for watched in tuple(self._watched.values()):
            if watched.workload.id == workload_id:
                self._let_go(watched)

    def _watch(self, workload: Workload) -> None:
        if len(self._watched) >= MAX_WATCHED:
            return
        try:
            self._feed.watch(workload.cgroup_id)
        except OSError as error:
            log.warning("%s cannot be watched: %s", workload.id, error)
            return
        watched = Watched(workload)
        self._watched[workload.cgroup_id] = watched
        # What begins from now on comes as an event; the rest is there already.
        try:
            for pid in self._sources.pids(workload):
                if line := self._sources.command_line(pid):
                    self._begin(workload, pid, line)
            for event in self._feed.open_files():
                self._take_file(event)
        except (KernelText, OSError) as error:
            log.warning("the processes of %s cannot be looked at: %s", workload.id, error)
        self._send()

    def _let_go_unwanted(self, watched: Watched) -> None:
        if not watched.wanted and not any(self._processes.of(watched.workload)):
            self._let_go(watched)

    def _let_go(self, watched: Watched) -> None:
        workload = watched.workload
        del self._watched[workload.cgroup_id]
        try:
            self._feed.unwatch(workload.cgroup_id)
        except OSError as error:
            log.warning("%s is still watched: %s", workload.id, error)
        for pid in self._processes.drop(workload):
            self._delete(pid)
        self._send()

    # Which processes

    def _told(self, events: Sequence[TaskEvent]) -> None:
        runs: list[Run] = []
        for event in events:
            watched = self._watched.get(event.cgroup_id)
            if watched is None:
                continue
            match event.kind:
                case EventKind.EXEC:
                    self._take_exec(watched, event)
                case EventKind.EXIT:
                    completed = not event.detail & _SIGNAL
                    if run := self._processes.end(event.tgid, event.cpu_ns, completed):
                        runs.append(run)
                    self._delete(event.tgid)
                case _:
                    self._take_file(event)
        for pid, expected_ns in (self._processes.learn(runs) if runs else {}).items():
            self._expect(pid, expected_ns)
        for watched in tuple(self._watched.values()):
            self._let_go_unwanted(watched)
        self._count_lost(events[-1].lost)
        self._send()

    def _take_exec(self, watched: Watched, event: TaskEvent) -> None:
        if self._is_storm(watched):
            self._stormy.add(watched.workload.id)
            self._let_go(watched)
            told = f"more than {STORM} programs start in a second: none is worth a hint"
            self._note(watched.workload.id, told)
            return
        line = CommandLine(event.comm, event.arguments, True, event.parent)
        if not event.detail or event.detail > ARGS_BYTES:
            # It may have ended since; then only its shape is known.
            line = self._sources.command_line(event.tgid) or replace(line, whole=False)
        stdin = (event.name, event.size)
        self._begin(watched.workload, event.tgid, line, stdin, event.cpu_ns)

    def _is_storm(self, watched: Watched) -> bool:
        now = self._sources.monotonic()
        if now - watched.second >= 1.0:
            watched.second, watched.execs = now, 0
        watched.execs += 1
        return watched.execs > STORM

    def _begin(
        self,
        workload: Workload,
        pid: int,
        line: CommandLine,
        stdin: tuple[bytes, int] = (b"", 0),
        spent_ns: int = 0,
    ) -> None:
        if self._processes.started_another(line.parent):
            self._delete(line.parent)
        self._expect(pid, self._processes.begin(pid, workload, line, stdin, spent_ns))

    def _take_file(self, event: TaskEvent) -> None:
        is_stdin = event.kind is EventKind.STDIN
        reads = self._processes.reads_stdin if is_stdin else self._processes.reads
        expected_ns = reads(event.tgid, event.name, event.size)
        if expected_ns is not None:
            self._expect(event.tgid, expected_ns)

    def _count_lost(self, lost: int) -> None:
        if lost > self._lost:
            log.warning("%d starts and ends of processes were missed", lost - self._lost)
            self._lost = lost

    # What the policy is told

    def policy_attached(self, takes_hints: bool) -> None:
        """Another policy was attached; its map is empty. False as well when there is none."""
        self._taken = takes_hints
        self._updates, self._deletions, self._hinted = {}, set(), set()
        if not takes_hints:
            return
        for pid, expected_ns in self._processes.expected().items():
            self._expect(pid, expected_ns)
        self._send()
        for watched in self._watched.values():
            self._summarise(watched.workload)

    def _summarise(self, workload: Workload) -> None:
        """One line for a deployment: what is expected of its processes."""
        found = list(self._processes.of(workload))
        judged = [(one.expected_ns, one.estimate.basis) for one in found if one.estimate]
        if not judged:
            return
        times = sorted(expected_ns / NS_PER_S for expected_ns, _ in judged)
        repeats = sum(basis is Basis.REPEAT for _, basis in judged)
        told = (
            f"{len(judged)} of {len(found)} processes are expected to use {times[0]:.2g} to "
            f"{times[-1]:.2g} s of CPU time; {repeats} of them ran before, the others are judged "
            "by what they read"
        )
        self._note(workload.id, told)

    def _expect(self, pid: int, expected_ns: int) -> None:
        if not expected_ns:
            self._delete(pid)  # it was for what the process was before, or seemed to be
        elif self._taken:
            self._hinted.add(pid)
            self._updates[pid] = expected_ns
            self._deletions.discard(pid)

    def _delete(self, pid: int) -> None:
        if pid in self._hinted:
            self._hinted.discard(pid)
            self._updates.pop(pid, None)
            self._deletions.add(pid)

    def _send(self) -> None:
        if self._sending is None and (self._updates or self._deletions):
            self._sending = asyncio.get_running_loop().create_task(self._send_all())

    async def _send_all(self) -> None:
        try:
            while self._updates or self._deletions:
                updates, deletions = self._updates, self._deletions
                self._updates, self._deletions = {}, set()
                await self._sink.update_hints(updates, deletions)
        finally:
            self._sending = None
