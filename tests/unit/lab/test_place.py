# SPDX-License-Identifier: GPL-2.0-or-later
"""Hash keys, archives and the environment's settings."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from lab import cpio, image, micro, roots
from lab.place import Lab, digest, file_digest


def test_digest_frames_its_parts() -> None:
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("a") == digest(b"a")
    assert len(digest()) == 16


def test_file_digest_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    assert file_digest(tmp_path / "f").startswith("e3b0c44298fc1c14")


def test_lab_reads_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEDCP_LAB_DIR", str(tmp_path / "lab"))
    monkeypatch.setenv("SCHEDCP_MIRROR", "http://mirror/debian/")
    lab = Lab.from_env()
    assert lab == Lab(tmp_path / "lab", "http://mirror/debian")
    assert lab.security_mirror == "http://mirror/debian-security"


def test_image_key_follows_package_and_kernel() -> None:
    keys = {
        image.image_key([], "7.3.4"),
        image.image_key(["d1"], "7.3.4"),
        image.image_key(["d2"], "7.3.4"),
        image.image_key(["d1", "d2"], "7.3.4"),
        image.image_key(["d1"], "7.3.4", ["d2"]),
        image.image_key(["d1"], "7.2.12"),
    }
    assert len(keys) == 6


def test_the_agents_package_is_found_beside_the_daemons(tmp_path: Path) -> None:
    daemon, agent = (tmp_path / f"{name}_1.2_amd64.deb" for name in ("schedcp", "schedcp-agent"))
    assert image.built_with(daemon) == (daemon,)
    agent.touch()
    assert image.built_with(daemon) == (daemon, agent)
    assert image.built_with(agent) == (agent,)


def test_link_is_replaced(tmp_path: Path) -> None:
    for name in ("root-1", "root-2"):
        (tmp_path / name).mkdir()
        roots.link(tmp_path / "root", tmp_path / name)
        assert (tmp_path / "root").resolve().name == name


def test_cpio_members_are_aligned_and_closed() -> None:
    archive = cpio.archive({"init": b"#!/bin/sh\n", "a/b": b"x"})
    assert len(archive) % 4 == 0
    assert archive.count(b"070701") == 4
    assert b"TRAILER!!!" in archive
    assert archive.index(b"a\0") < archive.index(b"a/b\0")


def test_payload_programs_are_executable() -> None:
    packed = micro.pack({"run": b"#!/bin/sh\n", "lib/x.so": b"\x7fELF", "data": b"1"})
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        assert {member.name: member.mode for member in archive} == {
            "run": 0o755,
            "lib/x.so": 0o755,
            "data": 0o644,
        }


def test_marker_must_be_the_right_one() -> None:
    assert micro.split_marker("text\n\nabc RC=3\n", "abc") == ("text\n", 3)
    assert micro.split_marker("RC=0\n", "abc") == ("RC=0\n", None)
