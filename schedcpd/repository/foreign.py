# SPDX-License-Identifier: GPL-2.0-or-later
"""Foreign policies: installed ``scx_*`` programs, each enrolled by root with a card.

The card names the program and its digest, says what the policy is, and types every argument that
may ever be given to it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from schedcpd.errors import CardError, NoSuchPolicy
from schedcpd.fields import BadField, Fields
from schedcpd.model import Card, ForeignProgram, Policy, Tunable
from schedcpd.repository import cards
from schedcpd.repository.files import read_bounded

CARDS = Path("/etc/schedcp/foreign.d")
PROGRAMS = tuple(map(Path, ("/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin")))
NOT_SCHEDULERS = frozenset({"scx_loader"})  # what else of that name distributions install
PROGRAM_LIMIT = 256 << 20  # bytes; with its debug information, one has some 100 MB
CHUNK = 1 << 20
ELF = b"\x7fELF"

PATH = re.compile(r"(/[A-Za-z0-9_+-][A-Za-z0-9._+-]*){1,16}")
DIGEST = re.compile(r"[0-9a-f]{64}")
OPS = re.compile(r"[A-Za-z0-9_.-]{0,62}[A-Za-z0-9.-]")
FLAG = re.compile(r"--[a-z0-9][a-z0-9-]{0,62}|-[A-Za-z]")
CHOICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.,:+-]{0,63}")
FIELDS = (
    *("name", "program", "sha256", "ops", "version", "title", "summary", "suits", "fails"),
    *("honours", "ignores", "arguments"),
)
COMMON = ("flag", "type", "default", "description")
ARGUMENT_FIELDS = {
    "bool": COMMON,
    "integer": (*COMMON, "min", "max", "unit"),
    "choice": (*COMMON, "choices"),
}
MIN_KERNEL = "6.12"  # the first with sched_ext; what the program needs is its own affair
# What the kernel allows, and takes when the program says nothing.
TIMEOUT_MS = 30_000
TRUST = "enrolled by the digest of its program; nobody has verified it"


def parse_card(data: bytes, name: str, path: str) -> Card:
    """The card of the foreign policy ``name``; ``path`` is only for CardError's message."""
    return cards.parse(data, path, partial(_card, name))


def _card(name: str, fields: Fields) -> Card:
    fields.only(*FIELDS)
    if fields.text("name") != name:
        raise BadField(f"name is not {name!r}, as that of the file")
    program = ForeignProgram(
        path=cards.matching(fields, "program", PATH),
        sha256=cards.matching(fields, "sha256", DIGEST),
        ops=cards.matching(fields, "ops", OPS),
    )
    if Path(program.path).name != name:
        raise BadField(f"program is not called {name}")
    return Card(
        name=name,
        version=cards.line(fields, "version", 32),
        title=cards.line(fields, "title", 100),
        summary=cards.line(fields, "summary", 1000),
        suits=cards.lines(fields, "suits"),
        fails=cards.lines(fields, "fails"),
        min_kernel=MIN_KERNEL,
        requires_kfuncs=(),
        honours=cards.lines(fields, "honours"),
        ignores=cards.lines(fields, "ignores"),
        timeout_ms=TIMEOUT_MS,
        tunables=_arguments(fields),
        counters={},
        program=program,
    )


def _arguments(fields: Fields) -> tuple[Tunable, ...]:
    if "arguments" not in fields:
        return ()
    table = fields.table("arguments")
    arguments = tuple(_argument(cards.variable(table, one), table.table(one)) for one in table)
    if len(arguments) > cards.COUNT_LIMIT:
        raise BadField(f"arguments: more than {cards.COUNT_LIMIT}")
    flags = [one.flag for one in arguments]
    if len(set(flags)) < len(flags):
        raise BadField("arguments: two of them have the same flag")
    return arguments


def _argument(name: str, fields: Fields) -> Tunable:
    kind = fields.choice("type", ARGUMENT_FIELDS)
    fields.only(*ARGUMENT_FIELDS[kind])
    unit, choices = "", tuple[str, ...]()
    match kind:
        case "bool":
            type_, low, high = "bool", 0, 1
            default = int(fields.truth("default"))
        case "integer":
            type_, unit = "s64", cards.line(fields, "unit", 32)
            low = fields.integer("min", *cards.TYPE_RANGES["s64"])
            high = fields.integer("max", low, cards.TYPE_RANGES["s64"][1])
            default = fields.integer("default", low, high)
        case _:
            type_, choices = "choice", _choices(fields)
            low, high = 0, len(choices) - 1
            default = choices.index(fields.choice("default", choices))
    return Tunable(
        name=name,
        type=type_,
        unit=unit,
        default=default,
        minimum=low,
        maximum=high,
        description=cards.line(fields, "description", 500),
        choices=choices,
        flag=cards.matching(fields, "flag", FLAG),
    )


