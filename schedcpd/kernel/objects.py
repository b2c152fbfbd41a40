# SPDX-License-Identifier: GPL-2.0-or-later
"""What a compiled policy says of itself: its variables, the kfuncs it calls, its types.

Offsets come from the ELF symbol table, because clang leaves those in BTF's data sections at 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from schedcpd.kernel.elf import ElfError, read_sections, read_symbols
from schedcpd.model import Card

SIZE_LIMIT = 8 << 20
EXIT_SECTION = ".data.sxexit"
DUMP_SECTION = ".data.sxdump"
OPS_SECTION = ".struct_ops.link"
MAPS_SECTION = ".maps"
CONSTANTS = ".rodata"
COUNTERS = (".bss", ".data")
TYPE_BYTES = {"u32": 4, "s32": 4, "u64": 8, "s64": 8, "bool": 1}
COUNTER_BYTES = (4, 8)
EXIT_RECORD_BYTES = 608
# libbpf itself fills in these externs, from the kernel's configuration and version.
KCONFIG = ("CONFIG_", "LINUX_")
OPS_STRUCT = "sched_ext_ops"
# Callbacks that a policy can do without: where the kernel does not know them they are left out.
OPTIONAL_OPS = ("cgroup_set_bandwidth", "cgroup_set_idle")
POINTER_BYTES = 8


class ObjectError(ValueError):
    """The file is not a compiled policy."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A global variable: its section, which is also its map, and its place there in bytes."""

    section: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class PolicyObject:
    """The parts of an object that the loader and the verifier look at."""

    variables: Mapping[str, Variable]
    strong_kfuncs: frozenset[str]  # without their ___flavour; the kernel must have them all
    sections: Mapping[str, int]  # size of each section in bytes
    btf: bytes
    licence: str

    def constant(self, name: str, kind: str) -> Variable:
        """The constant that a tunable sets; ObjectError when there is none of its type."""
        place = self.variables.get(name)
        if place is None or place.section != CONSTANTS or place.size != TYPE_BYTES[kind]:
            raise ObjectError(f"it has no {kind} constant {name}")
        return place

    def counter(self, name: str) -> Variable:
        """The variable that a counter is read from; ObjectError when there is none."""
        place = self.variables.get(name)
        if place is None or place.section not in COUNTERS or place.size not in COUNTER_BYTES:
            raise ObjectError(f"it has no counter {name}")
        return place

    def check(self, card: Card) -> None:
        """Raise ObjectError unless the object is made as its card says, for our loader."""
        if not self.licence.startswith("GPL"):
            raise ObjectError(f"its licence is {self.licence[:40]!r}, not the GPL")
        if not self.sections.get(OPS_SECTION):
            raise ObjectError(f"it has no section {OPS_SECTION}, so nothing could hold it")
        sizes = [self.sections.get(name, 0) for name in (EXIT_SECTION, DUMP_SECTION)]
        if sizes[0] < EXIT_RECORD_BYTES or not sizes[1]:
            raise ObjectError("it has no exit record, so nobody could say why it left")
        for tunable in card.tunables:
            self.constant(tunable.name, tunable.type)
        for name in card.counters:
            self.counter(name)
        for name in card.maps:
            place = self.variables.get(name)
            if place is None or place.section != MAPS_SECTION:
                raise ObjectError(f"it has no map {name}")


def read_object(data: bytes) -> PolicyObject:
    """Read a compiled policy; ObjectError when it is none."""
    if len(data) > SIZE_LIMIT:
        raise ObjectError(f"the object is larger than {SIZE_LIMIT >> 20} MiB")
    try:
        sections = read_sections(data)
        symbols = list(read_symbols(sections))
    except ElfError as exc:
        raise ObjectError(str(exc)) from exc
    contents = {section.name: section.data for section in sections}
    return PolicyObject(
        variables={
            symbol.name: Variable(symbol.section, symbol.value, symbol.size)
            for symbol in symbols
            if symbol.is_object and symbol.section
        },
        strong_kfuncs=frozenset(
            _without_flavour(symbol.name)
            for symbol in symbols
            if symbol.is_strong and not symbol.section and not symbol.name.startswith(KCONFIG)
        ),
        sections={section.name: section.size for section in sections},
        btf=contents.get(".BTF", b""),
        licence=contents.get("license", b"").rstrip(b"\0").decode("ascii", "replace"),
    )


def _without_flavour(name: str) -> str:
    """The name that libbpf looks for: it drops the last ``___`` and what follows."""
    return name.rpartition("___")[0] or name
