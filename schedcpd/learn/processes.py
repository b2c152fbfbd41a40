# SPDX-License-Identifier: GPL-2.0-or-later
"""The processes that run in watched workloads: what each was given, and what it may take."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from schedcpd.kernel.commandline import CommandLine
from schedcpd.learn.commands import Command, make_command
from schedcpd.learn.estimates import MOST_NS, Estimate, Known, Sample, estimate
from schedcpd.learn.runtimes import Run, Runtimes
from schedcpd.model import Workload

PROCESSES_LIMIT = 8192
INPUTS_LIMIT = 64
WORTH_TELLING = 1.2  # an estimate that moves by less changes no order
LEARNING = 8  # runs of a shape after which one more changes little


@dataclass(slots=True)
class Process:
    """One process; ``spent_ns`` is the CPU time that it had used when it became this command."""

    workload: Workload
    line: CommandLine
    spent_ns: int
    command: Command
    known: Known
    stdin_size: int = 0  # of the file, if it is one
    inputs: dict[bytes, int] = field(default_factory=dict)  # name → bytes
    estimate: Estimate | None = None
    told_ns: int = 0  # what was expected when it was last worth telling
    starts_others: bool = False

    @property
    def size(self) -> int:
        """Bytes of input, as far as they are known of.

        Files come to light when they are opened, one after the other: those that arguments name in
        the same folder, with the same extension, count as if they were as large as the ones before.
        """
        seen: dict[bytes, list[int]] = {}
        for name, size in self.inputs.items():
            seen.setdefault(self.command.names[name], []).append(size)
        alike = self.command.alike
        sizes = (sum(found) * alike[place] // len(found) for place, found in seen.items())
        return self.stdin_size + sum(sizes)

    @property
    def expected_ns(self) -> int:
        """The CPU time that it is expected to use in all; 0 when nobody knows.

        Who starts other processes mostly waits for them, and is not to wait behind them.
        """
        if self.starts_others:
            return 0
        return min(self.estimate.cpu_ns + self.spent_ns, MOST_NS) if self.estimate else 0


class Processes:
    """All of them, by process id. Nothing here touches the machine but ``runtimes``."""

    def __init__(self, runtimes: Runtimes) -> None:
        self._runtimes = runtimes
        self._running: dict[int, Process] = {}

    def of(self, workload: Workload) -> Iterator[Process]:
        """Those of one workload."""
        return (one for one in self._running.values() if one.workload.id == workload.id)

    def expected(self) -> dict[int, int]:
        """The CPU time in ns that each is expected to use, as far as anybody knows."""
        return {pid: one.expected_ns for pid, one in self._running.items() if one.expected_ns}

    def begin(
        self,
        pid: int,
        workload: Workload,
        line: CommandLine,
        stdin: tuple[bytes, int] = (b"", 0),
        spent_ns: int = 0,
    ) -> int:
        """A process has become a program; its expected CPU time in ns, 0 when nobody knows.

        ``stdin`` is the name and the size of the file that is its standard input, if it is one.
        """
        if len(self._running) >= PROCESSES_LIMIT and pid not in self._running:
            return 0
        command = _command(workload, line, stdin[0])
        process = Process(workload, line, spent_ns, command, self._runtimes.known(command))
        process.stdin_size = stdin[1]
        self._running[pid] = process
        process.estimate = _estimate(process)
        process.told_ns = process.expected_ns
        return process.told_ns

    def started_another(self, pid: int) -> bool:
        """A process has started another one; whether something was expected of it until now."""
        process = self._running.get(pid)
        if process is None or process.starts_others:
            return False
        before = process.expected_ns
        process.starts_others = True
        return bool(before)

    def reads(self, pid: int, name: bytes, size: int) -> int | None:
        """It has opened a file; what is expected now if that has changed it, else None.

        0 as in ``begin``: what was expected until now does not hold any more.
        """
        process = self._running.get(pid)
        if process is None or name not in process.command.names:
            return None
        if process.inputs.get(name) == size or len(process.inputs) >= INPUTS_LIMIT:
            return None
        process.inputs[name] = size
        return _again(process)

    def reads_stdin(self, pid: int, name: bytes, size: int) -> int | None:
        """Its standard input was found to be a file; as ``reads``."""
        process = self._running.get(pid)
        if process is None or process.stdin_size or not size:
            return None
        process.command = _command(process.workload, process.line, name)
        process.known = self._runtimes.known(process.command)
        process.stdin_size = size
        return _again(process)

    def end(self, pid: int, cpu_ns: int, completed: bool) -> Run | None:
        """A process has ended, after so much CPU time; what is worth remembering of it."""
        process = self._running.pop(pid, None)
        if process is None or not completed:
            return None
        return Run(process.command, Sample(max(0, cpu_ns - process.spent_ns), process.size))

    def drop(self, workload: Workload) -> list[int]:
        """Forget the processes of a workload; their ids."""
        gone = [pid for pid, one in self._running.items() if one.workload.id == workload.id]
        for pid in gone:
            del self._running[pid]
        return gone

    def learn(self, runs: Collection[Run]) -> dict[int, int]:
        """Remember what processes took; what is expected of others now, as ``reads``.

        The first runs of a shape say what the size of an input means, and those that were judged by
        size alone are on another scale.
        """
        self._runtimes.record(list(runs))
        shapes = {run.command.shape for run in runs}
        changed: dict[int, int] = {}
        for pid, process in self._running.items():
            learning = len(process.known.alike) < LEARNING and not process.known.repeats
            if process.command.shape in shapes and learning:
                process.known = self._runtimes.known(process.command)
                if (expected_ns := _again(process)) is not None:
                    changed[pid] = expected_ns
        return changed


def _command(workload: Workload, line: CommandLine, stdin: bytes) -> Command:
    identity = workload.identity or workload.id
    return make_command(identity, line.comm, line.arguments, line.whole, stdin)


def _estimate(process: Process) -> Estimate | None:
    # Files come to light one after the other, standard input is there from the beginning.
    whole = bool(process.stdin_size)
    return estimate(process.known, process.size, whole, process.command.operands)


def _again(process: Process) -> int | None:
    """Estimate anew; the expected CPU time if it is worth telling, else None."""
    process.estimate = _estimate(process)
    before, now = process.told_ns, process.expected_ns
    if before / WORTH_TELLING <= now <= before * WORTH_TELLING:
        return None
    process.told_ns = now
    return now
