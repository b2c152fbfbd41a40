# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import struct

import pytest

from schedcpd.kernel.btf import Btf
from schedcpd.kernel.btf_ext import CoreRelocation, RelocationKind
from schedcpd.verify.analysis.program import Insn
from schedcpd.verify.analysis.relocate import Target, resolve
from unit.made_objects import STRUCT, BtfMaker

LD_IMM64, MOV = 0x18, 0xB7
ARRAY, ENUM, FWD, VAR, ENUM64 = 3, 6, 7, 14, 19
HIGH = 1 << 63 | 2


def structure(maker: BtfMaker, name: str, members: list[tuple[str, int, int]]) -> int:
    extra = b"".join(
        struct.pack("<III", maker.name(n), type_id, 8 * at) for n, type_id, at in members
    )
    return maker.add(name, STRUCT, 64, len(members), extra)


def enumeration(maker: BtfMaker, name: str, **values: int) -> int:
    extra = b"".join(
        struct.pack("<III", maker.name(n), v & 0xFFFFFFFF, v >> 32) for n, v in values.items()
    )
    return maker.add(name, ENUM64, 8, len(values), extra)


class Types:
    """What an object names, and a kernel that has most of it in other places."""

    def __init__(self) -> None:
        maker = BtfMaker()
        number = maker.integer()
        inner = structure(maker, "entity", [("weight", number, 0), ("slice", number, 4)])
        row = maker.add("", ARRAY, 0, 0, struct.pack("<III", inner, number, 4))
        self.task = structure(
            maker,
            "task_struct___old",
            [("flags", number, 0), ("scx", inner, 8), ("rows", row, 16), ("gone", number, 60)],
        )
        self.flags = enumeration(maker, "wakes___x", WAKE___x=1, DSQ_LOCAL=5, NEVER=7)
        self.absent = structure(maker, "absent", [])
        self.variable = structure(maker, "runqueues", [])
        self.declared = structure(maker, "declared", [])
        self.nameless = structure(maker, "", [])
        self.local = Btf(maker.blob())
        maker = BtfMaker()
        number = maker.integer()
        inner = structure(maker, "entity", [("pad", number, 0), ("slice", number, 8)])
        hidden = structure(maker, "", [("flags", number, 4)])
        row = maker.add("", ARRAY, 0, 0, struct.pack("<III", inner, number, 4))
        structure(maker, "task_struct", [("", hidden, 16), ("scx", inner, 32), ("rows", row, 128)])
        enumeration(maker, "wakes", WAKE=0x80000000, DSQ_LOCAL=HIGH)
        maker.add("runqueues", VAR, number, 0, struct.pack("<I", 1))
        maker.add("declared", FWD, 0)
        self.target = Target(self.local, Btf(maker.blob()))

    def apply(self, kind: RelocationKind, type_id: int, *access: int, op: int = MOV) -> Insn:
        insn = Insn(op, 1, 0, 0, 4711)
        resolve(insn, CoreRelocation(".text", 0, type_id, access, kind), self.target)
        return insn


@pytest.fixture
def types() -> Types:
    return Types()


def test_members_that_exist(types: Types) -> None:
    exists = RelocationKind.FIELD_EXISTS
    answers = [types.apply(exists, types.task, 0, *path).imm for path in [(0,), (1, 1), (2, 3, 1)]]
    assert answers == [1, 1, 1]
    answers = [types.apply(exists, types.task, 0, *path).imm for path in [(3,), (1, 0), (9,)]]
    assert answers == [0, 0, 0]
    assert types.apply(exists, types.absent, 0).imm == 0


def test_where_the_kernel_has_a_member(types: Types) -> None:
    paths = [(0, 0), (0, 1, 1), (0, 2, 2, 1)]
    assert [types.target.field(types.task, path) for path in paths] == [20, 40, 264]


def test_an_offset_gets_the_members_name(types: Types) -> None:
    insn = types.apply(RelocationKind.FIELD_BYTE_OFFSET, types.task, 0, 1, 1)
    assert (insn.member, insn.dead, insn.imm) == ("task_struct___old.scx.slice", False, 4711)


def test_an_offset_that_the_kernel_does_not_have_is_a_trap(types: Types) -> None:
    assert types.apply(RelocationKind.FIELD_BYTE_OFFSET, types.task, 0, 3).dead


@pytest.mark.parametrize("kind", [RelocationKind.TYPE_EXISTS, RelocationKind.TYPE_MATCHES])
def test_types_that_exist(types: Types, kind: RelocationKind) -> None:
    assert types.apply(kind, types.task, 0).imm == 1
    assert types.apply(kind, types.flags, 0).imm == 1
    assert types.apply(kind, types.absent, 0).imm == 0
    assert types.apply(kind, types.nameless, 0).imm == 0


def test_what_only_has_the_name_of_a_type_is_none(types: Types) -> None:
    assert types.apply(RelocationKind.TYPE_EXISTS, types.variable, 0).imm == 0
    assert types.apply(RelocationKind.TYPE_EXISTS, types.declared, 0).imm == 0


def test_values_of_enumerators(types: Types) -> None:
    value = RelocationKind.ENUM_VALUE
    assert types.apply(value, types.flags, 1, op=LD_IMM64).imm == HIGH
    assert types.apply(value, types.flags, 0, op=LD_IMM64).imm == 0x80000000
    assert types.apply(value, types.flags, 0).imm == -0x80000000  # as an instruction holds it
    assert types.apply(value, types.flags, 2).dead
    assert types.apply(value, types.flags, 3).dead


def test_enumerators_that_exist(types: Types) -> None:
    exists = RelocationKind.ENUM_EXISTS
    assert [types.apply(exists, types.flags, at).imm for at in (0, 1, 2, 3)] == [1, 1, 0, 0]


def test_an_older_enumeration_of_the_same_name() -> None:
    local, kernel = BtfMaker(), BtfMaker()
    one = enumeration(local, "flags", WAKE=1)
    kernel.add("flags", ENUM, 4, 1, struct.pack("<II", kernel.name("WAKE"), 9))
    assert Target(Btf(local.blob()), Btf(kernel.blob())).enumerator(one, (0,)) == 9


def test_other_relocations_leave_the_code_as_it_is(types: Types) -> None:
    insn = types.apply(RelocationKind.TYPE_SIZE, types.task, 0)
    assert (insn.imm, insn.dead, insn.member) == (4711, False, "")
