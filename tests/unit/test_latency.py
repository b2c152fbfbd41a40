# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import ctypes
import errno
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.errors import KernelText
from schedcpd.kernel.latency import (
    CGROUPS_LIMIT,
    SLOTS,
    Batch,
    CgroupLatency,
    difference,
    lookup_batch,
    parse_batch,
    quantile,
    read_latency,
    total,
)

CPUS = 3
SOURCE = Path(__file__).parents[2] / "probes" / "runqueue.bpf.c"


def made(waits: int = 0, sleeps: int = 0, wait_ns: int = 0, **slots: int) -> CgroupLatency:
    """``s10=3``: three waits in slot 10."""
    counts = tuple(slots.get(f"s{slot}", 0) for slot in range(SLOTS))
    return CgroupLatency(waits or sum(counts), wait_ns, sleeps, counts)


def packed(value: CgroupLatency) -> bytes:
    return struct.pack("=35Q", value.waits, value.wait_ns, value.sleeps, *value.slots)


class FakeMap:
    """The kernel's side: a hash map whose buckets are given out whole, and the calls it got."""

    def __init__(self, buckets: list[dict[int, CgroupLatency]]) -> None:
        self.buckets = buckets
        self.rooms: list[int] = []

    def __call__(self, batch: Batch) -> int:
        self.rooms.append(batch.count)
        at = ctypes.c_uint32.from_address(batch.in_batch).value if batch.in_batch else 0
        given_out: list[tuple[int, CgroupLatency]] = []
        while at < len(self.buckets):
            if len(given_out) + len(self.buckets[at]) > batch.count:
                if not given_out:
                    return errno.ENOSPC
                break
            given_out += self.buckets[at].items()
            at += 1
        for index, (key, value) in enumerate(given_out):
            ctypes.memmove(batch.keys + index * 8, struct.pack("=Q", key), 8)
            ctypes.memmove(batch.values + index * 280 * CPUS, packed(value) * CPUS, 280 * CPUS)
        ctypes.c_uint32.from_address(batch.out_batch).value = at
        batch.count = len(given_out)
        return errno.ENOENT if at == len(self.buckets) else 0


@pytest.fixture
def possible(tmp_path: Path) -> Path:
    path = tmp_path / "possible"
    path.write_text("0-1,8\n")
    return path


def times_cpus(value: CgroupLatency) -> CgroupLatency:
    return total([value] * CPUS)


def test_a_read_adds_up_the_cpus(possible: Path) -> None:
    kernel = FakeMap([{7: made(wait_ns=5, sleeps=1, s10=3)}, {}, {9: made(s0=1)}])
    found = read_latency(5, kernel, possible)
    assert found == {7: times_cpus(made(wait_ns=5, sleeps=1, s10=3)), 9: times_cpus(made(s0=1))}
    assert found[7].waits == found[7].slots[10] == 9


def test_an_empty_map(possible: Path) -> None:
    assert read_latency(5, FakeMap([]), possible) == {}


def test_many_cgroups_come_in_pieces(possible: Path) -> None:
    kernel = FakeMap([{key: made(s5=key)} for key in range(1, 1001)])
    found = read_latency(5, kernel, possible)
    assert {key: value.slots[5] for key, value in found.items()} == {
        key: key * CPUS for key in range(1, 1001)
    }
    room = kernel.rooms[0]
    assert room * 280 * CPUS <= 128 * 1024
    assert len(kernel.rooms) == -(-1000 // room)


def test_many_cpus_still_take_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "possible").write_text("0-1023")
    rooms = []

    def lookup(batch: Batch) -> int:
        rooms.append(batch.count)
        batch.count = 0
        return errno.ENOENT

    assert read_latency(5, lookup, tmp_path / "possible") == {}
    assert rooms == [8]


def test_a_bucket_with_more_than_there_is_room_for(possible: Path) -> None:
    bucket = {key: made(s1=1) for key in range(400)}
    kernel = FakeMap([{1000: made(s1=1)}, bucket])
    assert len(read_latency(5, kernel, possible)) == 401
    assert kernel.rooms == [156, 156, 312, 624]


def test_no_room_is_ever_enough(possible: Path) -> None:
    with pytest.raises(OSError, match="No space"):
        read_latency(5, lambda batch: errno.ENOSPC, possible)


def test_the_kernel_refuses(possible: Path) -> None:
    with pytest.raises(OSError, match="map of the run-queue probe") as caught:
        read_latency(5, lambda batch: errno.EPERM, possible)
    assert caught.value.errno == errno.EPERM


def test_a_count_that_cannot_be(possible: Path) -> None:
    def lookup(batch: Batch) -> int:
        batch.count = 157
        return errno.ENOENT

    with pytest.raises(KernelText, match="more entries"):
        read_latency(5, lookup, possible)


