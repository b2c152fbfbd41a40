# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine that a policy is verified for: its kernel, and the files that are needed for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from schedcpd import token
from schedcpd.errors import KernelText
from schedcpd.kernel.image import find_image, read_build_id
from schedcpd.kernel.sched_ext import unusable_reason
from schedcpd.kernel.topology import read_topology
from schedcpd.repository.files import read_bounded
from schedcpd.token import Machine
from schedcpd.verify.compile import Sandbox

BTF_LIMIT = 64 << 20


@dataclass(frozen=True, slots=True)
class Places:
    """Where the policies, the verifier's own files and tools, and the kernel's are."""

    schedulers: Path = Path("/usr/lib/schedcp/schedulers")
    state: Path = Path("/var/lib/schedcp-verify")
    trial: Path = Path("/usr/lib/schedcp/schedcp-trial")
    qemu: Path = Path("/usr/bin/qemu-system-x86_64")
    sandbox: Sandbox = field(default_factory=Sandbox)
    sys: Path = Path("/sys")
    cmdline: Path = Path("/proc/cmdline")
    kernel: Path | None = None  # None: the image of the running kernel, wherever it is kept

    @property
    def enrolled(self) -> Path:
        """The policies that passed here, and that somebody wanted installed."""
        return self.state / "enrolled"


@dataclass(frozen=True, slots=True)
class Host:
    """A machine and its kernel; ``unusable`` says why no policy could be loaded on it at all."""

    machine: Machine
    build_id: str
    btf: bytes
    image: Path | None  # None: the running kernel's is not kept anywhere
    unusable: str = ""


def read_host(places: Places, release: str) -> Host:
    """The machine at ``places`` with the kernel ``release``; OSError or ValueError."""
    topology = read_topology(places.sys)
    image = places.kernel or find_image(release)
    reason = unusable_reason(places.sys / "kernel/sched_ext", places.sys, places.cmdline)
    if reason:
        return Host(token.read_machine(release, b"", topology), "", b"", image, reason)
    btf = read_bounded(places.sys / "kernel/btf/vmlinux", BTF_LIMIT)
    try:
        build_id = read_build_id(places.sys)
    except KernelText as exc:
        raise ValueError(str(exc)) from exc
    return Host(token.read_machine(release, btf, topology), build_id, btf, image)
