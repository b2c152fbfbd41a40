# SPDX-License-Identifier: GPL-2.0-or-later
"""Talk to qemu-guest-agent: one JSON object a line over a unix socket; a 0xFF byte resets it."""

from __future__ import annotations

import base64
import json
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lab.errors import LabError

RESET = b"\xff"
POLL_S = 0.5
CHUNK = 48 * 1024


class AgentSilent(LabError):
    """The agent gave no answer within its deadline."""


class AgentError(LabError):
    """The agent refused a command."""


def encode(command: str, arguments: Mapping[str, Any]) -> bytes:
    """One request as the agent reads it."""
    return json.dumps({"execute": command, "arguments": dict(arguments)}).encode() + b"\n"


def decode(line: bytes) -> Any:
    """The `return` value of one answer; raises AgentError with the agent's own text."""
    answer = json.loads(line)
    if "error" in answer:
        raise AgentError(f"guest agent: {answer['error'].get('desc', answer['error'])}")
    return answer["return"]


class Agent:
    """One connection to a guest's agent.

    `check` is called twice a second while waiting and may raise to end the wait.
    """

    def __init__(
        self, link: socket.socket, check: Callable[[], None], deadline_s: float = 60
    ) -> None:
        self._link = link
        self._link.settimeout(POLL_S)
        self._check = check
        self._buffer = b""
        self.deadline_s = deadline_s

    def close(self) -> None:
        """Hang up; the agent in the guest stays."""
        self._link.close()

    def _until(self, mark: bytes, deadline: float) -> bytes:
        while mark not in self._buffer:
            if time.monotonic() > deadline:
                raise AgentSilent("the guest agent is silent")
            try:
                data = self._link.recv(1 << 20)
            except TimeoutError:
                self._check()
                continue
            if not data:
                self._check()
                raise AgentSilent("QEMU closed the guest agent's channel")
            self._buffer += data
        found, _, self._buffer = self._buffer.partition(mark)
        return found

    def _send(self, data: bytes) -> None:
        self._link.settimeout(self.deadline_s)
        try:
            self._link.sendall(data)
        except OSError as exc:
            self._check()
            raise AgentSilent(f"the guest agent takes no data: {exc}") from exc
        finally:
            self._link.settimeout(POLL_S)

    def sync(self, timeout_s: float) -> None:
        """Bring both ends to a fresh state; raises AgentSilent."""
        mark = secrets.randbelow(1 << 31)
        deadline = time.monotonic() + timeout_s
        self._send(RESET + encode("guest-sync-delimited", {"id": mark}))
        while True:
            self._until(RESET, deadline)
            try:
                if decode(self._until(b"\n", deadline)) == mark:
                    return
            except (AgentError, json.JSONDecodeError):
                continue  # an answer to something sent before the reset

    def call(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """Run one agent command; raises AgentError or, after `deadline_s`, AgentSilent."""
        self._send(encode(command, arguments or {}))
        return decode(self._until(b"\n", time.monotonic() + self.deadline_s))

    def spawn(self, argv: Sequence[str], stdin: bytes, env: Mapping[str, str]) -> int:
        """Start a program in the agent's cgroup and return its PID."""
        request: dict[str, Any] = {"path": argv[0], "arg": list(argv[1:]), "capture-output": True}
        request["env"] = [f"{name}={value}" for name, value in env.items()]
        if stdin:
            request["input-data"] = base64.b64encode(stdin).decode()
        return int(self.call("guest-exec", request)["pid"])

    def status(self, pid: int) -> tuple[int, bytes, bytes] | None:
        """Exit code (128 + N for a signal), stdout and stderr of a program; None while it runs."""
        answer = self.call("guest-exec-status", {"pid": pid})
        if not answer["exited"]:
            return None
        code = int(answer["exitcode"]) if "exitcode" in answer else 128 + int(answer["signal"])
        return (
            code,
            base64.b64decode(answer.get("out-data", "")),
            base64.b64decode(answer.get("err-data", "")),
        )
