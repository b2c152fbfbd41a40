# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.errors import KernelText
from schedcpd.kernel.ringbuf import RingBuffer

SIZE = 4096
PAGE = mmap.PAGESIZE
BUSY, DISCARDED = 1 << 31, 1 << 30


class Kernel:
    """The writers' end, in a memfd whose data area is written twice, as the kernel maps it."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("ring")
        os.ftruncate(self.fd, 2 * PAGE + 2 * SIZE)
        self.at = 0

    def _write(self, position: int, data: bytes) -> None:
        for number, byte in enumerate(data):
            place = (position + number) % SIZE
            for copy in (0, SIZE):
                os.pwrite(self.fd, bytes((byte,)), 2 * PAGE + copy + place)

    def put(self, data: bytes, flags: int = 0) -> int:
        """Append a record; where its header is."""
        place = self.at
        self._write(place, struct.pack("=II", len(data) | flags, 0) + data)
        self.at += (len(data) + 15) // 8 * 8
        os.pwrite(self.fd, struct.pack("=Q", self.at), PAGE)
        return place

    def submit(self, place: int, length: int) -> None:
        self._write(place, struct.pack("=I", length))

    def read_to(self) -> int:
        (position,) = struct.unpack("=Q", os.pread(self.fd, 8, 0))
        return int(position)


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    made = Kernel()
    yield made
    os.close(made.fd)


@pytest.fixture
def ring(kernel: Kernel) -> Iterator[RingBuffer]:
    made = RingBuffer(kernel.fd, SIZE)
    yield made
    made.close()


def test_nothing(ring: RingBuffer) -> None:
    assert ring.read(10) == []


def test_oldest_first_and_no_more_than_asked_for(kernel: Kernel, ring: RingBuffer) -> None:
    for data in (b"a", b"bb", b"ccccccccc"):
        kernel.put(data)
    assert ring.read(2) == [b"a", b"bb"]
    assert ring.read(2) == [b"ccccccccc"]
    assert kernel.read_to() == kernel.at


def test_what_is_being_written_is_waited_for(kernel: Kernel, ring: RingBuffer) -> None:
    kernel.put(b"first")
    place = kernel.put(b"later", BUSY)
    kernel.put(b"last")
    assert ring.read(10) == [b"first"]
    assert ring.read(10) == []
    kernel.submit(place, 5)
    assert ring.read(10) == [b"later", b"last"]


def test_what_was_given_up_is_left_out(kernel: Kernel, ring: RingBuffer) -> None:
    kernel.put(b"no", DISCARDED)
    kernel.put(b"yes")
    assert ring.read(1) == [b"yes"]


def test_an_impossible_length(kernel: Kernel, ring: RingBuffer) -> None:
    kernel.put(b"good")
    place = kernel.put(b"bad")
    kernel.submit(place, SIZE)
    with pytest.raises(KernelText, match="4096 bytes"):
        ring.read(10)


@given(st.lists(st.binary(max_size=700), max_size=60))
def test_every_record_once_however_often_it_wraps(sent: list[bytes]) -> None:
    kernel = Kernel()
    ring = RingBuffer(kernel.fd, SIZE)
    found: list[bytes] = []
    for data in sent:
        kernel.put(data)
        if kernel.at - kernel.read_to() > SIZE - 1024:
            found += ring.read(3)
    while records := ring.read(3):
        found += records
    ring.close()
    os.close(kernel.fd)
    assert found == sent


def test_no_ring_buffer() -> None:
    reading, writing = os.pipe()
    with pytest.raises(OSError, match="Permission denied"):
        RingBuffer(reading, SIZE)
    os.close(reading)
    os.close(writing)
