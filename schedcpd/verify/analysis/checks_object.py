# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules about the object as a whole: SCX001 to SCX012, SCX303, SCX304, SCX404 and SCX405."""

from __future__ import annotations

import re
from collections.abc import Iterator

from schedcpd.kernel.btf import uncallable
from schedcpd.kernel.elf import SHF_EXECINSTR
from schedcpd.kernel.objects import (
    DUMP_SECTION,
    EXIT_RECORD_BYTES,
    EXIT_SECTION,
    ObjectError,
    PolicyObject,
)
from schedcpd.model import Finding
from schedcpd.verify.analysis.api import HELPERS, kfunc
from schedcpd.verify.analysis.findings import Analysis
from schedcpd.verify.analysis.outcome import MISSING, STORE
from schedcpd.verify.analysis.program import CALL, CODE_PREFIXES, Map, base_name

OPS_NAME = re.compile(r"[A-Za-z0-9_.]{1,127}")
TIMEOUT_MAX_MS = 30_000
FLAGS_ENUM, ALL_FLAGS, ENQ_LAST = "scx_ops_flags", "SCX_OPS_ALL_FLAGS", "SCX_OPS_ENQ_LAST"
ENTRIES_LIMIT = 1_000_000
BYTES_LIMIT = 64 << 20
CPUS = 8  # what a map per CPU is counted for
PAGE = 4096
PER_CPU = (5, 6, 10, 21)
RING_BUFFERS = (27, 31)  # their size is in bytes
ARENA = 33  # ... in pages
ALLOWED_MAPS = {
    1: "hash", 2: "array", 5: "percpu_hash", 6: "percpu_array", 9: "lru_hash",
    10: "lru_percpu_hash", 11: "lpm_trie", 12: "array_of_maps", 13: "hash_of_maps", 22: "queue",
    23: "stack", 27: "ringbuf", 29: "task_storage", 30: "bloom_filter", 31: "user_ringbuf",
    32: "cgrp_storage", 33: "arena",
}  # fmt: skip
LIMITS = {
    "cpu.weight": "cgroup_set_weight",
    "cpu.max": "cgroup_set_bandwidth",
    "cpu.idle": "cgroup_set_idle",
}
WEIGHTS = ("scx.weight", "static_prio", "prio", "normal_prio", "se.load.weight", "policy")


def check(analysis: Analysis, about: PolicyObject) -> Iterator[Finding]:
    """All findings about the object as a whole."""
    yield from _licence(analysis, about)
    yield from _sections(analysis)
    yield from _calls(analysis)
    yield from _kernel(analysis, about)
    yield from _ops(analysis)
    yield from _card(analysis, about)
    yield from _exit_record(analysis, about)
    yield from _maps(analysis, about)
    yield from _promises(analysis)


def _licence(analysis: Analysis, about: PolicyObject) -> Iterator[Finding]:
    if not about.licence.startswith("GPL"):
        yield analysis.finding("SCX001", f"its licence is {about.licence[:40]!r}")


def _sections(analysis: Analysis) -> Iterator[Finding]:
    for section in analysis.program.sections:
        is_code = section.flags & SHF_EXECINSTR and section.size
        if is_code and section.name != ".text" and not section.name.startswith(CODE_PREFIXES):
            yield analysis.finding("SCX003", f"it has a program for {section.name[:60]}")


def _calls(analysis: Analysis) -> Iterator[Finding]:
    program = analysis.program
    seen = set()
    for place, insn in enumerate(program.code):
        if insn.op != CALL or insn.callee >= 0:
            continue
        name = base_name(insn.kfunc) if insn.kfunc else f"helper {insn.imm}"
        if name in seen:
            continue
        function = program.function_at(place)
        if insn.kfunc and kfunc(name) is None:
            seen.add(name)
            yield analysis.finding(
                "SCX005", f"it calls {name[:60]}()", place=place, program=function
            )
        elif not insn.kfunc and insn.imm not in HELPERS:
            seen.add(name)
            yield analysis.finding("SCX004", f"it calls {name}", place=place, program=function)


def _kernel(analysis: Analysis, about: PolicyObject) -> Iterator[Finding]:
    program = analysis.program
    called = {insn.kfunc for insn in program.code if insn.kfunc and insn.op == CALL}
    strong = {name for name in called if program.symbols[name].is_strong}
    for name, reason in sorted(uncallable(program.kernel, about.strong_kfuncs).items()):
        if name in {base_name(one) for one in strong}:
            yield analysis.finding("SCX012", f"it cannot do without {name}(): {reason}")
    seen = set()
    for outcome in analysis.outcomes.values():
        for site in outcome.sites.values():
            reason = program.missing.get(site.as_written, "")
            if site.name == MISSING:
                reason = "this kernel has no such constant or member"
            key = site.place, site.callback
            if reason and key not in seen and site.as_written not in strong:
                seen.add(key)
                subject = f"{site.name}()" if site.as_written else "a relocation"
                yield analysis.at(site, "SCX012", f"{subject} is reached: {reason}")
            elif site.is_kfunc and site.name != STORE and site.as_written:
                yield from _place(analysis, site.place, site.name, site.callback, seen)


