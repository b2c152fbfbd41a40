# SPDX-License-Identifier: GPL-2.0-or-later
"""The primitives: what policies are made of, each a header and a program that shows its use.

A program ``schedulers/primitives/NAME.bpf.c`` compiles on its own. Its first comment describes the
primitive: a title, then paragraphs that begin with ``Use:``, ``Needs:`` and ``Not for:``. The code
itself is in the headers that it includes, the last of which is the primitive's own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from schedcpd.repository.files import read_bounded

SIZE_LIMIT = 64 * 1024
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
SUFFIX = ".bpf.c"
PARTS = ("Use", "Needs", "Not for")

_COMMENT = re.compile(r"/\*\n(.*?)\n \*/", re.DOTALL)
_INCLUDE = re.compile(r'^#include "([\w.]+)"', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Primitive:
    """One primitive."""

    name: str
    title: str
    summary: str
    use: str  # when
    needs: str
    not_for: str
    example: str  # the program
    header: str  # the text of the header that it is in


class BadPrimitive(ValueError):
    """A program does not describe itself as it should; the message says what is missing."""


def read_primitives(programs: Path, headers: Path) -> tuple[Primitive, ...]:
    """The primitives of a folder, by name; none where there is none. OSError, BadPrimitive."""
    paths = sorted(programs.glob(f"*{SUFFIX}"))
    return tuple(read_primitive(path, headers) for path in paths)


def read_primitive(path: Path, headers: Path) -> Primitive:
    """The primitive that a program shows; raises OSError, or BadPrimitive."""
    name = path.name.removesuffix(SUFFIX)
    text = read_bounded(path, SIZE_LIMIT).decode()
    included, comment = _INCLUDE.findall(text), _COMMENT.search(text)
    if not (NAME.fullmatch(name) and included and comment):
        raise BadPrimitive(f"{path.name}: it has no description, or includes no header")
    title, *paragraphs = _paragraphs(comment[1])
    summary = " ".join(one for one in paragraphs if not _begins(one))
    use, needs, not_for = (_part(part, paragraphs) for part in PARTS)
    if not (summary and use and needs and not_for):
        raise BadPrimitive(f"{path.name}: a summary, {', '.join(PARTS)} are to be told")
    header = read_bounded(headers / included[-1], SIZE_LIMIT).decode()
    return Primitive(name, title.rstrip("."), summary, use, needs, not_for, text, header)


def _paragraphs(comment: str) -> list[str]:
    lines = [line.removeprefix(" *").strip() for line in comment.splitlines()]
    return [" ".join(part.split()) for part in "\n".join(lines).split("\n\n")]


def _begins(paragraph: str) -> bool:
    return any(paragraph.startswith(f"{part}: ") for part in PARTS)


def _part(part: str, paragraphs: list[str]) -> str:
    wanted = f"{part}: "
    return next((one.removeprefix(wanted) for one in paragraphs if one.startswith(wanted)), "")