def test_a_map_without_an_end(possible: Path) -> None:
    keys = iter(range(10**6))

    def lookup(batch: Batch) -> int:
        for index in range(batch.count):
            ctypes.memmove(batch.keys + index * 8, struct.pack("=Q", next(keys)), 8)
        return 0

    with pytest.raises(KernelText, match="more entries"):
        read_latency(5, lookup, possible)


@pytest.mark.parametrize("text", ["", "x", "0-99999"])
def test_a_list_of_cpus_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "possible").write_text(text)
    with pytest.raises(KernelText, match="possible CPUs"):
        read_latency(5, FakeMap([]), tmp_path / "possible")


def test_the_system_call_itself() -> None:
    with (
        Path(os.devnull).open() as no_map,
        pytest.raises(OSError, match="map of the run-queue probe"),
    ):
        read_latency(no_map.fileno())


def test_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "pdp11")
    assert lookup_batch(Batch()) == errno.ENOSYS


def test_the_layout_is_the_probes() -> None:
    source = SOURCE.read_text()
    assert f"#define SLOTS {SLOTS}\n" in source
    assert f"#define MAX_CGROUPS {CGROUPS_LIMIT}\n" in source
    assert "u64 waits;\n\tu64 wait_ns;\n\tu64 sleeps;\n" in source
    assert ctypes.sizeof(Batch) == 56
    assert (Batch.count.offset, Batch.map_fd.offset) == (32, 36)


def test_parse_takes_only_what_was_counted() -> None:
    keys = struct.pack("=3Q", 1, 2, 3)
    values = packed(made(s3=1)) * 3
    assert set(parse_batch(keys, values, 2, 1)) == {1, 2}


def test_difference() -> None:
    before = {1: made(wait_ns=10, s3=1), 2: made(s3=4), 4: made(s1=9)}
    now = {1: made(wait_ns=60, sleeps=2, s3=1, s4=2), 2: made(s3=4), 3: made(s0=1)}
    assert difference(now, before) == {1: made(wait_ns=50, sleeps=2, s4=2), 3: made(s0=1)}


@pytest.mark.parametrize("before", [made(s3=9), made(s3=2, sleeps=5)])
def test_counters_that_began_anew(before: CgroupLatency) -> None:
    now = made(wait_ns=7, s3=2, sleeps=1)
    assert difference({1: now}, {1: before}) == {1: now}


def test_a_torn_read_never_goes_below_zero() -> None:
    before, now = made(waits=3, wait_ns=9, s3=2), made(waits=3, wait_ns=8, sleeps=1, s3=1)
    assert difference({1: now}, {1: before}) == {1: made(sleeps=1)}


def test_total() -> None:
    assert total([]) == CgroupLatency()
    assert total([made(wait_ns=1, s3=1), made(wait_ns=2, sleeps=1, s3=2, s9=1)]) == made(
        wait_ns=3, sleeps=1, s3=3, s9=1
    )


def test_quantile_of_nothing() -> None:
    assert quantile(CgroupLatency(), 0.99) is None


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.0, 1024),
        (0.5, 1024 + 1024 * 50 / 90),
        (0.9, 2048),
        (0.95, 1 << 20 | 1 << 19),
        (1.0, 1 << 21),
        (7.0, 1 << 21),
        (-1.0, 1024),
    ],
)
def test_quantile(share: float, expected: float) -> None:
    assert quantile(made(s10=90, s20=10), share) == pytest.approx(expected)


def test_quantile_at_the_ends() -> None:
    assert quantile(made(s0=2), 0.5) == 1.0
    assert quantile(made(s31=1), 1.0) == 1 << 32


@given(st.lists(st.integers(0, 10**6), min_size=SLOTS, max_size=SLOTS), st.floats(0, 1))
def test_a_quantile_lies_where_the_waits_are(slots: list[int], share: float) -> None:
    value = quantile(CgroupLatency(slots=tuple(slots)), share)
    used = [slot for slot, count in enumerate(slots) if count]
    if value is None:
        assert not used
        return
    assert (1 << used[0] if used[0] else 0) <= value <= 2 << used[-1]
    below = sum(count for slot, count in enumerate(slots) if 2 << slot <= value)
    assert below <= share * sum(slots) * (1 + 1e-9)


@given(st.floats(0, 1), st.floats(0, 1))
def test_quantiles_are_in_order(one: float, other: float) -> None:
    value = made(s3=5, s4=1, s20=3, s31=2)
    low, high = (quantile(value, share) for share in sorted((one, other)))
    assert low is not None
    assert high is not None
    assert low <= high
