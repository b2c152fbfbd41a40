# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a foreign policy: the program of one that root has enrolled, for the daemon.

Started by systemd for a connection to its socket (``schedcp-foreign@.service``, whose sandbox is
the program's too), so that the daemon needs none of the privileges that such programs want. What is
executed is a sealed copy in memory, and the digest is that of the very bytes of the copy. Nothing
in a request is a path or a word of the command line: both come from the card.

The policy is in the kernel as long as this process lives; it ends, and the program with it, when
the connection does. On standard input and output it speaks as the loader's child does.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from schedcpd.deploy import messages
from schedcpd.deploy.attachment import HIDDEN, AttachFailed, Clock, EjectedAtOnce
from schedcpd.deploy.messages import EventName, Failure, MapUpdate, Request
from schedcpd.deploy.serving import (
    Channel,
    die_with_parent,
    failure,
    say_attached,
    serve,
    wait_free,
)
from schedcpd.errors import (
    CardError,
    DigestRefused,
    ForeignScheduler,
    MapRefused,
    NoSuchPolicy,
)
from schedcpd.fields import BadField
from schedcpd.kernel import sched_ext
from schedcpd.kernel.kmsg import KernelLog, parse_exit
from schedcpd.model import Card, ExitKind, ExitRecord, KernelState, is_called
from schedcpd.parameters import objection
from schedcpd.repository.foreign import CARDS, ForeignStore, changed, command_line, read_program

MFD_EXEC = 0x10  # not in Python's os yet; every kernel with sched_ext knows it
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
FIRST_PASSED_FD = 3  # by systemd
KERNEL_LOG = "kmsg"  # its name among them

ATTACH_S = 45.0  # large ones take seconds to load, and many more under emulation
GRACE_S = 1.0  # from being asked to end until being killed
MOMENT_S = 0.2  # from the end of its scheduler to that of a program that was killed
LEAVE_S = 2.0
STAYED = "its program has ended, and its scheduler stays in the kernel"
POLL_S = 0.01
EXIT_USAGE = 2
EXIT_NOT_STARTED = 127
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}


def sealed_copy(path: Path) -> tuple[int, str]:
    """A file in memory that nobody can change, with the bytes of a program, and their digest.

    Raises OSError.
    """
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | MFD_EXEC
    image = os.memfd_create(path.name, flags)
    try:
        with os.fdopen(image, "wb", closefd=False) as file:
            digest = read_program(path, file.write)
        fcntl.fcntl(image, fcntl.F_ADD_SEALS, SEALS)
    except BaseException:
        os.close(image)
        raise
    return image, digest


