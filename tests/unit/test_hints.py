# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import example, given
from hypothesis import strategies as st

from schedcpd.errors import KernelText
from schedcpd.kernel.commandline import CommandLine
from schedcpd.learn import hints as module
from schedcpd.learn.estimates import ASSUMED_NS_PER_BYTE
from schedcpd.learn.hints import Hints, Sources
from schedcpd.learn.processes import Processes
from schedcpd.learn.runtimes import Runtimes
from schedcpd.model import Workload, WorkloadKind
from unit.task_records import CGROUP, FakeFeed, ended, execed, opened

MB = 1_000_000
S = 1_000_000_000
BATCH = Workload("/batch.service", CGROUP, "batch.service", WorkloadKind.SERVICE, 1.0, "unit:batch")


class FakeSink:
    """The policy's map; ``gate`` keeps a message on its way while it is closed."""

    def __init__(self) -> None:
        self.hints: dict[int, int] = {}
        self.messages: list[tuple[dict[int, int], set[int]]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def update_hints(
        self, updates: Mapping[int, int], deletions: Collection[int] = ()
    ) -> None:
        self.messages.append((dict(updates), set(deletions)))
        await self.gate.wait()
        for pid in deletions:
            self.hints.pop(pid, None)
        self.hints |= updates


@dataclass
class Machine:
    """Everything around the hints."""

    feed: FakeFeed
    sink: FakeSink
    runtimes: Runtimes
    running: dict[int, CommandLine] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    now: float = 100.0
    broken: bool = False

    def pids(self, workload: Workload) -> list[int]:
        if self.broken:
            raise KernelText("cgroup.procs", "it is nonsense")
        return list(self.running)

    def make(self) -> Hints:
        sources = Sources(self.pids, lambda pid: self.running.get(pid), lambda: self.now)
        note = lambda subject, told: self.notes.append(f"{subject}: {told}")  # noqa: E731
        return Hints(self.feed, self.runtimes, self.sink, sources, note)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(FakeFeed(), FakeSink(), Runtimes(tmp_path / "runtimes.db", lambda: 1e9))


@pytest_asyncio.fixture
async def hints(machine: Machine) -> AsyncIterator[Hints]:
    made = machine.make()
    yield made
    await made.stop()
    machine.runtimes.close()


async def settle() -> None:
    """Let what was started be done; nothing here waits for anything but the gate."""
    for _ in range(5):
        await asyncio.sleep(0)


def line(*words: bytes) -> CommandLine:
    return CommandLine(words[0], b"\0".join(words) + b"\0", whole=True)


async def test_nothing_is_watched_that_nobody_wants(machine: Machine, hints: Hints) -> None:
    hints.consider(BATCH, wanted=False)
    assert machine.feed.watched == set()
    machine.feed.told.emit([execed(9, b"xz", stdin=(b"a", MB))])
    hints.policy_attached(takes_hints=True)
    await settle()
    assert machine.sink.messages == []


async def test_at_first_sight_the_larger_file_takes_longer(machine: Machine, hints: Hints) -> None:
    hints.consider(BATCH, wanted=True)
    hints.policy_attached(takes_hints=True)
    short, long = (b"short", MB), (b"long", 24 * MB)
    machine.feed.told.emit([execed(1, b"xz", stdin=short), execed(2, b"xz", stdin=long)])
    await settle()
    assert machine.sink.hints == {
        1: MB * ASSUMED_NS_PER_BYTE,
        2: 24 * MB * ASSUMED_NS_PER_BYTE,
    }
    assert len(machine.sink.messages) == 1


async def test_the_second_time_it_is_known(machine: Machine, hints: Hints) -> None:
    hints.consider(BATCH, wanted=True)
    words = (b"python3", b"job.py", b"7")
    machine.feed.told.emit([execed(1, *words, cpu_ns=S)])
    machine.feed.told.emit([ended(1, 6 * S)])
    hints.policy_attached(takes_hints=True)
    machine.feed.told.emit([execed(2, *words, cpu_ns=2 * S)])
    await settle()
    assert machine.sink.hints == {2: 7 * S}  # what it had used before, and what it takes from now


async def test_what_runs_already_is_told_when_a_policy_is_attached(
    machine: Machine, hints: Hints
) -> None:
    machine.running = {1: line(b"xz", b"-1"), 2: line(b"xz", b"-1"), 3: line(b"sleep", b"1")}
    machine.feed.files = [opened(1, b"long", 24 * MB, stdin=True), opened(2, b"a", MB, stdin=True)]
    hints.consider(BATCH, wanted=True)
    await settle()
    assert machine.sink.messages == []
    hints.policy_attached(takes_hints=True)
    await settle()
    assert set(machine.sink.hints) == {1, 2}
    assert machine.sink.hints[1] == 24 * machine.sink.hints[2]
    [note] = machine.notes
    assert note.startswith("/batch.service: 2 of 3 processes are expected to use 0.02 to 0.48 s")
    # A policy that takes none, and another one whose map is empty.
    hints.policy_attached(takes_hints=False)
    machine.sink.hints.clear()
    hints.policy_attached(takes_hints=True)
    await settle()
    assert set(machine.sink.hints) == {1, 2}


async def test_a_file_that_an_argument_names(machine: Machine, hints: Hints) -> None:
    hints.consider(BATCH, wanted=True)
    hints.policy_attached(takes_hints=True)
    machine.feed.told.emit(
        [
            execed(1, b"sha256sum", b"/srv/film.mkv"),
            opened(1, b"libc.so.6", 2 * MB),
            opened(1, b"film.mkv", 90 * MB),
            opened(1, b"film.mkv", 90 * MB),
            opened(5, b"film.mkv", 90 * MB),  # nobody saw it begin
        ]
    )
    await settle()
    assert machine.sink.hints == {1: 90 * MB * ASSUMED_NS_PER_BYTE}


async def test_files_that_were_not_opened_yet_count_like_those_that_were(
    machine: Machine, hints: Hints
) -> None:
    hints.consider(BATCH, wanted=True)
    hints.policy_attached(takes_hints=True)
    machine.feed.told.emit(
        [
            execed(1, b"sha256sum", b"/a/1", b"/a/2", b"/a/3", b"/b/1.log"),
            opened(1, b"1", MB),
        ]
    )
    await settle()
    assert machine.sink.hints == {1: 3 * MB * ASSUMED_NS_PER_BYTE}
    machine.feed.told.emit([opened(1, b"2", 3 * MB), opened(1, b"1.log", 4 * MB)])
    await settle()
    assert machine.sink.hints == {1: 10 * MB * ASSUMED_NS_PER_BYTE}


async def test_who_starts_others_is_not_to_wait_behind_them(machine: Machine, hints: Hints) -> None:
    hints.consider(BATCH, wanted=True)
    hints.policy_attached(takes_hints=True)
    machine.feed.told.emit([execed(1, b"make", stdin=(b"list", MB))])
    await settle()
    assert set(machine.sink.hints) == {1}
    machine.feed.told.emit([execed(2, b"xz", stdin=(b"a", MB), parent=1)])
    machine.feed.told.emit([execed(3, b"xz", stdin=(b"b", MB), parent=1)])
    await settle()
    assert set(machine.sink.hints) == {2, 3}
    hints.policy_attached(takes_hints=True)
    machine.sink.hints.clear()
    await settle()
    assert set(machine.sink.hints) == {2, 3}


async def test_an_end_takes_the_hint_back(machine: Machine, hints: Hints) -> None:
    hints.consider(BATCH, wanted=True)
    hints.policy_attached(takes_hints=True)
    machine.feed.told.emit([execed(1, b"xz", stdin=(b"a", MB))])
    await settle()
    machine.feed.told.emit([ended(1, S), ended(1, S), ended(8, S)])
    await settle()
    assert machine.sink.hints == {}
    assert machine.sink.messages[1:] == [({}, {1})]


async def test_another_program_in_the_same_process(machine: Machine, hints: Hints) -> None:
    hints.consider(BATCH, wanted=True)
    hints.policy_attached(takes_hints=True)
    machine.feed.told.emit([execed(1, b"xz", stdin=(b"a", MB))])
    await settle()
    machine.feed.told.emit([execed(1, b"sleep", b"1")])
    await settle()
    assert machine.sink.hints == {}


async def test_what_does_not_hold_any_more_is_taken_back(machine: Machine, hints: Hints) -> None:
    """Of a command that ran before, it turns out that it is given something else this time."""
    hints.consider(BATCH, wanted=True)
    hints.policy_attached(takes_hints=True)
    machine.feed.told.emit([execed(1, b"xz"), ended(1, S)])
    machine.feed.told.emit([execed(2, b"xz")])
    await settle()
    assert machine.sink.hints == {2: S}
    machine.feed.told.emit([opened(2, b"other.log", 1, stdin=True)])
    await settle()
    assert machine.sink.hints == {}


async def test_many_small_changes_are_a_large_one(machine: Machine, hints: Hints) -> None:
    hints.consider(BATCH, wanted=True)
    hints.policy_attached(takes_hints=True)
    machine.feed.told.emit([execed(1, b"xz", b"/a")])
    told = []
    for size in (1.0, 1.15, 1.3, 1.45, 1.6):
        machine.feed.told.emit([opened(1, b"a", round(size * MB))])
        await settle()
        told.append(machine.sink.hints[1] / ASSUMED_NS_PER_BYTE / MB)
    assert told == [1.0, 1.0, 1.3, 1.3, 1.6]


async def test_what_is_expected_of_those_that_run(machine: Machine, hints: Hints) -> None:
    """Who asks has them watched; no policy has to be there."""
    machine.running = {1: line(b"xz", b"/a"), 2: line(b"xz", b"/b"), 3: line(b"sleep", b"1")}
    machine.feed.files = [opened(1, b"a", MB), opened(2, b"b", 24 * MB)]
    expected = hints.expected(BATCH)
    assert sorted(expected) == [MB * ASSUMED_NS_PER_BYTE, 24 * MB * ASSUMED_NS_PER_BYTE]
    assert machine.feed.watched == {CGROUP}
    machine.feed.told.emit([ended(1, S)])
    assert len(hints.expected(BATCH)) == 1
    hints.consider(BATCH, wanted=False)
    machine.feed.told.emit([ended(2, S), ended(3, S)])
    assert machine.feed.watched == set()


async def test_many_events_are_one_message(machine: Machine, hints: Hints) -> None:
    hints.consider(BATCH, wanted=True)
    hints.policy_attached(takes_hints=True)
    machine.sink.gate.clear()
    for pid in range(1, 40):
        machine.feed.told.emit([execed(pid, b"xz", stdin=(b"a", MB))])
        await settle()
    machine.feed.told.emit([ended(7, S)])
    machine.sink.gate.set()
    await settle()
    assert len(machine.sink.messages) == 2
    assert set(machine.sink.hints) == set(range(1, 40)) - {7}


async def test_the_first_ends_put_the_others_on_the_same_scale(
    machine: Machine, hints: Hints
) -> None:
    hints.consider(BATCH, wanted=True)
    hints.policy_attached(takes_hints=True)
    machine.feed.told.emit(
        [execed(pid, b"xz", stdin=(b"f%d" % pid, pid * MB)) for pid in (1, 2, 30)]
    )
    machine.feed.told.emit([ended(1, S)])
    await settle()
    assert machine.sink.hints == {2: 2 * S, 30: 30 * S}


async def test_a_process_that_was_killed_teaches_nothing(machine: Machine, hints: Hints) -> None:
    hints.consider(BATCH, wanted=True)
    hints.policy_attached(takes_hints=True)
    machine.feed.told.emit([execed(1, b"job"), ended(1, S, status=9)])
    machine.feed.told.emit([execed(2, b"job")])
    await settle()
    assert machine.sink.hints == {}
    machine.feed.told.emit([ended(2, S, status=1 << 8)])  # it failed, which may be its nature
    machine.feed.told.emit([execed(3, b"job")])
    await settle()
    assert machine.sink.hints == {3: S}


async def test_a_long_command_line_is_read_from_proc(machine: Machine, hints: Hints) -> None:
    hints.consider(BATCH, wanted=True)
    hints.policy_attached(takes_hints=True)
    words = (b"cc", *(b"-I%d" % number for number in range(300)), b"a.c")
    other = (*words[:-1], b"b.c")
    machine.running = {1: line(*words), 2: line(*other), 3: line(*words)}
    machine.feed.told.emit([execed(1, *words), ended(1, S)])
    machine.feed.told.emit([execed(2, *other), execed(3, *words)])
    machine.feed.told.emit([execed(4, *words)])  # gone before it could be read
    await settle()
    assert machine.sink.hints == {3: S}


async def test_it_is_watched_until_the_last_process_has_ended(
    machine: Machine, hints: Hints
) -> None:
    hints.consider(BATCH, wanted=True)
    machine.feed.told.emit([execed(1, b"xz"), execed(2, b"xz")])
    hints.consider(BATCH, wanted=False)
    assert machine.feed.watched == {CGROUP}
    machine.feed.told.emit([ended(1, S)])
    assert machine.feed.watched == {CGROUP}
    machine.feed.told.emit([ended(2, S)])
    assert machine.feed.watched == set()
    hints.consider(BATCH, wanted=True)
    assert machine.feed.watched == {CGROUP}


async def test_a_workload_that_vanished(machine: Machine, hints: Hints) -> None:
    hints.consider(BATCH, wanted=True)
    hints.policy_attached(takes_hints=True)
    machine.feed.told.emit([execed(1, b"xz", stdin=(b"a", MB))])
    await settle()
    hints.vanished(BATCH.id)
    await settle()
    assert (machine.feed.watched, machine.sink.hints) == (set(), {})


async def test_the_last_end_comes_with_the_end_of_the_workload(
    machine: Machine, hints: Hints
) -> None:
    hints.consider(BATCH, wanted=True)
    machine.feed.told.emit([execed(1, b"long")])
    machine.feed.untold = [ended(1, 60 * S)]
    hints.vanished(BATCH.id)
    hints.consider(BATCH, wanted=True)
    hints.policy_attached(takes_hints=True)
    machine.feed.told.emit([execed(2, b"long")])
    await settle()
    assert machine.sink.hints == {2: 60 * S}


async def test_programs_that_start_too_fast(machine: Machine, hints: Hints) -> None:
    hints.consider(BATCH, wanted=True)
    for pid in range(module.STORM):
        machine.feed.told.emit([execed(pid, b"true")])
    machine.now += 1
    machine.feed.told.emit([execed(1, b"true")])
    assert machine.feed.watched == {CGROUP}
    machine.feed.told.emit([execed(pid, b"true") for pid in range(module.STORM)])
    assert machine.feed.watched == set()
    assert len(machine.notes) == 1
    hints.consider(BATCH, wanted=True)
    assert machine.feed.watched == set()
    hints.vanished(BATCH.id)
    hints.consider(BATCH, wanted=True)
    assert machine.feed.watched == {CGROUP}


async def test_events_that_were_missed_are_counted(
    machine: Machine, hints: Hints, caplog: pytest.LogCaptureFixture
) -> None:
    hints.consider(BATCH, wanted=True)
    for lost in (3, 3, 5):
        machine.feed.told.emit([execed(1, b"xz", lost=lost)])
    told = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert [one.split(" ")[0] for one in told] == ["3", "2"]


async def test_what_the_kernel_refuses_is_told(
    machine: Machine, hints: Hints, caplog: pytest.LogCaptureFixture
) -> None:
    machine.feed.refuses = True
    hints.consider(BATCH, wanted=True)
    assert "cannot be watched: [Errno 7]" in caplog.text
    machine.feed.refuses = False
    machine.broken = True
    hints.consider(BATCH, wanted=True)
    assert "cannot be looked at: the kernel's cgroup.procs" in caplog.text
    assert machine.feed.watched == {CGROUP}  # what begins from now on is seen all the same
    machine.feed.refuses = True
    hints.vanished(BATCH.id)
    assert "is still watched" in caplog.text


async def test_nothing_is_sent_any_more_when_it_is_stopped(machine: Machine, hints: Hints) -> None:
    hints.consider(BATCH, wanted=True)
    hints.policy_attached(takes_hints=True)
    machine.sink.gate.clear()
    machine.feed.told.emit([execed(1, b"xz", stdin=(b"a", MB))])
    await settle()
    await hints.stop()
    machine.feed.told.emit([execed(2, b"xz", stdin=(b"a", MB))])
    await settle()
    assert (len(machine.sink.messages), machine.sink.hints) == (1, {})


EVENTS = st.one_of(
    st.builds(
        lambda pid, words, stdin, size, parent: execed(
            pid, *words, stdin=(stdin, size), parent=parent
        ),
        st.integers(1, 6),
        st.lists(st.binary(max_size=12), min_size=1, max_size=4),
        st.binary(max_size=8),
        st.integers(0, 2**64 - 1),
        st.integers(0, 6),
    ),
    st.builds(ended, st.integers(1, 6), st.integers(0, 2**64 - 1), st.sampled_from((0, 9, 256))),
    st.builds(
        opened,
        st.integers(1, 6),
        st.binary(max_size=8),
        st.integers(0, 2**64 - 1),
        stdin=st.booleans(),
    ),
)


@example(
    [[execed(1, b""), execed(2, b"", stdin=(b"", 4096)), opened(2, b"", 1, stdin=True)]], 0
).via("two names of one standard input")
@example(
    [
        [execed(1, b"a"), ended(1, S)],
        [execed(2, b"a"), opened(2, b"b.c", 1, stdin=True)],
    ],
    0,
).via("known without its standard input, and not with it")
@given(st.lists(st.lists(EVENTS, min_size=1, max_size=8), max_size=12), st.integers(0, 12))
async def test_the_map_is_what_is_expected_of_what_runs(
    batches: list[list[object]], attached_at: int
) -> None:
    """Whatever comes in whatever order, the policy has what it would be told now."""
    runtimes = Runtimes(Path("/dev/null/runtimes.db"), lambda: 1e9)
    machine = Machine(FakeFeed(), FakeSink(), runtimes)
    hints = machine.make()
    hints.consider(BATCH, wanted=True)
    for number, batch in enumerate(batches):
        if number == attached_at:
            hints.policy_attached(takes_hints=True)
        machine.feed.told.emit(batch)  # type: ignore[arg-type]
        await settle()
    hints.policy_attached(takes_hints=True)
    before = dict(machine.sink.hints)
    machine.sink.hints.clear()
    await settle()
    if attached_at < len(batches):
        # What moved by too little to be told may differ a little.
        assert before.keys() == machine.sink.hints.keys()
        assert all(
            before[pid] / 1.5 <= now <= before[pid] * 1.5 for pid, now in machine.sink.hints.items()
        )
    await hints.stop()


def test_more_processes_than_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schedcpd.learn.processes.PROCESSES_LIMIT", 3)
    with closing(Runtimes(tmp_path / "runtimes.db", lambda: 1e9)) as runtimes:
        processes = Processes(runtimes)
        for pid in range(5):
            processes.begin(pid, BATCH, line(b"xz"), (b"a", MB))
        assert set(processes.expected()) == {0, 1, 2}
        again = processes.begin(2, BATCH, line(b"xz"), (b"a", 2 * MB))
        assert again == 2 * MB * ASSUMED_NS_PER_BYTE
