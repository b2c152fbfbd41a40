# SPDX-License-Identifier: GPL-2.0-or-later
"""Verdicts on a package's policies, reached before any machine with the package is booted.

In a lab machine the verifier's own micro-VM would be an emulator inside an emulator, which takes
minutes. Here the package's verifier runs in the build root, with the same kernel; a machine that is
given its verdicts signs its tokens without another trial.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from lab import roots, vmlinux
from lab.errors import BuildFailed
from lab.kernels import Kernel
from lab.place import Lab, locked, say, step

LIB = "/tmp/package/usr/lib"
SCRIPT = f"""
set -e
mkdir /tmp/state
ln -s /verdicts /tmp/state/verdicts
dpkg-deb -x /tmp/deb /tmp/package
export PYTHONPATH={LIB}/python3/dist-packages PYTHONDONTWRITEBYTECODE=1
exec python3 -m schedcpd.verify --state /tmp/state --schedulers {LIB}/schedcp/schedulers \\
    --trial {LIB}/schedcp/schedcp-trial --sys /tmp/sys --kernel /tmp/vmlinuz --release "$1"
"""


def get(lab: Lab, deb: Path, kernel: Kernel) -> Path:
    """The folder with the verdicts for one kernel, those of this package among them."""
    folder = lab.dir / "verdicts" / kernel.version
    folder.mkdir(parents=True, exist_ok=True)
    with (
        locked(lab.dir / "verdicts" / "lock", "another verification"),
        tempfile.TemporaryDirectory(dir=lab.dir) as sys,
        step(f"verdicts for kernel {kernel.version}"),
    ):
        verify(lab, deb, kernel, folder, vmlinux.write_sys(kernel.vmlinuz, Path(sys)))
    return folder


def verify(lab: Lab, deb: Path, kernel: Kernel, folder: Path, sys: Path) -> None:
    """Run the package's verifier; what is in the folder already is not tried again."""
    binds: dict[str | Path, str] = {
        deb.absolute(): "/tmp/deb",
        kernel.vmlinuz: "/tmp/vmlinuz",
        folder: "/verdicts",
        sys: "/tmp/sys",
    }
    argv = ["sh", "-c", SCRIPT, "verify", kernel.version]
    done = roots.run_in_root(argv, lab=lab, binds=binds, capture=True)
    if done.returncode != 0:
        raise BuildFailed(f"the verifier could not work: {done.stderr.strip()}")
    for line in done.stdout.splitlines():
        say(line)
