# SPDX-License-Identifier: GPL-2.0-or-later
"""Verifies every installed policy on this machine and signs a token for each that passes.

Run by schedcp-verify.service as the user schedcp-verify: ``python3 -I -m schedcpd.verify``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from schedcpd import keys
from schedcpd.errors import NoSuchPolicy, SchedcpError
from schedcpd.model import Report
from schedcpd.verify import tokens
from schedcpd.verify.host import Places, read_host
from schedcpd.verify.office import Office
from schedcpd.verify.pipeline import open_verifier


def verify_all(places: Places, release: str) -> list[Report]:
    """Verify all policies and publish reports and tokens, each as soon as it is known.

    OSError and ValueError mean that the verifier itself cannot work; no token is left then.
    """
    folder = places.state / "tokens"
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    try:
        host = read_host(places, release)
        office = Office(places, host, open_verifier(places, host))
        with keys.locked(places.state):
            # The daemon wants to see at once that the verifier works here.
            keys.signing_key(places.state)
            tokens.remove_others(folder, office.names())
        reports = []
        for name in office.names():
            # Somebody may withdraw it meanwhile; the others are to have their tokens all the same.
            with contextlib.suppress(NoSuchPolicy):
                reports.append(office.verify_installed(name))
        return reports
    except (OSError, ValueError):
        tokens.remove_others(folder, ())
        raise


def places_of(argv: Sequence[str] | None) -> tuple[Places, str]:
    """The places and the kernel release that the command line asks for."""
    default = Places()
    parser = argparse.ArgumentParser(prog="schedcp-verify", description=__doc__)

    def path(name: str, value: Path | None, text: str) -> None:
        parser.add_argument(name, type=Path, default=value, metavar="PATH", help=text)

    path("--schedulers", default.schedulers, "the policies' folder")
    path("--state", default.state, "the folder of keys and tokens")
    path("--trial", default.trial, "the program of the trial run")
    path("--sys", default.sys, "what tells of the kernel, instead of /sys")
    path("--kernel", None, "the image of the kernel, instead of the running one's")
    parser.add_argument("--release", default=os.uname().release, help="what uname -r says there")
    found = parser.parse_args(argv)
    places = Places(
        schedulers=found.schedulers,
        state=found.state,
        trial=found.trial,
        sys=found.sys,
        kernel=found.kernel,
    )
    return places, found.release


def main(argv: Sequence[str] | None = None) -> int:
    """Verify and say what came of it, one line a policy; 1 when the verifier could not work."""
    places, release = places_of(argv)
    try:
        reports = verify_all(places, release)
    except (OSError, ValueError, SchedcpError) as exc:
        sys.stderr.write(f"schedcp-verify: {exc}\n")
        return 1
    for report in reports:
        outcome = "token signed" if report.passed else f"no token: {report.reason}"
        known = ", verdict known" if report.cached else ""
        sys.stdout.write(f"{report.policy}: {outcome}{known}\n")
    if not reports:
        sys.stdout.write(f"no policies in {places.schedulers}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
