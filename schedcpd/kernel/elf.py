# SPDX-License-Identifier: GPL-2.0-or-later
"""Sections and symbols of a relocatable 64-bit BPF object.

pyelftools would do, but importing it takes as long as all the rest of the loader's child, and a
policy waits for that child.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

MAGIC = b"\x7fELF\x02\x01\x01"  # 64 bits, little-endian, version 1
ET_REL = 1
EM_BPF = 247
HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SECTION = struct.Struct("<IIQQQQIIQQ")
SYMBOL = struct.Struct("<IBBHQQ")
RELOCATION = struct.Struct("<QQ")
NAME_LIMIT = 512  # bytes; a longer name is damage
SHT_SYMTAB = 2
SHT_RELA = 4
SHT_NOBITS = 8
SHF_EXECINSTR = 4
SHT_REL = 9
SHN_LORESERVE = 0xFF00
STB_GLOBAL = 1
STT_OBJECT = 1


class ElfError(ValueError):
    """The data is not a well-formed relocatable BPF object."""


@dataclass(frozen=True, slots=True)
class Section:
    """A section; ``data`` is empty where the file holds none of it, as for .bss."""

    name: str
    type: int
    size: int
    data: bytes
    link: int
    flags: int = 0
    info: int = 0  # of a table of relocations: the index of the section that they are for


@dataclass(frozen=True, slots=True)
class Symbol:
    """A symbol; ``section`` is empty when it is not defined here."""

    name: str
    section: str
    value: int
    size: int
    is_strong: bool  # visible to others, and not weak
    is_object: bool  # a variable, rather than a function or a place
    index: int = 0  # of its section; 0 when it is not defined here


@dataclass(frozen=True, slots=True)
class Relocation:
    """A place in a section that refers to a symbol."""

    section: int  # index of the section
    offset: int  # bytes
    symbol: int  # index in the symbol table


def read_sections(data: bytes) -> list[Section]:
    """All sections, in the order of the file; ElfError when they are not sound."""
    if len(data) < HEADER.size or not data.startswith(MAGIC):
        raise ElfError("it is not a little-endian 64-bit ELF file")
    _, kind, machine, _, _, _, start, *_, entry, count, names = HEADER.unpack_from(data)
    if (kind, machine) != (ET_REL, EM_BPF):
        raise ElfError("it is not a relocatable BPF object")
    if entry != SECTION.size or start + count * entry > len(data) or names >= count:
        raise ElfError("its section headers are damaged")
    headers = [SECTION.unpack_from(data, start + index * entry) for index in range(count)]
    if sum(header[5] for header in headers if header[1] != SHT_NOBITS) > len(data):
        raise ElfError("its sections overlap")
    texts = _contents(data, headers[names])
    return [
        Section(
            name=_text(texts, header[0]),
            type=header[1],
            size=header[5],
            data=_contents(data, header),
            link=header[6],
            flags=header[2],
            info=header[7],
        )
        for header in headers
    ]


def _contents(data: bytes, header: tuple[int, ...]) -> bytes:
    kind, offset, size = header[1], header[4], header[5]
    if kind == SHT_NOBITS:
        return b""
    if offset + size > len(data):
        raise ElfError("a section reaches beyond the end of the file")
    return data[offset : offset + size]


def _text(texts: bytes, offset: int) -> str:
    end = texts.find(b"\0", offset, offset + NAME_LIMIT)
    if end < 0:
        raise ElfError("a name reaches beyond its table")
    return texts[offset:end].decode("utf-8", "replace")


def read_symbols(sections: list[Section]) -> Iterator[Symbol]:
    """All named symbols of an object with these sections; ElfError when they are not sound."""
    return (symbol for symbol in read_symbol_table(sections) if symbol and symbol.name)


def read_symbol_table(sections: list[Section]) -> list[Symbol | None]:
    """The symbols by index, as relocations refer to them; None for absolute and special ones."""
    table = next((section for section in sections if section.type == SHT_SYMTAB), None)
    if table is None or table.link >= len(sections) or len(table.data) % SYMBOL.size:
        raise ElfError("its symbol table is missing or damaged")
    texts = sections[table.link].data
    return [_symbol(entry, texts, sections) for entry in SYMBOL.iter_unpack(table.data)]


def _symbol(entry: tuple[int, ...], texts: bytes, sections: list[Section]) -> Symbol | None:
    name, info, _, index, value, size = entry
    if index >= SHN_LORESERVE:
        return None
    if index >= len(sections):
        raise ElfError("a symbol is in no section")
    return Symbol(
        name=_text(texts, name) if name else "",
        section=sections[index].name if index else "",
        value=value,
        size=size,
        is_strong=info >> 4 == STB_GLOBAL,
        is_object=info & 0xF == STT_OBJECT,
        index=index,
    )


def read_relocations(sections: list[Section]) -> Iterator[Relocation]:
    """All relocations of an object with these sections; ElfError when they are not sound."""
    for section in sections:
        if section.type == SHT_RELA:
            raise ElfError("its relocations are of a kind that BPF does not have")
        if section.type != SHT_REL:
            continue
        if section.info >= len(sections) or len(section.data) % RELOCATION.size:
            raise ElfError("its relocations are damaged")
        for offset, about in RELOCATION.iter_unpack(section.data):
            yield Relocation(section.info, offset, about >> 32)
