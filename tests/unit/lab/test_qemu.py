# SPDX-License-Identifier: GPL-2.0-or-later
"""The command lines the lab builds for QEMU, the sandbox and the guest."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

from lab import command, qemu, sandbox

ROOT = Path("/lab/root-1")
WIRING = qemu.Wiring(Path("/lab/run"), Path("/lab/logs/console.log"))
SPEC = qemu.Spec(
    Path("/k/vmlinuz"), Path("/k/initramfs"), Path("/lab/run/disk.qcow2"), append="init=/x"
)


def pairs(line: list[str]) -> list[tuple[str, str]]:
    """Each option with the word after it."""
    return list(itertools.pairwise(line))


def test_machine_has_what_the_guide_asks_for() -> None:
    line = qemu.argv(ROOT, SPEC, WIRING)
    given = pairs(line)
    for expected in (("-M", "pc"), ("-cpu", "max"), ("-smp", "2"), ("-m", "2G"), ("-nic", "none")):
        assert expected in given
    assert ("-accel", "tcg,thread=multi") in given
    assert "-no-reboot" in line
    assert ("-device", "virtio-blk-pci,drive=disk") in given
    append = line[line.index("-append") + 1]
    assert append.endswith(" init=/x")
    assert "panic=-1" in append


def test_qemu_runs_with_its_own_roots_libraries() -> None:
    line = qemu.argv(ROOT, SPEC, WIRING)
    assert line[0].startswith("/lab/root-1/usr/lib/x86_64-linux-gnu/ld-linux")
    assert line[1] == "--library-path"
    assert line[3] == "/lab/root-1/usr/bin/qemu-system-x86_64"


def test_only_a_saved_machine_waits_for_a_state() -> None:
    saved = dataclasses.replace(SPEC, incoming=Path("/lab/snapshots/1/state"))
    assert "-incoming" not in qemu.argv(ROOT, SPEC, WIRING)
    assert ("-incoming", "file:/lab/snapshots/1/state") in pairs(qemu.argv(ROOT, saved, WIRING))


def test_kernels_without_modules_get_an_nvme_disk() -> None:
    line = qemu.argv(ROOT, dataclasses.replace(SPEC, nvme=True), WIRING)
    assert ("-device", "nvme,serial=lab,drive=disk") in pairs(line)


def test_an_ordinary_user_maps_ids() -> None:
    assert "--map-auto" in sandbox.namespace_argv(["true"], as_root=False)
    assert "--map-auto" not in sandbox.namespace_argv(["true"], as_root=True)
    assert "--kill-child" in sandbox.namespace_argv(["true"], as_root=True)


def test_chroot_line_counts_its_binds() -> None:
    line = sandbox.chroot_argv(
        ROOT,
        ["make"],
        binds={"/a": "/src", Path("/b"): "/out"},
        cwd="/src",
        user="root",
        as_root=True,
    )
    tail = line[line.index(str(ROOT)) :]
    assert tail == [str(ROOT), "/src", "root", "2", "/a", "/src", "/b", "/out", "make"]


def test_a_string_goes_through_the_shell() -> None:
    assert command.direct("a | b", "root", {}) == ["/usr/bin/setsid", "/bin/sh", "-c", "a | b"]


def test_a_users_command_is_quoted_once() -> None:
    line = command.direct(["echo", "a b"], "user", {"X": "1 2"})
    assert line[:5] == ["/usr/bin/setsid", "/usr/sbin/runuser", "-l", "user", "-c"]
    assert line[5] == "exec env 'X=1 2' echo 'a b'"


def test_a_unit_waits_only_when_asked() -> None:
    assert "--wait" in command.in_unit(["x"], "root", {}, "u", wait=True)
    background = command.in_unit(["x"], "user", {}, "u", wait=False)
    assert "--wait" not in background
    assert "--uid=user" in background
