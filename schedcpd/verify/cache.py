# SPDX-License-Identifier: GPL-2.0-or-later
"""Verdicts by the digest of all that decides them, so that nothing is tried twice in vain."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from schedcpd import token
from schedcpd.fields import Fields
from schedcpd.keys import write_atomic
from schedcpd.model import Report, StageOutcome, VerifyStage
from schedcpd.reports import decode_report, encode_report
from schedcpd.repository.files import read_bounded

SIZE_LIMIT = 4 << 20
COUNT_LIMIT = 256
# A busy machine can make a sound policy look bad; who tries often must not get lucky either.
REFUSED_LIFETIME_S = 24 * 3600
# What has a say in a verdict, below the package's folder.
DECIDING = (
    *("verify/analysis", "verify/pipeline.py", "verify/trial.py"),
    *("verify/microvm.py", "verify/initramfs.py"),
)
READERS = (
    *("kernel/btf.py", "kernel/btf_ext.py", "kernel/elf.py", "kernel/objects.py"),
    "repository/cards.py",
)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a verdict is about, as digests."""

    object_sha256: str
    card_sha256: str
    kernel_build_id: str
    method_sha256: str  # of the analysis and the trial

    @property
    def key(self) -> str:
        """The name of the verdict's file."""
        parts = (self.object_sha256, self.card_sha256, self.kernel_build_id, self.method_sha256)
        return token.sha256("\n".join(parts).encode())


def method_digest(trial: bytes, package: Path) -> str:
    """The digest of the trial's program and of the code that judges, in the folder ``package``."""
    parts = [token.sha256(trial)]
    for name in (*DECIDING, *READERS):
        place = package / name
        files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
        parts += [f"{one.relative_to(package)} {token.sha256(one.read_bytes())}" for one in files]
    return token.sha256("\n".join(parts).encode())


class Verdicts:
    """The verdicts kept in ``folder``, one file each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def recall(self, subject: Subject, now: int) -> Report | None:
        """The verdict on exactly this subject; None when there is none that still counts."""
        try:
            data = read_bounded(self._path(subject), SIZE_LIMIT)
            report = decode_report(Fields(json.loads(data)))
        except (OSError, ValueError, RecursionError):
            # Not there, or damaged: the policy is tried again.
            return None
        same = (report.object_sha256, report.card_sha256, report.kernel_build_id) == (
            subject.object_sha256,
            subject.card_sha256,
            subject.kernel_build_id,
        )
        fresh = report.passed or 0 <= now - report.checked_at < REFUSED_LIFETIME_S
        return replace(report, cached=True) if same and fresh else None

    def remember(self, subject: Subject, report: Report) -> None:
        """Keep a verdict; one that was not reached is none.

        What the analysis alone refused is refused again in a second, and would only push out, as
        fast as somebody can send sources, what took a machine to find.
        """
        outcomes = {stage.stage: stage.outcome for stage in report.stages}
        tried = outcomes.get(VerifyStage.KERNEL) in (StageOutcome.PASSED, StageOutcome.FAILED)
        if not tried or StageOutcome.BROKEN in outcomes.values():
            return
        self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_atomic(self._path(subject), token.canonical(encode_report(report)))
        self._prune()

    def _path(self, subject: Subject) -> Path:
        return self._folder / f"{subject.key}.json"

    def _prune(self) -> None:
        aged = []
        for path in self._folder.glob("*.json"):
            try:
                aged.append((path.stat().st_mtime_ns, path))
            except FileNotFoundError:
                continue  # another verifier has removed it
        for _, path in sorted(aged, reverse=True)[COUNT_LIMIT:]:
            path.unlink(missing_ok=True)
