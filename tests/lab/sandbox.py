# SPDX-License-Identifier: GPL-2.0-or-later
"""Run commands inside an unpacked Debian root without leaving a mount or a process behind.

Everything happens in a mount and PID namespace of its own: when its first process dies the kernel
removes both.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.place import SCRIPTS, need_tool

ROOT_ENV = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
}


def die_with_parent(argv: Sequence[str]) -> list[str]:
    """Prefix argv so that the kernel kills it when the thread that started it dies."""
    return [need_tool("setpriv", "util-linux"), "--pdeathsig", "KILL", "--", *argv]


def namespace_argv(argv: Sequence[str], *, as_root: bool) -> list[str]:
    """Prefix argv with new mount and PID namespaces, plus a user namespace for an ordinary user."""
    mapping = [] if as_root else ["--map-root-user", "--map-auto"]
    unshare = need_tool("unshare", "util-linux")
    if mapping:
        need_tool("newuidmap", "uidmap")
    return die_with_parent([unshare, *mapping, "--mount", "--pid", "--fork", "--kill-child", *argv])


def chroot_argv(
    root: Path,
    argv: Sequence[str],
    *,
    binds: Mapping[str | Path, str],
    cwd: str,
    user: str,
    as_root: bool,
) -> list[str]:
    """The complete host command line that runs argv inside root."""
    pairs = [str(item) for pair in binds.items() for item in pair]
    inner = [
        "/bin/sh",
        str(SCRIPTS / "chroot.sh"),
        str(root),
        cwd,
        user,
        str(len(binds)),
        *pairs,
        *argv,
    ]
    return namespace_argv(inner, as_root=as_root)


def run_in(
    root: Path,
    argv: Sequence[str],
    *,
    binds: Mapping[str | Path, str] | None = None,
    cwd: str = "/",
    env: Mapping[str, str] | None = None,
    user: str = "root",
    capture: bool = False,
    timeout_s: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run argv in root with /proc, /dev, /sys (ro), tmpfs /tmp and /run, and binds {host: guest}.

    The exit code is the command's own. Raises subprocess.TimeoutExpired after `timeout_s` seconds.
    """
    line = chroot_argv(root, argv, binds=binds or {}, cwd=cwd, user=user, as_root=os.geteuid() == 0)
    return subprocess.run(
        line,
        env={**ROOT_ENV, **(env or {})},
        text=True,
        capture_output=capture,
        timeout=timeout_s,
        check=False,
    )
