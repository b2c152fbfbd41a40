# SPDX-License-Identifier: GPL-2.0-or-later
"""The archive that the micro-VM boots from, read back as the format's description says."""

from __future__ import annotations

from schedcpd.verify import initramfs

HEADER = 110


def members(data: bytes) -> dict[str, tuple[int, bytes]]:
    """Name → (mode, contents), read by the format's description."""
    found: dict[str, tuple[int, bytes]] = {}
    at = 0
    while True:
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        name = data[at + HEADER : at + HEADER + fields[11] - 1].decode()
        body = (at + HEADER + fields[11] + 3) // 4 * 4
        if name == "TRAILER!!!":
            assert len(data) == body
            return found
        found[name] = (fields[1], data[body : body + fields[6]])
        at = (body + fields[6] + 3) // 4 * 4


def test_programs_are_executable_and_files_are_not() -> None:
    found = members(initramfs.archive({"init": b"\x7fELF"}, {"policy.o": b"12345", "empty": b""}))
    assert found["init"] == (0o100755, b"\x7fELF")
    assert found["policy.o"] == (0o100644, b"12345")
    assert found["empty"] == (0o100644, b"")


def test_it_has_the_console() -> None:
    found = members(initramfs.archive({}, {}))
    assert list(found) == ["dev", "dev/console"]
    assert found["dev"][0] == 0o040755
    assert found["dev/console"][0] == 0o020600


def test_the_same_contents_give_the_same_bytes() -> None:
    one = initramfs.archive({"init": b"a"}, {"b": b"1", "c": b"2"})
    assert one == initramfs.archive({"init": b"a"}, {"c": b"2", "b": b"1"})
