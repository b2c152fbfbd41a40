# SPDX-License-Identifier: GPL-2.0-or-later
"""Verdicts on a package's policies, reached before any machine with the package is booted.

In a lab machine the verifier's own micro-VM would be an emulator inside an emulator, which takes
minutes. Here the package's verifier runs in the build root, with the same kernel; a machine that is
given its verdicts signs its tokens without another trial.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from lab import roots, vmlinux
from lab.errors import BuildFailed
from lab.kernels import Kernel
from lab.place import REPO, SCRIPTS, Lab, digest, locked, say, step

LIB = "/tmp/package/usr/lib"
SCRIPT = f"""
set -e
mkdir /tmp/state
ln -s /verdicts /tmp/state/verdicts
dpkg-deb -x /tmp/deb /tmp/package
export PYTHONPATH={LIB}/python3/dist-packages PYTHONDONTWRITEBYTECODE=1
python3 -m schedcpd.verify --state /tmp/state --schedulers {LIB}/schedcp/schedulers \\
    --trial {LIB}/schedcp/schedcp-trial --sys /tmp/sys --kernel /tmp/vmlinuz --release "$1"
[ ! -d /tmp/sources ] || exec python3 /tmp/scripts/verify-sources.py /tmp/sources {LIB}/schedcp \\
    /tmp/state /tmp/sys /tmp/vmlinuz "$1"
"""
# What the tests enrol; the machine has to compile it, and then finds the verdict on it.
SOURCES = REPO / "tests" / "vm" / "enrolled"


def sources_key() -> str:
    """A hash of the sources that get a verdict beside the package's policies."""
    return digest(*(path.read_bytes() for path in sorted(SOURCES.iterdir())))


def get(lab: Lab, deb: Path, kernel: Kernel) -> Path:
    """The folder with the verdicts for one kernel, those of this package among them."""
    with step(f"verdicts for kernel {kernel.version}"):
        for policy, verdict in verify(lab, deb, kernel, {SOURCES: "/tmp/sources"}).items():
            say(f"{policy}: {verdict}")
    return folder_of(lab, kernel)


def folder_of(lab: Lab, kernel: Kernel) -> Path:
    """Where the verdicts for one kernel are kept."""
    folder = lab.dir / "verdicts" / kernel.version
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def verify(
    lab: Lab, deb: Path, kernel: Kernel, more: Mapping[str | Path, str] | None = None
) -> dict[str, str]:
    """Run the package's verifier and return what it says of each policy.

    A verdict that is known already is not reached again. Raises BuildFailed.
    """
    with (
        locked(lab.dir / "verdicts" / "lock", "another verification"),
        tempfile.TemporaryDirectory(dir=lab.dir) as sys,
    ):
        binds: dict[str | Path, str] = {
            deb.absolute(): "/tmp/deb",
            kernel.vmlinuz: "/tmp/vmlinuz",
            folder_of(lab, kernel): "/verdicts",
            vmlinux.write_sys(kernel.vmlinuz, Path(sys)): "/tmp/sys",
            SCRIPTS: "/tmp/scripts",
            **(more or {}),
        }
        argv = ["sh", "-c", SCRIPT, "verify", kernel.version]
        done = roots.run_in_root(argv, lab=lab, binds=binds, capture=True)
    if done.returncode != 0:
        raise BuildFailed(f"the verifier could not work: {done.stdout}{done.stderr.strip()}")
    return dict(line.split(": ", 1) for line in done.stdout.splitlines())
