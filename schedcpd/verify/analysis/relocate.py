# SPDX-License-Identifier: GPL-2.0-or-later
"""CO-RE: what the kernel at hand makes of an instruction, as libbpf would at load time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from schedcpd.kernel.btf import Btf, Kind
from schedcpd.kernel.btf_ext import CoreRelocation, RelocationKind

LD_IMM64 = 0x18
PLAIN = RelocationKind
ENUMS = (Kind.ENUM, Kind.ENUM64)


class Patched(Protocol):
    """The parts of an instruction that libbpf may rewrite."""

    op: int
    imm: int
    off: int
    member: str
    dead: bool


class Target:
    """Answers what the kernel has of what the object names; remembers the answers."""

    def __init__(self, local: Btf, kernel: Btf) -> None:
        self.local = local
        self.kernel = kernel
        self._candidates: dict[str, list[int]] = {}

    def candidates(self, type_id: int) -> list[int]:
        """The kernel's types of that name and kind; libbpf drops ___ and what follows."""
        name = self.local.name(type_id)
        name = name.partition("___")[0] or name
        if name and name not in self._candidates:
            self._candidates |= self.kernel.ids([name])
        kind = self.local.kind(type_id)
        kinds = ENUMS if kind in ENUMS else (kind,)
        return [one for one in self._candidates.get(name, ()) if self.kernel.kind(one) in kinds]

    def has_type(self, type_id: int) -> bool:
        """Whether the kernel has such a type."""
        return bool(self.candidates(type_id))

    def enumerator(self, type_id: int, access: Sequence[int]) -> int | None:
        """The kernel's value of an enumerator; None when it has none."""
        local = self.local.resolved(type_id)
        values = self.local.enumerators(local)
        if len(access) != 1 or access[0] >= len(values):
            return None
        name = values[access[0]][0].partition("___")[0]
        for candidate in self.candidates(type_id):
            found = dict(self.kernel.enumerators(self.kernel.resolved(candidate)))
            if name in found:
                return found[name]
        return None

    def field(self, type_id: int, access: Sequence[int]) -> int | None:
        """The kernel's offset in bytes of a member; None when it has none."""
        names = self._path(self.local.resolved(type_id), access[1:])
        if names is None:
            return None
        for candidate in self.candidates(type_id):
            offset = self._offset(self.kernel.resolved(candidate), names)
            if offset is not None:
                return offset
        return None

    def member(self, type_id: int, access: Sequence[int]) -> str:
        """The name of a member with its structure's, as "task_struct.scx.slice"."""
        local = self.local.resolved(type_id)
        names = [one for one in self._path(local, access[1:]) or () if isinstance(one, str)]
        return ".".join([self.local.name(local), *names])

    def _path(self, type_id: int, access: Sequence[int]) -> list[str | int] | None:
        """The members by name, array elements by index; None when it makes no sense."""
        names: list[str | int] = []
        for step in access:
            type_id = self.local.resolved(type_id)
            if self.local.kind(type_id) == Kind.ARRAY:
                names.append(step)
                type_id = self.local.array(type_id)[0]
                continue
            fields = self.local.fields(type_id)
            if step >= len(fields):
                return None
            if fields[step].name:
                names.append(fields[step].name)
            type_id = fields[step].type_id
        return names

    def _offset(self, type_id: int, names: Sequence[str | int]) -> int | None:
        offset = 0
        for name in names:
            type_id = self.kernel.resolved(type_id)
            if isinstance(name, int):
                element, _ = self.kernel.array(type_id)
                if not element:
                    return None
                offset, type_id = offset + 8 * name * self.kernel.size(element), element
                continue
            found = self._member(type_id, name, 8)
            if found is None:
                return None
            offset, type_id = offset + found[0], found[1]
        return offset // 8

    def _member(self, type_id: int, name: str, depth: int) -> tuple[int, int] | None:
        """Offset in bits and type of a member, also of one inside anonymous members."""
        for field in self.kernel.fields(type_id):
            if field.name == name:
                return field.bits, field.type_id
            inner = self.kernel.resolved(field.type_id)
            if not field.name and depth:
                found = self._member(inner, name, depth - 1)
                if found:
                    return field.bits + found[0], found[1]
        return None


def resolve(insn: Patched, relocation: CoreRelocation, target: Target) -> None:
    """Do to ``insn`` what libbpf does, as far as values and existence go.

    Offsets stay as they are in the object: only its own layout gives them names here.
    """
    kind, type_id = relocation.kind, relocation.type_id
    if kind == PLAIN.FIELD_EXISTS:
        insn.imm = int(target.field(type_id, relocation.access) is not None)
    elif kind in (PLAIN.TYPE_EXISTS, PLAIN.TYPE_MATCHES):
        insn.imm = int(target.has_type(type_id))
    elif kind == PLAIN.ENUM_EXISTS:
        insn.imm = int(target.enumerator(type_id, relocation.access) is not None)
    elif kind == PLAIN.ENUM_VALUE:
        value = target.enumerator(type_id, relocation.access)
        insn.dead = value is None
        if value is not None:
            insn.imm = value if insn.op == LD_IMM64 else _signed(value)
    elif kind == PLAIN.FIELD_BYTE_OFFSET:
        insn.dead = target.field(type_id, relocation.access) is None
        insn.member = target.member(type_id, relocation.access)


def _signed(value: int) -> int:
    return (value & 0xFFFFFFFF ^ 0x80000000) - 0x80000000
