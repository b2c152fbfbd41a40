# SPDX-License-Identifier: GPL-2.0-or-later
"""Turns reports into tokens, and takes tokens away that no longer hold."""

from __future__ import annotations

from pathlib import Path

from schedcpd import token
from schedcpd.keys import write_atomic
from schedcpd.model import Card, Report
from schedcpd.reports import encode_report
from schedcpd.token import Machine, Token

SUFFIX = ".token"
REPORT_SUFFIX = ".report.json"


def publish_refusal(folder: Path, report: Report) -> None:
    """Write the report of a policy that gets no token, and remove the one it has."""
    remove(folder, report.policy)
    write_atomic(_report_path(folder, report.policy), _document(report))


def publish(
    folder: Path, report: Report, card: Card, machine: Machine, private_key: bytes, now: int
) -> None:
    """Write the report of a policy that passed, and its token."""
    if not report.passed:
        raise ValueError(f"{report.policy} did not pass")
    document = _document(report)
    statement = Token(
        policy=report.policy,
        object_sha256=report.object_sha256,
        card_sha256=report.card_sha256,
        machine=machine,
        report_sha256=token.sha256(document),
        parameters={one.name: (one.minimum, one.maximum) for one in card.tunables},
        issued_at=now,
        expires_at=now + token.LIFETIME_S,
    )
    write_atomic(_report_path(folder, report.policy), document)
    write_atomic(folder / f"{report.policy}{SUFFIX}", token.sign(statement, private_key))


def remove(folder: Path, policy: str) -> None:
    """Remove the token of a policy, if it has one."""
    (folder / f"{policy}{SUFFIX}").unlink(missing_ok=True)


def forget(folder: Path, policy: str) -> None:
    """Remove the token and the report of a policy, as if it had never been verified."""
    remove(folder, policy)
    _report_path(folder, policy).unlink(missing_ok=True)


def remove_others(folder: Path, names: tuple[str, ...]) -> None:
    """Remove the tokens and reports of policies that are not installed any more."""
    for path in folder.iterdir():
        for suffix in (SUFFIX, REPORT_SUFFIX):
            if path.name.endswith(suffix) and path.name.removesuffix(suffix) not in names:
                path.unlink(missing_ok=True)


def _report_path(folder: Path, policy: str) -> Path:
    return folder / f"{policy}{REPORT_SUFFIX}"


def _document(report: Report) -> bytes:
    return token.canonical(encode_report(report))
