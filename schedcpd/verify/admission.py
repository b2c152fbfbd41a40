# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a policy may be loaded on this machine, as far as its files and this kernel tell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from schedcpd.errors import CardError
from schedcpd.kernel import objects
from schedcpd.kernel.btf import Btf, uncallable
from schedcpd.model import Card
from schedcpd.repository.policies import PolicyStore
from schedcpd.token import sha256

SUMS_LINE = re.compile(r"([0-9a-f]{64}) [ *](?:\./)?([A-Za-z0-9_./-]{1,200})")
SUMS_LIMIT = 1 << 20


class RefusedError(Exception):
    """The policy gets no token; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the check of one policy found; ``reason`` is empty when it is admitted."""

    policy: str
    reason: str = ""
    card: Card | None = None
    object_sha256: str = ""
    card_sha256: str = ""
    kfuncs: Mapping[str, str] = field(default_factory=dict)  # name → "" or why it is no use


def parse_sums(text: str) -> dict[str, str]:
    """The contents of SHA256SUMS as {path: digest}; ValueError names a line that is none."""
    sums = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not (match := SUMS_LINE.fullmatch(line)):
            raise ValueError(f"SHA256SUMS:{number}: not a line of sha256sum")
        sums[match[2]] = match[1]
    return sums


def examine(store: PolicyStore, name: str, sums: Mapping[str, str], kernel: Btf) -> Verdict:
    """Check one installed policy; every failure ends in a verdict with a reason."""
    try:
        data, card_data = store.object_bytes(name), store.card_bytes(name)
    except CardError as exc:
        return Verdict(name, str(exc))
    digests = sha256(data), sha256(card_data)
    card, kfuncs, reason = None, {}, ""
    try:
        _check_sums(name, digests, sums)
        card = store.parse(name, card_data)
        about = objects.read_object(data)
        about.check(card)
        kfuncs = _check_kfuncs(card, about, kernel)
        reason = "; ".join(f"{kfunc}: {why}" for kfunc, why in kfuncs.items() if why)
    except (RefusedError, CardError, objects.ObjectError) as exc:
        reason = str(exc)
    return Verdict(name, reason, card, *digests, kfuncs)


def _check_sums(name: str, digests: tuple[str, str], sums: Mapping[str, str]) -> None:
    files = (f"{name}/{name}.bpf.o", f"{name}/{name}.toml")
    for file, digest in zip(files, digests, strict=True):
        if file not in sums:
            raise RefusedError(f"{file} is not in SHA256SUMS: it is not part of the package")
        if sums[file] != digest:
            raise RefusedError(f"{file} is not as packaged: reinstall the package")


def _check_kfuncs(card: Card, about: objects.PolicyObject, kernel: Btf) -> dict[str, str]:
    names = sorted({*card.requires_kfuncs, *about.strong_kfuncs})
    reasons = uncallable(kernel, names)
    return {name: reasons.get(name, "") for name in names}
