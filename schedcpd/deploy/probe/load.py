# SPDX-License-Identifier: GPL-2.0-or-later
"""A probe's child: takes the probe into the kernel, hands it over and ends.

Run as ``python3 -I -m schedcpd.deploy.probe.load FOLDER NAME`` with a SOCK_SEQPACKET socket as its
standard input. It sends one message there: with the descriptors of the maps and then of the links,
or without any and the reason as its text.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from schedcpd.deploy.probe import PROBES, REASON_BYTES
from schedcpd.kernel.libbpf import Libbpf, LibbpfError
from schedcpd.repository.packaged import RefusedError, packaged

ATTACHED = b"attached"


def attach(libbpf: Libbpf, data: bytes, name: str) -> list[int]:
    """Attach the probe; the descriptors that hold it there, those of its maps first."""
    probe = libbpf.open(data, name)
    probe.load()
    links = probe.attach_programs()
    maps = [probe.map_fd(one) for one in PROBES[name].maps]
    return [*maps, *(link.fileno() for link in links)]


def refusal(exc: LibbpfError, name: str) -> str:
    """What libbpf's error means to a person."""
    if not exc.code:
        return str(exc)
    if exc.code == errno.EPERM:
        return f"{exc}: it takes CAP_BPF and CAP_PERFMON"
    return f"{exc}: this kernel may be too old, or {PROBES[name].needs}"


def hand_over(
    channel: socket.socket, folder: Path, name: str, library: Callable[[], Libbpf]
) -> None:
    """Attach and send the descriptors, or say why not."""
    try:
        data = packaged(folder, name)
        fds = attach(library(), data, name)
    except (OSError, RefusedError) as exc:
        channel.send(str(exc).encode()[:REASON_BYTES])
    except LibbpfError as exc:
        channel.send(refusal(exc, name).encode()[:REASON_BYTES])
    else:
        socket.send_fds(channel, [ATTACHED], fds)


def main() -> int:
    """Do it once."""
    with socket.socket(fileno=os.dup(sys.stdin.fileno())) as channel:
        hand_over(channel, Path(sys.argv[1]), sys.argv[2], Libbpf)
    return 0


if __name__ == "__main__":
    # Taking the interpreter down would only keep people waiting.
    os._exit(main())
