# SPDX-License-Identifier: GPL-2.0-or-later
"""Turns verdicts into reports and tokens, and takes tokens away that no longer hold."""

from __future__ import annotations

from pathlib import Path

from schedcpd import token
from schedcpd.token import Machine, Token
from schedcpd.verify.admission import Verdict
from schedcpd.verify.keys import write_atomic

SUFFIX = ".token"
REPORT_SUFFIX = ".report.json"


def report(verdict: Verdict, machine: Machine, now: int) -> bytes:
    """The report on one policy, as JSON."""
    return token.canonical(
        {
            "policy": verdict.policy,
            "admitted": not verdict.reason,
            "reason": verdict.reason,
            "object_sha256": verdict.object_sha256,
            "card_sha256": verdict.card_sha256,
            "kernel_release": machine.kernel_release,
            "btf_sha256": machine.btf_sha256,
            "kfuncs": {name: why or "callable" for name, why in verdict.kfuncs.items()},
            "checked_at": now,
        }
    )


def publish(folder: Path, verdict: Verdict, machine: Machine, private_key: bytes, now: int) -> None:
    """Write the report, and the token if the policy is admitted; else remove an old token."""
    about = report(verdict, machine, now)
    path = folder / f"{verdict.policy}{SUFFIX}"
    if verdict.reason or verdict.card is None:
        path.unlink(missing_ok=True)
        write_atomic(folder / f"{verdict.policy}{REPORT_SUFFIX}", about)
        return
    statement = Token(
        policy=verdict.policy,
        object_sha256=verdict.object_sha256,
        card_sha256=verdict.card_sha256,
        machine=machine,
        report_sha256=token.sha256(about),
        parameters={one.name: (one.minimum, one.maximum) for one in verdict.card.tunables},
        issued_at=now,
        expires_at=now + token.LIFETIME_S,
    )
    write_atomic(folder / f"{verdict.policy}{REPORT_SUFFIX}", about)
    write_atomic(path, token.sign(statement, private_key))


def remove_others(folder: Path, names: tuple[str, ...]) -> None:
    """Remove the tokens and reports of policies that are not installed any more."""
    for path in folder.iterdir():
        for suffix in (SUFFIX, REPORT_SUFFIX):
            if path.name.endswith(suffix) and path.name.removesuffix(suffix) not in names:
                path.unlink(missing_ok=True)
