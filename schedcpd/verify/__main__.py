# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks every installed policy on this machine and signs a token for each that may be loaded.

Run by schedcp-verify.service as the user schedcp-verify: ``python3 -I -m schedcpd.verify``.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from schedcpd import token
from schedcpd.kernel.btf import Btf, BtfError
from schedcpd.kernel.sched_ext import unusable_reason
from schedcpd.kernel.topology import read_topology
from schedcpd.repository.files import read_bounded
from schedcpd.repository.policies import PolicyStore
from schedcpd.token import Machine
from schedcpd.verify import admission, keys, tokens
from schedcpd.verify.admission import Verdict

SCHEDULERS = Path("/usr/lib/schedcp/schedulers")
STATE = Path("/var/lib/schedcp-verify")
BTF_LIMIT = 64 << 20


@dataclass(frozen=True, slots=True)
class Places:
    """Where the policies, the verifier's own files and the kernel's are."""

    schedulers: Path = SCHEDULERS
    state: Path = STATE
    sys: Path = Path("/sys")
    cmdline: Path = Path("/proc/cmdline")


def verify(places: Places, release: str, now: int) -> list[Verdict]:
    """Check all policies, publish reports and tokens, and return the verdicts.

    OSError and ValueError mean that the verifier itself cannot work; no token is left then.
    """
    folder = places.state / "tokens"
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    store = PolicyStore(places.schedulers)
    names = store.names()
    tokens.remove_others(folder, names)
    try:
        private_key = keys.signing_key(places.state)
        machine, verdicts = _examine_all(places, store, release)
    except (OSError, ValueError):
        tokens.remove_others(folder, ())
        raise
    for verdict in verdicts:
        tokens.publish(folder, verdict, machine, private_key, now)
    return verdicts


def _examine_all(places: Places, store: PolicyStore, release: str) -> tuple[Machine, list[Verdict]]:
    topology = read_topology(places.sys)
    reason = unusable_reason(places.sys / "kernel/sched_ext", places.sys, places.cmdline)
    if reason:
        machine = token.read_machine(release, b"", topology)
        return machine, [Verdict(name, reason) for name in store.names()]
    btf = read_bounded(places.sys / "kernel/btf/vmlinux", BTF_LIMIT)
    try:
        kernel = Btf(btf)
        sums = _sums(places.schedulers)
    except BtfError as exc:
        raise ValueError(f"this kernel's type information: {exc}") from exc
    machine = token.read_machine(release, btf, topology)
    return machine, [admission.examine(store, name, sums, kernel) for name in store.names()]


def _sums(schedulers: Path) -> dict[str, str]:
    try:
        text = read_bounded(schedulers / "SHA256SUMS", admission.SUMS_LIMIT)
    except FileNotFoundError:
        # Then no policy is part of the package, and each is refused for that.
        return {}
    return admission.parse_sums(text.decode("utf-8", "replace"))


def main(argv: Sequence[str] | None = None) -> int:
    """Verify and say what came of it, one line a policy; 1 when the verifier could not work."""
    parser = argparse.ArgumentParser(prog="schedcp-verify", description=__doc__)
    parser.add_argument("--schedulers", type=Path, default=SCHEDULERS, help="the policies' folder")
    parser.add_argument("--state", type=Path, default=STATE, help="the folder of keys and tokens")
    arguments = parser.parse_args(argv)
    places = Places(arguments.schedulers, arguments.state)
    try:
        verdicts = verify(places, os.uname().release, int(time.time()))
    except (OSError, ValueError) as exc:
        sys.stderr.write(f"schedcp-verify: {exc}\n")
        return 1
    for verdict in verdicts:
        outcome = f"no token: {verdict.reason}" if verdict.reason else "token signed"
        sys.stdout.write(f"{verdict.policy}: {outcome}\n")
    if not verdicts:
        sys.stdout.write(f"no policies in {places.schedulers}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
