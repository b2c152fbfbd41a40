# SPDX-License-Identifier: GPL-2.0-or-later
"""A PostgreSQL server of one test's own, on a socket in a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_VERSIONS = Path("/usr/lib/postgresql")
_LASTS_S = 60
_NOBODY = 65534  # the server refuses to run as root


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    folder: Path

    def conninfo(self, user: str = "fleet") -> str:
        """How a user connects to its database."""
        return f"host={self.folder} dbname=postgres user={user}"


def programs() -> Path | None:
    """Where the server's programs are, those of the newest one; None where there is none."""
    found = sorted(_VERSIONS.glob("*/bin"), key=lambda one: int(one.parent.name))
    return found[-1] if found else None


@contextmanager
def running(binaries: Path) -> Iterator[Server]:
    """A server with a superuser ``fleet``, on its socket only, gone with all that it kept."""
    identity = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if not os.getuid() else {}
    folder = Path(tempfile.mkdtemp(prefix="schedcp-pg-"))  # a socket's path has 107 bytes at most
    data = folder / "data"
    settings = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"

    def command(*words: str | Path) -> None:
        subprocess.run(
            words,
            check=True,
            cwd=folder,
            timeout=_LASTS_S,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
            **identity,  # type: ignore[call-overload]
        )

    try:
        if identity:
            os.chown(folder, _NOBODY, _NOBODY)
        command(binaries / "initdb", "-D", data, "-U", "fleet", "-A", "trust", "-N", "-E", "UTF8")
        control = binaries / "pg_ctl"
        command(control, "-D", data, "-w", "-l", folder / "log", "-o", settings, "start")
        try:
            yield Server(folder)
        finally:
            command(control, "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)
