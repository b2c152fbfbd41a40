# SPDX-License-Identifier: GPL-2.0-or-later
"""A virtual machine that is thrown away: one kernel, one initramfs, two serial ports.

It has no disk, no network and nothing of the host's files. Nor has QEMU itself, for which a
sandbox is made: who breaks out of the guest finds /usr and the kernel there, and no signing key.
Its first port is the kernel's console; what the guest says on the second comes back line by line.
Both are bounded, and so is its time.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from schedcpd.verify import initramfs
from schedcpd.verify.isolation import isolated

APPEND = (
    "console=ttyS0 panic=-1 loglevel=5 mitigations=off random.trust_cpu=on audit=0 8250.nr_uarts=2"
)
KVM = "kvm"
EMULATION = "tcg"
# An older QEMU with several threads damages a guest that patches its own code.
THREADS_SINCE = (8, 1)
VERSION_S = 10.0
# A KVM that cannot run a stock kernel hangs; one that gets as far as missing a disk is proof.
PROBE_S = 4.0
PROBE_WORDS = "Unable to mount root"
CONSOLE_LIMIT = 1 << 20
OUTPUT_LIMIT = 1 << 20
MESSAGES_KEPT = 2000
CHUNK = 64 << 10
ARCHIVE = "/initramfs"
ENDED = "it ended early"
FLOODED = "it flooded its console"


class NoMicroVm(Exception):
    """QEMU cannot be run here; the message says why."""


@dataclass(frozen=True, slots=True)
class MicroRun:
    """What came out of a machine; ``lost`` says why it was not seen to its end, if it was not."""

    lines: tuple[str, ...]
    console: str
    seconds: float
    lost: str = ""


@dataclass(frozen=True, slots=True)
class MicroVm:
    """How machines are made; ``accelerator`` is kvm or tcg, ``bwrap`` None for no sandbox."""

    qemu: Path
    kernel: Path
    bwrap: Path | None
    accelerator: str = EMULATION
    cpus: int = 2
    memory_mib: int = 512
    boot_s: float = 120.0  # until its first line
    silence_s: float = 25.0  # between two lines: a guest that is silent for longer hangs

    def run(self, archive: bytes, timeout_s: float, on_line: Callable[[str], bool]) -> MicroRun:
        """Boot it with an initramfs and listen until ``on_line`` returns false; then kill it.

        Raises NoMicroVm when there never was a machine.
        """
        started = time.monotonic()
        with contextlib.ExitStack() as stack:
            messages = stack.enter_context(tempfile.TemporaryFile())
            ports = self._start(archive, messages, stack)
            listener = _Listener(self, ports, on_line)
            lost = listener.listen(started + timeout_s)
            messages.seek(0)
            said = messages.read(MESSAGES_KEPT).decode("utf-8", "replace").strip()
        if not listener.console and not listener.lines:
            raise NoMicroVm(f"the virtual machine did not start: {said or lost}")
        console = listener.console[:CONSOLE_LIMIT].decode("utf-8", "replace")
        return MicroRun(tuple(listener.lines), console, time.monotonic() - started, lost)

    def _start(
        self, archive: bytes, messages: IO[bytes], stack: contextlib.ExitStack
    ) -> list[socket.socket]:
        """Start QEMU, to be ended with the stack; our ends of its ports, the console first."""
        memory = stack.enter_context(os.fdopen(os.memfd_create("initramfs"), "wb"))
        memory.write(archive)
        memory.seek(0)
        ours, theirs = [], []
        for _ in range(2):
            pair = socket.socketpair()
            ours.append(stack.enter_context(pair[0]))
            theirs.append(stack.enter_context(pair[1]))
        fds = [port.fileno() for port in theirs]
        sandbox, path = [], f"/proc/self/fd/{memory.fileno()}"
        if self.bwrap is not None:
            sandbox, path = self._sandbox(self.bwrap, memory.fileno()), ARCHIVE
        try:
            process = subprocess.Popen(
                _die_with_us([*sandbox, *self.argv(path, fds)]),
                stdin=subprocess.DEVNULL,
                stdout=messages,
                stderr=messages,
                pass_fds=(memory.fileno(), *fds),
            )
        except OSError as exc:
            raise NoMicroVm(f"{self.qemu} cannot be run: {exc.strerror}") from exc
        stack.callback(_reap, process)
        for port in theirs:
            port.close()
        return ours

    def argv(self, archive: str, ports: Sequence[int]) -> list[str]:
        """QEMU's command line; ``ports`` are connected sockets, the console's first."""
        line = [str(self.qemu), "-M", "pc", "-accel", self._accel(), "-cpu", "max"]
        line += ["-smp", str(self.cpus), "-m", f"{self.memory_mib}M"]
        line += ["-nodefaults", "-no-user-config", "-display", "none", "-nic", "none"]
        line += ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny"]
        line += ["-no-reboot", "-kernel", str(self.kernel), "-initrd", archive, "-append", APPEND]
        for number, port in enumerate(ports):
            line += ["-chardev", f"socket,id=port{number},fd={port}"]
            line += ["-serial", f"chardev:port{number}"]
        return line

    def _sandbox(self, bwrap: Path, archive_fd: int) -> list[str]:
        """What goes before QEMU's command line to keep the host's files and processes from it."""
        line = [*isolated(bwrap), "--ro-bind", "/usr", "/usr"]
        for folder in ("lib", "lib64"):
            line += ["--symlink", f"usr/{folder}", f"/{folder}"]
        line += ["--ro-bind", str(self.kernel), str(self.kernel)]
        line += ["--dev-bind-try", "/dev/kvm", "/dev/kvm"]
        line += ["--ro-bind-data", str(archive_fd), ARCHIVE, "--remount-ro", "/", "--"]
        return line

    def _accel(self) -> str:
        if self.accelerator == KVM:
            return KVM
        threads = "multi" if version(self.qemu) >= THREADS_SINCE else "single"
        # Translated code is written through one mapping and run through another, because the
        # service may have no memory that is both.
        return f"tcg,thread={threads},split-wx=on"


class _Listener:
    """Hears both ports of a machine."""

    def __init__(
        self, vm: MicroVm, ports: Sequence[socket.socket], on_line: Callable[[str], bool]
    ) -> None:
        self._vm = vm
        self._console, self._output = ports
        self._on_line = on_line
        self._rest = b""
        self._heard = 0
        self.console = bytearray()
        self.lines: list[str] = []

    def listen(self, deadline: float) -> str:
        """Why the machine was lost, or nothing when everything was heard."""
        lost = self._listen(deadline)
        # The ports are read in no order: what was said before the end may still wait in the other.
        if lost == ENDED and not all(self._take(chunk) for chunk in _waiting(self._output)):
            lost = ""
        for chunk in _waiting(self._console):
            self.console += chunk
            if len(self.console) > CONSOLE_LIMIT:
                return lost or FLOODED
        return lost

    def _listen(self, deadline: float) -> str:
        last = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(self._console, selectors.EVENT_READ)
            selector.register(self._output, selectors.EVENT_READ)
            while (now := time.monotonic()) < deadline:
                silence_s = self._vm.silence_s if self.lines else self._vm.boot_s
                if now - last > silence_s:
                    return f"it hung: nothing was heard of it for {silence_s:.0f} s"
                for key, _ in selector.select(min(deadline - now, silence_s - (now - last))):
                    chunk = _receive(key.fd)
                    if not chunk:
                        return ENDED
                    if key.fileobj is self._output:
                        last = time.monotonic()
                        if not self._take(chunk):
                            return ""
                    else:
                        self.console += chunk
                    if len(self.console) > CONSOLE_LIMIT or self._heard > OUTPUT_LIMIT:
                        return FLOODED
        return "it did not come to an end in time"

    def _take(self, chunk: bytes) -> bool:
        self._heard += len(chunk)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self.lines.append(line.decode("utf-8", "replace").rstrip("\r"))
            if not self._on_line(self.lines[-1]):
                return False
        return True


def _waiting(port: socket.socket) -> Iterator[bytes]:
    """What has been said on a port and was not read yet."""
    with contextlib.suppress(BlockingIOError, ConnectionResetError):
        while chunk := port.recv(CHUNK, socket.MSG_DONTWAIT):
            yield chunk


def _receive(fd: int) -> bytes:
    try:
        return os.read(fd, CHUNK)
    except ConnectionResetError:
        # QEMU died with something of ours unread: the same as an end.
        return b""


def _die_with_us(argv: list[str]) -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--", *argv] if setpriv else argv


def _reap(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def version(qemu: Path) -> tuple[int, int]:
    """Major and minor version of a QEMU; raises NoMicroVm."""
    try:
        done = subprocess.run(
            [qemu, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=VERSION_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise NoMicroVm(f"{qemu} cannot be run: {exc}") from exc
    found = re.search(r"version (\d+)\.(\d+)", done.stdout)
    if not found:
        raise NoMicroVm(f"{qemu} does not tell its version")
    return int(found[1]), int(found[2])


def accelerator(
    qemu: Path, kernel: Path, bwrap: Path | None, device: Path = Path("/dev/kvm")
) -> str:
    """``kvm`` if a probe guest really runs on it within seconds, else ``tcg``.

    A device that is there proves nothing: inside some virtual machines it takes a guest and never
    runs it.
    """
    if not os.access(device, os.R_OK | os.W_OK):
        return EMULATION
    probe = MicroVm(qemu, kernel, bwrap, KVM, cpus=1, memory_mib=256)
    with contextlib.suppress(NoMicroVm):
        run = probe.run(initramfs.archive({}, {}), PROBE_S, lambda _: True)
        if PROBE_WORDS in run.console:
            return KVM
    return EMULATION
