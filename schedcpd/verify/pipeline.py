# SPDX-License-Identifier: GPL-2.0-or-later
"""The four stages in their order: compile, static analysis, the kernel's verifier, the trial run.

A stage that fails ends the verification; those after it are skipped.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import schedcpd
from schedcpd.errors import CardError
from schedcpd.kernel.btf import Btf, BtfError
from schedcpd.model import (
    Card,
    Check,
    Finding,
    Report,
    Severity,
    StageOutcome,
    StageReport,
    VerifyStage,
)
from schedcpd.reports import Progress
from schedcpd.repository import cards
from schedcpd.repository.files import read_bounded
from schedcpd.token import sha256
from schedcpd.verify import cache
from schedcpd.verify.analysis import analyse
from schedcpd.verify.cache import Subject, Verdicts
from schedcpd.verify.compile import Compiled, CompilerMissing, compile_policy
from schedcpd.verify.host import Host, Places
from schedcpd.verify.microvm import MicroVm, accelerator
from schedcpd.verify.trial import TrialResult, run_trial

TRIAL_LIMIT = 64 << 20
NAME_RULE = "SCX007"
TIMEOUT_RULE = "SCX008"
CARD_RULE = "CARD"

OnProgress = Callable[[Progress], None]
OnCheck = Callable[[VerifyStage, Check], None]


@dataclass(frozen=True, slots=True)
class Tools:
    """What does the work of each stage."""

    compile: Callable[[str, bytes], Compiled]
    analyse: Callable[[bytes, Card], tuple[Finding, ...]]
    try_out: Callable[[bytes, Card, OnCheck], TrialResult]


def ignore(_progress: Progress) -> None:
    """For those who only want the verdict."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A verdict, and the object it is about: None when there is none."""

    report: Report
    data: bytes | None


class Unready(Exception):
    """A stage cannot do its work on this machine; the message says why."""


class _StageEnded(Exception):
    """A stage that was not passed, so that those after it are skipped."""


class _Run:
    """One verification: what has been found so far, told as it is found."""

    def __init__(self, progress: OnProgress) -> None:
        self.progress = progress
        self.stages: dict[VerifyStage, StageReport] = {}
        self._begun: set[VerifyStage] = set()

    def begin(self, stage: VerifyStage) -> None:
        """Tell that a stage begins, once."""
        if stage not in self._begun:
            self._begun.add(stage)
            self.progress(Progress(stage))

    def check(self, stage: VerifyStage, check: Check) -> None:
        """Tell a check that is done; a stage begins with its first one."""
        self.begin(stage)
        self.progress(Progress(stage, check=check))

    def end(self, report: StageReport) -> None:
        """Keep and tell what a stage found."""
        self.stages[report.stage] = report
        self.progress(Progress(report.stage, report=report))

    def stop(self, report: StageReport) -> NoReturn:
        """The same for a stage that was not passed; raises _StageEnded."""
        self.end(report)
        raise _StageEnded

    def all_stages(self) -> tuple[StageReport, ...]:
        """The reports of all stages; one that was not reached is skipped."""
        return tuple(
            self.stages.get(stage, StageReport(stage, StageOutcome.SKIPPED))
            for stage in VerifyStage
        )


