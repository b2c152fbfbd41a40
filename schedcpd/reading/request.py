# SPDX-License-Identifier: GPL-2.0-or-later
"""What the daemon asks the reader for, as JSON and back; which paths can be asked for."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from schedcpd.errors import FileRefused
from schedcpd.fields import BadField, Fields

LONGEST_PATH = 1024  # characters
MOST_LENGTH = 16 * 1024  # characters of an answer
MOST_OFFSET = 2**32 - 1
MOST_PIDS = 32
REQUEST_LIMIT = 64 * 1024  # bytes of a line
ANSWER_LIMIT = 16 * MOST_LENGTH  # JSON may write a character as twelve bytes


@dataclass(frozen=True, slots=True)
class Request:
    """A part of a text file below the working directory of one of some processes."""

    cgroup: str  # that the processes have to be in, or below
    pids: tuple[int, ...]
    path: str
    offset: int  # characters
    length: int


def check_path(path: str) -> None:
    """Raise FileRefused for a path that leads out, or to what people keep their secrets in."""
    shown = path[:80]
    if not path or len(path) > LONGEST_PATH or not path.isprintable():
        raise FileRefused(shown, "it is no path of a file")
    parts = path.split("/")
    if path.startswith("/") or ".." in parts:
        raise FileRefused(shown, "a path begins in the working directory, and stays in it")
    if any(part.startswith(".") for part in parts):
        raise FileRefused(shown, "hidden files and folders are nobody else's business")


def encode(request: Request) -> bytes:
    """The line for the reader."""
    return json.dumps(asdict(request)).encode() + b"\n"


def decode(line: bytes) -> Request:
    """The request in a line; raises BadField and FileRefused."""
    try:
        fields = Fields(json.loads(line))
    except (ValueError, RecursionError) as exc:
        raise BadField("the request is not a table of JSON") from exc
    request = Request(
        cgroup=fields.text("cgroup"),
        pids=fields.whole_numbers("pids", MOST_PIDS),
        path=fields.text("path", LONGEST_PATH),
        offset=fields.integer("offset", 0, MOST_OFFSET),
        length=fields.integer("length", 0, MOST_LENGTH),
    )
    check_path(request.path)
    return request
