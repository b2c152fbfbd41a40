# SPDX-License-Identifier: GPL-2.0-or-later
"""A BPF ring buffer, read through its descriptor without libbpf.

The kernel's layout (kernel/bpf/ringbuf.c): a page with the reader's position, one with the
writers', and the data twice in a row, so that no record is ever cut in two. Positions only grow.
The order of loads and stores is x86-64's, on which the package is built.
"""

from __future__ import annotations

import mmap
import struct

from schedcpd.errors import KernelText

_HEADER = struct.Struct("=II")  # length with two flags, offset of the page
_BUSY = 1 << 31  # reserved by a program that has not finished writing
_DISCARDED = 1 << 30
_ALIGNMENT = 8


class RingBuffer:
    """The reader's end; ``size`` in bytes is max_entries of the map.

    The descriptor stays the caller's; it is readable while there is something to read. Raises
    OSError when it is no ring buffer of that size.
    """

    def __init__(self, fd: int, size: int) -> None:
        page = mmap.PAGESIZE
        self._size = size
        self._reader = mmap.mmap(fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        try:
            self._rest = mmap.mmap(
                fd, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page
            )
        except (OSError, ValueError):
            self._reader.close()
            raise
        # Through a view of 64-bit words a position is read and written at once.
        self._read_to = memoryview(self._reader).cast("Q")
        self._written_to = memoryview(self._rest).cast("Q")

    def read(self, limit: int) -> list[bytes]:
        """At most ``limit`` records, oldest first; raises KernelText when one makes no sense."""
        records: list[bytes] = []
        at = self._read_to[0]
        while len(records) < limit and at < self._written_to[0]:
            place = mmap.PAGESIZE + at % self._size
            length, _ = _HEADER.unpack_from(self._rest, place)
            if length & _BUSY:
                break
            start, size = place + _HEADER.size, length & ~_DISCARDED
            if size > self._size - _HEADER.size:
                raise KernelText("ring buffer", f"a record has {size} bytes")
            if not length & _DISCARDED:
                records.append(self._rest[start : start + size])
            at += -(-(size + _HEADER.size) // _ALIGNMENT) * _ALIGNMENT
            self._read_to[0] = at
        return records

    def close(self) -> None:
        """Unmap it."""
        for view, area in ((self._read_to, self._reader), (self._written_to, self._rest)):
            view.release()
            area.close()
