# SPDX-License-Identifier: GPL-2.0-or-later
"""A compiled policy as code: instructions with what they refer to, functions, callbacks, maps.

All code sections lie one after the other in one list, so that a place in the code is one number.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from schedcpd.kernel.btf import Btf, BtfError, Kind, uncallable
from schedcpd.kernel.btf_ext import read_core_relocations, read_lines
from schedcpd.kernel.elf import (
    ElfError,
    Relocation,
    Section,
    Symbol,
    read_relocations,
    read_sections,
    read_symbol_table,
)
from schedcpd.kernel.objects import OPS_SECTION, SIZE_LIMIT
from schedcpd.verify.analysis.relocate import Target, resolve

INSN = struct.Struct("<BBhi")
CODE_PREFIXES = ("struct_ops/", "struct_ops.s/")
OPS_STRUCTS = ("sched_ext_ops", "sched_ext_ops_cid")
MAPS = ".maps"
# The kernel's verifier takes a million steps; no policy that a person reads has more code.
CODE_LIMIT = 32768
FUNCTION_LIMIT = 1024
MAP_LIMIT = 1024

CALL, EXIT, LD_IMM64 = 0x85, 0x95, 0x18
PSEUDO_CALL = 1
JUMP_CLASSES = (5, 6)
LONG_JUMP = 0x06
JCOND = 0xE5
LAST = (EXIT, 0x05, LONG_JUMP)  # an exit or a jump: what a function may end with
MASK64 = (1 << 64) - 1


class DamagedError(ValueError):
    """The object is not a policy that libbpf could load."""


@dataclass(slots=True)
class Insn:
    """One instruction; what a relocation makes of it is in the last fields."""

    op: int
    dst: int
    src: int
    off: int
    imm: int  # 64 bits wide for LD_IMM64
    jump: int = -1  # place that it may jump to
    callee: int = -1  # entry of the function that it calls or whose address it takes
    kfunc: str = ""  # function of the kernel that it calls or whose address it takes
    symbol: Symbol | None = None  # variable, map or section that it takes the address of
    member: str = ""  # "task_struct.comm": what its offset stands for
    dead: bool = False  # libbpf makes it a trap, as the kernel lacks what it needs
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Function:
    """Code with one entry; ``section`` tells the kind of program."""

    name: str
    entry: int
    end: int
    section: str


@dataclass(frozen=True, slots=True)
class Map:
    """A map as the object defines it; 0 where it says nothing."""

    name: str
    kind: int
    key_size: int
    value_size: int
    max_entries: int
    pinning: int


@dataclass(frozen=True, slots=True)
class Ops:
    """The scheduler's operations: which function is which callback, and the plain fields."""

    struct: str
    callbacks: Mapping[str, int]  # name of the field → entry
    scalars: Mapping[str, int]
    name: str
    parameters: Mapping[str, tuple[str, ...]]  # callback → struct that each parameter points to


@dataclass(slots=True)
class Program:
    """The whole object."""

    code: list[Insn]
    functions: Mapping[int, Function]  # by entry
    sections: Sequence[Section]
    symbols: Mapping[str, Symbol]
    btf: Btf
    kernel: Btf
    maps: Mapping[str, Map]
    ops: Ops | None
    ops_count: int
    missing: Mapping[str, str]  # kfunc as written → why this kernel does not offer it
    kfuncs: frozenset[str] = frozenset()
    variables: Mapping[int, Mapping[int, Symbol]] = field(default_factory=dict)

    def function_at(self, place: int) -> str:
        """The name of the function that holds ``place``."""
        best = max((f for f in self.functions.values() if f.entry <= place), default=None,
                   key=lambda f: f.entry)  # fmt: skip
        return best.name if best else ""

    def named(self, suffix: str) -> Section | None:
        """The section with that name."""
        return next((one for one in self.sections if one.name == suffix), None)


def read_program(data: bytes, kernel: Btf) -> Program:
    """Take an object apart; DamagedError when it is none."""
    if len(data) > SIZE_LIMIT:
        raise DamagedError(f"it is larger than {SIZE_LIMIT >> 20} MiB")
    try:
        return _Reader(data, kernel).program()
    except (ElfError, BtfError) as exc:
        raise DamagedError(str(exc)) from exc


