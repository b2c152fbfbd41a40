# SPDX-License-Identifier: GPL-2.0-or-later
"""What a workload is called by those who remember it: the same after a restart.

``of_path`` takes it from the path of the cgroup, where somebody gave the workload a name: a unit,
an application, a machine, a container of LXC. Where the path has nothing but numbers (a container's
id, a transient unit, a login session), ``of_programs`` takes it from what runs in it. Both give
printable text of at most IDENTITY_LIMIT characters, whatever the names are.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

IDENTITY_LIMIT = 160
SHAPE_WORDS = 24  # of a command line; what follows seldom tells two workloads apart
VARIABLE = "#"  # stands for a number, a hash or a name made at random
_DIGEST = 8  # hexadecimal digits that keep two names apart whose beginnings are the same

# What is made anew at each start: UUIDs, hashes, numbers. Words of the letters a to f alone stay.
_UUID = r"[0-9a-fA-F]{8}(?:[-_][0-9a-fA-F]{4}){3}[-_][0-9a-fA-F]{12}"
_HASH = r"(?<![0-9A-Za-z])(?=[a-fA-F]*[0-9])[0-9a-fA-F]{8,}(?![0-9A-Za-z])"
_NUMBER = r"[0-9]+(?:[.:][0-9]+)*"
_VARIABLE_PART = re.compile(f"{_UUID}|{_HASH}|{_NUMBER}")

# Units that systemd or a login names by a number: their name says nothing of the work in them.
_NAMELESS = re.compile(
    r"run-(?:r[0-9a-f]{32}|r[0-9a-f]{6,}|u[0-9]+|p?[0-9]+(?:-i?[0-9]+)?|[0-9a-f-]{36})"
    r"\.(?:scope|service)"
    r"|session-c?[0-9]+\.scope"
    r"|tmux-spawn-[0-9a-f-]{36}\.scope"
    r"|vte-spawn-[0-9a-f-]{36}\.scope"
)
CONTAINER = re.compile(
    r"(?:docker|libpod|crio|cri-containerd|nerdctl|buildkit)-(?P<scope>[0-9a-f]{12,64})\.scope"
    r"|(?P<plain>[0-9a-f]{64})"  # docker and kubelet without systemd
    r"|lxc\.payload\.(?P<lxc>.+)"
)
_APPLICATION = re.compile(r"app-(?P<rest>.+)\.(?P<kind>scope|service)")
_LAUNCHERS = frozenset(
    "gnome glib kde plasma dbus flatpak xfce cosmic sway hyprland niri uwsm autostart".split()
)
_SNAP = re.compile(r"snap\.(?P<name>[^.]+\.[^.]+?)(?:-" + _UUID + r"|\.[^.]+)?\.(?:scope|service)")
_MACHINE = re.compile(r"machine-(?P<scope>.+)\.scope|systemd-nspawn@(?P<unit>.+)\.service")
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")
_UNIT = re.compile(r".+\.(?:service|scope)")
_ORCHESTRATED = re.compile(r"(?:^|/)kubepods(?:[.-][^/]*)?/")

# Folders whose files are named at random.
_SCRATCH = ("/tmp/", "/var/tmp/", "/run/", "/dev/shm/", "/proc/")
_ASSIGNED = re.compile(r"(?P<name>-{0,2}[A-Za-z_][A-Za-z0-9_.-]*=)(?P<value>.*)", re.DOTALL)


def of_path(path: str) -> str:
    """The identity of the workload whose cgroup ``path`` is; empty where the path has no name."""
    name = path.rsplit("/", 1)[-1]
    if _NAMELESS.fullmatch(name):
        return ""
    if found := CONTAINER.fullmatch(name):
        return _bounded(f"container {_constant(found['lxc'])}") if found["lxc"] else ""
    if found := _MACHINE.fullmatch(name):
        return _bounded(f"machine {_constant(_unescaped(found['scope'] or found['unit']))}")
    if found := _SNAP.fullmatch(name):
        return _bounded(f"app {_constant(found['name'])}")
    if found := _APPLICATION.fullmatch(name):
        return _bounded(f"app {_application(found['rest'], found['kind'])}")
    if _UNIT.fullmatch(name):
        return _bounded(f"unit {_constant(_unescaped(name))}")
    return ""


def of_programs(path: str, command: str, worker_program: str, arguments: Sequence[str]) -> str:
    """The identity of a workload whose path says nothing, from its programs; empty without any.

    ``command`` is the command line of its oldest process, which started the others; a login session
    is known by its work instead, for its oldest process only logged somebody in.
    """
    name = path.rsplit("/", 1)[-1]
    where = "container" if CONTAINER.fullmatch(name) else name.partition("-")[0] or "cgroup"
    if _ORCHESTRATED.search(path):
        where = "pod"
    shapes = Counter(_shape(line) for line in arguments if line.strip())
    work = min(shapes, key=lambda one: (-shapes[one], one), default="") or worker_program
    what = work if name.startswith("session-") else _shape(command) or work
    return _bounded(f"{where} {what}") if what.strip() else ""


def _shape(command: str) -> str:
    """A command line without what differs from one run to the next."""
    program, *arguments = command.split()[: SHAPE_WORDS + 1] or [""]
    words = [_constant(_file_name(program)), *(_argument(one) for one in arguments)]
    return " ".join(word for word in words if word)


def _argument(word: str) -> str:
    assigned = _ASSIGNED.fullmatch(word)
    name, value = (assigned["name"], assigned["value"]) if assigned else ("", word)
    if value.startswith(_SCRATCH):
        return f"{name}*{PurePosixPath(value).suffix}"
    return name + _constant(_file_name(value))


def _file_name(word: str) -> str:
    return word.rstrip("/").rsplit("/", 1)[-1]


def _constant(text: str) -> str:
    """``text`` with VARIABLE for each part that is made anew at each start."""
    return _VARIABLE_PART.sub(VARIABLE, text)


def _application(rest: str, kind: str) -> str:
    """The application's id in ``[LAUNCHER-]ID-RANDOM`` of a scope, ``…ID[@RANDOM]`` of a service.

    See the desktops' convention for cgroups: a dash within a part is written as an escape.
    """
    if kind == "service":
        parts = rest.partition("@")[0].split("-")
    else:
        *parts, random = rest.split("-")
        if not parts or not _VARIABLE_PART.search(random):
            parts.append(random)  # somebody left the random part out
    if len(parts) > 1 and parts[0].lower() in _LAUNCHERS:
        del parts[0]
    return _constant(_unescaped("-".join(parts)))


def _unescaped(name: str) -> str:
    """A name as it was before systemd escaped it; bytes that are not ASCII stay escaped."""

    def character(found: re.Match[str]) -> str:
        code = int(found[1], 16)
        return chr(code) if 0x20 < code < 0x7F else found[0]

    return _ESCAPED.sub(character, name)


def _bounded(text: str) -> str:
    """Printable, and no longer than IDENTITY_LIMIT; what is cut off is replaced by its digest."""
    safe = "".join(one if one.isprintable() else VARIABLE for one in text)
    if len(safe) <= IDENTITY_LIMIT:
        return safe
    digest = hashlib.sha256(safe.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
    return f"{safe[: IDENTITY_LIMIT - _DIGEST - 1]}~{digest}"
