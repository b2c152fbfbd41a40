# SPDX-License-Identifier: GPL-2.0-or-later
"""One running lab machine: boot or resume it, run commands, copy files, leave nothing behind."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from lab import command as guest
from lab import console, copying, qemu, roots
from lab.agent import Agent, AgentError, AgentSilent
from lab.command import Command, Result
from lab.errors import CommandFailed, CommandTimeout, LabError, VmLost
from lab.image import Image
from lab.kernels import Kernel
from lab.place import Lab, locked

if TYPE_CHECKING:
    from lab.snapshot import Snapshot

BOOT_TIMEOUT_S = 600.0
RESUME_TIMEOUT_S = 120.0
PATIENCE_S = 240.0  # a machine that is emulated on a busy host may be several times slower
POLL_FIRST_S = 0.005
POLL_MAX_S = 0.2
# Every question costs an emulated machine some CPU: of a long command it is asked less often.
POLL_SHARE, POLL_LONG_S = 0.05, 2.0


class Machine:
    """A lab VM; make one with `boot` or `resume` and use it as a context manager.

    QEMU dies with the thread that made the machine. Every method may raise VmLost.
    """

    def __init__(self, lab: Lab, spec: qemu.Spec, backing: Path, backing_format: str) -> None:
        """Start QEMU and wait for nothing."""
        self.lab = lab
        self.spec = spec
        self._stack = contextlib.ExitStack()
        try:
            self._launch(backing, backing_format)
        except BaseException:
            self._stack.close()
            raise

    def _launch(self, backing: Path, backing_format: str) -> None:
        self._stack.enter_context(
            locked(self.lab.dir / "vm.lock", "the virtual machine another process runs")
        )
        self.wiring = qemu.Wiring(self.lab.dir / "run", console.new_log(self.lab.dir / "logs"))
        shutil.rmtree(self.wiring.dir, ignore_errors=True)
        self.wiring.dir.mkdir()
        self._stack.callback(shutil.rmtree, self.wiring.dir, ignore_errors=True)
        root = roots.build_root(self.lab)
        qemu.create_overlay(root, self.spec.disk, backing, backing_format)
        self._qemu_log = self.wiring.dir / "qemu.log"
        self._process = qemu.spawn(root, self.spec, self.wiring, self._qemu_log)
        self._stack.callback(reap, self._process)
        link = qemu.connect(self.wiring.socket("agent"), 20, [self._process])
        self.agent = Agent(link, self.check_alive)
        self._stack.callback(self.agent.close)

    @classmethod
    def boot(
        cls, image: Image, kernel: Kernel, *, memory: str = "2G", cpus: int = 2, append: str = ""
    ) -> Machine:
        """Start the image with the kernel and wait until systemd has settled."""
        self = cls(image.lab, boot_spec(image.lab, kernel, memory, cpus, append), image.path, "raw")
        with self._closing_on_error():
            self.await_boot()
        return self

    @classmethod
    def resume(cls, snapshot: Snapshot) -> Machine:
        """Continue a saved machine with a throw-away disk; its clock is set to now."""
        self = cls(
            snapshot.lab,
            snapshot.spec(snapshot.lab.dir / "run" / "disk.qcow2"),
            snapshot.disk,
            "qcow2",
        )
        with self._closing_on_error():
            self.go_on(RESUME_TIMEOUT_S)
            self._sync(RESUME_TIMEOUT_S)
            self.run(["date", "-s", f"@{time.time():.3f}"])
        return self

    @contextlib.contextmanager
    def _closing_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.kill()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def await_boot(self) -> None:
        """Wait until systemd has settled."""
        self._sync(BOOT_TIMEOUT_S)
        line = ["systemctl", "is-system-running", "--wait"]
        self.run(line, timeout_s=BOOT_TIMEOUT_S, check=False)

    def _sync(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self.agent.sync(min(5.0, timeout_s))
            except AgentSilent as exc:
                if time.monotonic() > deadline:
                    raise self.lost(
                        f"no answer from the guest agent within {timeout_s:g} s"
                    ) from exc
            else:
                return

    def go_on(self, timeout_s: float) -> None:
        """Let a machine started from a saved state continue once QEMU has read that."""
        deadline = time.monotonic() + timeout_s
        with contextlib.closing(self.monitor()) as monitor:
            while monitor.execute("query-status")["status"] == "inmigrate":
                if time.monotonic() > deadline:
                    raise self.lost("QEMU could not load the saved state")
                time.sleep(0.02)
            monitor.execute("cont")

    def lost(self, reason: str) -> VmLost:
        """The error that this machine is gone, with what its console and QEMU said."""
        words = (
            self._qemu_log.read_text(errors="replace").strip() if self._qemu_log.exists() else ""
        )
        return console.verdict(
            self.wiring.console_log, f"{reason}; QEMU said: {words}" if words else reason
        )

    def check_alive(self) -> None:
        """Raise VmLost if QEMU has ended or the guest kernel has reported a crash."""
        code = self._process.poll()
        if code is not None:
            raise self.lost(f"QEMU ended with status {code}")
        if console.crash_line(self.console()):
            raise self.lost("the guest kernel crashed")

    def console(self) -> str:
        """Everything the guest has written to its serial console."""
        return console.read(self.wiring.console_log)

    def run(
        self,
        command: Command,
        *,
        user: str = "root",
        timeout_s: float = PATIENCE_S,
        check: bool = True,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        unit: str | None = None,
    ) -> Result:
        """Run a command to its end; a string goes through sh.

        Without `unit` it runs in the agent's cgroup (root) or a logind session (others); with one,
        in a transient service of that name. Raises CommandFailed if `check`, CommandTimeout after
        `timeout_s` seconds.
        """
        extra = dict(env or {})
        if unit is None:
            argv = guest.direct(command, user, extra)
        else:
            argv = guest.in_unit(command, user, extra, unit, wait=True)
        code, out, err = self.execute(argv, stdin, extra, timeout_s, guest.shown(command))
        result = Result(code, out.decode(errors="replace"), err.decode(errors="replace"))
        if check and code != 0:
            raise CommandFailed(guest.shown(command), code, result.stdout, result.stderr)
        return result

    def execute(
        self, argv: list[str], stdin: bytes, env: Mapping[str, str], timeout_s: float, shown: str
    ) -> tuple[int, bytes, bytes]:
        """Run a prepared argv through the agent; exit code, stdout and stderr as bytes."""
        try:
            pid = self.agent.spawn(argv, stdin, {**guest.ROOT_ENV, **env})
            return self.wait(pid, timeout_s, shown)
        except AgentSilent as exc:
            raise self.lost(str(exc)) from exc

    def wait(self, pid: int, timeout_s: float, shown: str) -> tuple[int, bytes, bytes]:
        began, pause_s = time.monotonic(), POLL_FIRST_S
        while (status := self.agent.status(pid)) is None:
            waited_s = time.monotonic() - began
            if waited_s > timeout_s:
                self.agent.spawn(
                    ["/bin/sh", "-c", f"kill -TERM -{pid}; sleep 1; kill -KILL -{pid}"],
                    b"",
                    guest.ROOT_ENV,
                )
                self.check_alive()
                raise CommandTimeout(shown, timeout_s)
            time.sleep(pause_s)
            longest_s = min(max(POLL_SHARE * waited_s, POLL_MAX_S), POLL_LONG_S)
            pause_s = min(pause_s * 1.5, longest_s)
            if pause_s >= POLL_MAX_S:
                self.check_alive()
        self.check_alive()
        return status

    def start(
        self,
        command: Command,
        *,
        unit: str,
        user: str = "root",
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Start a command in the background as the service `unit`; stop it with systemctl."""
        self.run(guest.in_unit(command, user, env or {}, unit, wait=False))

    def wait_for(
        self,
        condition: Callable[[], object] | Command,
        timeout_s: float = PATIENCE_S,
        interval_s: float = 0.2,
    ) -> None:
        """Poll until a function returns true or a command exits with 0; raises CommandTimeout."""
        deadline = time.monotonic() + timeout_s
        while not (
            condition() if callable(condition) else self.run(condition, check=False).exit_code == 0
        ):
            if time.monotonic() > deadline:
                what = (
                    getattr(condition, "__name__", "condition")
                    if callable(condition)
                    else guest.shown(condition)
                )
                raise CommandTimeout(what, timeout_s)
            time.sleep(interval_s)

    def copy_in(self, local: Path | str, remote: str) -> None:
        """Copy a file to the path `remote`, or the contents of a folder into it."""
        copying.copy_in(self, Path(local), remote)

    def copy_out(self, remote: str, local: Path | str) -> None:
        """Copy a file to the path `local`, or the contents of a folder into it."""
        copying.copy_out(self, remote, Path(local))

    def monitor(self) -> qemu.Monitor:
        """A new connection to QEMU's monitor; close it after use."""
        return qemu.Monitor(self.wiring.socket("qmp"))

    def shutdown(self, timeout_s: float = 90.0) -> None:
        """Power off through systemd and wait for QEMU to end; raises VmLost if it does not."""
        with contextlib.suppress(AgentError, AgentSilent, LabError):
            self.agent.spawn(["/usr/bin/systemctl", "poweroff"], b"", guest.ROOT_ENV)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as exc:
            raise self.lost(f"no power-off within {timeout_s:g} s") from exc
        finally:
            self.kill()

    def wait_end(self, timeout_s: float = 30.0) -> None:
        """Wait for QEMU to end by itself; raises subprocess.TimeoutExpired."""
        self._process.wait(timeout_s)

    def kill(self) -> None:
        """End QEMU at once and remove the machine's files; harmless when repeated."""
        self._stack.close()


def boot_spec(lab: Lab, kernel: Kernel, memory: str, cpus: int, append: str) -> qemu.Spec:
    """The specification of a machine booted from the lab's usual places."""
    accel = qemu.accelerator(roots.build_root(lab), kernel.vmlinuz, lab.dir / "accelerator")
    return qemu.Spec(
        kernel=kernel.vmlinuz,
        initramfs=kernel.initramfs,
        disk=lab.dir / "run" / "disk.qcow2",
        append=append,
        memory=memory,
        cpus=cpus,
        accel=accel,
        nvme=not kernel.has_modules,
    )


def reap(process: subprocess.Popen[bytes]) -> None:
    """Kill QEMU if it still runs and collect it."""
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait()
