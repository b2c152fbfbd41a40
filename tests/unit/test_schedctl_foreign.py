# SPDX-License-Identifier: GPL-2.0-or-later
"""``schedctl enroll-foreign``: the card that it writes is one that the daemon takes."""

from __future__ import annotations

import hashlib
import io
import json
import os
from argparse import Namespace
from pathlib import Path

import pytest

from schedclient.errors import ClientError
from schedclient.exit import ExitCode
from schedclient.objects import Policy, Tunable
from schedcpd.repository.foreign import ForeignStore
from schedctl.actions import foreign
from schedctl.actions.verbs import value_of
from schedctl.context import Context
from schedctl.report import Report


class Place:
    """A program, and where its card goes."""

    def __init__(self, folder: Path) -> None:
        self.program = folder / "bin/scx_lavd"
        self.program.parent.mkdir()
        self.program.write_bytes(b"\x7fELF and the rest")
        self.program.chmod(0o755)
        self.out = io.StringIO()
        self.etc = folder / "etc"
        self.card = self.etc / "foreign.d/scx_lavd.toml"
        self.store = ForeignStore(self.card.parent, (self.program.parent,))

    async def enroll(self, program: object = None, *, as_json: bool = False) -> ExitCode:
        report = Report(self.out, None, colour=False)
        context = Context(report, report, json=as_json, etc=self.etc)
        wanted = str(self.program if program is None else program)
        return await foreign.enroll(context, Namespace(program=wanted))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_a_new_card_is_taken(place: Place) -> None:
    assert await place.enroll() is ExitCode.OK
    assert f"Its card is {place.card}" in place.out.getvalue()
    policy = place.store.policy("scx_lavd")
    assert (policy.admissible, policy.card.ops) == (True, "lavd_")
    assert policy.card.ignores == ("cpu.weight", "cpu.max", "cpu.idle")
    assert place.card.stat().st_mode & 0o777 == 0o644


async def test_the_example_in_the_card_is_one(place: Place) -> None:
    await place.enroll()
    lines = place.card.read_text().splitlines()
    begin = lines.index("# [arguments.slice_us]")
    lines[begin:] = [line.removeprefix("# ") for line in lines[begin:]]
    place.card.write_text("\n".join(lines))
    (tunable,) = place.store.policy("scx_lavd").card.tunables
    assert (tunable.flag, tunable.default) == ("--slice-us", 5000)


async def test_an_upgrade_renews_the_digest_only(place: Place) -> None:
    await place.enroll()
    place.card.write_text(place.card.read_text().replace("Nobody has", "I have"))
    place.program.write_bytes(b"\x7fELF and an upgrade")
    assert not place.store.policy("scx_lavd").admissible
    await place.enroll(as_json=True)
    shown = json.loads(place.out.getvalue().partition("\n")[2])
    sha256 = hashlib.sha256(place.program.read_bytes()).hexdigest()
    assert shown == {"policy": "scx_lavd", "object_sha256": sha256, "card": str(place.card)}
    policy = place.store.policy("scx_lavd")
    assert (policy.admissible, policy.card.summary) == (True, "I have described it yet.")
    assert sorted(os.listdir(place.card.parent)) == ["scx_lavd.toml"]  # noqa: PTH208 - hidden ones


async def test_a_card_that_cannot_be_renewed(place: Place) -> None:
    await place.enroll()
    place.card.write_text(place.card.read_text() + 'sha256 = ""\n')
    with pytest.raises(ClientError, match="needs one line program"):
        await place.enroll()
    place.card.write_bytes(b"\xff")
    with pytest.raises(ClientError, match="not UTF-8"):
        await place.enroll()


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("/usr/bin/sh", ExitCode.USAGE),
        ("/usr/bin/scx_", ExitCode.USAGE),
        ('/usr/bin/a"\nsha256 = "/scx_lavd', ExitCode.USAGE),
        ("/usr/bin/scx_lavd --help", ExitCode.USAGE),
        ("/no/such/scx_lavd", ExitCode.NOT_FOUND),
    ],
)
async def test_what_is_no_program(place: Place, name: str, code: ExitCode) -> None:
    with pytest.raises(ClientError) as refused:
        await place.enroll(name)
    assert refused.value.code is code
    assert not place.card.exists()


async def test_a_script(place: Place) -> None:
    place.program.write_text("#!/bin/sh\n")
    with pytest.raises(ClientError, match="no ELF executable"):
        await place.enroll()


async def test_only_root(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, card: str) -> None:
        raise PermissionError

    monkeypatch.setattr(foreign, "write", refuse)
    with pytest.raises(ClientError, match="sudo schedctl enroll-foreign /") as refused:
        await place.enroll()
    assert refused.value.code is ExitCode.NOT_AUTHORISED


TUNABLES = (
    Tunable("slice_us", "s64", "us", 5000, 500, 20000, "", ""),
    Tunable("fast", "bool", "", 0, 0, 1, "", ""),
    Tunable("mode", "choice", "", 0, 0, 1, "", "", ("auto", "7")),
    Tunable("cgid", "u64", "", 0, 0, 1, "", "target-id"),
)
POLICY = Policy(
    *("scx_lavd", "1", "", "", (), (), (), (), "6.12", 3000, False, ""),
    *(True, "", True, TUNABLES, {}, "foreign"),
)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("slice_us=900", ("slice_us", 900)),
        ("slice_us=-1", ("slice_us", -1)),
        ("fast=yes", ("fast", 1)),
        ("fast=no", ("fast", 0)),
        ("mode=7", ("mode", 1)),
    ],
)
def test_values(setting: str, value: tuple[str, int]) -> None:
    assert value_of(POLICY, setting) == value


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("slice_us=fast", "a whole number"),
        ("slice_us=", "a whole number"),
        ("slice_us=1e3", "a whole number"),
        (f"slice_us={'9' * 19}", "a whole number"),
        ("fast=1", "yes or no"),
        ("mode=0", "one of auto, 7"),
        ("cgid=1", "no tunable 'cgid'"),
        ("--kconfig=/dev/zero", "no tunable '--kconfig'"),
        ("nothing", "no tunable 'nothing'"),
    ],
)
def test_no_values(setting: str, words: str) -> None:
    with pytest.raises(ClientError, match=words) as refused:
        value_of(POLICY, setting)
    assert refused.value.code is ExitCode.USAGE
