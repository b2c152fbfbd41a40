# SPDX-License-Identifier: GPL-2.0-or-later
"""The micro-VM, with a QEMU that is a script: every way in which a machine can go wrong."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from schedcpd.verify import microvm
from schedcpd.verify.microvm import MicroVm, NoMicroVm, _Listener

# What QEMU is told to use as its ports, and something to say on them.
PRELUDE = """#!/usr/bin/python3
import os, re, sys, time
if "--version" in sys.argv:
    print("QEMU emulator version 10.0.13 (Debian 1:10.0.13)")
    sys.exit(0)
ports = [int(n) for n in re.findall(r"fd=([0-9]+)", " ".join(sys.argv))]
def console(text): os.write(ports[0], text.encode())
def output(text): os.write(ports[1], text.encode())
"""

BWRAP = Path("/usr/bin/bwrap")

Make = Callable[..., MicroVm]


@pytest.fixture
def fake(tmp_path: Path) -> Make:
    """A machine whose QEMU runs the given Python."""

    def make(body: str, boot_s: float = 20.0, silence_s: float = 20.0) -> MicroVm:
        qemu = tmp_path / "qemu"
        qemu.write_text(PRELUDE + body)
        qemu.chmod(0o755)
        return MicroVm(qemu, tmp_path / "vmlinuz", None, boot_s=boot_s, silence_s=silence_s)

    return make


def until(last: str) -> Callable[[str], bool]:
    return lambda line: line != last


def test_lines_come_one_by_one_and_the_last_ends_it(fake: Make) -> None:
    vm = fake(
        'console("booting\\n"); output("on"); output("e\\ntwo\\r\\nend\\nmore\\n"); time.sleep(60)'
    )
    heard: list[str] = []

    def hear(line: str) -> bool:
        heard.append(line)
        return line != "end"

    run = vm.run(b"", 30, hear)
    assert heard == ["one", "two", "end"]
    assert run.lines == ("one", "two", "end")
    assert run.console == "booting\n"
    assert run.lost == ""


def test_qemu_is_killed_when_nothing_more_is_wanted(fake: Make, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    vm = fake(
        f'open({str(pid_file)!r}, "w").write(str(os.getpid())); output("end\\n"); time.sleep(60)'
    )
    vm.run(b"", 30, until("end"))
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_the_initramfs_is_handed_over(fake: Make) -> None:
    vm = fake(
        'output(open(sys.argv[sys.argv.index("-initrd") + 1]).read() + "\\n"); time.sleep(60)'
    )
    assert vm.run(b"contents", 30, lambda _: False).lines == ("contents",)


def test_a_guest_that_powers_off_early_is_lost(fake: Make) -> None:
    run = fake('output("one\\n")').run(b"", 30, until("end"))
    assert run.lost == "it ended early"
    assert run.lines == ("one",)


def test_a_guest_that_goes_silent_hangs(fake: Make) -> None:
    vm = fake('output("one\\n")\nwhile True: console("."); time.sleep(0.01)', silence_s=0.3)
    run = vm.run(b"", 30, until("end"))
    assert "hung" in run.lost  # what it writes to its console is no sign of life


def test_booting_has_its_own_patience(fake: Make) -> None:
    started = time.monotonic()
    run = fake('console("."); time.sleep(60)', boot_s=0.3).run(b"", 30, until("end"))
    assert "hung" in run.lost
    assert time.monotonic() - started < 10


def test_a_guest_that_never_ends_is_lost(fake: Make) -> None:
    vm = fake('while True: output("beat\\n"); time.sleep(0.01)')
    assert "in time" in vm.run(b"", 0.5, until("end")).lost


@pytest.mark.parametrize("port", ["console", "output"])
def test_a_flood_is_cut_off(fake: Make, port: str) -> None:
    vm = fake(f'output("one\\n")\nwhile True: {port}("x" * 4096)')
    run = vm.run(b"", 30, until("end"))
    assert "flooded" in run.lost
    assert len(run.console) <= microvm.CONSOLE_LIMIT


def test_a_complaint_before_much_else_is_kept(fake: Make) -> None:
    vm = fake('console("WARNING: here\\n" + "x" * 200_000); output("end\\n"); time.sleep(60)')
    assert vm.run(b"", 30, until("end")).console.startswith("WARNING: here\n")


@pytest.mark.parametrize("console", ["", "WARNING: late\n"])
def test_what_was_said_before_the_end_is_heard_on_both_ports(tmp_path: Path, console: str) -> None:
    ours, theirs = zip(socket.socketpair(), socket.socketpair(), strict=True)
    for port, text in zip(theirs, (console, "one\nend\n"), strict=True):
        port.sendall(text.encode())
        port.close()
    vm = MicroVm(tmp_path / "qemu", tmp_path / "vmlinuz", None)
    listener = _Listener(vm, ours, until("end"))
    assert listener.listen(time.monotonic() + 20) == ""
    assert listener.lines == ["one", "end"]
    assert listener.console.decode() == console
    for port in ours:
        port.close()


def test_bytes_that_are_no_text_are_survived(fake: Make) -> None:
    vm = fake('os.write(ports[1], b"\\xff\\xfe\\n"); output("end\\n"); time.sleep(60)')
    assert vm.run(b"", 30, until("end")).lines == ("\ufffd\ufffd", "end")


def test_no_qemu_is_no_verdict(tmp_path: Path) -> None:
    with pytest.raises(NoMicroVm, match="cannot be run"):
        MicroVm(tmp_path / "none", tmp_path / "vmlinuz", None).run(b"", 5, until("end"))


def test_a_qemu_that_refuses_says_why(fake: Make) -> None:
    vm = fake('sys.exit("could not load kernel")')
    with pytest.raises(NoMicroVm, match="could not load kernel"):
        vm.run(b"", 30, until("end"))


@pytest.mark.parametrize(
    ("version", "threads"), [("10.0.13", "multi"), ("8.1.0", "multi"), ("7.2.22", "single")]
)
def test_old_emulators_get_one_thread(fake: Make, version: str, threads: str) -> None:
    vm = fake("")
    vm.qemu.write_text(vm.qemu.read_text().replace("10.0.13", version))
    line = vm.argv("archive", (4, 5))
    assert f"tcg,thread={threads},split-wx=on" in line


def test_the_guest_gets_no_disk_and_no_network(fake: Make) -> None:
    line = fake("").argv("archive", (4, 5))
    assert line[line.index("-nic") + 1] == "none"
    assert "-nodefaults" in line
    assert not {"-drive", "-hda", "-virtfs", "-netdev"} & set(line)


class Burglar(MicroVm):
    """In place of QEMU a program that says which files it sees, and how many processes."""

    def argv(self, archive: str, ports: Sequence[int]) -> list[str]:
        seen = f"cat {archive}; ls -d /* /proc/[0-9]* {self.qemu} 2>&-; echo end"
        return ["/usr/bin/bash", "-c", f"exec >&{ports[1]}; {seen}"]


@pytest.mark.skipif(not BWRAP.exists(), reason="there is no bubblewrap here")
def test_who_breaks_out_of_the_guest_finds_no_files(tmp_path: Path) -> None:
    kernel, secret = tmp_path / "vmlinuz", tmp_path / "key"
    kernel.touch()
    secret.touch()
    free, caged = (
        Burglar(secret, kernel, bwrap).run(b"contents\n", 30, until("end")).lines
        for bwrap in (None, BWRAP)
    )
    assert {"contents", "/etc", "/proc/1", str(secret)} <= set(free)
    own = f"/{tmp_path.parts[1]}"
    assert set(caged) - {"/dev"} == {"contents", "/initramfs", "/lib", "/lib64", own, "/usr", "end"}


def test_an_unknown_version_is_no_verdict(fake: Make) -> None:
    vm = fake("")
    vm.qemu.write_text("#!/bin/sh\necho hello\n")
    with pytest.raises(NoMicroVm, match="version"):
        vm.argv("archive", (4, 5))


def test_kvm_is_used_only_when_a_probe_guest_gets_through(fake: Make, tmp_path: Path) -> None:
    device = tmp_path / "kvm"
    device.touch()
    good = fake('console("VFS: Unable to mount root fs\\n")')
    assert microvm.accelerator(good.qemu, good.kernel, None, device) == "kvm"
    bad = fake('console("Decompressing\\n")')
    assert microvm.accelerator(bad.qemu, bad.kernel, None, device) == "tcg"
    broken = fake("sys.exit(1)")
    assert microvm.accelerator(broken.qemu, broken.kernel, None, device) == "tcg"


def test_without_the_device_nothing_is_probed(tmp_path: Path) -> None:
    qemu = tmp_path / "none"
    assert microvm.accelerator(qemu, tmp_path / "vmlinuz", None, tmp_path / "kvm") == "tcg"