class Verifier:
    """Verifies policies for one machine; ``verdicts`` is None where nothing is to be remembered."""

    def __init__(
        self,
        host: Host,
        tools: Tools,
        verdicts: Verdicts | None,
        method_sha256: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._host = host
        self._tools = tools
        self._verdicts = verdicts
        self._method = method_sha256
        self._clock = clock

    def verify(
        self,
        name: str,
        card_data: bytes,
        source: bytes | None,
        data: bytes | None,
        progress: OnProgress = ignore,
    ) -> Report:
        """The verdict on a policy: its ``source``, or the object ``data`` where that is None."""
        return self.examine(name, card_data, source, data, progress).report

    def examine(
        self,
        name: str,
        card_data: bytes,
        source: bytes | None,
        data: bytes | None,
        progress: OnProgress = ignore,
    ) -> Verified:
        """As ``verify``, with the object that the verdict is about."""
        run = _Run(progress)
        found = Report(
            policy=name,
            object_sha256="",
            card_sha256=sha256(card_data),
            kernel_release=self._host.machine.kernel_release,
            kernel_build_id=self._host.build_id,
            accelerator="",
            checked_at=int(self._clock()),
            stages=(),
        )
        try:
            card = self._card(run, name, card_data)
            data = self._compile(run, name, source, data)
            found = replace(found, object_sha256=sha256(data))
            if known := self._recall(run, found):
                return Verified(known, data)
            self._analyse(run, data, card)
            accelerator = self._try_out(run, data, card)
            found = replace(found, accelerator=accelerator)
        except _StageEnded:
            pass
        report = replace(found, stages=run.all_stages())
        if self._verdicts and data is not None and report.object_sha256:
            self._verdicts.remember(self._subject(report), report)
        return Verified(report, data if report.object_sha256 else None)

    def _subject(self, report: Report) -> Subject:
        return Subject(
            report.object_sha256, report.card_sha256, report.kernel_build_id, self._method
        )

    def _card(self, run: _Run, name: str, card_data: bytes) -> Card:
        stage = VerifyStage.STATIC
        if self._host.unusable:
            run.stop(StageReport(stage, StageOutcome.BROKEN, reason=self._host.unusable))
        if not cards.POLICY_NAME.fullmatch(name):
            run.stop(_refused(NAME_RULE, "scx_ and up to 11 of a-z, 0-9 and _ make a name", ""))
        file = f"{name}.toml"
        try:
            card = cards.parse_card(card_data, file)
        except CardError as exc:
            rule = TIMEOUT_RULE if exc.reason.startswith("timeout_ms") else CARD_RULE
            run.stop(_refused(rule, exc.reason, file))
        if card.name != name:
            run.stop(_refused(NAME_RULE, f"the card is that of {card.name}, not of {name}", file))
        return card

    def _compile(self, run: _Run, name: str, source: bytes | None, data: bytes | None) -> bytes:
        stage = VerifyStage.COMPILE
        if source is None:
            run.end(StageReport(stage, StageOutcome.SKIPPED))
            return data or b""
        run.begin(stage)
        try:
            compiled = self._tools.compile(name, source)
        except CompilerMissing as exc:
            run.stop(StageReport(stage, StageOutcome.BROKEN, reason=str(exc)))
        findings = compiled.findings
        if compiled.data is None:
            reason = _first_reason(findings)
            run.stop(StageReport(stage, StageOutcome.FAILED, compiled.seconds, reason, findings))
        run.end(StageReport(stage, StageOutcome.PASSED, compiled.seconds, "", findings))
        return compiled.data

    def _recall(self, run: _Run, found: Report) -> Report | None:
        if self._verdicts is None:
            return None
        known = self._verdicts.recall(self._subject(found), found.checked_at)
        if known is None:
            return None
        # Whether this object was compiled just now has nothing to do with the verdict on it.
        compiled = run.stages[VerifyStage.COMPILE]
        rest = tuple(one for one in known.stages if one.stage is not VerifyStage.COMPILE)
        for stage in rest:
            run.progress(Progress(stage.stage, report=stage))
        return replace(known, stages=(compiled, *rest))

    def _analyse(self, run: _Run, data: bytes, card: Card) -> None:
        stage = VerifyStage.STATIC
        run.begin(stage)
        started = time.monotonic()
        findings = self._tools.analyse(data, card)
        seconds = time.monotonic() - started
        if any(one.severity is Severity.REJECT for one in findings):
            reason = _first_reason(findings)
            run.stop(StageReport(stage, StageOutcome.FAILED, seconds, reason, findings))
        run.end(StageReport(stage, StageOutcome.PASSED, seconds, "", findings))

    def _try_out(self, run: _Run, data: bytes, card: Card) -> str:
        run.begin(VerifyStage.KERNEL)
        try:
            result = self._tools.try_out(data, card, run.check)
        except Unready as exc:
            run.stop(StageReport(VerifyStage.KERNEL, StageOutcome.BROKEN, reason=str(exc)))
        kernel, dynamic = result.kernel, result.dynamic
        heard = result.build_id or kernel.outcome is StageOutcome.PASSED
        if heard and result.build_id != self._host.build_id:
            # Whatever it did there says nothing of this kernel.
            reason = f"the micro-VM booted another kernel: {result.release} {result.build_id}"
            kernel = replace(kernel, outcome=StageOutcome.BROKEN, reason=reason)
        run.end(kernel)
        if kernel.outcome is StageOutcome.PASSED:
            run.begin(VerifyStage.DYNAMIC)
            run.end(dynamic)
        return result.accelerator


def _first_reason(findings: tuple[Finding, ...]) -> str:
    """The first certain complaint, with its place, as a sentence."""
    first = next((one for one in findings if one.severity is Severity.REJECT), None)
    if first is None:
        return "it was refused"
    place = f"{first.file}:{first.line}: " if first.line else ""
    return f"{place}{first.message} ({first.rule})"


def _refused(rule: str, message: str, file: str) -> StageReport:
    finding = Finding(rule, Severity.REJECT, message, file=file)
    reason = _first_reason((finding,))
    return StageReport(VerifyStage.STATIC, StageOutcome.FAILED, 0.0, reason, (finding,))


def open_verifier(places: Places, host: Host, *, remember: bool = True) -> Verifier:
    """The verifier of the machine ``host`` with the tools at ``places``; OSError."""
    trial = read_bounded(places.trial, TRIAL_LIMIT)

    @functools.cache
    def kernel() -> Btf:
        try:
            return Btf(host.btf)
        except BtfError as exc:
            raise ValueError(f"this kernel's type information: {exc}") from exc

    accelerate = functools.cache(accelerator)

    def try_out(data: bytes, card: Card, on_check: OnCheck) -> TrialResult:
        if host.image is None:
            release = host.machine.kernel_release
            raise Unready(f"the image of the running kernel {release} is not kept in /boot")
        qemu, bwrap = places.qemu, places.sandbox.bwrap
        for program, package in ((qemu, "qemu-system-x86"), (bwrap, "bubblewrap")):
            if not program.exists():
                raise Unready(f"{program} is missing: install {package}")
        vm = MicroVm(qemu, host.image, bwrap, accelerate(qemu, host.image, bwrap))
        return run_trial(vm, trial, data, card, on_check)

    tools = Tools(
        compile=lambda name, source: compile_policy(name, source, places.sandbox),
        analyse=lambda data, card: analyse(data, card, kernel()),
        try_out=try_out,
    )
    method = cache.method_digest(trial, Path(schedcpd.__file__).parent)
    verdicts = Verdicts(places.state / "verdicts") if remember else None
    return Verifier(host, tools, verdicts, method)
