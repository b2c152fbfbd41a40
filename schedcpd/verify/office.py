# SPDX-License-Identifier: GPL-2.0-or-later
"""What the verifier does with its verdicts: tokens, enrolment, revocation."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from schedcpd import keys
from schedcpd.errors import CardError
from schedcpd.model import Finding, Report, Severity, StageOutcome, StageReport, VerifyStage
from schedcpd.reports import Progress
from schedcpd.repository import cards
from schedcpd.repository.policies import PolicyStore
from schedcpd.token import sha256
from schedcpd.verify import admission, enrolment, tokens
from schedcpd.verify.admission import RefusedError
from schedcpd.verify.enrolment import Enrolled
from schedcpd.verify.host import Host, Places
from schedcpd.verify.pipeline import OnProgress, Verified, Verifier, ignore

RULE = "ADMISSION"


class Office:
    """Verifies for one machine and keeps the verifier's state."""

    def __init__(
        self,
        places: Places,
        host: Host,
        verifier: Verifier,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._places = places
        self._host = host
        self._verifier = verifier
        self._clock = clock
        self._store = PolicyStore(places.schedulers, places.enrolled)
        self._packaged = PolicyStore(places.schedulers)

    @property
    def _tokens(self) -> Path:
        return self._places.state / "tokens"

    def names(self) -> tuple[str, ...]:
        """The policies that are installed: packaged ones and enrolled ones."""
        return self._store.names()

    def verify_installed(self, name: str, progress: OnProgress = ignore) -> Report:
        """Verify an installed policy and publish what came of it; NoSuchPolicy.

        OSError and ValueError mean that the verifier itself cannot work.
        """
        try:
            data, card = self._store.object_bytes(name), self._store.card_bytes(name)
        except CardError as exc:
            return self._publish(self._refusal(name, b"", str(exc), progress), b"")
        if name in self._packaged.names():
            try:
                admission.check_packaged(
                    name, data, card, admission.read_sums(self._places.schedulers)
                )
            except RefusedError as exc:
                refused = self._refusal(name, card, str(exc), progress)
                return self._publish(replace(refused, object_sha256=sha256(data)), card)
        report = self._verifier.verify(name, card, None, data, progress)
        return self._publish(report, card)

    def verify_source(
        self, name: str, card: bytes, source: bytes, enroll: bool, progress: OnProgress = ignore
    ) -> Report:
        """Verify a policy that is not installed; with ``enroll`` install it when it passes.

        RefusedError when it must not be enrolled; OSError and ValueError as above.
        """
        if enroll and name in self._packaged.names():
            raise RefusedError(f"{name} is a policy of the package: give yours another name")
        verified = self._verifier.examine(name, card, source, None, progress)
        if enroll and verified.report.passed:
            return self._enroll(verified, card, source)
        return verified.report

    def _enroll(self, verified: Verified, card: bytes, source: bytes) -> Report:
        report, data = verified.report, verified.data
        if data is None:
            raise ValueError("a policy that passed has an object")
        with keys.locked(self._places.state):
            digest = report.object_sha256
            try:
                # It may not be installed, so the digest is all there is to name it by.
                admission.check_not_revoked(digest, self._places.state, digest)
            except RefusedError as exc:
                return replace(report, stages=_refused(str(exc)))
            policy = Enrolled(report.policy, data, card, source)
            enrolment.enroll(self._places.enrolled, policy)
        return self._publish(report, card)

    def _publish(self, report: Report, card_data: bytes) -> Report:
        """Sign a token, or take it away; the report as it was published."""
        with keys.locked(self._places.state):
            self._tokens.mkdir(mode=0o755, exist_ok=True)
            try:
                admission.check_not_revoked(report.object_sha256, self._places.state, report.policy)
            except RefusedError as exc:
                report = replace(report, stages=_refused(str(exc)))
            if not report.passed:
                tokens.publish_refusal(self._tokens, report)
                return report
            card = cards.parse_card(card_data, f"{report.policy}.toml")
            key = keys.signing_key(self._places.state)
            now = int(self._clock())
            tokens.publish(self._tokens, report, card, self._host.machine, key, now)
        return report

    def _refusal(self, name: str, card: bytes, reason: str, progress: OnProgress) -> Report:
        stages = _refused(reason)
        for stage in stages:
            progress(Progress(stage.stage, report=stage))
        machine, now = self._host.machine, int(self._clock())
        return Report(
            name, "", sha256(card), machine.kernel_release, self._host.build_id, "", now, stages
        )


def _refused(reason: str) -> tuple[StageReport, ...]:
    """The stages of a policy that is not worth a verification."""
    finding = Finding(RULE, Severity.REJECT, reason)
    return (StageReport(VerifyStage.STATIC, StageOutcome.FAILED, 0.0, reason, (finding,)),)


def withdraw(places: Places, name: str) -> None:
    """Remove an enrolled policy, its token and its report; RefusedError when there is none."""
    if not cards.POLICY_NAME.fullmatch(name):
        raise RefusedError("no policy of that name is enrolled")
    with keys.locked(places.state):
        try:
            enrolment.withdraw(places.enrolled, name)
        except FileNotFoundError as exc:
            raise RefusedError(f"no policy {name} is enrolled") from exc
        names = PolicyStore(places.schedulers, places.enrolled).names()
        tokens.remove_others(places.state / "tokens", names)


def revoke(places: Places, object_sha256: str, release: str, now: float) -> None:
    """Sign no token for this object from now on, and remove the tokens it has; RefusedError."""
    folder = places.state / "tokens"
    with keys.locked(places.state):
        admission.revoke(places.state, object_sha256)
        folder.mkdir(mode=0o755, exist_ok=True)
        for name, card in _installed_as(places, object_sha256):
            stages = _refused(admission.revoked(name))
            report = Report(name, object_sha256, sha256(card), release, "", "", int(now), stages)
            tokens.publish_refusal(folder, report)


def reinstate(places: Places, object_sha256: str) -> None:
    """Undo ``revoke``: the next verification may sign a token again; RefusedError."""
    with keys.locked(places.state):
        if admission.reinstate(places.state, object_sha256):
            for name, _ in _installed_as(places, object_sha256):
                tokens.forget(places.state / "tokens", name)


def _installed_as(places: Places, object_sha256: str) -> Iterator[tuple[str, bytes]]:
    """The names and cards of the policies with this object."""
    store = PolicyStore(places.schedulers, places.enrolled)
    for name in store.names():
        # What cannot be read cannot be loaded either, and must not protect the others.
        with contextlib.suppress(CardError):
            if store.object_sha256(name) == object_sha256:
                yield name, store.card_bytes(name)
