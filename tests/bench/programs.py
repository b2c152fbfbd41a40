# SPDX-License-Identifier: GPL-2.0-or-later
"""What the bench brings into its machine: compiled programs, scripts, and a C project to build."""

from __future__ import annotations

import shutil
import urllib.request
from pathlib import Path

from lab import roots
from lab.errors import BuildFailed
from lab.machine import Machine
from lab.place import REPO, Lab, file_digest, step

WORKLOADS = Path(__file__).with_name("workloads")
GUEST_ROOT = "/usr/local/lib"  # the scripts are modules of the package bench.workloads there too
GUEST_FOLDER = f"{GUEST_ROOT}/bench/workloads"
# Debian's own source archive: it stays where it is for as long as trixie has this version.
PROJECT = "busybox-1.37.0.tar.bz2"
PROJECT_PATH = "pool/main/b/busybox/busybox_1.37.0.orig.tar.bz2"
PROJECT_SHA256 = "3311dff32e746499f4df0d5df04d7eb396382d7e108bb9250e7b519b837043a4"
FETCH_TIMEOUT_S = 120.0


def collect(lab: Lab, folder: Path) -> Path:
    """Compile the programs in the build root, beside them the scripts and the project; a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    argv = ("make", "-s", "-C", "/src/tests/bench/workloads", "OUT=/out")
    binds: dict[str | Path, str] = {REPO: "/src", folder: "/out"}
    built = roots.run_in_root(argv, lab=lab, binds=binds, capture=True)
    if built.returncode != 0:
        raise BuildFailed(f"the bench's programs could not be compiled: {built.stderr}")
    for path in (*WORKLOADS.glob("*.py"), *WORKLOADS.glob("*.awk")):
        shutil.copy(path, folder)
    shutil.copy(fetch_project(lab), folder / PROJECT)
    return folder


def fetch_project(lab: Lab) -> Path:
    """The project's source archive, fetched once; raises BuildFailed."""
    target = lab.dir / "sources" / PROJECT
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".partial")
        url = f"{lab.mirror}/{PROJECT_PATH}"
        with step(f"fetching {PROJECT_PATH}"):
            try:
                with urllib.request.urlopen(url, timeout=FETCH_TIMEOUT_S) as answer:
                    partial.write_bytes(answer.read())
            except OSError as exc:
                raise BuildFailed(f"{url} could not be fetched: {exc}") from exc
        if file_digest(partial) != PROJECT_SHA256:
            raise BuildFailed(f"{url} is not the archive that is expected")
        partial.rename(target)
    return target


def bring(machine: Machine, folder: Path) -> None:
    """Copy all of it into a machine."""
    machine.copy_in(folder, GUEST_FOLDER)