def _choices(fields: Fields) -> tuple[str, ...]:
    choices = fields.texts("choices", limit=64)
    # None of them may look like a flag or a path.
    if not choices or len(set(choices)) < len(choices) or not all(map(CHOICE.fullmatch, choices)):
        raise BadField(f"{fields.name('choices')} must be different words of {CHOICE.pattern}")
    return choices


def command_line(card: Card, parameters: Mapping[str, int]) -> list[str]:
    """The program and all arguments that the card has, each with its value or its default.

    ``parameters`` are those that ``card.objection`` has nothing against.
    """
    assert card.program is not None
    words = [card.program.path]
    for one in card.tunables:
        value = parameters.get(one.name, one.default)
        if one.type == "bool":
            words += [one.flag] if value else []
            continue
        text = one.choices[value] if one.choices else str(value)
        words += [f"{one.flag}={text}"] if one.flag.startswith("--") else [one.flag, text]
    return words


def read_program(path: Path, take: Callable[[bytes], object]) -> str:
    """Hand all bytes of a program on, once, and return their SHA-256 digest; OSError.

    Only what the kernel runs by itself is a program: of a script, another one would be run.
    """
    digest, size = hashlib.sha256(), 0
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"{path} is not a regular file")
        while chunk := file.read(CHUNK):
            if not size and not chunk.startswith(ELF):
                raise OSError(f"{path} is no ELF executable")
            size += len(chunk)
            if size > PROGRAM_LIMIT:
                raise OSError(f"{path} is larger than {PROGRAM_LIMIT >> 20} MiB")
            digest.update(chunk)
            take(chunk)
    return digest.hexdigest()


class ForeignStore:
    """The foreign policies: cards in one folder, programs in others; nothing is remembered."""

    def __init__(self, folder: Path = CARDS, programs: tuple[Path, ...] = PROGRAMS) -> None:
        self._folder = folder
        self._programs = programs

    def names(self) -> tuple[str, ...]:
        """The names of those that are enrolled or installed, sorted."""
        enrolled = {
            name.removesuffix(".toml") for name in _entries(self._folder) if name.endswith(".toml")
        }
        installed = {
            name
            for folder in self._programs
            for name in _entries(folder) - NOT_SCHEDULERS
            if os.access(folder / name, os.X_OK)
        }
        return tuple(sorted(filter(cards.POLICY_NAME.fullmatch, enrolled | installed)))

    def card(self, name: str) -> Card:
        """The card of an enrolled policy; NoSuchPolicy, or CardError when it is refused."""
        path = self._folder / f"{name}.toml"
        if not cards.POLICY_NAME.fullmatch(name):
            raise NoSuchPolicy(name[:80])
        try:
            data = read_bounded(path, cards.SIZE_LIMIT, trusted=True)
        except FileNotFoundError as exc:
            raise NoSuchPolicy(name) from exc
        except OSError as exc:
            raise CardError(str(path), f"it cannot be read: {exc}") from exc
        return parse_card(data, name, str(path))

    def policy(self, name: str) -> Policy:
        """A foreign policy as it is now; NoSuchPolicy or CardError."""
        try:
            card = self.card(name)
        except NoSuchPolicy:
            return self._not_enrolled(name)
        assert card.program is not None
        objection = objection_to(card.program)
        return Policy(card, card.program.sha256, not objection, objection or TRUST, enrolled=True)

    def _not_enrolled(self, name: str) -> Policy:
        found = (folder / name for folder in self._programs if name in _entries(folder))
        path = next(found, None)
        if path is None:
            raise NoSuchPolicy(name)
        card = Card(
            name=name,
            version="",
            title="installed, not enrolled",
            summary="",
            suits=(),
            fails=(),
            min_kernel=MIN_KERNEL,
            requires_kfuncs=(),
            honours=(),
            ignores=(),
            timeout_ms=TIMEOUT_MS,
            tunables=(),
            counters={},
            program=ForeignProgram(str(path), "", name.removeprefix("scx_")),
        )
        token = f"not enrolled; to enroll it: sudo schedctl enroll-foreign {path}"
        return Policy(card, "", admissible=False, token=token)


def objection_to(program: ForeignProgram) -> str:
    """Why a program is not the one that was enrolled, or an empty string."""
    try:
        digest = read_program(Path(program.path), lambda _: None)
    except OSError as exc:
        return f"its program cannot be read: {exc}"
    return "" if digest == program.sha256 else changed(program)


def changed(program: ForeignProgram) -> str:
    """The sentence about a program that is not what it was."""
    return (
        "its program was changed since it was enrolled; if that was an upgrade: "
        f"sudo schedctl enroll-foreign {program.path}"
    )


def _entries(folder: Path) -> set[str]:
    # A machine without the folder has nothing in it: that is an answer, not a fault.
    with contextlib.suppress(OSError):
        return {entry.name for entry in folder.iterdir()}
    return set()