def _place(
    analysis: Analysis, place: int, name: str, callback: str, seen: set[tuple[int, str]]
) -> Iterator[Finding]:
    """A function of sched_ext that the kernel does not allow in this callback."""
    about = kfunc(name)
    if about is None or about.allowed is None or callback in about.allowed:
        return
    if (place, callback) not in seen:
        seen.add((place, callback))
        yield analysis.finding(
            "SCX006", f"{name}() is not allowed in {callback}", place=place, program=callback
        )


def _ops(analysis: Analysis) -> Iterator[Finding]:
    ops, card, kernel = analysis.program.ops, analysis.card, analysis.program.kernel
    if ops is None:
        return
    if not OPS_NAME.fullmatch(ops.name):
        yield analysis.finding("SCX007", f"the kernel refuses the name {ops.name[:40]!r}")
    elif ops.name != card.name:
        yield analysis.finding("SCX007", f"it is {ops.name[:40]!r}, its card {card.name!r}")
    timeout = ops.scalars.get("timeout_ms", 0)
    if timeout > TIMEOUT_MAX_MS:
        yield analysis.finding("SCX008", f"its timeout of {timeout} ms is over {TIMEOUT_MAX_MS}")
    elif not 1 <= card.timeout_ms <= TIMEOUT_MAX_MS:
        yield analysis.finding("SCX008", f"its card has a timeout of {card.timeout_ms} ms")
    flags = ops.scalars.get("flags", 0)
    known = {
        name: value
        for type_id in kernel.ids([FLAGS_ENUM])[FLAGS_ENUM]
        for name, value in kernel.enumerators(type_id)
    }
    if known and flags & ~known.get(ALL_FLAGS, 0xFF):
        yield analysis.finding("SCX009", f"flags {flags:#x} are not known to this kernel")
    elif flags & known.get(ENQ_LAST, 2) and "enqueue" not in ops.callbacks:
        yield analysis.finding("SCX009", "SCX_OPS_ENQ_LAST is set, but there is no enqueue")


def _card(analysis: Analysis, about: PolicyObject) -> Iterator[Finding]:
    for tunable in analysis.card.tunables:
        try:
            about.constant(tunable.name, tunable.type)
        except ObjectError as exc:
            yield analysis.finding("SCX011", str(exc))
    for name in analysis.card.counters:
        try:
            about.counter(name)
        except ObjectError as exc:
            yield analysis.finding("SCX011", str(exc))


def _exit_record(analysis: Analysis, about: PolicyObject) -> Iterator[Finding]:
    ops = analysis.program.ops
    if about.sections.get(EXIT_SECTION, 0) < EXIT_RECORD_BYTES or not about.sections.get(
        DUMP_SECTION
    ):
        yield analysis.finding("SCX010", "it has no room for the reason of its end")
    elif ops is not None and "exit" not in ops.callbacks:
        yield analysis.finding("SCX010", "it has no exit callback")


def _maps(analysis: Analysis, about: PolicyObject) -> Iterator[Finding]:
    total = 0
    for one in analysis.program.maps.values():
        total += _bytes(one)
        if one.pinning:
            yield analysis.finding("SCX304", f"the map {one.name[:40]} is pinned")
        if one.kind not in ALLOWED_MAPS:
            yield analysis.finding("SCX304", f"the map {one.name[:40]} is of kind {one.kind}")
        if one.max_entries > ENTRIES_LIMIT and one.kind not in RING_BUFFERS:
            yield analysis.finding(
                "SCX303", f"the map {one.name[:40]} has {one.max_entries} entries"
            )
    total += sum(
        size for name, size in about.sections.items() if name.startswith((".bss", ".data"))
    )
    if total > BYTES_LIMIT:
        yield analysis.finding("SCX303", f"its maps have {total >> 20} MiB in all")


def _bytes(one: Map) -> int:
    if one.kind in RING_BUFFERS:
        return one.max_entries
    if one.kind == ARENA:
        return one.max_entries * PAGE
    return one.max_entries * (one.key_size + one.value_size) * (CPUS if one.kind in PER_CPU else 1)


def _promises(analysis: Analysis) -> Iterator[Finding]:
    ops, card = analysis.program.ops, analysis.card
    if ops is None:
        return
    ignored = [
        limit
        for limit, callback in LIMITS.items()
        if callback not in ops.callbacks and limit not in card.ignores
    ]
    if ignored:
        yield analysis.finding(
            "SCX405", f"it ignores {', '.join(ignored)}, and its card does not say so"
        )
    reads = analysis.reads(*WEIGHTS) or "set_weight" in ops.callbacks
    if not reads and {"nice", "cpu.weight"} & set(card.honours):
        yield analysis.finding("SCX404", "its card promises weights, but it never reads one")