class Run:
    """The scheduler of a foreign program, each time that it is started until it has left."""

    def __init__(
        self,
        card: Card,
        image: int,
        argv: Sequence[str],
        root: Path,
        kernel_log: KernelLog | None = None,
        clock: Clock | None = None,
    ) -> None:
        """``image`` is a file descriptor; ``kernel_log`` tells why a scheduler left."""
        self.load_ms = 0.0  # a program does all in one
        self.attach_ms = 0.0
        self._card = card
        self._image = image
        self._argv = argv
        self._root = root
        self._log = kernel_log
        self._clock = clock or Clock()
        self._pid = 0  # 0: there is no process
        self._end = ""  # how the process ended
        self._attached = KernelState(False, "", "", 0, 0, 0)
        self._left: ExitRecord | None = None
        self._suspended = False

    @property
    def suspended(self) -> bool:
        """Whether the program was ended to be started again."""
        return self._suspended

    def counters(self) -> dict[str, int]:
        """Nothing: how it counts is its own affair."""
        return {}

    def update_map(self, update: MapUpdate) -> None:
        """Refuse it: its maps are its own."""
        raise MapRefused(self._card.name, update.name[:64], "a foreign scheduler has no such map")

    def resume(self, settle_s: float) -> KernelState:
        """Start the program and wait until its scheduler has settled.

        EjectedAtOnce or AttachFailed, at ``program`` when it is not the kernel's doing; nothing is
        left of it then.
        """
        if (state := sched_ext.read_state(self._root)).state != "disabled":
            raise AttachFailed("attach", f"{state.policy!r} is attached", errno.EBUSY)
        self._suspended, self._left, self._end = False, None, ""
        if self._log is not None:
            self._log.skip()
        started = self._clock.now()
        self._start()
        try:
            self._attached = self._await_attached(state.enable_seq, started + ATTACH_S)
            self.attach_ms = (self._clock.now() - started) * 1000
            return self._settle(settle_s)
        except BaseException:
            self._stop()
            raise

    def _start(self) -> None:
        self._pid = os.fork()
        if self._pid:
            return
        try:
            die_with_parent()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # the connection is not for the program
            os.dup2(2, 1)
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.execve(self._image, list(self._argv), ENVIRONMENT)
        except BaseException as exc:  # noqa: BLE001 - nothing of the parent may run twice
            os.write(2, f"schedcp-foreign: {self._argv[0]}: {exc}\n".encode())
        finally:
            os._exit(EXIT_NOT_STARTED)

    def _await_attached(self, enable_seq: int, deadline: float) -> KernelState:
        while True:
            state = sched_ext.read_state(self._root)
            # The kernel counts it last.
            if state.state == "enabled" and state.policy and state.enable_seq != enable_seq:
                break
            if self._has_ended():
                raise AttachFailed("program", f"{self._end} before it had attached anything")
            if self._clock.now() > deadline:
                raise AttachFailed("program", f"it attached nothing in {ATTACH_S:.0f} s")
            self._clock.sleep(POLL_S)
        if is_called(self._card.ops, state.policy):
            return state
        self._stop()
        self._until_left(state)
        if sched_ext.read_state(self._root).policy == state.policy:
            raise AttachFailed("attach", "somebody was faster", errno.EBUSY)
        assert self._card.program is not None
        wrong = f"its scheduler is {state.policy!r}; by 'ops' in its card: {self._card.program.ops}"
        raise AttachFailed("program", wrong)

    def _settle(self, settle_s: float) -> KernelState:
        deadline = self._clock.now() + settle_s
        while True:
            if (record := self.ended()) is not None:
                if record.kind == ExitKind.UNREG:
                    raise AttachFailed("program", record.message or "it let go at once")
                raise EjectedAtOnce(record)
            if self._clock.now() >= deadline:
                return self._attached
            self._clock.sleep(POLL_S)

    def _is_in(self, state: KernelState) -> bool:
        """Whether that is still what was attached; a program may attach a second time."""
        there = state.policy == self._attached.policy and state.state in ("enabled", "disabling")
        return there and state.enable_seq == self._attached.enable_seq

    def ended(self) -> ExitRecord | None:
        """Why the policy or its program has gone; None while both are there."""
        state = sched_ext.read_state(self._root)
        if self._left is None and (not self._is_in(state) or self._has_ended()):
            self._left = self._leave(asked=False) or ExitRecord(ExitKind.ERROR, 0, STAYED, "")
        return self._left

    def let_go(self) -> ExitRecord | None:
        """End the program; why its policy left, or None when it does not."""
        if self._left is None and self._pid:
            self._left = self._leave(asked=True)
        return self._left

    def suspend(self) -> ExitRecord | None:
        """End the program, to be started again; what anything else than that left behind."""
        if (record := self.ended()) is not None:
            return record
        if (record := self.let_go()) is None:
            raise AttachFailed("suspend", "the policy did not leave the kernel in time")
        if record.kind != ExitKind.UNREG:
            return record
        self._suspended = True
        return None

    def _leave(self, *, asked: bool) -> ExitRecord | None:
        alone = self._has_ended() and not asked  # and the policy went with it
        by_itself = not asked and self._ends_by_itself()
        self._stop()
        if not self._until_left(self._attached):
            return None
        record = parse_exit(self._log.read(), self._attached.policy) if self._log else None
        if record is None:
            hidden = not (asked or alone)
            kind, reason = (ExitKind.ERROR, HIDDEN) if hidden else (ExitKind.UNREG, "")
            record = ExitRecord(kind, 0, reason, "")
        return self._completed(record, self._end if by_itself else "")

    def _completed(self, record: ExitRecord, end: str) -> ExitRecord:
        """The record with what the kernel's log does not tell."""
        if record.kind == ExitKind.UNREG:
            return ExitRecord(record.kind, 0, record.reason, end)
        seq = sched_ext.read_state(self._root).hotplug_seq
        if record.kind == ExitKind.UNREG_KERN and seq != self._attached.hotplug_seq:
            return ExitRecord(record.kind, sched_ext.ACT_RESTART, record.reason, record.message)
        return record

    def _until_left(self, attached: KernelState) -> bool:
        """Wait until a scheduler is not in the kernel any more; whether it has gone."""
        deadline = self._clock.now() + LEAVE_S
        while (state := sched_ext.read_state(self._root)).state != "disabled":
            if state.policy not in ("", attached.policy):
                return True  # somebody else was waiting for that
            if self._clock.now() > deadline:
                return False
            self._clock.sleep(POLL_S)
        return True

    def _has_ended(self) -> bool:
        """Whether there is no process any more; reaps it."""
        if self._pid:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self._pid, self._end = 0, how_it_ended(status)
        return not self._pid

    def _ends_by_itself(self) -> bool:
        """Whether the process ends; its files, and the policy with them, go a moment before it."""
        deadline = self._clock.now() + MOMENT_S
        while not self._has_ended() and self._clock.now() < deadline:
            self._clock.sleep(POLL_S)
        return self._has_ended()

    def _stop(self) -> None:
        """Ask the program to end, then kill it."""
        if self._has_ended():
            return
        hurry(self._pid)
        os.kill(self._pid, signal.SIGINT)
        deadline = self._clock.now() + GRACE_S
        while not self._has_ended() and self._clock.now() < deadline:
            self._clock.sleep(POLL_S)
        if not self._has_ended():
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid, self._end = 0, "its program did not end when it was asked to"


