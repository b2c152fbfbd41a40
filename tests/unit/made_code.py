# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes small compiled policies for the static analysis, instruction by instruction."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from schedcpd.kernel.btf import Btf
from unit.made_ext import add_ext
from unit.made_objects import FUNC_PROTO, BtfMaker

ARRAY, DATASEC, ENUM64, VAR = 3, 15, 19, 14
GLOBAL, LOCAL = 1 << 63 | 1, 1 << 63 | 2
KFUNCS = (
    "scx_bpf_dsq_insert", "scx_bpf_dsq_insert_vtime", "scx_bpf_dsq_move_to_local",
    "scx_bpf_create_dsq", "scx_bpf_task_cpu", "scx_bpf_kick_cpu", "scx_bpf_error_bstr",
    "scx_bpf_pick_idle_cpu", "bpf_iter_num_new", "bpf_iter_num_next", "bpf_iter_num_destroy",
)  # fmt: skip
TASK = {"flags": 44, "pid": 64, "prio": 96, "comm": 112}
CALLBACKS = ("select_cpu", "enqueue", "dispatch", "tick", "init_task", "init", "exit")


@dataclass
class Code:
    """A function, as bytes and relocations; labels are numbers of instructions."""

    raw: bytearray = field(default_factory=bytearray)
    relocations: list[tuple[int, str]] = field(default_factory=list)

    def insn(self, op: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> Code:
        self.raw += struct.pack("<BBhi", op, dst | src << 4, off, imm)
        return self

    def refer(self, name: str) -> Code:
        self.relocations.append((len(self.raw), name))
        return self

    def mov(self, dst: int, src: int) -> Code:
        return self.insn(0xBF, dst, src)

    def const(self, dst: int, value: int) -> Code:
        low, high = value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF
        signed = [part - (1 << 32) if part >> 31 else part for part in (low, high)]
        return self.insn(0x18, dst, imm=signed[0]).insn(0, imm=signed[1])

    def address(self, dst: int, name: str) -> Code:
        return self.refer(name).insn(0x18, dst).insn(0)

    def load(self, dst: int, src: int, off: int, size: int = 8) -> Code:
        return self.insn({8: 0x79, 4: 0x61, 1: 0x71}[size], dst, src, off)

    def store(self, dst: int, off: int, src: int, size: int = 8) -> Code:
        return self.insn({8: 0x7B, 4: 0x63, 1: 0x73}[size], dst, src, off)

    def call(self, name: str) -> Code:
        """A kfunc, or another function of the policy."""
        return self.refer(name).insn(0x85, src=1, imm=-1)

    def helper(self, number: int) -> Code:
        return self.insn(0x85, imm=number)

    def unless(self, dst: int, value: int, skip: int) -> Code:
        """Skip so many instructions if the register is not this number."""
        return self.insn(0x55, dst, off=skip, imm=value)

    def go(self, distance: int) -> Code:
        return self.insn(0x05, off=distance)

    def insert(self, queue: int, slice_ns: int = 5_000_000, task: int = 6) -> Code:
        """Seven instructions: insert the task of a register."""
        self.mov(1, task).const(2, queue).const(3, slice_ns).insn(0xB7, 4)
        return self.call("scx_bpf_dsq_insert")

    def exit(self, result: int = 0) -> Code:
        return self.insn(0xB7, 0, imm=result).insn(0x95)


INSERT = 7  # instructions of Code.insert()


def task() -> Code:
    """The begin of a callback: its first parameter, the task, into register 6."""
    return Code().load(6, 1, 0)


def good() -> dict[str, Code]:
    """A policy that puts every task into the global queue."""
    return {"enqueue": task().insert(GLOBAL).exit(), "exit": Code().exit()}


def _types(maps: Mapping[str, Mapping[str, int]], scalars: Mapping[str, int]) -> bytes:
    maker = BtfMaker()
    number = maker.integer()
    fields = {"slice": 0, "dsq_vtime": 8, "disallow": 16}
    entity = maker.struct("sched_ext_entity", fields, 24)
    members = {**TASK, "scx": 128}
    extra = b"".join(
        struct.pack("<III", maker.name(name), entity if name == "scx" else number, at * 8)
        for name, at in members.items()
    )
    pointer = maker.pointer(maker.add("task_struct", 4, 256, len(members), extra))
    fork = maker.struct("scx_init_task_args", {"fork": 0}, 8)
    arguments = maker.pointer(fork)
    parameters = {
        "select_cpu": [pointer, number, number],
        "enqueue": [pointer, number],
        "dispatch": [number, pointer],
        "tick": [pointer],
        "init_task": [pointer, arguments],
    }
    types = {}
    for name in CALLBACKS:
        extra = b"".join(struct.pack("<II", 0, one) for one in parameters.get(name, []))
        prototype = maker.add("", FUNC_PROTO, 0, len(parameters.get(name, [])), extra)
        types[name] = maker.pointer(prototype)
    text = maker.add("", ARRAY, 0, 0, struct.pack("<III", number, number, 128))
    types |= dict.fromkeys(scalars, number) | {"name": text}
    places = {name: at for at, name in enumerate(types)}
    extra = b"".join(
        struct.pack("<III", maker.name(name), type_id, places[name] * 64)
        for name, type_id in types.items()
    )
    ops = maker.add("sched_ext_ops", 4, 512, len(types), extra)
    variable = maker.add("ops", VAR, ops, 0, struct.pack("<I", 1))
    maker.add(".struct_ops.link", DATASEC, 512, 1, struct.pack("<III", variable, 0, 512))
    _maps(maker, maps, number)
    return maker.blob()


def _maps(maker: BtfMaker, maps: Mapping[str, Mapping[str, int]], number: int) -> None:
    variables = []
    for name, attributes in maps.items():
        extra = b""
        for at, (key, value) in enumerate(attributes.items()):
            length = maker.add("", ARRAY, 0, 0, struct.pack("<III", number, number, value))
            extra += struct.pack("<III", maker.name(key), maker.pointer(length), at * 64)
        definition = maker.add("", 4, 8 * len(attributes), len(attributes), extra)
        variables.append(maker.add(name, VAR, definition, 0, struct.pack("<I", 1)))
    if variables:
        extra = b"".join(struct.pack("<III", one, 0, 32) for one in variables)
        maker.add(".maps", DATASEC, 32 * len(variables), len(variables), extra)


def kernel(*kfuncs: str) -> bytes:
    """The type information of a kernel with these kfuncs and the flags of sched_ext."""
    maker = BtfMaker()
    number = maker.integer()
    maker.const(number)
    for name in kfuncs or KFUNCS:
        maker.function(name, [number])
    flags = {"SCX_OPS_ENQ_LAST": 2, "SCX_OPS_ALL_FLAGS": 0x1FF}
    extra = b"".join(struct.pack("<III", maker.name(n), v, 0) for n, v in flags.items())
    maker.add("scx_ops_flags", ENUM64, 8, len(flags), extra)
    return maker.blob()


def policy(
    callbacks: Mapping[str, Code],
    functions: Mapping[str, Code] | None = None,
    *,
    name: str = "scx_made",
    scalars: Mapping[str, int] | None = None,
    maps: Mapping[str, Mapping[str, int]] | None = None,
    rodata: Mapping[str, int] | None = None,
    variables: Sequence[str] = (),
    sections: Mapping[str, bytes] | None = None,
    core: Mapping[str, Sequence[tuple[int, str, str, int]]] | None = None,
    text_flags: int = 4,
) -> bytes:
    """A policy with these callbacks, functions that they call, maps and 64-bit constants.

    ``core`` has relocations by callback: offset of the instruction, structure, access, kind.
    """
    scalars = {"timeout_ms": 5000, "flags": 0, **(scalars or {})}
    places = [*CALLBACKS, *scalars, "name"]
    raw = bytearray(512)
    for key, value in scalars.items():
        struct.pack_into("<Q", raw, 8 * places.index(key), value)
    at = 8 * places.index("name")
    raw[at : at + len(name)] = name.encode()
    code = {f"struct_ops/{one}": {one: body} for one, body in callbacks.items()}
    code[".text"] = dict(functions or {})
    types, ext = _with_core(_types(maps or {}, scalars), core or {})
    contents = {
        "license": b"GPL\0",
        ".struct_ops.link": bytes(raw),
        ".data.sxexit": bytes(608),
        ".data.sxdump": bytes(64),
        ".rodata": b"".join(struct.pack("<Q", one) for one in (rodata or {}).values()),
        ".bss": bytes(8 * max(1, len(variables))),
        ".maps": bytes(32 * max(1, len(maps or {}))),
        ".BTF": types,
        ".BTF.ext": ext,
        **(sections or {}),
    }
    symbols: list[tuple[str, str, int, int, int]] = [("ops", ".struct_ops.link", 0, 512, 1)]
    symbols += [(one, ".rodata", 8 * n, 8, 1) for n, one in enumerate(rodata or {})]
    symbols += [(one, ".bss", 8 * n, 8, 1) for n, one in enumerate(variables)]
    symbols += [(one, ".maps", 32 * n, 32, 1) for n, one in enumerate(maps or {})]
    relocations: dict[str, list[tuple[int, str]]] = {
        ".struct_ops.link": [(8 * places.index(one), one) for one in callbacks]
    }
    for section, bodies in code.items():
        text = b""
        for one, body in bodies.items():
            symbols.append((one, section, len(text), len(body.raw), 2))
            moved = [(len(text) + offset, target) for offset, target in body.relocations]
            relocations.setdefault(section, []).extend(moved)
            text += body.raw
        contents[section] = text
    known = {one[0] for one in symbols}
    used = {target for table in relocations.values() for _, target in table}
    symbols += [(one, "", 0, 0, 0) for one in sorted(used - known)]
    return _link(contents, symbols, relocations, dict.fromkeys(code, text_flags))


def _with_core(
    types: bytes, core: Mapping[str, Sequence[tuple[int, str, str, int]]]
) -> tuple[bytes, bytes]:
    btf = Btf(types)
    relocations = {
        f"struct_ops/{callback}": [
            (offset, btf.ids([name])[name][0], access, kind) for offset, name, access, kind in rows
        ]
        for callback, rows in core.items()
    }
    return add_ext(types, {}, relocations)


def _link(
    contents: dict[str, bytes],
    symbols: Sequence[tuple[str, str, int, int, int]],
    relocations: Mapping[str, Sequence[tuple[int, str]]],
    flags: Mapping[str, int],
) -> bytes:
    order = ["", *contents]
    numbers = {one[0]: at for at, one in enumerate(symbols, 1)}
    tables = {f".rel{name}": name for name, table in relocations.items() if table}
    for table, name in tables.items():
        contents[table] = b"".join(
            struct.pack("<QQ", offset, numbers[target] << 32 | 1)
            for offset, target in relocations[name]
        )
    order = ["", *contents, ".symtab", ".strtab"]
    names, at = b"\0", {}
    for name in [*order[1:], *(one[0] for one in symbols)]:
        at[name] = len(names)
        names += name.encode() + b"\0"
    contents[".symtab"] = bytes(24)
    for name, section, value, size, kind in symbols:
        info = (1 if section else 2) << 4 | kind
        contents[".symtab"] += struct.pack(
            "<IBBHQQ", at[name], info, 0, order.index(section), value, size
        )
    contents[".strtab"] = names
    body, headers = b"", bytes(64)
    for name, data in contents.items():
        kind = 9 if name in tables else {".symtab": 2, ".strtab": 3}.get(name, 1)
        link = len(order) - 1 if name == ".symtab" else 0
        info = order.index(tables[name]) if name in tables else 0
        headers += struct.pack(
            "<IIQQQQIIQQ", at[name], kind, flags.get(name, 0), 0, 64 + len(body), len(data), link,
            info, 1, 0,
        )  # fmt: skip
        body += data
    start = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 1, 247, 1, 0, 0, 64 + len(body), 0, 64, 0, 0, 64,
        len(order), len(order) - 1,
    )  # fmt: skip
    return start + body + headers
