# SPDX-License-Identifier: GPL-2.0-or-later
"""libbpf as far as it goes without privileges; the rest runs in the lab."""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
from types import SimpleNamespace
from typing import cast

import pytest

from schedcpd.kernel import libbpf
from schedcpd.kernel.libbpf import BpfObject, Libbpf, LibbpfError, OpenOptions

needs_libbpf = pytest.mark.skipif(not ctypes.util.find_library("bpf"), reason="no libbpf here")


def test_a_machine_without_libbpf() -> None:
    with pytest.raises(LibbpfError, match=r"opening libnone\.so\.9"):
        Libbpf("libnone.so.9")


def test_another_library() -> None:
    with pytest.raises(LibbpfError, match="undefined symbol: libbpf_major_version"):
        Libbpf("libc.so.6")


@needs_libbpf
def test_a_libbpf_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libbpf, "MINIMUM", (99, 1))
    with pytest.raises(LibbpfError, match=r"libbpf 99\.1 or newer is needed, this is 1\.\d+"):
        Libbpf()


@needs_libbpf
def test_what_libbpf_says_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libbpf, "MINIMUM", (1, 0))
    library = Libbpf()
    with pytest.raises(LibbpfError, match="opening the object") as caught:
        library.open(b"this is no ELF file", "scx_batch")
    assert caught.value.code
    assert any("scx_batch" in line for line in library.lines)


def test_the_layout_of_the_options() -> None:
    """Offsets of libbpf.h on 64-bit machines."""
    offsets = {name: getattr(OpenOptions, name).offset for name, *_ in OpenOptions._fields_}
    assert offsets["object_name"] == 8
    assert offsets["pin_root_path"] == 24
    assert offsets["kernel_log_buf"] == 56
    assert ctypes.sizeof(OpenOptions) == 80


class FakeLibrary:
    """libbpf with an object of two programs and a map; ``broken`` is the function that fails."""

    def __init__(self, broken: str = "") -> None:
        self.broken = broken
        self.detached: list[int] = []
        self.destroyed: list[int] = []

    def bpf_object__open_mem(self, *_: object) -> int:
        return 1

    def bpf_object__next_program(self, _object: int, program: int | None) -> int | None:
        return {None: 10, 10: 11, 11: None}[program]

    def bpf_program__attach(self, program: int) -> int | None:
        ctypes.set_errno(errno.EINVAL)
        return None if self.broken == "attach" else program + 100

    def bpf_link__fd(self, link: int) -> int:
        return -1 if self.broken == "fd" else link + 100

    def bpf_link__detach(self, link: int) -> int:
        assert link not in self.destroyed
        self.detached.append(link)
        return -errno.EOPNOTSUPP

    def bpf_link__destroy(self, link: int) -> int:
        self.destroyed.append(link)
        return 0

    def bpf_object__find_map_by_name(self, _object: int, name: bytes) -> int | None:
        return 20 if name == b"cgroups" else None

    def bpf_map__fd(self, _map: int) -> int:
        return -errno.EBADF if self.broken == "map" else 7


def fake_object(broken: str = "") -> tuple[BpfObject, FakeLibrary]:
    library = FakeLibrary(broken)
    return BpfObject(cast("Libbpf", SimpleNamespace(lib=library)), b"", "x"), library


def test_every_program_is_attached() -> None:
    opened, _ = fake_object()
    assert [link.fileno() for link in opened.attach_programs()] == [210, 211]
    assert opened.map_fd("cgroups") == 7


def test_a_link_is_detached_before_it_is_let_go_of() -> None:
    opened, library = fake_object()
    first, _ = opened.attach_programs()
    first.detach()
    first.detach()
    assert library.detached == library.destroyed == [110]


def test_a_link_is_let_go_of_once() -> None:
    opened, library = fake_object()
    first, _ = opened.attach_programs()
    first.destroy()
    first.destroy()
    assert library.destroyed == [110]


@pytest.mark.parametrize(
    ("broken", "code", "destroyed"), [("attach", errno.EINVAL, []), ("fd", errno.EINVAL, [110])]
)
def test_a_program_that_cannot_be_attached(broken: str, code: int, destroyed: list[int]) -> None:
    opened, library = fake_object(broken)
    with pytest.raises(LibbpfError, match="attaching") as caught:
        opened.attach_programs()
    assert (caught.value.code, library.destroyed) == (code, destroyed)


def test_a_map_that_is_not_there() -> None:
    with pytest.raises(LibbpfError, match="no map other") as caught:
        fake_object()[0].map_fd("other")
    assert caught.value.code == errno.ENOENT
    with pytest.raises(LibbpfError, match="map cgroups is not in the kernel") as caught:
        fake_object("map")[0].map_fd("cgroups")
    assert caught.value.code == errno.EBADF