def hurry(pid: int) -> None:
    """Take a process out of its own scheduler's hands: one that starves it would keep it alive."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it has just ended, or we have no CAP_SYS_NICE
            os.sched_setscheduler(int(thread.name), os.SCHED_FIFO, os.sched_param(1))


def how_it_ended(status: int) -> str:
    """The end of a program, in words."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"its program was ended by {signal.Signals(-code).name}"
    return f"its program ended with status {code}"


def admit(request: Request, store: ForeignStore) -> tuple[Card, int]:
    """The card and the sealed program, if it is the one that was enrolled and may be run so.

    Raises NoSuchPolicy, CardError or DigestRefused.
    """
    card = store.card(request.policy)
    program = card.program
    assert program is not None
    if reason := objection(card, request.parameters):
        raise DigestRefused(card.name, reason)
    if request.object_sha256 not in ("", program.sha256):
        raise DigestRefused(card.name, "it was enrolled again a moment ago; try again")
    try:
        image, digest = sealed_copy(Path(program.path))
    except OSError as exc:
        raise DigestRefused(card.name, f"its program cannot be read: {exc}") from exc
    if digest != program.sha256:
        os.close(image)
        raise DigestRefused(card.name, changed(program))
    return card, image


def attach(
    request: Request, channel: Channel, store: ForeignStore, log: KernelLog | None
) -> Run | None:
    """Do what the request asks; None when nothing is attached, and the daemon knows why."""
    try:
        card, image = admit(request, store)
        wait_free(request.sched_ext)
        argv = command_line(card, request.parameters)
        run = Run(card, image, argv, request.sched_ext, log)
        state = run.resume(request.settle_s)
    except (ForeignScheduler, NoSuchPolicy) as exc:
        channel.say_failed(Failure(type(exc).__name__, reason=exc.name))
    except (DigestRefused, CardError) as exc:
        channel.say_failed(Failure(type(exc).__name__, reason=exc.reason))
    except (EjectedAtOnce, AttachFailed) as exc:
        channel.say_failed(failure(exc, request.sched_ext))
    else:
        say_attached(EventName.ATTACHED, run, state, channel)
        return run
    return None


def passed_kernel_log() -> KernelLog | None:
    """The kernel's log, which systemd has opened for us; what it passes is not for the program."""
    number = os.environ.get("LISTEN_FDS", "")
    log = None
    if os.environ.get("LISTEN_PID") == str(os.getpid()) and number.isdecimal():
        # A connection that is standard input is among the names, and not among the descriptors.
        names = os.environ.get("LISTEN_FDNAMES", "").split(":")
        names = names[max(len(names) - int(number), 0) :]
        for fd, name in enumerate(names, FIRST_PASSED_FD):
            os.set_inheritable(fd, False)
            log = KernelLog(fd) if name == KERNEL_LOG else log
    return log


def main(argv: Sequence[str] | None = None) -> int:
    """Serve one request; a policy that is attached leaves the kernel before this returns."""
    parser = argparse.ArgumentParser(prog="schedcp-foreign", description=__doc__)
    parser.add_argument("--cards", type=Path, default=CARDS, help=f"the cards (default: {CARDS})")
    store = ForeignStore(parser.parse_args(argv).cards)
    channel = Channel(sys.stdin.fileno(), sys.stdout.fileno())
    try:
        log = passed_kernel_log()
        line = channel.line(None)
        if line is None:
            return 0
        request = messages.decode_request(line)
        if run := attach(request, channel, store, log):
            serve(run, channel, request)
    except EOFError:
        return 0
    except BadField as exc:
        sys.stderr.write(f"schedcp-foreign: {exc}\n")
        return EXIT_USAGE
    return 0


if __name__ == "__main__":
    os._exit(main())
