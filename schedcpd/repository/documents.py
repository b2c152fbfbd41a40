# SPDX-License-Identifier: GPL-2.0-or-later
"""Entries of the repository as documents: what can be read of each, and what it is found by."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from schedcpd.errors import NoSuchEntry
from schedcpd.model import Antipattern, Card, Harm, Note, Outcome, OutcomeKind, Quarantine, Report
from schedcpd.repository.items import REASON_LIMIT, cleaned, words_of
from schedcpd.repository.primitives import Primitive

_CALLED = re.compile(r"\b([a-z]\w+)\(")

TITLE_LIMIT = 160  # characters
DIGEST_SHOWN = 12


class Kind(StrEnum):
    """What an entry is."""

    POLICY = "policy"
    PRIMITIVE = "primitive"
    OUTCOME = "outcome"
    ANTIPATTERN = "antipattern"
    NOTE = "note"


class Part(StrEnum):
    """What can be read of an entry; the first that it has is what a reader gets unasked."""

    CARD = "card"
    TEXT = "text"
    SOURCE = "source"


@dataclass(frozen=True, slots=True)
class Document:
    """One entry; the fields from ``about`` on are only for finding it."""

    kind: Kind
    name: str
    title: str
    parts: Mapping[Part, str]
    about: str = ""
    details: str = ""
    warnings: str = ""  # what it does not suit
    policy: str = ""
    workload: str = ""
    work: str = ""  # classes of work
    kernel: str = ""
    host: str = ""

    def part(self, wanted: str) -> str:
        """The text of a part, of the first there is when empty; NoSuchEntry."""
        if not wanted:
            return next(iter(self.parts.values()))
        if wanted not in self.parts:
            there_is = ", ".join(self.parts)
            raise NoSuchEntry(f"{wanted} (there is: {there_is}) of {self.kind}", self.name)
        return self.parts[Part(wanted)]


def signed(name: str, signer: str) -> str:
    """The name of an entry that came from elsewhere."""
    return f"{name}@{signer}" if signer else name


def of_policy(card: Card, text: str, source: str, signer: str = "", host: str = "") -> Document:
    """A policy: its card, and its source where there is one."""
    parts = {Part.CARD: text} | ({Part.SOURCE: source} if source else {})
    tunables = (f"{one.name} {one.description}" for one in card.tunables)
    counters = (f"{name} {what}" for name, what in card.counters.items())
    maps = (f"{name} {role}" for name, role in card.maps.items())
    fits = (f"{one.objective} {one.evidence}" for one in card.fits.values())
    return Document(
        kind=Kind.POLICY,
        name=signed(card.name, signer),
        title=card.title,
        parts=parts,
        about=_lines(
            (card.summary, *card.suits, *fits, *(f"honours {one}" for one in card.honours))
        ),
        details=_lines((*tunables, *counters, *maps, *card.requires_kfuncs)),
        warnings=_lines((*card.fails, *(f"ignores {one}" for one in card.ignores))),
        policy=card.name,
        work=" ".join(card.fits),
        kernel=card.min_kernel,
        host=host,
    )


def of_primitive(one: Primitive) -> Document:
    """A primitive: the program that describes it and shows its use, and its header."""
    return Document(
        kind=Kind.PRIMITIVE,
        name=one.name,
        title=one.title,
        parts={Part.TEXT: one.example, Part.SOURCE: one.header},
        about=_lines((one.summary, one.use)),
        details=_lines((one.needs, *dict.fromkeys(_CALLED.findall(one.example)))),
        warnings=one.not_for,
    )


def of_outcome(one: Outcome, signer: str = "") -> Document:
    """What a deployment has taught, in words."""
    workload = cleaned(one.workload, TITLE_LIMIT)
    told = _effect(one)
    parameters = ", ".join(f"{name} = {value}" for name, value in one.parameters.items())
    text = _lines(
        (
            f"{one.policy} for {workload}: {told}",
            f"work: {one.work}, objective: {one.objective}",
            f"parameters: {parameters or 'the defaults'}",
            f"kernel {one.kernel_release}, machine {one.host or 'unknown'}: {one.topology}",
            f"object: {one.object_sha256}",
            f"reason: {cleaned(one.reason, 1000)}" if one.reason else "",
        )
    )
    return Document(
        kind=Kind.OUTCOME,
        name=signed(str(one.deployment), signer),
        title=f"{one.policy} for {workload}: {told}"[:TITLE_LIMIT],
        parts={Part.TEXT: text},
        about=f"{one.objective} {one.metric}",
        details=_lines((cleaned(one.reason, 1000), parameters, one.topology)),
        policy=one.policy,
        workload=workload,
        work=one.work,
        kernel=one.kernel_release,
        host=one.host,
    )


def _effect(one: Outcome) -> str:
    """What came of it, with the words that people ask by."""
    match one.kind:
        case OutcomeKind.FAILURE:
            return "harm, it failed"
        case OutcomeKind.HARMLESS:
            return "no harm while it ran"
    verdict = "better, a gain" if one.low > 0 else "worse, slower" if one.high < 0 else "no change"
    figures = f"{one.effect:+.0%} {one.metric} ({one.low:+.0%} to {one.high:+.0%})"
    return f"{figures}, {verdict}, in {one.pairs} pairs"


def of_antipattern(one: Antipattern, name: str, signer: str = "", host: str = "") -> Document:
    """What failed, and why."""
    workload = cleaned(one.workload, TITLE_LIMIT)
    where = f"for {workload}" if workload else "for every workload"
    told = {
        Harm.VERIFIER: "did not pass its verification",
        Harm.QUARANTINE: f"is in quarantine {where}",
        Harm.FAILURE: f"did harm {where}",
    }
    reason = cleaned(one.reason, 1000)
    text = _lines(
        (
            f"{one.policy} {told[one.harm]}: {reason}",
            *one.words,
            f"kernel {one.kernel_release}" if one.kernel_release else "",
            f"object: {one.object_sha256}" if one.object_sha256 else "",
        )
    )
    return Document(
        kind=Kind.ANTIPATTERN,
        name=signed(name, signer),
        title=f"{one.policy}: {reason}"[:TITLE_LIMIT],
        parts={Part.TEXT: text},
        about=_lines((told[one.harm], *one.words)),
        policy=one.policy,
        workload=workload,
        kernel=one.kernel_release,
        host=host,
    )


def antipattern_name(one: Antipattern) -> str:
    """The name of an antipattern that has no number."""
    about = (one.object_sha256 or f"{round(one.at)}")[:DIGEST_SHOWN]
    return f"{one.harm}-{one.policy}-{about}"


def of_quarantine(one: Quarantine) -> Antipattern:
    """A quarantine as an antipattern."""
    return Antipattern(
        harm=Harm.QUARANTINE,
        at=one.since,
        policy=one.policy,
        object_sha256=one.object_sha256,
        kernel_release=one.kernel_release,
        workload=one.workload_id,
        reason=one.reason,
    )


def of_failure(one: Outcome) -> Antipattern:
    """An outcome that was harm as an antipattern."""
    return Antipattern(
        harm=Harm.FAILURE,
        at=one.at,
        policy=one.policy,
        object_sha256=one.object_sha256,
        kernel_release=one.kernel_release,
        workload=one.workload,
        reason=one.reason,
    )


def of_report(report: Report) -> Antipattern:
    """The report on a policy that was refused as an antipattern."""
    findings = (one for stage in report.stages for one in stage.findings)
    told = (f"{one.rule}: {one.message}; {one.mend}".rstrip("; ") for one in findings)
    failed = (one for stage in report.stages for one in stage.checks if not one.passed)
    checks = (f"{one.name}: {one.message}" for one in failed)
    return Antipattern(
        harm=Harm.VERIFIER,
        at=float(report.checked_at),
        policy=report.policy,
        object_sha256=report.object_sha256,
        kernel_release=report.kernel_release,
        workload="",
        reason=cleaned(report.reason, REASON_LIMIT),
        words=words_of((*told, *checks)),
    )


def of_note(one: Note, signer: str = "", host: str = "") -> Document:
    """A note; its first line is its title."""
    about = f"{one.kind} {one.name}".strip()
    subject = f"on {about}\n\n" if about else ""
    return Document(
        kind=Kind.NOTE,
        name=signed(str(one.id), signer),
        title=one.text.strip().partition("\n")[0][:TITLE_LIMIT],
        parts={Part.TEXT: f"{subject}{one.text}"},
        about=one.text,
        policy=one.name if one.kind == Kind.POLICY else "",
        workload=one.name if one.kind == "workload" else "",
        details=one.name,
        host=host,
    )


def _lines(texts: Iterable[str]) -> str:
    return "\n".join(one for one in texts if one)
