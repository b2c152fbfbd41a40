# SPDX-License-Identifier: GPL-2.0-or-later
"""Foreign policies: cards, command lines, digests, and what is hostile about all of them."""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.deploy.foreign import admit, how_it_ended, passed_kernel_log, sealed_copy
from schedcpd.deploy.messages import Request
from schedcpd.errors import CardError, DigestRefused, NoSuchPolicy
from schedcpd.model import Card, PolicyKind, is_called
from schedcpd.parameters import objection
from schedcpd.repository import foreign
from schedcpd.repository.foreign import (
    TRUST,
    ForeignStore,
    command_line,
    parse_card,
    read_program,
)

CARD = """\
name = "scx_lavd"
program = "/usr/bin/scx_lavd"
sha256 = "{sha256}"
ops = "lavd"
version = "1.0.19"
title = "by latency"
summary = "Weighs how much each task waits."
suits = ["games"]
fails = ["servers"]
honours = ["nice"]
ignores = ["cpu.max"]
"""
ARGUMENTS = """
[arguments.slice_us]
flag = "--slice-us"
type = "integer"
unit = "us"
default = 5000
min = -1
max = 20000
description = "how long a task runs"

[arguments.verbose]
flag = "-v"
type = "bool"
default = false
description = "says more"

[arguments.mode]
flag = "-m"
type = "choice"
choices = ["auto", "powersave"]
default = "auto"
description = "what it is for"
"""
SOUND = CARD.format(sha256="ab" * 32) + ARGUMENTS


def parse(text: str) -> Card:
    return parse_card(text.encode(), "scx_lavd", "card")


def test_a_card() -> None:
    card = parse(SOUND)
    assert (card.kind, card.name, card.targeted) == (PolicyKind.FOREIGN, "scx_lavd", False)
    assert card.program is not None
    assert card.program.path == "/usr/bin/scx_lavd"
    assert [one.name for one in card.tunables] == ["slice_us", "verbose", "mode"]
    assert [one.default for one in card.tunables] == [5000, 0, 0]
    assert [(one.minimum, one.maximum) for one in card.tunables] == [(-1, 20000), (0, 1), (0, 1)]
    assert not parse(CARD.format(sha256="ab" * 32)).tunables


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "scx_lavd"', 'name = "scx_other"', "name is not 'scx_lavd'"),
        ("/usr/bin/scx_lavd", "scx_lavd", "program does not match"),
        ("/usr/bin/scx_lavd", "/usr/../tmp/scx_lavd", "program does not match"),
        ("/usr/bin/scx_lavd", "/usr/bin/./scx_lavd", "program does not match"),
        ("/usr/bin/scx_lavd", "/usr/bin//scx_lavd", "program does not match"),
        ("/usr/bin/scx_lavd", "/usr/bin/scx_lavd --kconfig=/etc", "program does not match"),
        ("/usr/bin/scx_lavd", "/usr/bin/scx_lavd\\n", "program does not match"),
        ("/usr/bin/scx_lavd", "/bin/sh", "program is not called scx_lavd"),
        ("ab" * 32, "AB" * 32, "sha256 does not match"),
        ("ab" * 32, "ab" * 31, "sha256 does not match"),
        ('ops = "lavd"', 'ops = ""', "ops does not match"),
        ('ops = "lavd"', 'ops = "lavd_"', "ops does not match"),
        ('"--slice-us"', '"--slice-us=1 --kconfig"', "flag does not match"),
        ('"--slice-us"', '"slice-us"', "flag does not match"),
        ('"--slice-us"', '"--"', "flag does not match"),
        ('"--slice-us"', '"-v"', "two of them have the same flag"),
        ('"integer"', '"text"', "arguments.slice_us.type must be one of bool, integer, choice"),
        ("default = 5000", "default = 20001", "default is 20001, not from -1"),
        ("default = 5000", 'default = "5000"', "default is not a whole number"),
        ("max = 20000", f"max = {2**63}", "max is 9223372036854775808"),
        ("default = false", "default = 0", "verbose.default is neither true nor false"),
        ('"powersave"]', '"/dev/zero"]', "choices must be different words"),
        ('"powersave"]', '"--help"]', "choices must be different words"),
        ('"powersave"]', '"auto"]', "choices must be different words"),
        ('["auto", "powersave"]', "[]", "choices must be different words"),
        ('default = "auto"', 'default = "fast"', "default must be one of auto, powersave"),
        ("[arguments.mode]", '[arguments."mo de"]', "is not the name of a variable"),
        (
            'unit = "us"',
            'unit = "us"\nchoices = ["1"]',
            "unknown field 'arguments.slice_us.choices'",
        ),
        ('title = "by latency"', 'title = "\\u001b[2J"', "cannot be printed"),
        ('version = "1.0.19"', 'argv = ["--kconfig"]', "unknown field 'argv'"),
        ('ignores = ["cpu.max"]', "", "ignores is missing"),
    ],
)
def test_cards_that_are_refused(old: str, new: str, words: str) -> None:
    assert SOUND.count(old) == 1
    with pytest.raises(CardError) as refused:
        parse(SOUND.replace(old, new))
    assert words in refused.value.reason


