# SPDX-License-Identifier: GPL-2.0-or-later
"""Turn a request to run something in the guest into the argv the guest agent executes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

GUEST_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ROOT_ENV = {
    "PATH": GUEST_PATH,
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "SYSTEMD_PAGER": "cat",
    "PAGER": "cat",
}

Command = str | Sequence[str]


@dataclass(frozen=True, slots=True)
class Result:
    """How a guest command ended."""

    exit_code: int
    stdout: str
    stderr: str


def words(command: Command) -> list[str]:
    """The argv of a command; a string goes through the shell."""
    return ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)


def shown(command: Command) -> str:
    """The command as a person would type it."""
    return command if isinstance(command, str) else shlex.join(command)


def direct(command: Command, user: str, env: Mapping[str, str]) -> list[str]:
    """In the agent's cgroup for root, in a logind session of their own for anyone else."""
    if user == "root":
        return ["/usr/bin/setsid", *words(command)]
    line = ["env", *(f"{name}={value}" for name, value in env.items()), *words(command)]
    return ["/usr/bin/setsid", "/usr/sbin/runuser", "-l", user, "-c", f"exec {shlex.join(line)}"]


def in_unit(
    command: Command, user: str, env: Mapping[str, str], unit: str, *, wait: bool
) -> list[str]:
    """In a transient systemd unit, and so in a cgroup of its own."""
    line = ["/usr/bin/systemd-run", "--quiet", "--collect", f"--unit={unit}"]
    line += ["--pipe", "--wait"] if wait else []
    # No PAM: a login session would take the command out of the unit's cgroup.
    line += [] if user == "root" else [f"--uid={user}", "--property=WorkingDirectory=~"]
    line += [f"--setenv={name}={value}" for name, value in env.items()]
    return [*line, "--", *words(command)]
