# SPDX-License-Identifier: GPL-2.0-or-later
"""What tells one command from another: exactly, and by shape, when only the files are others.

Command lines are hostile input: they are cut, digested and compared, never interpreted, and no
path in them is ever followed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

KEY_BYTES = 16
NAME_BYTES = 63  # what the probe tells of a file's name
ARGUMENTS_LIMIT = 1024  # looked at; a longer command line is told apart all the same
TOKENS_LIMIT = 32
WORD_LIMIT = 24
# Of these the first argument is the program, rather than what it works on.
_INTERPRETERS = re.compile(rb"(?:python|perl|ruby|node|php|java|(?:ba|da|k|z)?sh|awk|sed)[\d.]*")
_NUMBER = re.compile(rb"[-+]?\d[\d.,:]*[a-zA-Z%]{0,3}")
_WORD = re.compile(rb"[A-Za-z_][A-Za-z_+-]*")
_EXTENSION = re.compile(rb".\.([A-Za-z][A-Za-z0-9]{0,7})")


@dataclass(frozen=True, slots=True)
class Command:
    """One command of one workload, by the digests that it is remembered under.

    ``names`` are the last parts of what may be paths among its arguments, cut as the probe cuts,
    each with its folder and extension; ``alike`` says how many of them share these.
    """

    exact: bytes  # empty when the whole command line is not known
    shape: bytes
    names: Mapping[bytes, bytes]
    alike: Mapping[bytes, int]
    operands: int = 0  # arguments that are no options


def make_command(
    identity: str, comm: bytes, arguments: bytes, whole: bool, stdin: bytes = b""
) -> Command:
    """The command of a process of the workload ``identity``.

    ``arguments`` are separated by NUL, the program's own name first; ``whole`` says whether they
    are all; ``stdin`` is the name of the file that is its standard input.
    """
    parts = arguments.rstrip(b"\0").split(b"\0")[:ARGUMENTS_LIMIT]
    exact = _digest(identity, b"exact", comm, arguments, stdin) if whole else b""
    shape = _digest(identity, b"shape", comm, *shape_of(parts), extension_of(stdin))
    kept = _program_argument(parts)
    operands = [part for part in parts[kept + 1 :] if part and not part.startswith(b"-")]
    names = _names(parts)
    return Command(exact, shape, names, Counter(names.values()), len(operands))


def shape_of(parts: list[bytes]) -> tuple[bytes, ...]:
    """A command line with its files and numbers replaced by what kind they are of.

    Neighbours of one kind count once: a command is the same for three files as for four.
    """
    kept = _program_argument(parts)
    tokens: list[bytes] = []
    for number, part in enumerate(parts[1:], 1):
        token = _last_part(part)[:NAME_BYTES] if number == kept else _token(part)
        if not tokens or token != tokens[-1]:
            tokens.append(token)
    return tuple(tokens[:TOKENS_LIMIT])


def extension_of(name: bytes) -> bytes:
    """The extension of a file's name in small letters, with its dot; empty when it has none."""
    found = _EXTENSION.search(name, max(0, name.rfind(b".") - 1))
    return b"." + found[1].lower() if found and found.end() == len(name) else b""


def _token(part: bytes) -> bytes:
    if part.startswith(b"-"):
        option, equals, value = part.partition(b"=")
        if equals:
            return option[:WORD_LIMIT] + b"=" + _token(value)
        return part[:WORD_LIMIT]
    if _NUMBER.fullmatch(part):
        return b"#"
    if _WORD.fullmatch(part) and len(part) <= WORD_LIMIT:
        return part
    return b"*" + extension_of(_last_part(part))


def _program_argument(parts: list[bytes]) -> int:
    """Which argument is the program that an interpreter runs; 0 when it is the first word."""
    if not _INTERPRETERS.fullmatch(_last_part(parts[0])):
        return 0
    return next((n for n, part in enumerate(parts) if n and not part.startswith(b"-")), 0)


def _names(parts: list[bytes]) -> dict[bytes, bytes]:
    """What a file that an argument names may be called, also behind ``if=`` or ``--input=``."""
    places: dict[bytes, bytes] = {}
    for part in parts[1:]:
        ends = {part.rpartition(b"=")[2]}
        if not part.startswith(b"-"):
            ends.add(part)
        elif b"=" not in part:
            continue
        for end in ends:
            folder, _, name = end.rstrip(b"/").rpartition(b"/")
            if name:
                places[name[:NAME_BYTES]] = folder + b"/" + extension_of(name)
    return places


def _last_part(path: bytes) -> bytes:
    return path.rpartition(b"/")[2]


def _digest(identity: str, *parts: bytes) -> bytes:
    digest = blake2b(digest_size=KEY_BYTES)
    for part in (identity.encode("utf-8", "surrogateescape"), *parts):
        digest.update(len(part).to_bytes(4, "little"))
        digest.update(part)
    return digest.digest()