def test_command_lines() -> None:
    card = parse(SOUND)
    program = "/usr/bin/scx_lavd"
    assert command_line(card, {}) == [program, "--slice-us=5000", "-m", "auto"]
    chosen = {"slice_us": -1, "verbose": 1, "mode": 1}
    assert command_line(card, chosen) == [program, "--slice-us=-1", "-v", "-m", "powersave"]


@given(
    st.dictionaries(
        st.sampled_from(["slice_us", "verbose", "mode", "--kconfig", ""]),
        st.integers(-(2**70), 2**70),
    )
)
def test_no_word_of_a_command_line_is_anybody_elses(parameters: dict[str, int]) -> None:
    card = parse(SOUND)
    if objection(card, parameters):
        return
    words = command_line(card, parameters)
    assert words[0] == "/usr/bin/scx_lavd"
    slice_us = parameters.get("slice_us", 5000)
    assert -1 <= slice_us <= 20000
    assert set(words[1:]) <= {f"--slice-us={slice_us}", "-v", "-m", "auto", "powersave"}


@pytest.mark.parametrize(
    ("ops", "name", "called"),
    [
        ("scx_fair", "scx_fair", True),
        ("scx_fair", "scx_fair_1.0", False),
        ("lavd_", "lavd", True),
        ("lavd_", "lavd_1.0.19_x86_64_unknown_linux_gnu", True),
        ("lavd_", "lavdish", False),
        ("lavd_", "", False),
        ("scx_fair", "", False),
    ],
)
def test_what_the_kernel_calls_a_scheduler(ops: str, name: str, called: bool) -> None:
    assert is_called(ops, name) is called


class Installed:
    """A program that is enrolled, and its store."""

    def __init__(self, folder: Path) -> None:
        self.program = folder / "bin/scx_lavd"
        self.program.parent.mkdir()
        self.program.write_bytes(b"\x7fELF and the rest")
        self.program.chmod(0o755)
        self.cards = folder / "cards"
        self.cards.mkdir()
        self.card = self.cards / "scx_lavd.toml"
        self.store = ForeignStore(self.cards, (folder / "none", folder / "bin"))
        self.enroll()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.program.read_bytes()).hexdigest()

    def enroll(self) -> None:
        card = CARD.format(sha256=self.sha256) + ARGUMENTS
        self.card.write_text(card.replace("/usr/bin/scx_lavd", str(self.program)))
        self.card.chmod(0o644)


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    return Installed(tmp_path)


def test_an_enrolled_program(installed: Installed) -> None:
    assert installed.store.names() == ("scx_lavd",)
    policy = installed.store.policy("scx_lavd")
    assert (policy.admissible, policy.enrolled, policy.token) == (True, True, TRUST)
    assert policy.object_sha256 == installed.sha256


def test_a_program_that_is_only_installed(installed: Installed) -> None:
    installed.card.unlink()
    policy = installed.store.policy("scx_lavd")
    assert (policy.admissible, policy.enrolled, policy.object_sha256) == (False, False, "")
    assert f"sudo schedctl enroll-foreign {installed.program}" in policy.token
    installed.program.unlink()
    assert installed.store.names() == ()
    with pytest.raises(NoSuchPolicy):
        installed.store.policy("scx_lavd")


def test_names_that_are_no_schedulers(installed: Installed) -> None:
    for name in ("scx_loader", "scxctl", "scx_UPPER", "scx_far_too_long_a_name", "scx_a b"):
        (installed.program.parent / name).write_bytes(b"\x7fELF")
        (installed.program.parent / name).chmod(0o755)
    (installed.program.parent / "scx_data").write_bytes(b"not executable")
    (installed.cards / "..toml").write_text("")
    assert installed.store.names() == ("scx_lavd",)
    for name in ("../scx_lavd", "scx_lavd.toml", "", "scx_" + "x" * 5000):
        with pytest.raises(NoSuchPolicy):
            installed.store.card(name)