class _Reader:
    """Builds a Program step by step."""

    def __init__(self, data: bytes, kernel: Btf) -> None:
        self.kernel = kernel
        self.sections = read_sections(data)
        self.table = read_symbol_table(self.sections)
        named = {one.name: one.data for one in reversed(self.sections)}
        if not named.get(".BTF") or not named.get(".BTF.ext"):
            raise DamagedError("it has no type information")
        self.btf = Btf(named[".BTF"])
        self.ext = named[".BTF.ext"]
        self.code: list[Insn] = []
        self.starts: dict[int, int] = {}  # section → place of its first instruction
        self.relocations: dict[int, list[Relocation]] = {}
        for one in read_relocations(self.sections):
            self.relocations.setdefault(one.section, []).append(one)
        self.functions: dict[int, Function] = {}

    def program(self) -> Program:
        for index, section in enumerate(self.sections):
            is_code = section.name == ".text" or section.name.startswith(CODE_PREFIXES)
            if is_code and section.data:
                self._decode(index, section)
        self._find_functions()
        kfuncs = self._relocate()
        self._core()
        self._lines()
        self._check_jumps()
        ops, count = self._ops()
        names = {kfunc: kernel_name(kfunc) for kfunc in kfuncs}
        reasons = uncallable(self.kernel, set(names.values()))
        return Program(
            code=self.code,
            functions=self.functions,
            sections=self.sections,
            symbols={one.name: one for one in self.table if one and one.name},
            btf=self.btf,
            kernel=self.kernel,
            maps=self._maps(),
            ops=ops,
            ops_count=count,
            missing={one: reasons[name] for one, name in names.items() if name in reasons},
            kfuncs=frozenset(kfuncs),
        )

    def _decode(self, index: int, section: Section) -> None:
        if len(section.data) % INSN.size:
            raise DamagedError(f"the code of {section.name[:60]} is cut short")
        if len(self.code) + len(section.data) // INSN.size > CODE_LIMIT:
            raise DamagedError(f"it has more than {CODE_LIMIT} instructions")
        self.starts[index] = len(self.code)
        wide = False
        for op, regs, off, imm in INSN.iter_unpack(section.data):
            insn = Insn(op, regs & 0xF, regs >> 4, off, imm)
            if insn.dst > 10 or insn.src > 10:
                raise DamagedError("an instruction uses a register that does not exist")
            if wide:
                first = self.code[-1]
                if op:
                    raise DamagedError("an instruction is cut in half")
                first.imm = (first.imm & 0xFFFFFFFF) | (imm & 0xFFFFFFFF) << 32
            wide = not wide and op == LD_IMM64
            self.code.append(insn)
        if wide:
            raise DamagedError("an instruction is cut in half")

    def _find_functions(self) -> None:
        for symbol in self.table:
            if symbol is None or symbol.index not in self.starts or not symbol.name:
                continue
            if symbol.is_object or not symbol.size or symbol.value % INSN.size:
                continue
            entry = self.starts[symbol.index] + symbol.value // INSN.size
            end = entry + symbol.size // INSN.size
            if end > self._section_end(symbol.index):
                raise DamagedError("a function reaches beyond its section")
            if end == entry or self.code[end - 1].op not in LAST:
                raise DamagedError("a function has no end")
            if len(self.functions) >= FUNCTION_LIMIT:
                raise DamagedError(f"it has more than {FUNCTION_LIMIT} functions")
            self.functions[entry] = Function(symbol.name, entry, end, symbol.section)

    def _section_end(self, index: int) -> int:
        return self.starts[index] + len(self.sections[index].data) // INSN.size

    def _relocate(self) -> set[str]:
        kfuncs = set()
        for index, start in self.starts.items():
            for one in self.relocations.get(index, ()):
                symbol = self.table[one.symbol] if one.symbol < len(self.table) else None
                place = start + one.offset // INSN.size
                if symbol is None or one.offset % INSN.size or place >= self._section_end(index):
                    raise DamagedError("a relocation is out of place")
                insn = self.code[place]
                if not symbol.section:
                    insn.kfunc = symbol.name
                    kfuncs.add(symbol.name)
                elif symbol.index in self.starts:
                    insn.callee = self._callee(insn, symbol)
                else:
                    insn.symbol = symbol
            self._local_calls(start, self._section_end(index))
        return kfuncs

    def _callee(self, insn: Insn, symbol: Symbol) -> int:
        base = self.starts[symbol.index] + symbol.value // INSN.size
        if symbol.name:
            return base
        # Relative to the section: a call counts instructions from the next, an address bytes.
        if insn.op == CALL:
            return base + insn.imm + 1
        return base + (insn.imm & MASK64) // INSN.size

    def _local_calls(self, start: int, end: int) -> None:
        for place in range(start, end):
            insn = self.code[place]
            if insn.op == CALL and insn.src == PSEUDO_CALL and insn.callee < 0 and not insn.kfunc:
                insn.callee = place + 1 + insn.imm
            if insn.callee >= 0 and insn.callee not in self.functions:
                raise DamagedError("a call leads to no function")

    def _core(self) -> None:
        target = Target(self.btf, self.kernel)
        starts = {self.sections[index].name: (index, at) for index, at in self.starts.items()}
        for one in read_core_relocations(self.ext, self.btf):
            index, start = starts.get(one.section, (0, 0))
            place = start + one.offset // INSN.size
            if not index or one.offset % INSN.size or place >= self._section_end(index):
                continue  # of a section that is not looked at
            resolve(self.code[place], one, target)

    def _lines(self) -> None:
        starts = {self.sections[index].name: (index, at) for index, at in self.starts.items()}
        marks: dict[int, tuple[str, int]] = {}
        for one in read_lines(self.ext, self.btf):
            index, start = starts.get(one.section, (0, 0))
            if index and start + one.offset // INSN.size < self._section_end(index):
                marks[start + one.offset // INSN.size] = (one.file, one.line)
        file, line = "", 0
        for place, insn in enumerate(self.code):
            if place in self.functions:
                file, line = "", 0
            file, line = marks.get(place, (file, line))
            insn.file, insn.line = file, line

    def _check_jumps(self) -> None:
        for function in self.functions.values():
            for place in range(function.entry, function.end):
                insn = self.code[place]
                if insn.op & 7 not in JUMP_CLASSES or insn.op in (CALL, EXIT):
                    continue
                distance = insn.imm if insn.op == LONG_JUMP else insn.off
                insn.jump = place + 1 + distance
                if not function.entry <= insn.jump < function.end:
                    raise DamagedError("a jump leaves its function")

    def _ops(self) -> tuple[Ops | None, int]:
        indexes = [at for at, one in enumerate(self.sections) if one.name == OPS_SECTION]
        variables = [
            symbol
            for symbol in self.table
            if symbol and symbol.index in indexes and symbol.is_object and symbol.name
        ]
        placed = {one.name: one.type_id for one in self.btf.variables(OPS_SECTION)}
        if len(variables) != 1 or len(indexes) != 1:
            return None, len(variables)
        symbol = variables[0]
        type_id = self.btf.resolved(placed.get(symbol.name, 0))
        struct_name = self.btf.name(type_id)
        if struct_name not in OPS_STRUCTS:
            return None, 1
        return self._read_ops(symbol, type_id, struct_name), 1

    def _read_ops(self, symbol: Symbol, type_id: int, struct_name: str) -> Ops:
        data = self.sections[symbol.index].data
        if not symbol.size or symbol.value + symbol.size > len(data):
            raise DamagedError("its set of operations is cut short")
        targets = {
            one.offset - symbol.value: self.table[one.symbol]
            for one in self.relocations.get(symbol.index, ())
            if one.symbol < len(self.table)
        }
        callbacks, scalars, parameters, name = {}, {}, {}, ""
        for one in self.btf.fields(type_id):
            at, size = one.bits // 8, self.btf.size(one.type_id)
            raw = data[symbol.value + at : symbol.value + at + size]
            kind = self.btf.kind(self.btf.resolved(one.type_id))
            target = targets.get(at)
            if kind == Kind.PTR and target and target.index in self.starts:
                entry = self.starts[target.index] + target.value // INSN.size
                if entry not in self.functions:
                    raise DamagedError(f"{one.name[:40]} is no function")
                callbacks[one.name] = entry
                parameters[one.name] = self._parameters(one.type_id)
            elif kind == Kind.ARRAY:
                name = raw.partition(b"\0")[0].decode("utf-8", "replace") or name
            elif kind != Kind.PTR:
                scalars[one.name] = int.from_bytes(raw, "little")
        return Ops(struct_name, callbacks, scalars, name, parameters)

    def _parameters(self, type_id: int) -> tuple[str, ...]:
        prototype = self.btf.target(self.btf.resolved(type_id))
        return tuple(pointed_struct(self.btf, one) for one in self.btf.parameters(prototype))

    def _maps(self) -> dict[str, Map]:
        found = {}
        for one in self.btf.variables(MAPS)[:MAP_LIMIT]:
            attributes = {
                field.name: self.btf.resolved(field.type_id)
                for field in self.btf.fields(self.btf.resolved(one.type_id))
            }
            found[one.name] = self._map(one.name, attributes)
        return found

    def _map(self, name: str, attributes: Mapping[str, int]) -> Map:
        def number(key: str) -> int:
            # The macro __uint() keeps a number as the length of an array behind a pointer.
            return self.btf.array(self.btf.resolved(self.btf.target(attributes.get(key, 0))))[1]

        def size(key: str) -> int:
            pointed = self.btf.target(attributes.get(key, 0))
            return number(f"{key}_size") or self.btf.size(pointed)

        return Map(
            name=name,
            kind=number("type"),
            key_size=size("key"),
            value_size=size("value"),
            max_entries=number("max_entries"),
            pinning=number("pinning"),
        )


def pointed_struct(btf: Btf, type_id: int) -> str:
    """The structure that a pointer type points to; "*" for other pointers, else empty."""
    type_id = btf.resolved(type_id)
    if btf.kind(type_id) != Kind.PTR:
        return ""
    return btf.name(btf.resolved(btf.target(type_id))) or "*"


def kernel_name(kfunc: str) -> str:
    """The name that libbpf looks for: it drops the last ``___`` and what follows."""
    return kfunc.rpartition("___")[0] or kfunc


def base_name(kfunc: str) -> str:
    """The name of a kfunc without any version or flavour."""
    return kfunc.partition("___")[0]
