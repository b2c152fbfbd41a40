# SPDX-License-Identifier: GPL-2.0-or-later
"""What a process does for the daemon that holds a policy in the kernel: the child's end of it all.

``schedcpd.deploy.messages`` has the protocol, on standard input and output; ``load`` and
``foreign`` bring the policies along.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from schedcpd.deploy import messages
from schedcpd.deploy.attachment import AttachFailed, EjectedAtOnce
from schedcpd.deploy.messages import Command, EventName, Failure, LoaderStatus, MapUpdate, Request
from schedcpd.errors import ForeignScheduler, MapRefused
from schedcpd.fields import BadField, Fields
from schedcpd.kernel import sched_ext
from schedcpd.model import ExitRecord, KernelState

PR_SET_PDEATHSIG = 1
LOOK_S = 0.5
# The policy before ours may still be on its way out.
WAIT_FREE_S = 2.0
# Long enough for a policy that fails at once; what fails later is noticed while it is served.
RESUME_SETTLE_S = 0.06
POLL_S = 0.01


class Held(Protocol):
    """A policy that is held in the kernel; ``deploy.attachment.Attachment`` is the usual one."""

    load_ms: float
    attach_ms: float

    @property
    def suspended(self) -> bool:
        """Whether the kernel's own scheduler has a turn."""

    def ended(self) -> ExitRecord | None:
        """Why the kernel let go of it; None while it runs."""

    def let_go(self) -> ExitRecord | None:
        """Give the machine back to the kernel's own scheduler; the exit record once it is there."""

    def suspend(self) -> ExitRecord | None:
        """Let the kernel's own scheduler have a turn; what else there was to it than a pause."""

    def resume(self, settle_s: float) -> KernelState:
        """Attach it again; raises EjectedAtOnce or AttachFailed."""

    def update_map(self, update: MapUpdate) -> None:
        """Change a live map; raises MapRefused."""

    def counters(self) -> Mapping[str, int]:
        """What it counts."""


class Channel:
    """The two pipes to the daemon."""

    def __init__(self, fd_in: int, fd_out: int) -> None:
        self._in = fd_in
        self._out = fd_out
        self._buffer = b""

    def line(self, timeout_s: float | None) -> bytes | None:
        """The next line; None when there was none in time. EOFError when the daemon is gone."""
        while b"\n" not in self._buffer:
            if not select.select([self._in], [], [], timeout_s)[0]:
                return None
            data = os.read(self._in, 65536)
            if not data or len(self._buffer) > messages.REQUEST_LIMIT:
                raise EOFError
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def say(self, event: EventName, **fields: object) -> None:
        """One event. A daemon that is gone hears nothing, and the next read tells us."""
        data = messages.encode({"event": event, **fields})
        try:
            while data:
                data = data[os.write(self._out, data) :]
        except BrokenPipeError:
            return

    def say_failed(self, failure: Failure) -> None:
        """The event of an attempt that failed."""
        self.say(
            EventName.FAILED,
            error=failure.error,
            stage=failure.stage,
            reason=failure.reason[: messages.TEXT_LIMIT],
            log=failure.log[-messages.LOG_LIMIT :],
            exit=messages.encode_exit(failure.exit),
        )

    def say_status(self, event: EventName, status: LoaderStatus) -> None:
        """An event with the exit record and the counters."""
        exit_ = messages.encode_exit(status.exit)
        self.say(event, exit=exit_, counters=dict(status.counters))


def die_with_parent() -> None:
    """Have the kernel kill this process with the daemon; not inherited, so set here."""
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = (ctypes.c_int, *([ctypes.c_ulong] * 4))
    libc.prctl.restype = ctypes.c_int
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent or parent == 1:
        # It died before we could ask. A daemon is never process 1.
        raise EOFError


def wait_free(root: Path) -> None:
    """Return when no scheduler is attached; ForeignScheduler when that takes too long."""
    deadline = time.monotonic() + WAIT_FREE_S
    while (state := sched_ext.read_state(root)).state != "disabled":
        if state.state == "enabled" or time.monotonic() > deadline:
            raise ForeignScheduler(state.policy or state.state)
        time.sleep(POLL_S)


def say_attached(event: EventName, attachment: Held, state: KernelState, channel: Channel) -> None:
    """The event of a policy that has settled, for the first time or again."""
    channel.say(
        event,
        ops=state.policy,
        enable_seq=state.enable_seq,
        load_ms=round(attachment.load_ms, 1),
        attach_ms=round(attachment.attach_ms, 1),
    )


def failure(exc: AttachFailed | EjectedAtOnce, root: Path) -> Failure:
    """A failed attempt, told apart by what lies behind it."""
    if isinstance(exc, EjectedAtOnce):
        return Failure("Ejected", "settle", exc.record.message, exit=exc.record)
    if exc.stage == "attach" and exc.code == errno.EBUSY:
        return Failure("ForeignScheduler", exc.stage, sched_ext.read_state(root).policy)
    if exc.stage == "program":
        return Failure("ProgramFailed", exc.stage, exc.reason)
    return Failure("KernelRejected", exc.stage, exc.reason, exc.log)


def serve(attachment: Held, channel: Channel, request: Request) -> None:
    """Answer the daemon until the policy is out of the kernel for good."""
    while True:
        try:
            line = channel.line(LOOK_S)
        except EOFError:
            attachment.let_go()
            return
        if not attachment.suspended and (record := attachment.ended()) is not None:
            say_ended(EventName.EJECTED, attachment, channel, record)
            return
        if line is not None and not obey(line, attachment, channel, request):
            return


def say_ended(
    event: EventName, attachment: Held, channel: Channel, record: ExitRecord | None = None
) -> None:
    """Let go, and say what the policy left behind, or ``record`` where we know better."""
    left = attachment.let_go()
    channel.say_status(event, LoaderStatus(record or left, attachment.counters()))


def obey(line: bytes, attachment: Held, channel: Channel, request: Request) -> bool:
    """Carry out one command; False when there is nothing left to serve."""
    fields: Fields = messages.decode(line)
    try:
        match fields.text("command"):
            case Command.STATUS:
                channel.say_status(EventName.STATUS, LoaderStatus(None, attachment.counters()))
            case Command.SUSPEND:
                return suspend(attachment, channel)
            case Command.RESUME:
                state = attachment.resume(min(request.settle_s, RESUME_SETTLE_S))
                say_attached(EventName.RESUMED, attachment, state, channel)
            case Command.UPDATE:
                update(messages.decode_update(fields), attachment, channel)
            case Command.DETACH:
                say_ended(EventName.DETACHED, attachment, channel)
                return False
            case other:
                raise BadField(f"unknown command {other[:40]!r}")
    except (EjectedAtOnce, AttachFailed) as exc:
        channel.say_failed(failure(exc, request.sched_ext))
        return False
    return True


def update(change: MapUpdate, attachment: Held, channel: Channel) -> None:
    """Change a live map, and say why not if it was not taken."""
    refused = ""
    try:
        attachment.update_map(change)
    except MapRefused as exc:
        refused = exc.reason
    refused = refused[: messages.TEXT_LIMIT]
    channel.say(EventName.UPDATED, number=change.number, refused=refused)


def suspend(attachment: Held, channel: Channel) -> bool:
    """Let the kernel's own scheduler have a turn; False when the policy was thrown out instead."""
    if attachment.suspend() is not None:
        say_ended(EventName.EJECTED, attachment, channel)
        return False
    channel.say_status(EventName.SUSPENDED, LoaderStatus(None, attachment.counters()))
    return True
