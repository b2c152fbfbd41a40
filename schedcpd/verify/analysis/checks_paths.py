# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules about single paths: SCX101, 102, 108, 110, 401, 402, 403, 406, 407 and 501."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from schedcpd.kernel.btf import Btf, Kind
from schedcpd.model import Finding, Severity
from schedcpd.verify.analysis.api import Act
from schedcpd.verify.analysis.findings import INSERTS, Analysis
from schedcpd.verify.analysis.outcome import STORE, Ending
from schedcpd.verify.analysis.state import Path
from schedcpd.verify.analysis.values import MASK32
from schedcpd.verify.analysis.witness import steps

CPU_LIMIT = 8192
CERTAIN_TRIES = 24  # paths for which values are looked for
WRITABLE = ("scx.slice", "scx.dsq_vtime", "scx.disallow")
PINNED = ("nr_cpus_allowed", "cpus_ptr", "flags", "migration_disabled")
COMM_HELPER = "bpf_get_current_comm"


def check(analysis: Analysis) -> Iterator[Finding]:
    """All findings about single paths."""
    yield from _incomplete(analysis)
    yield from _lost(analysis)
    yield from _twice(analysis)
    yield from _dispatch(analysis)
    yield from _stranded(analysis)
    yield from _select(analysis)
    yield from _stores(analysis)
    yield from _gives_up(analysis)
    yield from _oracle(analysis)


def _incomplete(analysis: Analysis) -> Iterator[Finding]:
    rules = {"enqueue": "SCX101", "dispatch": "SCX108", "select_cpu": "SCX402"}
    for callback, name in rules.items():
        outcome = analysis.outcomes.get(callback)
        if outcome and not outcome.complete:
            yield analysis.finding(
                name, f"{callback} is too complex to follow on every path", program=callback,
                severity=Severity.SUSPECT,
            )  # fmt: skip


def _certain(analysis: Analysis, endings: Sequence[Ending]) -> Ending | None:
    """The first of these paths that is surely taken at times."""
    sure = (one for one in endings[:CERTAIN_TRIES] if not one.unsure)
    return next((one for one in sure if analysis.witness.is_certain(one.path)), None)


def _endings(
    analysis: Analysis, name: str, message: str, callback: str, endings: Sequence[Ending],
    *, all_of_them: bool,
) -> Iterator[Finding]:  # fmt: skip
    """A finding about paths: certain if one of them is surely taken, or if there is no other."""
    certain = endings[0] if all_of_them else _certain(analysis, endings)
    severity = None if certain else Severity.SUSPECT
    place = (certain or endings[0]).place
    yield analysis.finding(name, message, place=place, program=callback, severity=severity)


def _lost(analysis: Analysis) -> Iterator[Finding]:
    outcome = analysis.outcomes.get("enqueue")
    if outcome is None or not outcome.endings:
        return
    kept = [one for one in outcome.endings
            if one.events.inserts or one.events.pushes or one.events.errors]  # fmt: skip
    stored = [one for one in outcome.endings if one not in kept and one.events.updates]
    lost = [one for one in outcome.endings if one not in kept and not one.events.updates]
    takes = any(site.callback not in ("enqueue", "select_cpu") for site in analysis.sites(*INSERTS))
    if stored and not takes:
        lost, stored = lost + stored, []
    if lost:
        nobody = outcome.complete and not kept and not stored
        message = "no path queues the task" if nobody else "a path does not queue the task"
        yield from _endings(analysis, "SCX101", message, "enqueue", lost, all_of_them=nobody)
    elif stored:
        yield analysis.finding(
            "SCX101", "a path only notes the task in a map", place=stored[0].place,
            program="enqueue", severity=Severity.SUSPECT,
        )  # fmt: skip


def _twice(analysis: Analysis) -> Iterator[Finding]:
    for callback in ("enqueue", "select_cpu"):
        outcome = analysis.outcomes.get(callback)
        twice = [one for one in outcome.endings if one.events.inserts > 1] if outcome else []
        if outcome and twice:
            every = outcome.complete and len(twice) == len(outcome.endings)
            message = "a path queues the task twice"
            yield from _endings(analysis, "SCX102", message, callback, twice, all_of_them=every)


def _dispatch(analysis: Analysis) -> Iterator[Finding]:
    outcome = analysis.outcomes.get("dispatch")
    if outcome is None:
        return
    idle = [one for one in outcome.endings if not one.events.tries and not one.events.errors]
    if idle:
        yield analysis.finding(
            "SCX108", "a path tries no queue", place=idle[0].place, program="dispatch"
        )
    for one in idle:
        if _depends_on(analysis, one.path, ("argument", "dispatch", 0)):
            yield analysis.finding(
                "SCX110", "whether it tries depends on the CPU", place=one.place,
                program="dispatch",
            )  # fmt: skip
            break


def _depends_on(analysis: Analysis, path: Path, key: tuple[object, ...]) -> bool:
    values = analysis.values
    return any(
        values.unknowns[leaf].key == key
        for condition, _ in steps(path)
        for leaf in values.leaves[condition]
    )


