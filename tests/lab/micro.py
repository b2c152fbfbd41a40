# SPDX-License-Identifier: GPL-2.0-or-later
"""Run a small tree of files under a chosen kernel with no systemd: seconds to a verdict.

A micro-VM is booted once for each kernel and saved when it is ready for a payload; a run continues
that state.
"""

from __future__ import annotations

import dataclasses
import io
import re
import secrets
import socket
import tarfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab import initramfs, qemu, snapshot
from lab.errors import VmLost
from lab.image import Image
from lab.kernels import Kernel
from lab.machine import Machine, boot_spec
from lab.place import SCRIPTS, Lab, digest, locked, step
from lab.snapshot import Snapshot

READ_S = 0.5
BY_INSTRUCTIONS_ACCEL = "tcg,thread=single"
BY_INSTRUCTIONS = "shift=1,sleep=off"
READY = b"ready\n"
READY_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class MicroResult:
    """What a payload wrote, its exit code and the console; `lost` says why there is no code."""

    exit_code: int | None
    output: str
    console: str
    seconds: float
    lost: VmLost | None = None

    @property
    def ok(self) -> bool:
        """Whether the payload ended by itself with status 0."""
        return self.exit_code == 0


def run(
    image: Image,
    kernel: Kernel,
    files: Mapping[str, bytes],
    *,
    timeout_s: float = 60.0,
    memory: str = "1G",
    cpus: int = 2,
    append: str = "",
    fresh: bool = False,
    by_instructions: bool = False,
) -> MicroResult:
    """Run `files["run"]` as the only process, on a throw-away copy of the image's disk.

    The files appear in /run/payload, executable if they start with `#!` or are ELF; the payload's
    standard output and error are returned. A machine that crashes or is not done after `timeout_s`
    seconds is killed: that is a result with `lost` set, not an exception. `fresh` boots anew
    instead of continuing the saved machine, as always happens for a kernel without modules.
    `by_instructions` has the guest's clock count its instructions, two ns each, whatever else the
    host does: slow, but a measurement comes out the same every time. It implies `fresh`.
    """
    spec = micro_spec(image.lab, kernel, memory, cpus, append)
    if by_instructions:
        spec = dataclasses.replace(spec, accel=BY_INSTRUCTIONS_ACCEL, icount=BY_INSTRUCTIONS)
    saved = (
        None if fresh or by_instructions or not kernel.has_modules else ready(image, kernel, spec)
    )
    with start(image, spec, saved) as machine, data_link(machine) as link:
        began = time.monotonic()
        if saved:
            machine.go_on(timeout_s)
        else:
            await_ready(machine, link)
        marker = secrets.token_hex(8)
        tree = pack(files)
        output, lost = b"", None
        try:
            link.sendall(f"{len(tree)} {marker} {time.time():.3f}\n".encode() + tree)
            output, lost = collect(machine, link, marker, began + timeout_s)
        except OSError as exc:
            lost = machine.lost(f"the machine took no payload: {exc}")
        console = machine.console()
    text, code = split_marker(output.decode(errors="replace"), marker)
    return MicroResult(
        code, text, console, time.monotonic() - began, None if code is not None else lost
    )


def micro_spec(lab: Lab, kernel: Kernel, memory: str, cpus: int, append: str) -> qemu.Spec:
    """A machine whose first process is micro-init.sh."""
    script = (SCRIPTS / "micro-init.sh").read_bytes()
    archive = kernel.dir / f"micro-{digest(kernel.key, script)}.initramfs"
    if not archive.exists():
        archive.write_bytes(kernel.initramfs.read_bytes() + initramfs.payload({"init": script}))
    kernel_line = f"init=/run/payload/init nokaslr {append}".strip()
    base = boot_spec(lab, kernel, memory, cpus, kernel_line)
    return qemu.with_initramfs(base, archive)


def start(image: Image, spec: qemu.Spec, saved: Snapshot | None) -> Machine:
    """Start QEMU: from the image, or to be continued from the saved machine."""
    if saved is None:
        return Machine(image.lab, spec, image.path, "raw")
    return Machine(image.lab, saved.spec(spec.disk), saved.disk, "qcow2")


def data_link(machine: Machine) -> socket.socket:
    """Connect to the machine's data port."""
    link = qemu.connect(machine.wiring.socket("data"), 10)
    link.settimeout(READ_S)
    return link


def ready(image: Image, kernel: Kernel, spec: qemu.Spec) -> Snapshot:
    """The saved micro-VM waiting for a payload, made by one boot if there is none."""
    saved = snapshot.place_of(image, kernel, spec)
    with locked(saved.dir.parent / "lock", "another snapshot"):
        if not saved.dir.exists():
            with (
                step(f"booting and saving a micro-VM with kernel {kernel.series}"),
                Machine(image.lab, spec, image.path, "raw") as machine,
            ):
                with data_link(machine) as link:
                    await_ready(machine, link)
                snapshot.save(machine, saved, image)
    return saved


def await_ready(machine: Machine, link: socket.socket) -> None:
    """Wait until the guest can take a payload; raises VmLost."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    seen = b""
    while not seen.endswith(READY):
        if time.monotonic() > deadline:
            raise machine.lost("the micro-VM did not get ready")
        try:
            seen += link.recv(1 << 10)
        except TimeoutError:
            machine.check_alive()


def pack(files: Mapping[str, bytes]) -> bytes:
    """The files as a tar, those that are programs marked executable."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(str(Path(name.lstrip("/"))))
            member.size = len(data)
            member.mode = 0o755 if data[:2] == b"#!" or data[:4] == b"\x7fELF" else 0o644
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def split_marker(text: str, marker: str) -> tuple[str, int | None]:
    """The payload's own output and its exit code, or None if the end marker is missing."""
    found = re.search(rf"\n{marker} RC=(\d+)\r?\n", text)
    return (text[: found.start()], int(found[1])) if found else (text, None)


def collect(
    machine: Machine, link: socket.socket, marker: str, deadline: float
) -> tuple[bytes, VmLost | None]:
    """Read the data port until the marker, the end of the machine or the deadline."""
    output = b""
    end = f"\n{marker} RC=".encode()
    while not (end in output and output.endswith(b"\n")):
        if time.monotonic() > deadline:
            return output, machine.lost("the payload was not done in time")
        try:
            data = link.recv(1 << 16)
        except TimeoutError:
            data = b""
        output += data
        if not data:
            try:
                machine.check_alive()
            except VmLost as exc:
                return output, exc
    return output, None
