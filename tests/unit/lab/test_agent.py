# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest agent's framing, against a fake agent on a socket pair."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lab.agent import RESET, Agent, AgentError, AgentSilent, decode, encode

Answer = Callable[[dict[str, Any]], bytes]


def nothing() -> None:
    """A check that finds the machine alive."""


def reply(value: object) -> bytes:
    """One answer as the agent writes it."""
    return json.dumps({"return": value}).encode() + b"\n"


def serve(link: socket.socket, answer: Answer) -> None:
    """Answer each request line until the other end hangs up."""
    with link, link.makefile("rb") as stream:
        for line in stream:
            link.sendall(answer(json.loads(line.lstrip(RESET))))


@pytest.fixture
def connect() -> Iterator[Callable[[Answer], Agent]]:
    """A function that makes an Agent whose other end is the given fake."""
    agents: list[Agent] = []
    threads: list[threading.Thread] = []

    def make(answer: Answer) -> Agent:
        ours, theirs = socket.socketpair()
        threads.append(threading.Thread(target=serve, args=(theirs, answer)))
        threads[-1].start()
        agents.append(Agent(ours, nothing, deadline_s=5))
        return agents[-1]

    yield make
    for agent in agents:
        agent.close()
    for thread in threads:
        thread.join(5)


def test_encode_is_one_line() -> None:
    assert encode("guest-ping", {}) == b'{"execute": "guest-ping", "arguments": {}}\n'


def test_decode_raises_the_agents_text() -> None:
    with pytest.raises(AgentError, match="no such command"):
        decode(b'{"error": {"class": "CommandNotFound", "desc": "no such command"}}')


def test_sync_skips_stale_answers(connect: Callable[[Answer], Agent]) -> None:
    def answer(request: dict[str, Any]) -> bytes:
        stale = reply({"pid": 7}) + b'\xff{"return": -1}\n\xffhalf a line\n'
        return stale + RESET + reply(request["arguments"]["id"])

    connect(answer).sync(5)


def test_status_decodes_output_and_code(connect: Callable[[Answer], Agent]) -> None:
    out = base64.b64encode(b"text\n").decode()
    agent = connect(lambda _request: reply({"exited": True, "exitcode": 3, "out-data": out}))
    assert agent.status(9) == (3, b"text\n", b"")


def test_status_of_a_signal_is_128_plus_its_number(connect: Callable[[Answer], Agent]) -> None:
    agent = connect(lambda _request: reply({"exited": True, "signal": 9}))
    assert agent.status(9) == (137, b"", b"")


def test_status_of_a_running_command_is_none(connect: Callable[[Answer], Agent]) -> None:
    assert connect(lambda _request: reply({"exited": False})).status(9) is None


def test_spawn_passes_input_and_environment(connect: Callable[[Answer], Agent]) -> None:
    seen: list[dict[str, Any]] = []

    def answer(request: dict[str, Any]) -> bytes:
        seen.append(request["arguments"])
        return reply({"pid": 42})

    assert connect(answer).spawn(["/bin/cat", "-"], b"in", {"A": "b"}) == 42
    assert seen[0]["path"] == "/bin/cat"
    assert seen[0]["arg"] == ["-"]
    assert seen[0]["env"] == ["A=b"]
    assert base64.b64decode(seen[0]["input-data"]) == b"in"


def test_answers_in_pieces_are_joined(connect: Callable[[Answer], Agent]) -> None:
    agent = connect(lambda _request: reply("x" * 300_000))
    assert agent.call("guest-info") == "x" * 300_000


def test_silence_ends_at_the_deadline() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        agent = Agent(ours, nothing, deadline_s=0.05)
        with pytest.raises(AgentSilent):
            agent.call("guest-ping")
        agent.close()


def test_the_check_can_end_a_wait() -> None:
    def lost() -> None:
        raise RuntimeError("gone")

    ours, theirs = socket.socketpair()
    with theirs:
        agent = Agent(ours, lost, deadline_s=30)
        with pytest.raises(RuntimeError, match="gone"):
            agent.call("guest-ping")
        agent.close()
