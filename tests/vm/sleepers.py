# SPDX-License-Identifier: GPL-2.0-or-later
"""Tasks whose sleeps are known: what the workload probe says of them can be held against it.

Each of the seven sleeps nearly always: four wait for a time (two of them in a poll that nobody
answers), one for a lock, one for a pipe, one for a child.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

EVERY_S = 0.025  # often enough for a second of looking, and little to do for a slow machine
TASKS = 7
SHARES = {"lock": 1 / 7, "message": 1 / 7, "timer": 4 / 7, "other": 1 / 7}
WRITER, READER = "pipe-writer", "pipe-reader"


def named(name: str, work: Callable[[], object]) -> None:
    """Work for ever in a process of that name."""
    if os.fork():
        return
    Path("/proc/self/comm").write_text(name)
    while True:
        work()


def reader_and_writer() -> None:
    ours, theirs = os.pipe()
    named(READER, lambda: os.read(ours, 1))

    def write() -> None:
        time.sleep(EVERY_S)
        os.write(theirs, b"x")

    named(WRITER, write)


def hand_over() -> None:
    """Two threads: one waits for the lock that the other lets go now and then."""
    lock = threading.Lock()
    lock.acquire()

    def release() -> None:
        while True:
            time.sleep(EVERY_S)
            if lock.locked():  # on a busy machine the other one may not have had its turn yet
                lock.release()

    threading.Thread(target=release, daemon=True).start()
    while True:
        lock.acquire()


def main() -> NoReturn:
    reader_and_writer()
    named("lock", hand_over)
    unanswered, _ = os.pipe()
    poll = select.poll()
    poll.register(unanswered, select.POLLIN)
    named("poller", lambda: poll.poll(EVERY_S * 1000))
    epoll = select.epoll()
    epoll.register(unanswered, select.EPOLLIN)
    named("epoller", lambda: epoll.poll(EVERY_S))
    os.wait()
    raise SystemExit("a sleeper has ended")


if __name__ == "__main__":
    main()
