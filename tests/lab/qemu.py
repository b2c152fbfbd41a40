# SPDX-License-Identifier: GPL-2.0-or-later
"""The build root's QEMU: its command line, its process and its monitor.

It runs straight from the unpacked root through that root's dynamic loader, so it needs no mount and
sees host paths.
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import BuildFailed, LabError
from lab.sandbox import die_with_parent

APPEND = (
    "console=ttyS0 panic=-1 loglevel=4 rw mitigations=off random.trust_cpu=on audit=0 apparmor=0"
    " systemd.show_status=0"
)
LIBRARIES = "usr/lib/x86_64-linux-gnu"
EMULATION = "tcg,thread=multi"
AGENT_PORT = "org.qemu.guest_agent.0"
DATA_PORT = "schedcp.lab.data"
SOCKET_PATH_MAX = 100


@dataclass(frozen=True, slots=True)
class Wiring:
    """One machine's folder of sockets and the file its console is logged to."""

    dir: Path
    console_log: Path

    def socket(self, name: str) -> Path:
        """The path of one of its unix sockets."""
        return self.dir / f"{name}.sock"


@dataclass(frozen=True, slots=True)
class Spec:
    """What decides how a machine is built: memory as QEMU writes it, such as 2G."""

    kernel: Path
    initramfs: Path
    disk: Path
    append: str = ""
    memory: str = "2G"
    cpus: int = 2
    accel: str = EMULATION
    incoming: Path | None = None
    nvme: bool = False
    icount: str = ""  # for -icount: time goes by the instructions that the guest executes


def with_initramfs(spec: Spec, archive: Path) -> Spec:
    """The same machine with another initramfs."""
    return dataclasses.replace(spec, initramfs=archive)


def tool_argv(root: Path, name: str) -> list[str]:
    """Run a program of the unpacked root with that root's libraries."""
    return [
        f"{root}/{LIBRARIES}/ld-linux-x86-64.so.2",
        "--library-path",
        f"{root}/{LIBRARIES}",
        f"{root}/usr/bin/{name}",
    ]


def machine_argv(root: Path, spec: Spec) -> list[str]:
    """The part of the command line that a snapshot depends on."""
    share = root / "usr" / "share"
    argv = [*tool_argv(root, "qemu-system-x86_64"), "-L", f"{share}/qemu", "-L", f"{share}/seabios"]
    if spec.icount:
        argv += ["-icount", spec.icount]
    argv += [
        "-M",
        "pc",
        "-accel",
        spec.accel,
        "-cpu",
        "max",
        "-smp",
        str(spec.cpus),
        "-m",
        spec.memory,
    ]
    argv += ["-nodefaults", "-no-user-config", "-display", "none", "-nic", "none", "-no-reboot"]
    argv += [
        "-kernel",
        str(spec.kernel),
        "-initrd",
        str(spec.initramfs),
        "-append",
        f"{APPEND} {spec.append}".strip(),
    ]
    return argv


def argv(root: Path, spec: Spec, wiring: Wiring) -> list[str]:
    """The complete command line."""

    def chardev(name: str, extra: str = "") -> list[str]:
        return [
            "-chardev",
            f"socket,id={name},path={wiring.socket(name)},server=on,wait=off{extra}",
        ]

    line = machine_argv(root, spec)
    line += [
        *chardev("serial", f",logfile={wiring.console_log},logappend=on"),
        "-serial",
        "chardev:serial",
    ]
    line += [*chardev("qmp"), "-mon", "chardev=qmp,mode=control"]
    line += ["-device", "virtio-serial-pci"]
    line += [*chardev("agent"), "-device", f"virtserialport,chardev=agent,name={AGENT_PORT}"]
    line += [*chardev("data"), "-device", f"virtserialport,chardev=data,name={DATA_PORT}"]
    line += ["-device", "virtio-rng-pci"]
    bus = "nvme,serial=lab" if spec.nvme else "virtio-blk-pci"
    line += ["-drive", f"file={spec.disk},format=qcow2,if=none,id=disk,cache=unsafe"]
    line += ["-device", f"{bus},drive=disk"]
    if spec.incoming:
        line += ["-incoming", f"file:{spec.incoming}"]
    return line


