# SPDX-License-Identifier: GPL-2.0-or-later
"""Serves one request of the daemon on standard input and output, which are one socket.

Started by systemd for each connection: ``python3 -I -m schedcpd.verify.serve``. The first line is
the request, the lines of the answer follow; one JSON object a line. When the daemon hangs up this
process ends at once, and systemd ends all that it started.
"""

from __future__ import annotations

import json
import os
import select
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from schedcpd.errors import SchedcpError
from schedcpd.fields import BadField, Fields
from schedcpd.model import Report
from schedcpd.reports import Progress, encode_progress, encode_report
from schedcpd.repository import cards
from schedcpd.repository.policies import SOURCE_LIMIT
from schedcpd.verify import office
from schedcpd.verify.admission import RefusedError
from schedcpd.verify.host import Places, read_host
from schedcpd.verify.office import Office
from schedcpd.verify.pipeline import open_verifier

# JSON may write a character as six bytes.
REQUEST_LIMIT = 6 * (SOURCE_LIMIT + cards.SIZE_LIMIT) + 4096
REQUEST_S = 10
CHUNK = 1 << 16
EXIT_HUNG_UP = 3
VERIFY_FIELDS = ("action", "policy", "card", "source", "enroll")


@dataclass(frozen=True, slots=True)
class Submission:
    """A request for a verification; ``source`` is None for an installed policy."""

    policy: str
    card: bytes = b""
    source: bytes | None = None
    enroll: bool = False


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A request to remove an enrolled policy."""

    policy: str


@dataclass(frozen=True, slots=True)
class Revocation:
    """A request to sign nothing any more for an object, or to ``undo`` that."""

    object_sha256: str
    undo: bool = False


Request = Submission | Withdrawal | Revocation


def parse_request(line: bytes) -> Request:
    """The request in a line; BadField."""
    try:
        fields = Fields(json.loads(line))
    except (ValueError, RecursionError) as exc:
        raise BadField("the request is not a table of JSON") from exc
    match fields.choice("action", ("verify", "withdraw", "revoke", "reinstate")):
        case "withdraw":
            fields.only("action", "policy")
            return Withdrawal(fields.text("policy"))
        case "revoke" | "reinstate" as action:
            fields.only("action", "object_sha256")
            return Revocation(fields.text("object_sha256"), undo=action == "reinstate")
    fields.only(*VERIFY_FIELDS)
    policy = fields.text("policy")
    if not cards.POLICY_NAME.fullmatch(policy):
        raise BadField("policy: scx_ and up to 11 of a-z, 0-9 and _ make a name")
    if "source" not in fields:
        return Submission(policy)
    card, source = fields.text("card", cards.SIZE_LIMIT), fields.text("source", SOURCE_LIMIT)
    try:
        return Submission(policy, card.encode(), source.encode(), fields.truth("enroll"))
    except UnicodeEncodeError as exc:
        raise BadField("card and source must be text that UTF-8 can write") from exc


class Connection:
    """The socket to the daemon."""

    def __init__(self, fd_in: int, fd_out: int) -> None:
        self._in = fd_in
        self._out = fd_out

    def request(self) -> bytes:
        """The first line; BadField when it is too long, or does not come in time."""
        data = b""
        while b"\n" not in data:
            if not select.select([self._in], [], [], REQUEST_S)[0]:
                raise BadField("no request came")
            more = os.read(self._in, CHUNK)
            if not more:
                raise BadField("the request has no end")
            data += more
            if len(data) > REQUEST_LIMIT:
                raise BadField("the request is too long")
        return data.partition(b"\n")[0]

    def say(self, event: Mapping[str, object]) -> None:
        """One line of the answer."""
        data = json.dumps(event).encode() + b"\n"
        while data:
            data = data[os.write(self._out, data) :]

    def end_with_it(self) -> None:
        """From now on end this process as soon as the daemon hangs up."""
        threading.Thread(target=self._wait_hang_up, daemon=True).start()

    def _wait_hang_up(self) -> None:
        waiting = select.poll()
        waiting.register(self._in, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
        waiting.poll()
        # Nobody wants to know any more; systemd kills what is left of compiler and micro-VM.
        os._exit(EXIT_HUNG_UP)


def serve(request: Request, connection: Connection, places: Places, release: str) -> None:
    """Carry out one request and say what came of it; raises what ``main`` catches."""
    match request:
        case Withdrawal(policy):
            office.withdraw(places, policy)
            connection.say({"event": "done"})
        case Revocation(object_sha256, undo):
            if undo:
                office.reinstate(places, object_sha256)
            else:
                office.revoke(places, object_sha256, release, time.time())
            connection.say({"event": "done"})
        case Submission():
            report = _verify(request, connection, places, release)
            connection.say({"event": "report", "report": encode_report(report)})


def _verify(request: Submission, connection: Connection, places: Places, release: str) -> Report:
    host = read_host(places, release)
    desk = Office(places, host, open_verifier(places, host))

    def tell(progress: Progress) -> None:
        connection.say(encode_progress(progress))

    if request.source is None:
        return desk.verify_installed(request.policy, tell)
    return desk.verify_source(request.policy, request.card, request.source, request.enroll, tell)


def main(places: Places | None = None) -> int:
    """Serve the request on standard input; 1 when it could not be."""
    connection = Connection(sys.stdin.fileno(), sys.stdout.fileno())
    try:
        request = parse_request(connection.request())
        connection.end_with_it()
        serve(request, connection, places or Places(), os.uname().release)
    except BrokenPipeError:
        return EXIT_HUNG_UP
    except (BadField, RefusedError, SchedcpError, OSError, ValueError) as exc:
        sys.stderr.write(f"schedcp-verify: {exc}\n")
        connection.say({"event": "error", "message": str(exc)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
