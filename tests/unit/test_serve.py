# SPDX-License-Identifier: GPL-2.0-or-later
"""The verifier's side of its socket."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from schedcpd.fields import BadField
from schedcpd.repository.policies import SOURCE_LIMIT
from schedcpd.verify import serve
from schedcpd.verify.host import Host, Places
from schedcpd.verify.pipeline import Verifier
from schedcpd.verify.serve import Connection, Revocation, Submission, Withdrawal, parse_request
from unit.test_pipeline import Fakes
from unit.test_verify import OWN_CARD, places

__all__ = ["places"]
DEADLINE_S = 20.0


def test_requests() -> None:
    assert parse_request(b'{"action":"verify","policy":"scx_a"}') == Submission("scx_a")
    assert parse_request(
        b'{"action":"verify","policy":"scx_a","card":"c","source":"s","enroll":true}'
    ) == Submission("scx_a", b"c", b"s", enroll=True)
    assert parse_request(b'{"action":"withdraw","policy":"scx_a"}') == Withdrawal("scx_a")
    assert parse_request(b'{"action":"revoke","object_sha256":"a"}') == Revocation("a")
    undo = parse_request(b'{"action":"reinstate","object_sha256":"a"}')
    assert undo == Revocation("a", undo=True)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"", "not a table of JSON"),
        (b"[" * 100_000, "not a table of JSON"),
        (b"\xff", "not a table of JSON"),
        (b"[]", "not a table of JSON"),
        (b"{}", "action is missing"),
        (b'{"action":"boast"}', "action must be one of"),
        (b'{"action":"verify"}', "policy is missing"),
        (b'{"action":"verify","policy":"../x"}', "policy: scx_"),
        (b'{"action":"verify","policy":"scx_a","argv":["sh"]}', "unknown field 'argv'"),
        (b'{"action":"verify","policy":"scx_a","source":"s"}', "card is missing"),
        (b'{"action":"verify","policy":"scx_a","source":"s","card":"c"}', "enroll is missing"),
        (
            b'{"action":"verify","policy":"scx_a","source":"\\ud800","card":"c","enroll":false}',
            "UTF-8",
        ),
        (b'{"action":"revoke","policy":"scx_a"}', "unknown field 'policy'"),
    ],
)
def test_requests_that_are_refused(line: bytes, complaint: str) -> None:
    with pytest.raises(BadField, match=complaint):
        parse_request(line)


def test_a_source_that_is_too_long() -> None:
    source = "x" * (SOURCE_LIMIT + 1)
    request = {"action": "verify", "policy": "scx_a", "card": "", "source": source, "enroll": False}
    with pytest.raises(BadField, match="source is longer"):
        parse_request(json.dumps(request).encode())


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The daemon's end and the verifier's."""
    ends = socket.socketpair()
    for end in ends:
        end.settimeout(DEADLINE_S)
    yield ends
    for end in ends:
        end.close()


Pair = tuple[socket.socket, socket.socket]


def test_a_request_without_end(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon, verifier = pair
    connection = Connection(verifier.fileno(), verifier.fileno())
    monkeypatch.setattr(serve, "REQUEST_S", 0)
    with pytest.raises(BadField, match="no request came"):
        connection.request()
    monkeypatch.setattr(serve, "REQUEST_S", DEADLINE_S)
    monkeypatch.setattr(serve, "REQUEST_LIMIT", 10)
    daemon.send(b"x" * 11)
    with pytest.raises(BadField, match="too long"):
        connection.request()
    daemon.send(b"x")
    daemon.shutdown(socket.SHUT_WR)
    with pytest.raises(BadField, match="has no end"):
        connection.request()


def converse(
    pair: Pair, places: Places, monkeypatch: pytest.MonkeyPatch, request: dict[str, object]
) -> list[dict[str, object]]:
    """What the verifier answers, with stages that pass everything."""

    def open_verifier(places: Places, host: Host) -> Verifier:
        return Fakes().verifier()

    daemon, verifier = pair
    monkeypatch.setattr(serve, "open_verifier", open_verifier)
    monkeypatch.setattr(sys, "stdin", verifier.makefile("r"))
    monkeypatch.setattr(sys, "stdout", verifier.makefile("w"))
    monkeypatch.setattr(Connection, "end_with_it", lambda self: None)
    daemon.send(json.dumps(request).encode() + b"\n")
    serve.main(places)
    verifier.shutdown(socket.SHUT_WR)
    return [json.loads(line) for line in daemon.makefile()]


def test_a_verification(pair: Pair, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    events = converse(pair, places, monkeypatch, {"action": "verify", "policy": "scx_batch"})
    assert [event["event"] for event in events] == [
        *("stage", "stage-started", "stage", "stage-started", "check"),
        *("stage-started", "check", "stage", "stage", "report"),
    ]
    report = events[-1]["report"]
    assert isinstance(report, dict)
    assert report["passed"] is True
    assert (places.state / "tokens/scx_batch.token").exists()


def test_an_enrolment(pair: Pair, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    request = {"action": "verify", "policy": "scx_mine", "card": OWN_CARD, "source": "s"}
    events = converse(pair, places, monkeypatch, {**request, "enroll": True})
    assert events[-1]["event"] == "report"
    assert (places.enrolled / "scx_mine/scx_mine.bpf.c").read_text() == "s"


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"action": "verify", "policy": "scx_none"}, "there is no policy 'scx_none'"),
        ({"action": "withdraw", "policy": "scx_batch"}, "no policy scx_batch is enrolled"),
        ({"action": "revoke", "object_sha256": "x"}, "named by its SHA-256"),
        ({"action": "reinstate", "object_sha256": "x"}, "named by its SHA-256"),
        ({"action": "boast"}, "action must be one of"),
    ],
)
def test_what_cannot_be_done(
    pair: Pair,
    places: Places,
    monkeypatch: pytest.MonkeyPatch,
    request_: dict[str, object],
    message: str,
) -> None:
    (event,) = converse(pair, places, monkeypatch, request_)
    assert event["event"] == "error"
    assert message in str(event["message"])


def test_a_revocation(pair: Pair, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    request: dict[str, object] = {"action": "revoke", "object_sha256": "a" * 64}
    assert converse(pair, places, monkeypatch, request) == [{"event": "done"}]
    assert (places.state / "revoked").read_text() == "a" * 64 + "\n"


def test_a_reinstatement(pair: Pair, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    (places.state / "revoked").write_text("a" * 64 + "\n")
    request: dict[str, object] = {"action": "reinstate", "object_sha256": "a" * 64}
    assert converse(pair, places, monkeypatch, request) == [{"event": "done"}]
    assert (places.state / "revoked").read_text() == ""


def test_it_ends_when_the_daemon_hangs_up(pair: Pair) -> None:
    daemon, verifier = pair
    waiting = (
        "import time\n"
        "from schedcpd.verify.serve import Connection\n"
        "connection = Connection(0, 1)\n"
        "connection.request()\n"
        "connection.end_with_it()\n"
        "connection.say({'event': 'ready'})\n"
        "time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-c", waiting],
        stdin=verifier.fileno(),
        stdout=verifier.fileno(),
        env=environment,
    )
    with process:
        daemon.send(b"{}\n")
        assert daemon.recv(100) == b'{"event": "ready"}\n'
        daemon.close()
        assert process.wait(DEADLINE_S) == serve.EXIT_HUNG_UP
