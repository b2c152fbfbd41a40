# SPDX-License-Identifier: GPL-2.0-or-later
"""Connect this terminal to a guest's serial console."""

from __future__ import annotations

import contextlib
import os
import selectors
import sys
import termios
import tty
from collections.abc import Iterator
from pathlib import Path

from lab import qemu

ESCAPE = b"\x1d"  # Ctrl-]


@contextlib.contextmanager
def raw_mode(fd: int) -> Iterator[None]:
    """Pass keys through unchanged while inside, if the descriptor is a terminal."""
    if not os.isatty(fd):
        yield
        return
    saved = termios.tcgetattr(fd)
    tty.setraw(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, saved)


def bridge(path: Path, start: bytes) -> None:
    """Send `start`, then copy both ways until the guest hangs up, input ends or Ctrl-] is typed."""
    keys = sys.stdin.fileno()
    with qemu.connect(path, 10) as link, raw_mode(keys), selectors.DefaultSelector() as waiting:
        waiting.register(link, selectors.EVENT_READ)
        waiting.register(keys, selectors.EVENT_READ)
        link.sendall(start)
        while True:
            for key, _ in waiting.select():
                data = link.recv(1 << 16) if key.fileobj is link else os.read(keys, 1 << 10)
                if not data or (key.fileobj == keys and ESCAPE in data):
                    return
                if key.fileobj is link:
                    os.write(sys.stdout.fileno(), data)
                else:
                    link.sendall(data)
