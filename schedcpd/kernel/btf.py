# SPDX-License-Identifier: GPL-2.0-or-later
"""A small reader of BTF, the kernel's type information: functions and members of structures.

Layout: Documentation/bpf/btf.rst. No Python library for it is in Debian.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
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

    PTR = 2
    STRUCT = 4
    VOLATILE = 9
    CONST = 10
    FUNC = 12
    FUNC_PROTO = 13
    TYPE_TAG = 18


# Words that follow the three of each record: a fixed number, and one for each of its members.
LAST_KIND = 19
EXTRA_FIXED = [{1: 1, 3: 3, 14: 1, 17: 1}.get(kind, 0) for kind in range(LAST_KIND + 1)]
EXTRA_PER_MEMBER = [
    {4: 3, 5: 3, 6: 2, 13: 2, 15: 3, 19: 3}.get(kind, 0) for kind in range(LAST_KIND + 1)
]
MODIFIERS = (Kind.VOLATILE, Kind.CONST, Kind.TYPE_TAG)


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a structure."""

    name: str
    offset: int  # bytes


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
        end = self._text.find(b"\0", offset)
        return self._text[offset:end].decode("utf-8", "replace") if end >= 0 else ""

    def _name_offsets(self, names: Collection[str]) -> dict[int, str]:
        """Where each name that is there lies in the string section."""
        found = {}
        for name in names:
            at = self._text.find(b"\0" + name.encode() + b"\0")
            if at >= 0:
                found[at + 1] = name
        return found

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
