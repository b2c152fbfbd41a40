# SPDX-License-Identifier: GPL-2.0-or-later
"""Children of the daemon that put a tracing program into the kernel: how they are run."""

from __future__ import annotations

from contextlib import suppress
from typing import Protocol

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}


def tracing(module: str) -> tuple[str, ...]:
    """The command line of a module of ours that loads and attaches tracing programs.

    It keeps no capability but the two that this takes.
    """
    return (
        *("/usr/bin/setpriv", "--no-new-privs", "--inh-caps=-all", "--ambient-caps=-all"),
        *("--bounding-set=-all,+bpf,+perfmon",),
        *("/usr/bin/python3", "-I", "-m", module),
    )


class Running(Protocol):
    """A process, or what stands for one; ``asyncio.subprocess.Process`` is one of our own."""

    @property
    def returncode(self) -> int | None:
        """How it ended."""

    def kill(self) -> None:
        """End it, and what it has put into the kernel."""

    async def wait(self) -> int:
        """Wait until it is gone."""


async def kill(process: Running) -> None:
    """Kill the child if it still lives, and wait until it is gone."""
    if process.returncode is None:
        with suppress(ProcessLookupError):  # it went between the look and the signal
            process.kill()
    await process.wait()
