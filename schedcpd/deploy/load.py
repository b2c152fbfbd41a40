# SPDX-License-Identifier: GPL-2.0-or-later
"""The loader's child: takes one policy into the kernel and holds it there.

The policy is in the kernel exactly as long as this process lives. It checks the token of the very
bytes that it hands to the kernel, and ends when the daemon says so, goes away or the policy is
ejected. A child that is only to check policies does so with one after the other.

Run as ``python3 -I -m schedcpd.deploy.load``; ``schedcpd.deploy.messages`` has the protocol, on
standard input and output.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from pathlib import Path

from schedcpd import token
from schedcpd.deploy import messages
from schedcpd.deploy.attachment import AttachFailed, Attachment, EjectedAtOnce
from schedcpd.deploy.messages import EventName, Failure, Request
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
    ForeignScheduler,
    NoSchedExt,
    NoSuchPolicy,
    TokenRefused,
)
from schedcpd.fields import BadField
from schedcpd.kernel import sched_ext
from schedcpd.kernel.libbpf import Libbpf, LibbpfError
from schedcpd.kernel.topology import read_topology
from schedcpd.model import Card
from schedcpd.repository.files import read_bounded
from schedcpd.repository.policies import PolicyStore

BTF = Path("/sys/kernel/btf/vmlinux")
BTF_LIMIT = 64 << 20
KEY_LIMIT = 1024
EXIT_USAGE = 2


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


def plain_reason(
    exc: TokenRefused | CardError | NoSuchPolicy | ForeignScheduler | NoSchedExt,
) -> str:
    """The reason that the daemon makes the same exception of."""
    if isinstance(exc, ForeignScheduler | NoSuchPolicy):
        return exc.name
    return exc.reason


def main() -> int:
    """Serve requests up to one to attach; its policy leaves the kernel before this returns."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    channel = Channel(sys.stdin.fileno(), sys.stdout.fileno())
    try:
        die_with_parent()
        while (line := channel.line(None)) is not None:
            request = messages.decode_request(line)
            if attachment := attach(request, channel):
                serve(attachment, channel, request)
            if not request.check_only:
                break
    except EOFError:
        return 0
    except BadField as exc:
        sys.stderr.write(f"schedcp-load: {exc}\n")
        return EXIT_USAGE
    return 0


if __name__ == "__main__":
    # Everything is said and let go of: taking the interpreter down would only keep people waiting.
    os._exit(main())