def environment(root: Path) -> dict[str, str]:
    """The environment QEMU's programs need to find their modules."""
    return {"PATH": os.defpath, "LANG": "C.UTF-8", "QEMU_MODULE_DIR": f"{root}/{LIBRARIES}/qemu"}


def version(root: Path) -> str:
    """The Debian version of the root's QEMU, from its dpkg database."""
    fields = (
        (root / "var/lib/dpkg/status")
        .read_text()
        .partition("\nPackage: qemu-system-x86\n")[2]
        .partition("\n\n")[0]
    )
    return next(line.split()[1] for line in fields.splitlines() if line.startswith("Version: "))


def create_overlay(root: Path, disk: Path, backing: Path, backing_format: str) -> None:
    """Write an empty qcow2 that reads through to `backing`."""
    line = [
        *tool_argv(root, "qemu-img"),
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        backing_format,
        "-b",
        str(backing),
        str(disk),
    ]
    done = subprocess.run(line, env=environment(root), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildFailed(f"qemu-img create failed: {done.stderr.strip()}")


def spawn(root: Path, spec: Spec, wiring: Wiring, log: Path) -> subprocess.Popen[bytes]:
    """Start QEMU so that it dies with the thread that calls this; its own messages go to `log`."""
    if len(str(wiring.socket("serial"))) > SOCKET_PATH_MAX:
        raise LabError(
            f"{wiring.dir} is too long for a unix socket; set SCHEDCP_LAB_DIR to a shorter path"
        )
    line = die_with_parent(argv(root, spec, wiring))
    with log.open("wb") as output:
        return subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment(root)
        )


def accelerator(root: Path, kernel: Path, cache: Path) -> str:
    """`kvm` if a probe guest really runs on it within two seconds, else multi-threaded emulation.

    The answer is kept in `cache` until the host boots again.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return EMULATION
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    if cache.exists() and cache.read_text().startswith(f"{boot_id} "):
        return cache.read_text().split()[1]
    found = "kvm" if kvm_works(root, kernel) else EMULATION
    cache.write_text(f"{boot_id} {found}\n")
    return found


def kvm_works(root: Path, kernel: Path) -> bool:
    """Whether a guest with no disk gets as far as missing it within two seconds."""
    share = root / "usr" / "share"
    line = die_with_parent(
        [*tool_argv(root, "qemu-system-x86_64"), "-L", f"{share}/qemu", "-L", f"{share}/seabios"]
    )
    line += [
        "-M",
        "pc",
        "-accel",
        "kvm",
        "-cpu",
        "max",
        "-m",
        "256M",
        "-nodefaults",
        "-display",
        "none",
        "-nic",
        "none",
    ]
    line += [
        "-no-reboot",
        "-kernel",
        str(kernel),
        "-append",
        "console=ttyS0 panic=-1",
        "-serial",
        "stdio",
    ]
    try:
        done = subprocess.run(
            line,
            env=environment(root),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=2,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return b"Unable to mount root" in done.stdout


class Monitor:
    """A QMP connection."""

    def __init__(self, path: Path, timeout_s: float = 60) -> None:
        self._socket = connect(path, timeout_s)
        self._stream = self._socket.makefile("rwb")
        json.loads(self._stream.readline())
        self.execute("qmp_capabilities")

    def execute(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """Run one command and return its `return` value; events in between are dropped."""
        request = {"execute": command, "arguments": dict(arguments or {})}
        self._stream.write(json.dumps(request).encode() + b"\n")
        self._stream.flush()
        while line := self._stream.readline():
            answer = json.loads(line)
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise LabError(f"QEMU refused {command}: {answer['error']['desc']}")
        raise LabError(f"QEMU closed its monitor during {command}")

    def close(self) -> None:
        """Hang up."""
        self._stream.close()
        self._socket.close()


def connect(
    path: Path, timeout_s: float, alive: Sequence[subprocess.Popen[bytes]] = ()
) -> socket.socket:
    """Connect to a socket that QEMU is about to create; raises LabError after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.settimeout(timeout_s)
        try:
            client.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError) as exc:
            client.close()
            if time.monotonic() > deadline or any(process.poll() is not None for process in alive):
                raise LabError(f"QEMU did not open {path}") from exc
            time.sleep(0.02)
        else:
            return client
