# SPDX-License-Identifier: GPL-2.0-or-later
"""Have the package's verifier reach a verdict on every source in a folder, and keep it in a state.

Usage: verify-sources.py SOURCES LIB STATE SYS KERNEL RELEASE
"""

from __future__ import annotations

import sys
from pathlib import Path

from schedcpd.verify.compile import Sandbox
from schedcpd.verify.host import Places, read_host
from schedcpd.verify.office import Office
from schedcpd.verify.pipeline import open_verifier


def main() -> int:
    """Print a line for each; 1 when one did not pass."""
    sources, lib, state, sys_, kernel = (Path(word) for word in sys.argv[1:6])
    include = lib / "include"
    places = Places(
        schedulers=lib / "schedulers",
        state=state,
        trial=lib / "schedcp-trial",
        sandbox=Sandbox(include, include / "system/vmlinux.h", include / "system/bpf"),
        sys=sys_,
        kernel=kernel,
    )
    host = read_host(places, sys.argv[6])
    office = Office(places, host, open_verifier(places, host))
    failed = 0
    for source in sorted(sources.glob("*.bpf.c")):
        name = source.name.removesuffix(".bpf.c")
        card = source.with_name(f"{name}.toml").read_bytes()
        report = office.verify_source(name, card, source.read_bytes(), enroll=False)
        print(f"{name}: {'passed' if report.passed else report.reason}")
        failed += not report.passed
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
