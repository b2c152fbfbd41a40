# SPDX-License-Identifier: GPL-2.0-or-later
"""libbpf as far as it goes without privileges; the rest runs in the lab."""

from __future__ import annotations

import ctypes
import ctypes.util

import pytest

from schedcpd.kernel import libbpf
from schedcpd.kernel.libbpf import Libbpf, LibbpfError, OpenOptions

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
