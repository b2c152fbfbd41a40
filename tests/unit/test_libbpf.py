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
from schedcpd.kernel.libbpf import BpfObject, BtfType, Libbpf, LibbpfError, OpenOptions

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
        self.written: list[bytes] = []

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

    def bpf_map__type(self, _map: int) -> int:
        return 2 if self.broken == "type" else 1

    def bpf_map__key_size(self, _map: int) -> int:
        return 8

    def bpf_map__value_size(self, _map: int) -> int:
        return 16

    def bpf_map__update_elem(self, _map: int, key: bytes, *rest: object) -> int:
        assert rest == (len(key), b"value", 5, 0)
        self.written.append(key)
        return -errno.E2BIG if self.broken == "full" else 0

    def bpf_map__delete_elem(self, _map: int, key: bytes, size: int, flags: int) -> int:
        assert (len(key), flags) == (size, 0)
        self.written.remove(key)
        return {"gone": -errno.ENOENT, "full": -errno.EPERM}.get(self.broken, 0)


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


@pytest.mark.parametrize("broken", ["", "gone"])
def test_entries_of_a_map(broken: str) -> None:
    opened, library = fake_object(broken)
    assert opened.hash_sizes("cgroups") == (8, 16)
    opened.update("cgroups", b"key", b"value")
    assert library.written == [b"key"]
    opened.delete("cgroups", b"key")  # one that is gone already is gone
    assert library.written == []


def test_entries_that_are_not_taken() -> None:
    opened, _ = fake_object("full")
    with pytest.raises(LibbpfError, match="writing to the map cgroups: E2BIG"):
        opened.update("cgroups", b"key", b"value")
    with pytest.raises(LibbpfError, match="deleting from the map cgroups: EPERM"):
        opened.delete("cgroups", b"key")
    with pytest.raises(LibbpfError, match="no map other"):
        opened.delete("other", b"key")
    with pytest.raises(LibbpfError, match="the map cgroups is no hash map"):
        fake_object("type")[0].hash_sizes("cgroups")


def test_a_map_that_is_not_there() -> None:
    with pytest.raises(LibbpfError, match="no map other") as caught:
        fake_object()[0].map_fd("other")
    assert caught.value.code == errno.ENOENT
    with pytest.raises(LibbpfError, match="map cgroups is not in the kernel") as caught:
        fake_object("map")[0].map_fd("cgroups")
    assert caught.value.code == errno.EBADF


class FakeTypes:
    """libbpf's view of a kernel with one structure of two members; ``read`` is whether it could."""

    NAMES = (b"", b"init", b"exit")

    def __init__(self, *, read: bool = True) -> None:
        self.read = read
        self.freed = 0
        members = (BtfType(1), BtfType(2))
        self.types = (BtfType * 3)(BtfType(0, 4 << 24 | len(members), 16), *members)

    def btf__load_vmlinux_btf(self) -> int | None:
        ctypes.set_errno(errno.ENOENT)
        return 5 if self.read else None

    def btf__find_by_name_kind(self, _btf: int, name: bytes, kind: int) -> int:
        return 9 if (name, kind) == (b"sched_ext_ops", 4) else -errno.ENOENT

    def btf__type_by_id(self, _btf: int, number: int) -> int:
        assert number == 9
        return ctypes.addressof(self.types)

    def btf__name_by_offset(self, _btf: int, offset: int) -> bytes:
        return self.NAMES[offset]

    def btf__free(self, btf: int) -> None:
        self.freed += btf == 5


def test_the_members_of_a_structure_of_the_kernel() -> None:
    types = FakeTypes()
    library = cast("Libbpf", SimpleNamespace(lib=types))
    assert Libbpf.kernel_members(library, "sched_ext_ops") == {"init", "exit"}
    assert Libbpf.kernel_members(library, "sched_ext_others") == frozenset()
    assert types.freed == 2


def test_a_kernel_whose_types_cannot_be_read() -> None:
    library = cast("Libbpf", SimpleNamespace(lib=FakeTypes(read=False)))
    with pytest.raises(LibbpfError, match="reading the kernel's types: ENOENT"):
        Libbpf.kernel_members(library, "sched_ext_ops")
