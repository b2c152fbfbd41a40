# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads one file of a workload for the daemon, as the workload's user.

Started by systemd for each request, as ``python3 -I -m schedcpd.reading.serve``, with the request
on standard input and the answer on standard output, one line of JSON each. It begins as root with
nothing but the capability to become somebody else, becomes the user of the workload before it
touches a file, and so reads nothing that they could not. What it reads is decoded and redacted
here as well: the daemon gets no more than bounded, harmless text.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterator

from schedcpd.errors import FileRefused
from schedcpd.fields import BadField
from schedcpd.kernel.beneath import open_beneath, read_regular
from schedcpd.kernel.text import REPLACEMENT, read_raw
from schedcpd.model import Excerpt
from schedcpd.reading import request as requests
from schedcpd.reading.request import Request
from schedcpd.redaction import Redactor

LARGEST_FILE = 256 * 1024  # bytes; of a larger one the beginning
CGROUP_LIMIT = 16 * 1024
ROOT = 0
_OPEN_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def read(request: Request) -> Excerpt:
    """The part that is asked for; raises FileRefused. Changes the user of this process for good."""
    processes = [one for pid in request.pids if (one := _process(pid, request.cgroup)) is not None]
    if not processes:
        raise FileRefused(request.path, "none of the processes is there any more")
    owner = os.fstat(processes[0])
    become(owner.st_uid, owner.st_gid, request.path)
    for directory in _working_directories(processes, owner.st_uid, request.path):
        data = _read_in(directory, request.path, owner.st_uid)
        if data is not None:
            text = Redactor().redact(_text_of(data, request.path)).text
            end = request.offset + request.length
            return Excerpt(text[request.offset : end], len(text))
    raise FileRefused(request.path, "there is no such file where the workload works")


def _process(pid: int, cgroup: str) -> int | None:
    """The directory of a process in /proc, which no other process can get; None if it has left."""
    try:
        process = os.open(f"/proc/{pid}", _OPEN_DIRECTORY)
    except OSError:
        return None
    there = read_raw(f"/proc/self/fd/{process}/cgroup", CGROUP_LIMIT) or b""
    mine = os.fsencode(cgroup)
    lines = (line.partition(b"::")[2] for line in there.splitlines() if line.startswith(b"0::"))
    if any(line == mine or line.startswith(mine.rstrip(b"/") + b"/") for line in lines):
        return process
    os.close(process)
    return None


def become(uid: int, gid: int, path: str) -> None:
    """Go on as that user, without a way back; raises FileRefused where that may not be."""
    if uid == ROOT:
        raise FileRefused(path, "the workload runs as root, or does not let others look at it")
    if os.geteuid() == ROOT:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    if {*os.getresuid(), *os.getresgid()} != {uid, gid}:
        raise FileRefused(path, "the reader cannot become the user of the workload")


def _working_directories(processes: list[int], uid: int, path: str) -> Iterator[int]:
    """The working directories of the user's processes, each once; raises FileRefused for none."""
    seen: set[tuple[int, int]] = set()
    reason = "the workload does not let others look at it"
    for process in processes:
        try:
            if os.fstat(process).st_uid != uid:
                continue
            here = os.open("cwd", _OPEN_DIRECTORY, dir_fd=process)
            root = os.stat("root", dir_fd=process)
        except OSError:  # it has ended, or may not be looked at
            continue
        place = os.fstat(here)
        if (place.st_dev, place.st_ino) == (root.st_dev, root.st_ino):
            reason = "its working directory is the root of the file system"
        elif (place.st_dev, place.st_ino) not in seen:
            seen.add((place.st_dev, place.st_ino))
            yield here
    if not seen:
        raise FileRefused(path, reason)


def _read_in(directory: int, path: str, uid: int) -> bytes | None:
    """What is in the file, one byte more than is shown; None when there is none here."""
    try:
        found = open_beneath(directory, path)
    except OSError as exc:
        if exc.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        told = {errno.ELOOP: "a symbolic link is on the way", errno.EXDEV: "it leads elsewhere"}
        raise FileRefused(path, told.get(exc.errno or 0, str(exc.strerror))) from exc
    if os.fstat(found).st_uid != uid:
        raise FileRefused(path, "it does not belong to the user of the workload")
    try:
        return read_regular(found, LARGEST_FILE + 1)
    except OSError as exc:
        raise FileRefused(path, str(exc.strerror)) from exc


def _text_of(data: bytes, path: str) -> str:
    """The text of a file; of a large one whole lines, so that no secret is cut in two."""
    if b"\0" in data:
        raise FileRefused(path, "it is no text")
    cut = len(data) > LARGEST_FILE
    if cut:
        data = data[: data.rfind(b"\n", 0, LARGEST_FILE) + 1]
    text = data.decode("utf-8", "replace")
    text = "".join(one if one.isprintable() or one in "\n\t" else REPLACEMENT for one in text)
    return text + "[the file goes on, and is too large to be read]\n" * cut


def answer(line: bytes) -> bytes:
    """The line that answers a request."""
    try:
        excerpt = read(requests.decode(line))
    except FileRefused as exc:
        return json.dumps({"refused": exc.reason}).encode() + b"\n"
    except BadField as exc:
        return json.dumps({"refused": f"the request was not understood: {exc}"}).encode() + b"\n"
    return json.dumps({"text": excerpt.text, "total": excerpt.total}).encode() + b"\n"


def main() -> int:
    """Serve one request."""
    line = sys.stdin.buffer.readline(requests.REQUEST_LIMIT)
    sys.stdout.buffer.write(answer(line))
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
