# SPDX-License-Identifier: GPL-2.0-or-later
"""What the workload probe counts: its bytes, its table of system calls, its source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.errors import KernelText
from schedcpd.kernel import syscalls, workload
from schedcpd.kernel.syscalls import Waits, name_of
from schedcpd.kernel.topology import Topology
from schedcpd.kernel.workload import Source, Span, parse
from schedcpd.profile.measure import caches
from unit import made_report

SOURCE = Path(__file__).parents[2] / "probes/workload.bpf.c"
WINDOW = 1_000_000_000


def test_counters_of_all_cpus_are_added_up() -> None:
    one = made_report.counters({Span.RUN: made_report.times(5, 3, s1=1)}, {0: 2}, forks=1, tasks=4)
    two = made_report.counters({Span.RUN: made_report.times(7, 7, s2=1)}, {0: 3, 1: 1}, forks=2)
    found = parse(workload.report(WINDOW, one + two, b""))
    assert found.window_ns == WINDOW
    assert (found.spans[Span.RUN].total_ns, found.spans[Span.RUN].whole_ns) == (12, 10)
    assert found.spans[Span.RUN].slots[:4] == (0, 1, 1, 0)
    assert found.spans[Span.QUEUE] == workload.Times()
    assert (found.totals["forks"], found.totals["tasks"], found.totals["exits"]) == (3, 4, 0)
    assert found.calls == {0: 5, 1: 1}
    assert found.wakers == ()


def test_sums_that_are_too_large_stay_in_their_words() -> None:
    most = made_report.counters({Span.LIFE: made_report.times(2**64 - 1)})
    found = parse(workload.report(WINDOW, most * 3, b""))
    assert found.spans[Span.LIFE].total_ns == 2**64 - 1


def test_wakers_have_names_that_end_at_nul() -> None:
    wakers = made_report.waker(2, b"cat\0dog", b"0123456789abcdef", 9)
    found = parse(workload.report(WINDOW, made_report.counters(), wakers))
    assert found.wakers == (workload.WakerCount(Source.OUTSIDE, b"cat", b"0123456789abcdef", 9),)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "it has 0 bytes"),
        (made_report.service()[:-1], "bytes"),
        (made_report.service() + b"\0", "bytes"),
        (bytes(workload.REPORT_LIMIT + 48), "bytes"),
        (made_report.service(window_ns=0), "of no time at all"),
        (
            workload.report(1, made_report.counters(), made_report.waker(5, b"a", b"b", 1)),
            "a waker's kind is 5",
        ),
    ],
)
def test_what_is_no_report(raw: bytes, words: str) -> None:
    with pytest.raises(KernelText, match=words):
        parse(raw)


@given(st.binary(max_size=64), st.integers(0, 12000))
def test_any_bytes_are_a_report_or_refused(piece: bytes, length: int) -> None:
    raw = (piece * (length // max(1, len(piece)) + 1))[:length]
    try:
        found = parse(raw)
    except KernelText:
        return
    assert found.window_ns > 0


def test_the_source_has_the_same_numbers() -> None:
    text = SOURCE.read_text()
    for name, value in (
        ("SLOTS", workload.SLOTS),
        ("MAX_SYSCALLS", syscalls.MOST),
        ("MAX_CPUS", workload.MAX_CPUS),
        ("MAX_WAKERS", workload.MAX_WAKERS),
    ):
        assert re.search(rf"^#define {name}\s+{value}\b", text, re.MULTILINE), name
    spans = [one.removeprefix("SPAN_").lower() for one in enum_of(text, "workload_span")]
    assert spans == [*(one.name.lower() for one in Span), "spans"]
    sources = [one.removeprefix("SOURCE_") for one in enum_of(text, "workload_source")]
    assert sources == [one.name for one in Source]
    assert len(enum_of(text, "workload_call")) == len(Waits)


def enum_of(text: str, name: str) -> list[str]:
    found = re.search(rf"enum {name} \{{(.*?)\n\}};", text, re.DOTALL)
    assert found is not None
    return re.findall(r"^\t([A-Z_]+)\b", found[1], re.MULTILINE)


def test_the_totals_are_in_the_order_of_the_source() -> None:
    found = re.search(r"struct workload_counters \{(.*?)\n\};", SOURCE.read_text(), re.DOTALL)
    assert found is not None
    names = re.findall(r"^\tu64 ([a-z_]+);", found[1], re.MULTILINE)
    raw = made_report.counters(None, None, **{name: place for place, name in enumerate(names, 1)})
    totals = parse(workload.report(WINDOW, raw, b"")).totals
    assert list(totals) == names
    assert list(totals.values()) == list(range(1, len(names) + 1))


@pytest.mark.parametrize(
    ("number", "name", "waits", "argument"),
    [
        (0, "read", Waits.FILE, 0),
        (7, "poll", Waits.MILLISECONDS, 2),
        (23, "select", Waits.TIMEVAL, 4),
        (35, "nanosleep", Waits.TIMER, 0),
        (39, "getpid", Waits.OTHER, 0),
        (61, "wait4", Waits.CHILD, 0),
        (74, "fsync", Waits.STORAGE, 0),
        (202, "futex", Waits.LOCK, 0),
        (232, "epoll_wait", Waits.MILLISECONDS, 3),
        (281, "epoll_pwait", Waits.MILLISECONDS, 3),
        (288, "accept4", Waits.MESSAGE, 0),
        (441, "epoll_pwait2", Waits.TIMESPEC, 3),
        (462, "mseal", Waits.OTHER, 0),
    ],
)
def test_system_calls(number: int, name: str, waits: Waits, argument: int) -> None:
    assert name_of(number) == name
    assert syscalls.table()[number] == argument << 4 | waits


def test_every_call_that_sleeps_is_in_the_table() -> None:
    assert len(syscalls.table()) == syscalls.MOST
    named = [name for names in syscalls._WAITS.values() for name in names.split()]
    assert len(named) == len(set(named))
    assert set(named) <= set(syscalls.NAMES.values())
    # those without a number: the gap that x86-64 has, and what is newer
    assert {name_of(one) for one in (336, 423, 511)} == {
        "syscall_336",
        "syscall_423",
        "syscall_511",
    }
    assert syscalls.table()[423] == Waits.OTHER


def test_cpus_of_one_cache_have_one_number() -> None:
    cpus = {"llc 7, node 0": "0-1,4", "llc 3, node 0": "2", "no details": "3"}
    numbers = caches(Topology("0-4", "0", cpus))
    assert len(numbers) == workload.MAX_CPUS
    assert numbers[0] == numbers[1] == numbers[4] != numbers[2]
    assert numbers[3] == numbers[5] == 0
    assert 0 not in (numbers[0], numbers[2])
