# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes small BTF blobs, ELF objects and cards, as a compiler and a person would."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

PTR, STRUCT, CONST, FUNC, FUNC_PROTO = 2, 4, 10, 12, 13
INT = 1


@dataclass
class BtfMaker:
    """Collects types; each method returns the id of the type that it adds."""

    text: bytearray = field(default_factory=lambda: bytearray(b"\0"))
    types: bytearray = field(default_factory=bytearray)
    count: int = 0

    def name(self, name: str) -> int:
        at = len(self.text)
        self.text += name.encode() + b"\0"
        return at if name else 0

    def add(self, name: str, kind: int, third: int, members: int = 0, extra: bytes = b"") -> int:
        self.types += struct.pack("<III", self.name(name), kind << 24 | members, third) + extra
        self.count += 1
        return self.count

    def integer(self) -> int:
        return self.add("int", INT, 4, extra=struct.pack("<I", 32))

    def pointer(self, to: int) -> int:
        return self.add("", PTR, to)

    def const(self, of: int) -> int:
        return self.add("", CONST, of)

    def struct(self, name: str, members: Mapping[str, int], size: int = 512) -> int:
        """Members as {name: offset in bytes}, all of type 1."""
        extra = b"".join(struct.pack("<III", self.name(m), 1, at * 8) for m, at in members.items())
        return self.add(name, STRUCT, size, len(members), extra)

    def function(self, name: str, parameters: Sequence[int]) -> int:
        extra = b"".join(struct.pack("<II", 0, type_id) for type_id in parameters)
        prototype = self.add("", FUNC_PROTO, 0, len(parameters), extra)
        return self.add(name, FUNC, prototype)

    def blob(self) -> bytes:
        lengths = (0, len(self.types), len(self.types), len(self.text))
        return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, *lengths) + self.types + self.text


def kernel_btf(*names: str, broken: Sequence[str] = (), implicit: Sequence[str] = ()) -> bytes:
    """A kernel with these kfuncs; ``broken`` and ``implicit`` ones as since Linux 7.1."""
    maker = BtfMaker()
    number = maker.integer()
    aux = maker.pointer(maker.const(maker.struct("bpf_prog_aux", {"used": 0})))
    for name in names:
        maker.function(name, [number])
    for name in broken:
        maker.function(name, [number, aux])
    for name in implicit:
        maker.function(name, [number])
        maker.function(f"{name}_impl", [number, aux])
    return maker.blob()


OPTIONAL_AT = 160  # of cgroup_set_bandwidth; the name before it has 128 bytes


def ops_btf() -> bytes:
    """The types of a compiled policy."""
    maker = BtfMaker()
    maker.integer()
    members = {"timeout_ms": 8, "hotplug_seq": 16, "name": 24}
    maker.struct("sched_ext_ops", {**members, "cgroup_set_bandwidth": OPTIONAL_AT})
    return maker.blob()


@dataclass(frozen=True)
class Symbol:
    name: str
    section: str = ""  # empty for undefined
    value: int = 0
    size: int = 0
    weak: bool = False

    def pack(self, name: int, index: int) -> bytes:
        bind, kind = (2 if self.weak else 1), (1 if self.section else 0)
        return struct.pack("<IBBHQQ", name, bind << 4 | kind, 0, index, self.value, self.size)


OPS_BYTES = 256
DEFAULT_SECTIONS = {
    "license": b"GPL\0",
    ".rodata": bytes(32),
    ".bss": bytes(32),
    ".struct_ops.link": bytes(OPS_BYTES),
    ".data.sxexit": bytes(608),
    ".data.sxdump": bytes(32768),
    ".BTF": ops_btf(),
}
DEFAULT_SYMBOLS = (
    Symbol("slice_ns", ".rodata", 8, 8),
    Symbol("batch_level", ".rodata", 16, 4),
    Symbol("nr_enqueued", ".bss", 8, 8),
    Symbol("scx_bpf_create_dsq", weak=True),
)


def make_object(
    sections: Mapping[str, bytes] | None = None,
    symbols: Sequence[Symbol] = DEFAULT_SYMBOLS,
    machine: int = 247,
) -> bytes:
    """A relocatable ELF file with these sections over the default ones, and these symbols."""
    contents = {**DEFAULT_SECTIONS, **(sections or {})}
    order = ["", *contents, ".symtab", ".strtab"]
    names, at = b"\0", {}
    for name in [*order[1:], *(symbol.name for symbol in symbols)]:
        at[name] = len(names)
        names += name.encode() + b"\0"
    table = bytes(24) + b"".join(
        symbol.pack(at[symbol.name], order.index(symbol.section)) for symbol in symbols
    )
    contents = {**contents, ".symtab": table, ".strtab": names}
    body, headers = b"", bytes(64)
    for name, data in contents.items():
        kind = {".symtab": 2, ".strtab": 3}.get(name, 1)
        link, entry = (len(order) - 1, 24) if name == ".symtab" else (0, 0)
        place = (64 + len(body), len(data), link, 1 if link else 0, 1, entry)
        headers += struct.pack("<IIQQQQIIQQ", at[name], kind, 0, 0, *place)
        body += data
    start = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 1, machine, 1, 0, 0,
                        64 + len(body), 0, 64, 0, 0, 64, len(order), len(order) - 1)  # fmt: skip
    return start + body + headers


CARD = """\
name = "scx_batch"
version = "1.0"
title = "Run to completion"
summary = "One workload's tasks, oldest first."
suits = ["batches of many processes"]
fails = ["anything interactive"]
class = "standalone"
min_kernel = "6.16"
requires_kfuncs = ["scx_bpf_create_dsq"]
honours = ["nice", "affinity"]
ignores = ["cpu.max"]
timeout_ms = 5000

[tunables.slice_ns]
type = "u64"
unit = "ns"
default = 5000000
min = 100000
max = 100000000
description = "how long a task runs before another gets its turn"

[tunables.batch_level]
type = "u32"
unit = ""
default = 0
min = 0
max = 255
description = "depth of the workload's cgroup"
role = "target-level"

[counters.nr_enqueued]
description = "tasks queued"
"""
