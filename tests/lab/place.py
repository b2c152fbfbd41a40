# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the lab keeps its artefacts, how it names them and how it reports progress."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.errors import ToolMissing

REPO = Path(__file__).resolve().parents[2]
SCRIPTS = Path(__file__).resolve().parent / "scripts"
DEFAULT_MIRROR = "http://deb.debian.org/debian"


@dataclass(frozen=True, slots=True)
class Lab:
    """The artefact directory and the Debian mirror everything is made from."""

    dir: Path
    mirror: str = DEFAULT_MIRROR

    @classmethod
    def from_env(cls) -> Lab:
        """Read SCHEDCP_LAB_DIR (default: build/lab) and SCHEDCP_MIRROR (deb.debian.org)."""
        place = Path(os.environ.get("SCHEDCP_LAB_DIR") or REPO / "build" / "lab").absolute()
        place.mkdir(parents=True, exist_ok=True)
        return cls(place, os.environ.get("SCHEDCP_MIRROR", DEFAULT_MIRROR).rstrip("/"))

    @property
    def security_mirror(self) -> str:
        """The security archive beside the mirror, as deb.debian.org lays it out."""
        return f"{self.mirror}-security"


def digest(*parts: str | bytes) -> str:
    """The first 16 hex digits of the SHA-256 of all parts, each framed by its length."""
    total = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        total.update(f"{len(raw)}:".encode() + raw)
    return total.hexdigest()[:16]


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's contents, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def say(text: str) -> None:
    """Write one progress line to standard error."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def step(text: str) -> Iterator[None]:
    """Announce a long step and report the seconds it took."""
    say(f"{text} ...")
    began = time.monotonic()
    yield
    say(f"{text}: {time.monotonic() - began:.1f} s")


@contextlib.contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold an exclusive flock on `path`, saying so when another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for {what} (lock {path})")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def need_tool(tool: str, package: str) -> str:
    """The path of a host tool, or ToolMissing naming its Debian package."""
    found = shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        raise ToolMissing(tool, package)
    return found


def proxies() -> dict[str, str]:
    """The proxy settings of this process, for tools run with a clean environment."""
    return {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
