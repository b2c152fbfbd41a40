# SPDX-License-Identifier: GPL-2.0-or-later
"""Saved machines: RAM and disk of a settled boot, to continue from in seconds, time and again."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from lab import qemu, roots
from lab.errors import BuildFailed, LabError
from lab.image import Image
from lab.kernels import Kernel
from lab.machine import Machine, boot_spec
from lab.place import Lab, digest, file_digest, locked, step

SAVE_TIMEOUT_S = 120.0
FORMAT = "5"
# The daemon answers before it has checked its policies; each test would begin with that otherwise.
SETTLED = (
    "while schedctl policies --json 2>/dev/null | grep -q 'it is being checked'; do sleep 1; done"
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A saved machine; `boot` is how it was started."""

    dir: Path
    lab: Lab
    boot: qemu.Spec

    @property
    def disk(self) -> Path:
        """The disk as it was when saved; never written again."""
        return self.dir / "disk.qcow2"

    @property
    def state(self) -> Path:
        """QEMU's migration stream."""
        return self.dir / "state"

    def spec(self, disk: Path) -> qemu.Spec:
        """The same machine, waiting for the saved state."""
        return dataclasses.replace(self.boot, disk=disk, incoming=self.state)


def snapshot_key(image: Image, kernel: Kernel, spec: qemu.Spec, root: Path) -> str:
    """The hash of all that decides what a saved machine holds."""
    line = qemu.argv(root, spec, qemu.Wiring(Path("dir"), Path("log")))
    return digest(
        FORMAT, image.key, kernel.key, file_digest(kernel.initramfs), qemu.version(root), *line
    )


def place_of(image: Image, kernel: Kernel, spec: qemu.Spec) -> Snapshot:
    """Where the saved state of this combination is, or would be."""
    key = snapshot_key(image, kernel, spec, roots.build_root(image.lab))
    return Snapshot(image.lab.dir / "snapshots" / key, image.lab, spec)


def get(
    image: Image, kernel: Kernel, *, memory: str = "2G", cpus: int = 2, append: str = ""
) -> Snapshot:
    """The saved state of this combination, made by one boot if there is none.

    Raises LabError for a kernel without modules: QEMU cannot save a machine with an NVMe disk; use
    Machine.boot.
    """
    if not kernel.has_modules:
        raise LabError(
            f"kernel {kernel.series} cannot be saved, only booted: its modules left the archive"
        )
    snapshot = place_of(image, kernel, boot_spec(image.lab, kernel, memory, cpus, append))
    with locked(snapshot.dir.parent / "lock", "another snapshot"):
        if not snapshot.dir.exists():
            with step(f"booting {image.key} with kernel {kernel.series}"):
                machine = Machine.boot(image, kernel, memory=memory, cpus=cpus, append=append)
            with machine, step("saving the machine"):
                machine.run(SETTLED, timeout_s=SAVE_TIMEOUT_S)
                machine.run(["sync"], timeout_s=SAVE_TIMEOUT_S)
                save(machine, snapshot, image)
    return snapshot


def is_for(place: Path, images: set[str]) -> bool:
    """Whether the saved machine at `place` continues one of the named images."""
    note = place / "image"
    return note.exists() and note.read_text() in images


def save(machine: Machine, snapshot: Snapshot, image: Image) -> None:
    """Stop a machine for good and write its RAM and disk to the snapshot's place."""
    partial = snapshot.dir.with_name(snapshot.dir.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    machine.agent.close()
    with contextlib.closing(machine.monitor()) as monitor:
        monitor.execute("stop")
        monitor.execute("migrate-set-parameters", {"max-bandwidth": 1 << 40})
        monitor.execute("migrate", {"uri": f"file:{partial / 'state'}"})
        deadline = time.monotonic() + SAVE_TIMEOUT_S
        while (status := monitor.execute("query-migrate")["status"]) != "completed":
            if status == "failed" or time.monotonic() > deadline:
                raise BuildFailed(f"QEMU could not save the machine: {status}")
            time.sleep(0.1)
        monitor.execute("quit")
    machine.wait_end()
    machine.spec.disk.rename(partial / "disk.qcow2")
    (partial / "image").write_text(image.path.name)
    partial.rename(snapshot.dir)
