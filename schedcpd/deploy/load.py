# SPDX-License-Identifier: GPL-2.0-or-later
"""The loader's child: takes one policy into the kernel and holds it there.

The policy is in the kernel exactly as long as this process lives. It checks the token of the very
bytes that it hands to the kernel, and ends when the daemon says so, goes away or the policy is
ejected. Run as ``python3 -I -m schedcpd.deploy.load``; ``schedcpd.deploy.messages`` has the
protocol, on standard input and output.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import select
import signal
import sys
import time
from pathlib import Path

from schedcpd import token
from schedcpd.deploy import messages
from schedcpd.deploy.attachment import AttachFailed, Attachment, EjectedAtOnce
from schedcpd.deploy.messages import Command, EventName, Failure, LoaderStatus, Request
from schedcpd.errors import (
    CardError,
    ForeignScheduler,
    NoSchedExt,
    NoSuchPolicy,
    TokenRefused,
)
from schedcpd.fields import BadField, Fields
from schedcpd.kernel import sched_ext
from schedcpd.kernel.libbpf import Libbpf, LibbpfError
from schedcpd.kernel.topology import read_topology
from schedcpd.model import Card, ExitRecord, KernelState
from schedcpd.repository.files import read_bounded
from schedcpd.repository.policies import PolicyStore

BTF = Path("/sys/kernel/btf/vmlinux")
BTF_LIMIT = 64 << 20
KEY_LIMIT = 1024
PR_SET_PDEATHSIG = 1
LOOK_S = 0.5
# The policy before ours may still be on its way out.
WAIT_FREE_S = 2.0
# Long enough for a policy that fails at once; what fails later is noticed while it is served.
RESUME_SETTLE_S = 0.06
POLL_S = 0.01
EXIT_USAGE = 2


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


def admit(request: Request) -> tuple[bytes, Card, token.Token]:
    """The object, its card and its token, if they belong together here and now."""
    store = PolicyStore(request.schedulers, request.enrolled)
    policy = request.policy
    data, card_data = store.object_bytes(policy), store.card_bytes(policy)
    if request.object_sha256 not in ("", hashlib.sha256(data).hexdigest()):
        # What is known of it, good or bad, is known of another object.
        raise TokenRefused(policy, "it was replaced a moment ago; try again")
    try:
        file = read_bounded(request.tokens / f"{policy}.token", token.SIZE_LIMIT)
        key = read_bounded(request.public_key, KEY_LIMIT)
        machine = token.read_machine(
            os.uname().release, read_bounded(BTF, BTF_LIMIT), read_topology()
        )
    except FileNotFoundError as exc:
        raise TokenRefused(policy, missing(request, Path(exc.filename))) from exc
    except OSError as exc:
        raise TokenRefused(policy, str(exc)) from exc
    candidate = token.Candidate(policy, data, card_data, request.parameters)
    signed = token.check(file, key, candidate, machine, time.time())
    return data, store.parse(policy, card_data), signed


def missing(request: Request, path: Path) -> str:
    """Why a file that the check of a token needs is not there."""
    if path == BTF:
        return sched_ext.unusable_reason(request.sched_ext) or f"{path} is missing"
    if path == request.public_key:
        return "there is no key to check tokens with; start schedcp-verify.service"
    try:
        report = read_bounded(request.tokens / f"{request.policy}.report.json", token.SIZE_LIMIT)
        reason = messages.decode(report).text("reason", messages.TEXT_LIMIT)
    except (OSError, BadField):
        reason = ""
    if reason:
        return f"schedcp-verify gave it no token: {reason}"
    return "it has no token; start schedcp-verify.service"


def check_usable(root: Path) -> None:
    """Raise NoSchedExt when nothing could be attached here, whatever its token says."""
    if reason := sched_ext.unusable_reason(root):
        raise NoSchedExt(reason)


def wait_free(root: Path) -> None:
    """Return when no scheduler is attached; ForeignScheduler when that takes too long."""
    deadline = time.monotonic() + WAIT_FREE_S
    while (state := sched_ext.read_state(root)).state != "disabled":
        if state.state == "enabled" or time.monotonic() > deadline:
            raise ForeignScheduler(state.policy or state.state)
        time.sleep(POLL_S)


def attach(request: Request, channel: Channel) -> Attachment | None:
    """Do what the request asks; None when nothing is attached, and the daemon knows why."""
    try:
        if not request.check_only:
            check_usable(request.sched_ext)
        data, card, signed = admit(request)
        if request.check_only:
            channel.say(EventName.ADMISSIBLE, token=signed.validity)
            return None
        wait_free(request.sched_ext)
        attachment = Attachment(card, request.sched_ext)
        attachment.load(Libbpf(), data, request.parameters)
        attachment.attach()
        state = attachment.settle(request.settle_s)
    except (TokenRefused, CardError, NoSuchPolicy, ForeignScheduler, NoSchedExt) as exc:
        channel.say_failed(Failure(type(exc).__name__, reason=plain_reason(exc)))
    except LibbpfError as exc:
        channel.say_failed(Failure("KernelRejected", "open", exc.tried))
    except (EjectedAtOnce, AttachFailed) as exc:
        channel.say_failed(failure(exc, request.sched_ext))
    else:
        say_attached(EventName.ATTACHED, attachment, state, channel)
        return attachment
    return None


def say_attached(
    event: EventName, attachment: Attachment, state: KernelState, channel: Channel
) -> None:
    """The event of a policy that has settled, for the first time or again."""
    channel.say(
        event,
        ops=state.policy,
        enable_seq=state.enable_seq,
        load_ms=round(attachment.load_ms, 1),
        attach_ms=round(attachment.attach_ms, 1),
    )


def plain_reason(
    exc: TokenRefused | CardError | NoSuchPolicy | ForeignScheduler | NoSchedExt,
) -> str:
    """The reason that the daemon makes the same exception of."""
    if isinstance(exc, ForeignScheduler | NoSuchPolicy):
        return exc.name
    return exc.reason


def failure(exc: AttachFailed | EjectedAtOnce, root: Path) -> Failure:
    """A failed attempt, told apart by what lies behind it."""
    if isinstance(exc, EjectedAtOnce):
        return Failure("Ejected", "settle", exc.record.message, exit=exc.record)
    if exc.stage == "attach" and exc.code == errno.EBUSY:
        return Failure("ForeignScheduler", exc.stage, sched_ext.read_state(root).policy)
    return Failure("KernelRejected", exc.stage, exc.reason, exc.log)


def serve(attachment: Attachment, channel: Channel, request: Request) -> None:
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
    event: EventName, attachment: Attachment, channel: Channel, record: ExitRecord | None = None
) -> None:
    """Let go, and say what the policy left behind, or ``record`` where we know better."""
    left = attachment.let_go()
    channel.say_status(event, LoaderStatus(record or left, attachment.counters()))


def obey(line: bytes, attachment: Attachment, channel: Channel, request: Request) -> bool:
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
            case Command.DETACH:
                say_ended(EventName.DETACHED, attachment, channel)
                return False
            case other:
                raise BadField(f"unknown command {other[:40]!r}")
    except (EjectedAtOnce, AttachFailed) as exc:
        channel.say_failed(failure(exc, request.sched_ext))
        return False
    return True


def suspend(attachment: Attachment, channel: Channel) -> bool:
    """Let the kernel's own scheduler have a turn; False when the policy was thrown out instead."""
    if attachment.suspend() is not None:
        say_ended(EventName.EJECTED, attachment, channel)
        return False
    channel.say_status(EventName.SUSPENDED, LoaderStatus(None, attachment.counters()))
    return True


def main() -> int:
    """Serve one request; a policy that is attached leaves the kernel before this returns."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    channel = Channel(sys.stdin.fileno(), sys.stdout.fileno())
    try:
        die_with_parent()
        line = channel.line(None)
        if line is None:
            return 0
        request = messages.decode_request(line)
        if attachment := attach(request, channel):
            serve(attachment, channel, request)
    except EOFError:
        return 0
    except BadField as exc:
        sys.stderr.write(f"schedcp-load: {exc}\n")
        return EXIT_USAGE
    return 0


if __name__ == "__main__":
    # Everything is said and let go of: taking the interpreter down would only keep people waiting.
    os._exit(main())
