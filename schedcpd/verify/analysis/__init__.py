# SPDX-License-Identifier: GPL-2.0-or-later
"""Judges a compiled policy without running it: the object, as this kernel would run it."""

from __future__ import annotations

from collections.abc import Iterator

from schedcpd.kernel.btf import Btf
from schedcpd.kernel.objects import ObjectError, PolicyObject, read_object
from schedcpd.model import Card, Finding, Severity
from schedcpd.verify.analysis import checks_limits, checks_object, checks_paths, checks_queues
from schedcpd.verify.analysis.api import TIMER_CALLBACK
from schedcpd.verify.analysis.findings import Analysis
from schedcpd.verify.analysis.flow import study
from schedcpd.verify.analysis.interpret import Walk
from schedcpd.verify.analysis.outcome import Outcome
from schedcpd.verify.analysis.program import DamagedError, Ops, Program, read_program
from schedcpd.verify.analysis.rules import RULES, rule
from schedcpd.verify.analysis.values import Values
from schedcpd.verify.analysis.witness import Witness

__all__ = ("RULES", "analyse")

FINDINGS_LIMIT = 100
# Rules whose findings may go away once it is known what the policy's own variables can be.
NEED_VARIABLES = frozenset(("SCX202", "SCX301", "SCX302", "SCX402"))
ORDER = (Severity.REJECT, Severity.SUSPECT, Severity.WARNING)


def analyse(data: bytes, card: Card, kernel: Btf) -> tuple[Finding, ...]:
    """Everything that is to be said of a policy, certain findings first.

    ``data`` is hostile: whatever it is, the answer is findings, never an exception. ``kernel`` is
    the type information of the kernel that will run it. All values of the card's tunables count.
    """
    try:
        program = read_program(data, kernel)
        about = read_object(data)
    except (DamagedError, ObjectError) as exc:
        return (_refusal(f"it is no policy: {exc}"),)
    if program.ops is None:
        analysis = Analysis(program, card, Values(), {}, Witness(Values(), ()))
        found = [*checks_object.check(analysis, about)]
        number = program.ops_count
        return _sorted([*found, _refusal(f"it has {number} sets of operations with a link")])
    return _sorted(_judge(program, program.ops, card, about))


def _judge(program: Program, ops: Ops, card: Card, about: PolicyObject) -> list[Finding]:
    walk = Walk(program, card, study(program), Values())
    analysis = _analysis(walk, ops, card)
    found = _check(analysis, about)
    every_store = walk.memory.stored and analysis.is_complete(*analysis.outcomes)
    if every_store and any(one.rule in NEED_VARIABLES for one in found):
        # Now it is known what the policy's own variables can be: walk again with that.
        walk.memory.settled = dict(walk.memory.stored)
        found = _check(_analysis(walk, ops, card), about)
    return found


def _check(analysis: Analysis, about: PolicyObject) -> list[Finding]:
    return [
        *checks_object.check(analysis, about),
        *checks_queues.check(analysis),
        *checks_paths.check(analysis),
        *checks_limits.check(analysis),
    ]


def _refusal(message: str) -> Finding:
    about = rule("SCX002")
    return Finding(about.id, about.severity, message, about.mend)


def _sorted(findings: list[Finding]) -> tuple[Finding, ...]:
    findings.sort(key=lambda one: (ORDER.index(one.severity), one.rule, one.line))
    return tuple(findings[:FINDINGS_LIMIT])


def _analysis(walk: Walk, ops: Ops, card: Card) -> Analysis:
    outcomes = _outcomes(walk, ops)
    return Analysis(
        program=walk.program,
        card=card,
        values=walk.values,
        outcomes=outcomes,
        witness=Witness(walk.values, frozenset(walk.memory.counters)),
        timers=tuple(sorted(walk.effects.timers)),
    )


def _outcomes(walk: Walk, ops: Ops) -> dict[str, Outcome]:
    outcomes = {
        callback: walk.run(callback, entry, ops.parameters.get(callback, ()))
        for callback, entry in sorted(ops.callbacks.items())
    }
    for outcome in _timers(walk):
        if TIMER_CALLBACK in outcomes:
            outcomes[TIMER_CALLBACK].sites.update(outcome.sites)
        else:
            outcomes[TIMER_CALLBACK] = outcome
    return outcomes


def _timers(walk: Walk) -> Iterator[Outcome]:
    """Walk the functions that timers call, and those that they in turn set."""
    done: set[int] = set()
    while waiting := sorted(walk.effects.timers - done):
        done.add(waiting[0])
        yield walk.run(TIMER_CALLBACK, waiting[0], ())
