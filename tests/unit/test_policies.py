# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import os
from pathlib import Path

import pytest

from schedcpd.errors import CardError, NoSuchPolicy
from schedcpd.repository.cards import SIZE_LIMIT
from schedcpd.repository.files import read_bounded
from schedcpd.repository.policies import PolicyStore
from unit.made_objects import CARD


def install(schedulers: Path, name: str, card: str = CARD, obj: bytes = b"object") -> Path:
    folder = schedulers / name
    folder.mkdir(parents=True)
    (folder / f"{name}.toml").write_text(card)
    (folder / f"{name}.bpf.o").write_bytes(obj)
    return folder


def test_names_are_those_of_complete_policies(tmp_path: Path) -> None:
    install(tmp_path, "scx_batch")
    install(tmp_path, "scx_another")
    install(tmp_path, "scx_UPPER")
    install(tmp_path, "include")
    (install(tmp_path, "scx_nocard") / "scx_nocard.toml").unlink()
    (tmp_path / "SHA256SUMS").write_text("")
    assert PolicyStore(tmp_path).names() == ("scx_another", "scx_batch")
    assert PolicyStore(tmp_path / "none").names() == ()


def test_reading_a_policy(tmp_path: Path) -> None:
    install(tmp_path, "scx_batch")
    store = PolicyStore(tmp_path)
    assert store.card("scx_batch").name == "scx_batch"
    assert store.object_path("scx_batch") == tmp_path / "scx_batch/scx_batch.bpf.o"
    assert store.object_bytes("scx_batch") == b"object"
    assert store.object_sha256("scx_batch").startswith("2958d416d08aa5a4")


@pytest.mark.parametrize("name", ["scx_none", "", "..", "scx_../x", "scx_batch\n", "/etc/passwd"])
def test_names_that_are_no_policy(tmp_path: Path, name: str) -> None:
    install(tmp_path, "scx_batch")
    with pytest.raises(NoSuchPolicy):
        PolicyStore(tmp_path).card(name)
    with pytest.raises(NoSuchPolicy):
        PolicyStore(tmp_path).object_bytes(name)


def test_the_card_of_another_policy(tmp_path: Path) -> None:
    install(tmp_path, "scx_other")
    with pytest.raises(CardError, match="name is 'scx_batch', not 'scx_other'"):
        PolicyStore(tmp_path).card("scx_other")


def test_files_of_the_wrong_kind(tmp_path: Path) -> None:
    folder = install(tmp_path, "scx_batch")
    card = folder / "scx_batch.toml"
    (folder / "real").write_text(CARD)
    card.unlink()
    card.symlink_to("real")
    with pytest.raises(CardError, match="cannot be read"):
        PolicyStore(tmp_path).card("scx_batch")
    card.unlink()
    card.write_bytes(b"#" * (SIZE_LIMIT + 1))
    with pytest.raises(CardError, match="larger than"):
        PolicyStore(tmp_path).card("scx_batch")


def test_a_pipe_does_not_make_the_reader_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        read_bounded(tmp_path / "pipe", 10)


def test_a_file_may_have_exactly_the_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_bounded(tmp_path / "file", 5) == b"12345"
    with pytest.raises(OSError, match="larger than 4"):
        read_bounded(tmp_path / "file", 4)
