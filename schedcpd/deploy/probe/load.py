# SPDX-License-Identifier: GPL-2.0-or-later
"""The probe's child: takes the probe into the kernel, hands it over and ends.

Run as ``python3 -I -m schedcpd.deploy.probe.load FOLDER`` with a SOCK_SEQPACKET socket as standard
input. It sends one message there: with the descriptors of the map and of the links, or without
any and the reason as its text.
"""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from schedcpd.deploy.probe import REASON_BYTES
from schedcpd.kernel.libbpf import Libbpf, LibbpfError
from schedcpd.repository.files import read_bounded

NAME = "runqueue"
FILE = f"{NAME}.bpf.o"
MAP = "cgroups"
SUMS = "SHA256SUMS"
OBJECT_LIMIT = 1 << 20
SUMS_LIMIT = 64 << 10
ATTACHED = b"attached"


class RefusedError(Exception):
    """The object is not the one that was packaged; the message is the reason."""


def packaged(folder: Path) -> bytes:
    """The object, if it is as SHA256SUMS says; OSError or RefusedError."""
    data = read_bounded(folder / FILE, OBJECT_LIMIT)
    sums = read_bounded(folder / SUMS, SUMS_LIMIT).decode("ascii", "replace")
    if f"{hashlib.sha256(data).hexdigest()}  {FILE}" not in sums.splitlines():
        raise RefusedError(f"{folder / FILE} is not as packaged: reinstall the package")
    return data


def attach(libbpf: Libbpf, data: bytes) -> list[int]:
    """Attach the probe; the descriptors that hold it there, the map's first."""
    probe = libbpf.open(data, NAME)
    probe.load()
    links = probe.attach_programs()
    return [probe.map_fd(MAP), *(link.fileno() for link in links)]


def refusal(exc: LibbpfError) -> str:
    """What libbpf's error means to a person."""
    if not exc.code:
        return str(exc)
    if exc.code == errno.EPERM:
        return f"{exc}: it takes CAP_BPF and CAP_PERFMON"
    return f"{exc}: this kernel may be too old, or built without CONFIG_SCHED_INFO"


def hand_over(channel: socket.socket, folder: Path, library: Callable[[], Libbpf]) -> None:
    """Attach and send the descriptors, or say why not."""
    try:
        data = packaged(folder)
        fds = attach(library(), data)
    except (OSError, RefusedError) as exc:
        channel.send(str(exc).encode()[:REASON_BYTES])
    except LibbpfError as exc:
        channel.send(refusal(exc).encode()[:REASON_BYTES])
    else:
        socket.send_fds(channel, [ATTACHED], fds)


def main() -> int:
    """Do it once."""
    with socket.socket(fileno=os.dup(sys.stdin.fileno())) as channel:
        hand_over(channel, Path(sys.argv[1]), Libbpf)
    return 0


if __name__ == "__main__":
    # Taking the interpreter down would only keep people waiting.
    os._exit(main())
