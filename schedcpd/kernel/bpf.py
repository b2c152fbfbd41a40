# SPDX-License-Identifier: GPL-2.0-or-later
"""The bpf(2) system call on descriptors that the daemon holds already.

libbpf stays with the children that load: its memory would have to be kept for good.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform

MAP_UPDATE_ELEM = 2
MAP_DELETE_ELEM = 3
ITER_CREATE = 33
SYSCALL_NUMBERS = {"x86_64": 321, "aarch64": 280}


class Element(ctypes.Structure):
    """What ``union bpf_attr`` has for the commands on one element of a map."""

    _fields_ = (
        ("map_fd", ctypes.c_uint64),  # 32 bits and padding
        ("key", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
    )


class IterCreate(ctypes.Structure):
    """The ``iter_create`` member of ``union bpf_attr``."""

    _fields_ = (("link_fd", ctypes.c_uint32), ("flags", ctypes.c_uint32))


def call(command: int, attributes: ctypes.Structure) -> int:
    """The system call; its result, or an errno as a negative number."""
    number = SYSCALL_NUMBERS.get(platform.machine())
    if number is None:
        return -errno.ENOSYS
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long
    syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint)
    address, size = ctypes.addressof(attributes), ctypes.sizeof(attributes)
    result = int(syscall(number, command, address, size))
    return -ctypes.get_errno() if result < 0 else result


def update(map_fd: int, key: bytes, value: bytes) -> None:
    """Write an entry of a hash map, which it may have already or not; OSError."""
    _element(MAP_UPDATE_ELEM, map_fd, key, value)


def delete(map_fd: int, key: bytes) -> None:
    """Take an entry out of a hash map; OSError when there is none."""
    _element(MAP_DELETE_ELEM, map_fd, key, b"")


def create_iterator(link_fd: int) -> int:
    """A descriptor to read what the iterator of a link tells now; OSError if it is none."""
    return _checked(call(ITER_CREATE, IterCreate(link_fd=link_fd)))


def _element(command: int, map_fd: int, key: bytes, value: bytes) -> None:
    # The buffers have to live until the call is over.
    keys, values = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value)
    attributes = Element(
        map_fd=map_fd, key=ctypes.addressof(keys), value=ctypes.addressof(values) if value else 0
    )
    _checked(call(command, attributes))


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result), "bpf(2)")
    return result
