# SPDX-License-Identifier: GPL-2.0-or-later
"""A small reader of BTF, the kernel's type information: functions and members of structures.

Layout: Documentation/bpf/btf.rst. No Python library for it is in Debian.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import IntEnum

MAGIC = 0xEB9F
HEADER = struct.Struct("<HBBIIIII")
WORD = 4
SIZE_LIMIT = 64 << 20


class BtfError(ValueError):
    """The data is not well-formed BTF."""


class Kind(IntEnum):
    """The kinds of types that are looked into."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


# Words that follow the three of each record: a fixed number, and one for each of its members.
LAST_KIND = 19
EXTRA_FIXED = [{1: 1, 3: 3, 14: 1, 17: 1}.get(kind, 0) for kind in range(LAST_KIND + 1)]
EXTRA_PER_MEMBER = [
    {4: 3, 5: 3, 6: 2, 13: 2, 15: 3, 19: 3}.get(kind, 0) for kind in range(LAST_KIND + 1)
]
MODIFIERS = (Kind.VOLATILE, Kind.CONST, Kind.TYPE_TAG)
ALIASES = (*MODIFIERS, Kind.RESTRICT, Kind.TYPEDEF)
NAME_LIMIT = 512  # bytes, as the kernel has it


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a structure."""

    name: str
    offset: int  # bytes


@dataclass(frozen=True, slots=True)
class Field:
    """A member of a structure or union, bit fields included; its name may be empty."""

    name: str
    type_id: int
    bits: int  # offset


@dataclass(frozen=True, slots=True)
class Placed:
    """A variable in a data section."""

    name: str
    type_id: int
    size: int


class Btf:
    """The types of one BTF blob, little-endian; raises BtfError when it is malformed."""

    def __init__(self, data: bytes) -> None:
        if not HEADER.size <= len(data) <= SIZE_LIMIT:
            raise BtfError(f"{len(data)} bytes cannot be BTF")
        magic, _, _, header, type_off, type_len, text_off, text_len = HEADER.unpack_from(data)
        types, texts = header + type_off, header + text_off
        if magic != MAGIC:
            raise BtfError("the magic number of BTF is missing")
        if types + type_len > len(data) or texts + text_len > len(data) or type_len % WORD:
            raise BtfError("a section reaches beyond the end of the BTF")
        self._words = memoryview(data)[types : types + type_len].cast("I")
        self._text = data[texts : texts + text_len]
        self._starts = [0]  # word index of each type; type 0 is void and has no record
        self._functions: dict[int, int] = {}  # offset of the name → type id of the prototype
        self._by_name: dict[int, list[int]] = {}  # offset of the name → types, once asked for
        self._fields: dict[int, list[Field]] = {}  # of the structures that were asked for
        self._walk()

    def _walk(self) -> None:
        # A kernel has 120,000 types: this loop is what reading its BTF costs.
        words, at, end = self._words, 0, len(self._words)
        starts, functions, func = self._starts, self._functions, int(Kind.FUNC)
        while at + 3 <= end:
            starts.append(at)
            info = words[at + 1]
            kind = (info >> 24) & 0x1F
            if kind == func:
                functions[words[at]] = words[at + 2]
                at += 3
            elif 1 <= kind <= LAST_KIND:
                at += 3 + EXTRA_FIXED[kind] + (info & 0xFFFF) * EXTRA_PER_MEMBER[kind]
            else:
                raise BtfError(f"type {len(starts) - 1} has the unknown kind {kind}")
        if at != end:
            raise BtfError("the last type is cut off")

    def _kind(self, type_id: int) -> int:
        if not 0 < type_id < len(self._starts):
            return 0
        return (self._words[self._starts[type_id] + 1] >> 24) & 0x1F

    def _name(self, offset: int) -> str:
        end = self._text.find(b"\0", offset, offset + NAME_LIMIT)
        return self._text[offset:end].decode("utf-8", "replace") if end >= 0 else ""

    def _name_offsets(self, names: Collection[str]) -> dict[int, str]:
        """Where each name that is there lies in the string section."""
        found = {}
        for name in names:
            at = self._text.find(b"\0" + name.encode() + b"\0")
            if at >= 0:
                found[at + 1] = name
        return found

    def kind(self, type_id: int) -> int:
        """The kind of a type; VOID for one that is not there."""
        return self._kind(type_id)

    def text(self, offset: int) -> str:
        """A string of the string section, empty when there is none."""
        return self._name(offset)

    def name(self, type_id: int) -> str:
        """The name of a type, empty when it has none."""
        return self._name(self._words[self._starts[type_id]]) if self._kind(type_id) else ""

    def target(self, type_id: int) -> int:
        """What a pointer, alias, function or variable refers to; the size of other types."""
        return self._words[self._starts[type_id] + 2] if self._kind(type_id) else 0

    def resolved(self, type_id: int) -> int:
        """The type behind typedefs and qualifiers."""
        for _ in range(64):
            if self._kind(type_id) not in ALIASES:
                break
            type_id = self.target(type_id)
        return type_id

    def ids(self, names: Collection[str]) -> dict[str, list[int]]:
        """The types, other than functions, that have each of these names."""
        if not self._by_name:
            words, by_name = self._words, self._by_name
            for type_id, at in enumerate(self._starts[1:], 1):
                if words[at] and (words[at + 1] >> 24) & 0x1F != Kind.FUNC:
                    by_name.setdefault(words[at], []).append(type_id)
        # A name that is also the end of another may be stored once for both, or twice.
        found: dict[str, list[int]] = {name: [] for name in names}
        for offset, name in self._name_offsets(names).items():
            found[name] += self._by_name.get(offset, ())
        return found

    def fields(self, type_id: int) -> Sequence[Field]:
        """The members of a structure or union, in its order."""
        if type_id not in self._fields:
            self._fields[type_id] = self._read_fields(type_id)
        return self._fields[type_id]

    def _read_fields(self, type_id: int) -> list[Field]:
        if self._kind(type_id) not in (Kind.STRUCT, Kind.UNION):
            return []
        at, words = self._starts[type_id], self._words
        mask = 0xFFFFFF if words[at + 1] >> 31 else 0xFFFFFFFF
        return [
            Field(self._name(words[one]), words[one + 1], words[one + 2] & mask)
            for one in range(at + 3, at + 3 + 3 * (words[at + 1] & 0xFFFF), 3)
        ]

    def enumerators(self, type_id: int) -> list[tuple[str, int]]:
        """The names and values of an enumeration; negative values as 64-bit two's complement."""
        kind = self._kind(type_id)
        if kind not in (Kind.ENUM, Kind.ENUM64):
            return []
        at, words = self._starts[type_id], self._words
        step, signed = (3 if kind == Kind.ENUM64 else 2), words[at + 1] >> 31
        found = []
        for one in range(at + 3, at + 3 + step * (words[at + 1] & 0xFFFF), step):
            value = words[one + 1] | (words[one + 2] << 32 if kind == Kind.ENUM64 else 0)
            if kind == Kind.ENUM and signed and value >> 31:
                value |= 0xFFFFFFFF << 32
            found.append((self._name(words[one]), value))
        return found

    def array(self, type_id: int) -> tuple[int, int]:
        """The element type and the length of an array; zeros for anything else."""
        if self._kind(type_id) != Kind.ARRAY:
            return 0, 0
        at = self._starts[type_id]
        return self._words[at + 3], self._words[at + 5]

    def parameters(self, type_id: int) -> list[int]:
        """The types of the parameters of a prototype."""
        if self._kind(type_id) != Kind.FUNC_PROTO:
            return []
        at = self._starts[type_id]
        end = at + 3 + 2 * (self._words[at + 1] & 0xFFFF)
        return [self._words[one + 1] for one in range(at + 3, end, 2)]

    def variables(self, section: str) -> list[Placed]:
        """The variables of a data section."""
        found = []
        for type_id in self.ids([section])[section]:
            if self._kind(type_id) != Kind.DATASEC:
                continue
            at = self._starts[type_id]
            for one in range(at + 3, at + 3 + 3 * (self._words[at + 1] & 0xFFFF), 3):
                variable = self._words[one]
                if self._kind(variable) == Kind.VAR:
                    found.append(
                        Placed(self.name(variable), self.target(variable), self._words[one + 2])
                    )
        return found

    def size(self, type_id: int, depth: int = 32) -> int:
        """The size of a type in bytes; 0 when it has none or nests too deep."""
        type_id = self.resolved(type_id)
        kind = self._kind(type_id)
        if kind == Kind.PTR:
            return 8
        if kind == Kind.ARRAY:
            element, count = self.array(type_id)
            return count * self.size(element, depth - 1) if depth else 0
        sized = (Kind.INT, Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.ENUM64, Kind.FLOAT)
        return self.target(type_id) if kind in sized else 0

    def functions(self, names: Collection[str]) -> dict[str, int]:
        """The prototype's type id of each function of ``names`` that is there."""
        return {
            name: self._functions[offset]
            for offset, name in self._name_offsets(names).items()
            if offset in self._functions
        }

    def last_parameter_struct(self, prototype: int) -> str:
        """The name of the structure that the last parameter points to, or empty."""
        if self._kind(prototype) != Kind.FUNC_PROTO:
            return ""
        at = self._starts[prototype]
        count = self._words[at + 1] & 0xFFFF
        if not count:
            return ""
        type_id = self._unmodified(self._words[at + 3 + 2 * (count - 1) + 1])
        if self._kind(type_id) != Kind.PTR:
            return ""
        type_id = self._unmodified(self._words[self._starts[type_id] + 2])
        is_struct = self._kind(type_id) == Kind.STRUCT
        return self._name(self._words[self._starts[type_id]]) if is_struct else ""

    def _unmodified(self, type_id: int) -> int:
        for _ in range(len(self._starts)):
            if self._kind(type_id) not in MODIFIERS:
                return type_id
            type_id = self._words[self._starts[type_id] + 2]
        raise BtfError("a type qualifies itself")

    def members(self, name: str) -> dict[str, Member]:
        """The members of the structure ``name``, empty when there is none; bit fields left out."""
        words, wanted = self._words, self._name_offsets([name])
        for at in self._starts[1:]:
            info = words[at + 1]
            if words[at] in wanted and (info >> 24) & 0x1F == Kind.STRUCT:
                return self._members_at(at, info)
        return {}

    def _members_at(self, at: int, info: int) -> dict[str, Member]:
        has_bit_fields, found = bool(info >> 31), {}
        for index in range(at + 3, at + 3 + 3 * (info & 0xFFFF), 3):
            offset = self._words[index + 2]
            if has_bit_fields and offset >> 24:
                continue
            name = self._name(self._words[index])
            found[name] = Member(name, (offset & 0xFFFFFF if has_bit_fields else offset) // 8)
        return found


def uncallable(btf: Btf, names: Collection[str]) -> dict[str, str]:
    """Why a policy cannot call each of the kfuncs ``names`` that it cannot call.

    Since Linux 7.1 a kfunc that takes an implicit ``bpf_prog_aux`` has a twin NAME_impl in BTF,
    and NAME itself is recorded without that parameter. Where a broken build left it in place and
    made no twin (Debian's 7.1), the verifier resolves neither.
    """
    twins = {f"{name}_impl" for name in names}
    found = btf.functions({*names, *twins})
    reasons = {}
    for name in names:
        if name not in found:
            reasons[name] = "this kernel does not have it"
        elif (
            f"{name}_impl" not in found and btf.last_parameter_struct(found[name]) == "bpf_prog_aux"
        ):
            reasons[name] = "this kernel's type information for it is broken"
    return reasons
