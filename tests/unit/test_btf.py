# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from contextlib import suppress

import pytest

from schedcpd.kernel.btf import Btf, BtfError, Member, uncallable
from unit.made_objects import CONST, BtfMaker, kernel_btf, ops_btf


def test_members_of_a_structure() -> None:
    btf = Btf(ops_btf())
    assert btf.members("sched_ext_ops")["hotplug_seq"] == Member("hotplug_seq", 16)
    assert btf.members("sched_ext") == {}
    assert btf.members("int") == {}


def test_bit_fields_are_left_out() -> None:
    maker = BtfMaker()
    maker.integer()
    type_id = maker.struct("s", {"whole": 4, "bits": 8})
    assert type_id == 2
    maker.types[16 + 4 : 16 + 8] = (4 << 24 | 1 << 31 | 2).to_bytes(4, "little")
    maker.types[-4:] = (3 << 24 | 64).to_bytes(4, "little")
    assert Btf(maker.blob()).members("s") == {"whole": Member("whole", 4)}


def test_what_can_be_called() -> None:
    btf = Btf(kernel_btf("scx_a", broken=["scx_b"], implicit=["scx_c"]))
    reasons = uncallable(btf, ["scx_a", "scx_b", "scx_c", "scx_none", "scx_"])
    assert reasons == {
        "scx_b": "this kernel's type information for it is broken",
        "scx_none": "this kernel does not have it",
        "scx_": "this kernel does not have it",
    }


def test_a_structure_is_no_function() -> None:
    assert uncallable(Btf(kernel_btf()), ["bpf_prog_aux"]) != {}


def test_a_function_without_parameters() -> None:
    maker = BtfMaker()
    maker.function("scx_a", [])
    assert uncallable(Btf(maker.blob()), ["scx_a"]) == {}


def test_a_parameter_of_an_unknown_type() -> None:
    maker = BtfMaker()
    maker.function("scx_a", [4711])
    maker.function("scx_b", [maker.pointer(4711)])
    assert uncallable(Btf(maker.blob()), ["scx_a", "scx_b"]) == {}


def test_a_type_that_qualifies_itself() -> None:
    maker = BtfMaker()
    maker.add("", CONST, 1)
    maker.function("scx_a", [1])
    with pytest.raises(BtfError, match="qualifies itself"):
        uncallable(Btf(maker.blob()), ["scx_a"])


GOOD = ops_btf()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot be BTF"),
        (b"\0" * 24, "magic"),
        (GOOD[:-1], "beyond the end"),
        (GOOD[:8] + b"\xff\xff\xff\xff" + GOOD[12:], "beyond the end"),
        (GOOD[:12] + b"\x0d" + GOOD[13:], "beyond the end"),
        (GOOD[:12] + b"\x0c" + GOOD[13:], "cut off"),
        (GOOD[:12] + b"\x08" + GOOD[13:], "cut off"),
        (GOOD[: 24 + 7] + b"\x1f" + GOOD[24 + 8 :], "unknown kind 31"),
        (GOOD[: 24 + 7] + b"\x00" + GOOD[24 + 8 :], "unknown kind 0"),
    ],
)
def test_malformed(data: bytes, message: str) -> None:
    with pytest.raises(BtfError, match=message):
        Btf(data)


def test_a_flipped_bit_never_ends_in_anything_else() -> None:
    for at in range(len(GOOD)):
        data = bytearray(GOOD)
        data[at] ^= 0x41
        with suppress(BtfError):
            Btf(bytes(data)).members("sched_ext_ops")
