# SPDX-License-Identifier: GPL-2.0-or-later
"""The policies of the corpus: each source says in its first lines what must become of it.

After the licence line comes `// expect: stage=STAGE rule=RULE`, or `// expect: pass`; the rule is
one of the static analysis, COMPILE, or the name of a check of the trial. Lines `// card: TOML` may
follow: each replaces a line of the card that is made for the policy; from the first table on they
are added to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from schedcpd.model import VerifyStage
from schedcpd.repository.cards import POLICY_NAME

LICENCE_LINE = "// SPDX-License-Identifier: GPL-2.0"
SUFFIX = ".bpf.c"
RULE = r"SCX\d{3}|COMPILE|[a-z][a-z-]*"
EXPECT = re.compile(rf"// expect: (?:stage=({'|'.join(VerifyStage)}) rule=({RULE})|(pass))")
CARD_MARK = "// card: "
KEY = re.compile(r"([a-z_]+) = .+")
CARD = """\
name = "{name}"
version = "1.0"
title = "A policy of the corpus"
class = "standalone"
summary = "Made to be verified, not to be used."
suits = []
fails = ["everything but a test"]
min_kernel = "6.16"
requires_kfuncs = []
honours = ["affinity"]
ignores = ["nice", "cpu.weight", "cpu.max", "cpu.idle"]
timeout_ms = 5000
"""


class HeaderError(Exception):
    """A source whose first lines do not say what they must; the message names the file."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """The stage that must stop a policy and the rule or check it must name; None: it passes."""

    stage: VerifyStage | None
    rule: str = ""

    def __str__(self) -> str:
        return f"{self.stage} {self.rule}" if self.stage else "pass"


@dataclass(frozen=True, slots=True)
class Entry:
    """One policy of the corpus."""

    name: str
    source: bytes
    card: bytes
    expected: Expectation


def read_corpus(folder: Path) -> tuple[Entry, ...]:
    """All policies in the folders bad and good of ``folder``; HeaderError."""
    return (*_read(folder / "bad", broken=True), *_read(folder / "good", broken=False))


def _read(folder: Path, *, broken: bool) -> Iterator[Entry]:
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        entry = parse_entry(path.name.removesuffix(SUFFIX), path.read_bytes())
        if (entry.expected.stage is not None) is not broken:
            raise HeaderError(f"{path.name} is in the folder {folder.name}")
        yield entry


def parse_entry(name: str, source: bytes) -> Entry:
    """The policy ``name`` with this source; HeaderError."""
    if not POLICY_NAME.fullmatch(name):
        raise HeaderError(f"{name} is no name of a policy")
    first, second, *rest = [*source.decode().splitlines(), "", ""]
    expect = EXPECT.fullmatch(second)
    if first != LICENCE_LINE or not expect:
        raise HeaderError(f"{name}: the first lines must be the licence and what to expect")
    stage = VerifyStage(expect[1]) if expect[1] else None
    lines = []
    for line in rest:
        if not line.startswith(CARD_MARK):
            break
        lines.append(line.removeprefix(CARD_MARK))
    card = make_card(name, lines).encode()
    return Entry(name, source, card, Expectation(stage, expect[2] or ""))


def make_card(name: str, lines: Iterable[str]) -> str:
    """The usual card with some lines replaced and tables added; HeaderError."""
    card = {line.partition(" ")[0]: line for line in CARD.format(name=name).splitlines()}
    tables: list[str] = []
    for line in lines:
        if tables or line.startswith("["):
            tables.append(line)
        elif match := KEY.fullmatch(line):
            card[match[1]] = line
        else:
            raise HeaderError(f"{name}: {line!r} is no line of a card")
    return "".join(f"{line}\n" for line in (*card.values(), *tables))
