# SPDX-License-Identifier: GPL-2.0-or-later
"""``schedctl enroll-foreign``: writes the card of an installed scheduler, which only root may.

Nothing is asked of the daemon: a path in a request could be anybody's. It reads the card as soon as
it is there, and judges it.
"""

from __future__ import annotations

import os
import re
from argparse import Namespace
from pathlib import Path

from schedclient.errors import ClientError
from schedclient.exit import ExitCode
from schedctl.context import Context

ELF = b"\x7fELF"
LARGEST_CARD = 64 * 1024  # bytes; the daemon takes no more either

_PROGRAM = re.compile(r"(/[A-Za-z0-9_+-][A-Za-z0-9._+-]*)*/(scx_[a-z0-9_]{1,11})")
_FACTS = re.compile(r'^(program|sha256) = ".*"$', re.MULTILINE)

CARD = """\
# What schedcp knows of {name} (schedctl(1), under enroll-foreign). After an upgrade of the program,
# 'schedctl enroll-foreign {program}' renews its digest, and leaves the rest as it is.
name = "{name}"
program = "{program}"
sha256 = "{sha256}"
# What the kernel calls it in /sys/kernel/sched_ext/root/ops, up to an underscore and its version.
ops = "{ops}"
version = ""
title = "the installed {name}"
summary = "Nobody has described it yet."
suits = []
fails = []
honours = []
# Where one of these is set on a cgroup with processes, it is not attached.
ignores = ["cpu.weight", "cpu.max", "cpu.idle"]

# Only what is here is ever given to it, always all of it, and in this order:
# [arguments.slice_us]
# flag = "--slice-us"
# type = "integer"  # or bool: the flag alone; or choice, with choices = ["one", "another"]
# unit = "us"
# default = 5000
# min = 500
# max = 20000
# description = "how long a task runs before another gets its turn"
"""


async def enroll(context: Context, arguments: Namespace) -> ExitCode:
    """Write the card of a program, or renew the digest in the one that there is."""
    program, name = named(arguments.program)
    path = context.etc / "foreign.d" / f"{name}.toml"
    sha256 = digest(Path(program))
    try:
        new = renewed(path, program, sha256)
        if new is None:
            facts = {"name": name, "program": program, "sha256": sha256}
            new = CARD.format(**facts, ops=name.removeprefix("scx_"))
        write(path, new)
    except OSError as error:
        if isinstance(error, PermissionError):
            words = f"only root enrolls a program: sudo schedctl enroll-foreign {program}"
            raise ClientError(words, ExitCode.NOT_AUTHORISED) from error
        raise ClientError(f"{path}: {error.strerror}") from error
    if context.json:
        context.report.json({"policy": name, "object_sha256": sha256, "card": str(path)})
    else:
        context.report.line(
            f"{name} is enrolled. Its card is {path}: say there what it suits, where it fails, and "
            "which arguments it may be given."
        )
    return ExitCode.OK


def named(program: str) -> tuple[str, str]:
    """The whole path of a program, links and all, and its name; raises ClientError."""
    path = os.path.abspath(program)  # noqa: PTH100 - what a link points to has another name
    found = _PROGRAM.fullmatch(path)
    if found is None:
        raise ClientError(
            f"{path!r}: a scheduler is called scx_NAME, NAME having up to 11 of a-z, 0-9 and _, "
            "and its path has letters, digits and ._+- in it only",
            ExitCode.USAGE,
        )
    return path, found[2]


def digest(program: Path) -> str:
    """The SHA-256 digest of a program; raises ClientError."""
    import hashlib  # takes time that other commands save

    try:
        with program.open("rb") as file:
            if file.read(len(ELF)) != ELF:
                raise ClientError(f"{program} is no ELF executable", ExitCode.USAGE)
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise ClientError(f"there is no program {program}", ExitCode.NOT_FOUND) from error
    except OSError as error:
        raise ClientError(f"{program} cannot be read: {error.strerror}") from error


def renewed(path: Path, program: str, sha256: str) -> str | None:
    """The card that there is, with the program as it is now; None when there is none."""
    try:
        with path.open(encoding="utf-8") as file:
            card = file.read(LARGEST_CARD)
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise ClientError(f"{path} is not UTF-8 text") from error
    facts = {"program": program, "sha256": sha256}
    if sorted(_FACTS.findall(card)) != sorted(facts):
        raise ClientError(f'{path} needs one line program = "…" and one sha256 = "…"')
    return _FACTS.sub(lambda line: f'{line[1]} = "{facts[line[1]]}"', card)


def write(path: Path, card: str) -> None:
    """Put a card in its place at once, so that nobody reads half of it."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with new.open("x", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(card)
    new.replace(path)