def test_a_changed_or_missing_program(installed: Installed) -> None:
    installed.program.write_bytes(b"\x7fELF and another rest")
    policy = installed.store.policy("scx_lavd")
    assert not policy.admissible
    assert "was changed since it was enrolled" in policy.token
    installed.program.unlink()
    assert "cannot be read" in installed.store.policy("scx_lavd").token


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_card_that_others_may_write(installed: Installed, mode: int) -> None:
    installed.card.chmod(mode)
    with pytest.raises(CardError, match="may be written by others than root"):
        installed.store.card("scx_lavd")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_card_of_somebody_else(installed: Installed) -> None:
    os.chown(installed.card, 1000, 1000)
    with pytest.raises(CardError, match="may be written by others than root"):
        installed.store.card("scx_lavd")


def test_a_card_that_is_a_link(installed: Installed) -> None:
    moved = installed.card.rename(installed.cards / "elsewhere")
    installed.card.symlink_to(moved)
    with pytest.raises(CardError, match="cannot be read"):
        installed.store.card("scx_lavd")


def test_what_is_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "scx_script"
    script.write_text("#!/bin/sh\nexec something else\n")
    with pytest.raises(OSError, match="no ELF executable"):
        read_program(script, lambda _: None)
    os.mkfifo(tmp_path / "scx_pipe")
    with pytest.raises(OSError, match="not a regular file"):
        read_program(tmp_path / "scx_pipe", lambda _: None)
    monkeypatch.setattr(foreign, "PROGRAM_LIMIT", 1 << 20)
    large = tmp_path / "scx_large"
    large.write_bytes(b"\x7fELF" + bytes(1 << 20))
    with pytest.raises(OSError, match="larger than 1 MiB"):
        read_program(large, lambda _: None)


def test_the_copy_is_what_was_hashed_and_nobody_can_change_it(installed: Installed) -> None:
    image, digest = sealed_copy(installed.program)
    try:
        installed.program.write_bytes(b"\x7fELF, but something else")
        copied = os.pread(image, 1000, 0)
        assert hashlib.sha256(copied).hexdigest() == digest
        with pytest.raises(PermissionError):
            os.pwrite(image, b"x", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(image, 0)
        with pytest.raises(PermissionError):
            Path(f"/proc/self/fd/{image}").write_bytes(b"x")
    finally:
        os.close(image)


NOWHERE = Path("/none")
REQUEST = Request(
    *("scx_lavd", NOWHERE, NOWHERE, NOWHERE, NOWHERE),
    {"slice_us": 900},
    0.1,
    check_only=False,
    sched_ext=NOWHERE,
)


def test_admission(installed: Installed) -> None:
    card, image = admit(REQUEST, installed.store)
    os.close(image)
    assert card.name == "scx_lavd"
    _, image = admit(replace(REQUEST, object_sha256=installed.sha256), installed.store)
    os.close(image)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parameters": {"slice_us": 20001}}, "slice_us is 20001"),
        ({"parameters": {"kconfig": 1}}, "no parameter 'kconfig'"),
        ({"object_sha256": "cd" * 32}, "enrolled again a moment ago"),
    ],
)
def test_requests_that_are_refused(
    installed: Installed, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(DigestRefused, match=words):
        admit(replace(REQUEST, **changes), installed.store)  # type: ignore[arg-type]


def test_bytes_that_are_not_those_that_were_enrolled(installed: Installed) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    installed.program.write_bytes(b"\x7fELF!")
    with pytest.raises(DigestRefused, match="was changed"):
        admit(REQUEST, installed.store)
    installed.program.unlink()
    with pytest.raises(DigestRefused, match="cannot be read"):
        admit(REQUEST, installed.store)
    assert len(set(Path("/proc/self/fd").iterdir())) == len(before)


def test_how_programs_end() -> None:
    assert how_it_ended(3 << 8) == "its program ended with status 3"
    assert how_it_ended(9) == "its program was ended by SIGKILL"


def test_what_systemd_passes_is_only_for_the_one_it_was_passed_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_FDNAMES", "connection:kmsg")
    monkeypatch.setenv("LISTEN_PID", "1")
    assert passed_kernel_log() is None
    monkeypatch.delenv("LISTEN_PID")
    assert passed_kernel_log() is None


def test_a_real_program_has_a_digest() -> None:
    path = Path(sys.executable).resolve()
    assert read_program(path, lambda _: None) == hashlib.sha256(path.read_bytes()).hexdigest()
