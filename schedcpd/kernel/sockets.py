# SPDX-License-Identifier: GPL-2.0-or-later
"""Which cgroups wait for TCP clients, by the kernel's socket diagnosis; takes no privilege.

Sockets of other network namespaces, as those of most containers, are not seen.
"""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import Iterator

from schedcpd.errors import KernelText

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLM_F_REQUEST_DUMP = 0x301
_TCP_LISTEN = 10
_INET_DIAG_CGROUP_ID = 21
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_DIAG_SIZE = 72  # struct inet_diag_msg
_CGROUP_ID = struct.Struct("=Q")
_ANSWER_SIZE = 64 * 1024
_ANSWERS = 64  # bounds the answer to some 20,000 sockets
_TIMEOUT_S = 0.5


def listeners() -> Counter[int]:
    """How many listening TCP sockets each cgroup id has; empty where the kernel does not tell."""
    found: Counter[int] = Counter()
    try:
        for family in (socket.AF_INET, socket.AF_INET6):
            found.update(_dump(family))
    except (OSError, KernelText):  # no inet_diag module, or netlink is not allowed to us
        return Counter()
    return found


def _dump(family: int) -> Iterator[int]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as channel:
        channel.settimeout(_TIMEOUT_S)
        wanted = struct.pack("=BBBBI48x", family, socket.IPPROTO_TCP, 0, 0, 1 << _TCP_LISTEN)
        channel.send(
            _HEADER.pack(
                _HEADER.size + len(wanted), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST_DUMP, 1, 0
            )
            + wanted
        )
        for _ in range(_ANSWERS):
            identifiers, done = parse_answer(channel.recv(_ANSWER_SIZE))
            yield from identifiers
            if done:
                return


def parse_answer(raw: bytes) -> tuple[list[int], bool]:
    """The cgroup ids in one answer, and whether it is the last; raises KernelText."""
    identifiers: list[int] = []
    offset = 0
    while offset + _HEADER.size <= len(raw):
        length, kind, *_ = _HEADER.unpack_from(raw, offset)
        if length < _HEADER.size or offset + length > len(raw):
            raise KernelText("socket diagnosis", "a message is cut short")
        if kind in (_NLMSG_DONE, _NLMSG_ERROR):
            return identifiers, True
        attributes = raw[offset + _HEADER.size + _DIAG_SIZE : offset + length]
        identifiers.extend(_cgroup_ids(attributes))
        offset += length + 3 & ~3
    return identifiers, False


def _cgroup_ids(raw: bytes) -> Iterator[int]:
    offset = 0
    while offset + _ATTRIBUTE.size <= len(raw):
        length, kind = _ATTRIBUTE.unpack_from(raw, offset)
        value = raw[offset + _ATTRIBUTE.size : offset + length]
        if kind == _INET_DIAG_CGROUP_ID and len(value) == _CGROUP_ID.size:
            yield _CGROUP_ID.unpack(value)[0]
        offset += max(length, _ATTRIBUTE.size) + 3 & ~3