def _stranded(analysis: Analysis) -> Iterator[Finding]:
    own = [site for site in analysis.sites(*INSERTS) if site.bounds[1][1] < 1 << 63]
    if own and not analysis.reads(*PINNED):
        yield analysis.at(
            own[0], "SCX401", "kernel threads and pinned tasks wait in a queue like all others"
        )


def _select(analysis: Analysis) -> Iterator[Finding]:
    outcome = analysis.outcomes.get("select_cpu")
    if outcome is None:
        return
    wrong, unknown = [], []
    for one in outcome.endings:
        low, high = one.bounds
        low, high = (low & MASK32, high & MASK32) if low >> 32 == high >> 32 else (0, MASK32)
        if low >= CPU_LIMIT:
            wrong.append(one)
        elif low == high and low:
            unknown.append(one)
        elif high > MASK32 >> 1 or (high >= CPU_LIMIT and not _from_kernel(analysis, one.result)):
            unknown.append(one)  # what the kernel found, if it found one: else it is negative
    if wrong:
        every = outcome.complete and len(wrong) == len(outcome.endings)
        number = wrong[0].bounds[0] & MASK32
        message = f"it returns CPU {number if number <= MASK32 >> 1 else number - MASK32 - 1}"
        yield from _endings(analysis, "SCX402", message, "select_cpu", wrong, all_of_them=every)
    elif unknown:
        yield analysis.finding(
            "SCX402", "it returns a CPU that is not known to exist", place=unknown[0].place,
            program="select_cpu", severity=Severity.SUSPECT,
        )  # fmt: skip


def _from_kernel(analysis: Analysis, value: int) -> bool:
    """Whether a value comes from a function of the kernel, or from a parameter."""
    keys = [analysis.values.unknowns[leaf].key[0] for leaf in analysis.values.leaves[value]]
    return bool(keys) and all(
        key == "argument" or str(key).startswith(("scx_bpf_", "__scx_bpf_", "bpf_cpumask_"))
        for key in keys
    )


def _stores(analysis: Analysis) -> Iterator[Finding]:
    seen = set()
    for outcome in analysis.outcomes.values():
        for site in outcome.sites.values():
            if site.name != STORE or (site.place, site.is_guarded) in seen:
                continue
            seen.add((site.place, site.is_guarded))
            field = member_at(analysis.program.btf, "task_struct", site.bounds[0][0])
            if field and field not in WRITABLE:
                yield analysis.at(site, "SCX406", f"it writes to {field} of a task")
            elif field == "scx.disallow" and site.bounds[1][1] and not site.is_guarded:
                where = "without a look at args->fork"
                if site.callback != "init_task":
                    where = f"in {site.callback}"
                yield analysis.at(site, "SCX403", f"it sets disallow {where}")


def member_at(btf: Btf, struct: str, offset: int) -> str:
    """The member at an offset in bytes, as "scx.slice"; empty when there is none."""
    ids = [one for one in btf.ids([struct])[struct] if btf.kind(one) == Kind.STRUCT]
    type_id, names, left = ids[0] if ids else 0, [], 8 * offset
    for _ in range(16):
        within = [
            one
            for one in btf.fields(btf.resolved(type_id))
            if one.bits <= left < one.bits + max(8, 8 * btf.size(one.type_id))
        ]
        if not within:
            break
        names += [within[0].name] if within[0].name else []
        left, type_id = left - within[0].bits, within[0].type_id
    return ".".join(names)


def _gives_up(analysis: Analysis) -> Iterator[Finding]:
    for site in analysis.sites(Act.ERROR, Act.LEAVE):
        if analysis.witness.is_ordinary(site.path) and site.callback not in ("init", "exit"):
            yield analysis.at(site, "SCX407", f"{site.name}() is called on an ordinary path")
            return


def _oracle(analysis: Analysis) -> Iterator[Finding]:
    for place, insn in enumerate(analysis.program.code):
        if insn.member == "task_struct.comm":
            yield analysis.finding(
                "SCX501", "it looks at the name of a program", place=place,
                program=analysis.program.function_at(place),
            )  # fmt: skip
            return
    for outcome in analysis.outcomes.values():
        for one in outcome.sites.values():
            if one.name == COMM_HELPER:
                yield analysis.at(one, "SCX501", "it looks at the name of a program")
                return
        for ending in outcome.endings:
            if _names_a_process(analysis, ending.path):
                yield analysis.finding(
                    "SCX501", "it looks for a fixed process id", place=ending.place,
                    program=outcome.callback,
                )  # fmt: skip
                return


def _names_a_process(analysis: Analysis, path: Path) -> bool:
    values = analysis.values
    for condition, _ in steps(path):
        kind, left, right = values.nodes[condition]
        number = values.constant(right)
        if kind != "eq" or number is None or number <= 1 or left not in values.unknowns:
            continue
        about = values.unknowns[left].key
        if about[0] == "load" and isinstance(about[1], int) and isinstance(about[2], int):
            is_task = values.points_to(about[1]) == "task_struct"
            field = member_at(analysis.program.btf, "task_struct", about[2]) if is_task else ""
            if field in ("pid", "tgid"):
                return True
    return False
