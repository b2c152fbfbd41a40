# SPDX-License-Identifier: GPL-2.0-or-later
"""Move bytes between host and guest over a virtio-serial port, far faster than the agent could."""

from __future__ import annotations

import io
import shlex
import socket
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lab import command as guest
from lab import qemu
from lab.agent import AgentSilent
from lab.errors import CommandFailed

if TYPE_CHECKING:
    from lab.machine import Machine

PORT = f"/dev/virtio-ports/{qemu.DATA_PORT}"
TIMEOUT_S = 120.0


def copy_in(machine: Machine, local: Path, remote: str) -> None:
    """Send a file, or the contents of a folder as a tar stream."""
    target = shlex.quote(remote)
    if local.is_dir():
        data = pack(local)
        script = f"mkdir -p {target} && head -c {len(data)} {PORT} | tar -C {target} -xf -"
    else:
        data = local.read_bytes()
        mode = f"{local.stat().st_mode & 0o777:o}"
        script = f"head -c {len(data)} {PORT} >{target} && chmod {mode} {target}"
    with qemu.connect(machine.wiring.socket("data"), TIMEOUT_S) as link:
        transfer(machine, script, lambda: link.sendall(data))


def copy_out(machine: Machine, remote: str, local: Path) -> None:
    """Fetch a file, or the contents of a folder as a tar stream."""
    source = shlex.quote(remote)
    tar = f"/run/lab-copy-{time.monotonic_ns()}"
    is_dir = machine.run(["test", "-d", remote], check=False).exit_code == 0
    if is_dir:
        machine.run(f"tar -C {source} -cf {tar} .", timeout_s=TIMEOUT_S)
        source = tar
    size = int(machine.run(f"stat -Lc %s {source}").stdout)
    received = bytearray()
    with qemu.connect(machine.wiring.socket("data"), TIMEOUT_S) as link:
        transfer(
            machine,
            f"head -c {size} {source} >{PORT}",
            lambda: received.extend(receive(link, size)),
        )
    if is_dir:
        machine.run(["rm", tar])
        local.mkdir(parents=True, exist_ok=True)
        with tarfile.open(fileobj=io.BytesIO(bytes(received))) as archive:
            archive.extractall(local, filter="tar")
    else:
        local.write_bytes(received)


def pack(folder: Path) -> bytes:
    """A folder's contents as an uncompressed tar, owned by root."""

    def owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        return member

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.add(folder, ".", filter=owned_by_root)
    return buffer.getvalue()


def receive(link: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes; raises TimeoutError when the guest stops sending."""
    parts = bytearray()
    while len(parts) < size:
        data = link.recv(min(1 << 20, size - len(parts)))
        if not data:
            raise ConnectionError("QEMU closed the data channel")
        parts += data
    return bytes(parts)


def transfer(machine: Machine, script: str, move: Callable[[], None]) -> None:
    """Start the guest's end, move the bytes, and check how the guest's end finished."""
    try:
        pid = machine.agent.spawn(["/usr/bin/setsid", "/bin/sh", "-c", script], b"", guest.ROOT_ENV)
        try:
            move()
        except OSError as exc:
            machine.check_alive()
            status = machine.agent.status(pid)
            raise CommandFailed(script, status[0] if status else -1, "", str(exc)) from exc
        code, out, err = machine.wait(pid, TIMEOUT_S, script)
    except AgentSilent as exc:
        raise machine.lost(str(exc)) from exc
    if code != 0:
        raise CommandFailed(
            script, code, out.decode(errors="replace"), err.decode(errors="replace")
        )
