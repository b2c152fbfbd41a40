# SPDX-License-Identifier: GPL-2.0-or-later
"""A probe's child without a kernel: the folder's name says how it behaves."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path


def memfds(names: str) -> list[int]:
    return [os.memfd_create(f"probe-{name}") for name in names]


def main() -> None:
    channel = socket.socket(fileno=os.dup(0))
    match Path(sys.argv[1]).name:
        case "good":
            socket.send_fds(channel, [b"attached"], memfds("mabc"))
        case "good-and-hangs":
            socket.send_fds(channel, [b"attached"], memfds("mabc"))
            time.sleep(60)
        case "hangs":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(60)
        case "refused":
            channel.send("no \N{RIGHT-TO-LEFT OVERRIDE}good".encode())
        case "long":
            channel.send(b"x" * 100_000)
        case "map-only":
            socket.send_fds(channel, [b"attached"], memfds("m"))
        case "two":
            socket.send_fds(channel, [b"attached"], memfds("ma"))
        case "too-many":
            socket.send_fds(channel, [b"attached"], memfds("m" * 200))
        case _:
            sys.exit(7)


main()
