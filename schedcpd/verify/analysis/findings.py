# SPDX-License-Identifier: GPL-2.0-or-later
"""What the rules are checked on, and how a finding is made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from schedcpd.model import Card, Finding, Severity
from schedcpd.verify.analysis.api import Act
from schedcpd.verify.analysis.outcome import Outcome, Site
from schedcpd.verify.analysis.program import Program
from schedcpd.verify.analysis.rules import rule
from schedcpd.verify.analysis.values import Values
from schedcpd.verify.analysis.witness import Witness

INSERTS = frozenset((Act.INSERT, Act.INSERT_VTIME, Act.INSERT_VTIME_ARGS))


@dataclass(frozen=True, slots=True)
class Analysis:
    """A policy, its card, and what the walk through each callback met."""

    program: Program
    card: Card
    values: Values
    outcomes: Mapping[str, Outcome]
    witness: Witness
    timers: Iterable[int] = ()

    def sites(self, *acts: Act, callback: str = "") -> Iterator[Site]:
        """The calls with one of these acts, in all callbacks or in one."""
        for outcome in self.outcomes.values():
            if callback in ("", outcome.callback):
                yield from (site for site in outcome.sites.values() if site.act in acts)

    def is_complete(self, *callbacks: str) -> bool:
        """Whether all of these callbacks that the policy has were walked on every path."""
        return all(outcome.complete for name, outcome in self.outcomes.items() if name in callbacks)

    def reads(self, *members: str) -> bool:
        """Whether any code reads, or takes the offset of, one of these members of a task."""
        wanted = tuple(f"task_struct.{member}" for member in members)
        return any(insn.member in wanted for insn in self.program.code)

    def finding(
        self,
        name: str,
        message: str,
        *,
        place: int = -1,
        program: str = "",
        severity: Severity | None = None,
    ) -> Finding:
        """A finding of a rule, at a place in the code if there is one."""
        about = rule(name)
        insn = self.program.code[place] if 0 <= place < len(self.program.code) else None
        return Finding(
            rule=name,
            severity=severity or about.severity,
            message=message,
            mend=about.mend,
            program=program,
            file=insn.file if insn else "",
            line=insn.line if insn else 0,
        )

    def at(self, site: Site, name: str, message: str, severity: Severity | None = None) -> Finding:
        """A finding of a rule about a call."""
        return self.finding(
            name, message, place=site.place, program=site.callback, severity=severity
        )
