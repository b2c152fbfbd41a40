# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon's side of the verifier's socket, against a server of the test's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from schedcpd import reports
from schedcpd.errors import VerifierLost
from schedcpd.model import VerifyStage
from schedcpd.reports import Progress
from schedcpd.verifier import VerifierClient
from unit.test_reports import CHECK, REPORT, STAGES

STEPS = [
    Progress(VerifyStage.STATIC),
    Progress(VerifyStage.KERNEL, check=CHECK),
    Progress(VerifyStage.STATIC, report=STAGES[1]),
]
VERDICT = {"event": "report", "report": reports.encode_report(REPORT)}


class Server:
    """Answers each connection as the test says; ``hung_up`` is set when the client leaves."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.requests: list[dict[str, object]] = []
        self.answer: list[object] = []
        self.keep_open = False
        self.hung_up = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append(json.loads(await reader.readline()))
        for line in self.answer:
            text = line if isinstance(line, str) else json.dumps(line)
            writer.write(text.encode() + b"\n")
        await writer.drain()
        if self.keep_open:
            await reader.read()
            self.hung_up.set()
        writer.close()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    handler = Server(tmp_path / "s")
    listening = await asyncio.start_unix_server(handler, str(handler.path))
    async with listening:
        yield handler


async def test_a_verification(server: Server) -> None:
    server.answer = [*(reports.encode_progress(step) for step in STEPS), VERDICT]
    seen: list[Progress] = []
    client = VerifierClient(server.path)
    assert await client.verify("scx_a", "", "", False, seen.append) == REPORT
    assert seen == STEPS
    assert server.requests == [{"action": "verify", "policy": "scx_a"}]


async def test_a_source_goes_along(server: Server) -> None:
    server.answer = [VERDICT]
    await VerifierClient(server.path).verify("scx_a", "card", "source", True, print)
    request = {"action": "verify", "policy": "scx_a"}
    assert server.requests == [{**request, "card": "card", "source": "source", "enroll": True}]


async def test_the_daemon_looks_again_before_it_is_told(server: Server) -> None:
    looks = []

    async def look() -> None:
        looks.append(len(server.requests))

    client = VerifierClient(server.path, changed=look)
    server.answer = [VERDICT]
    await client.verify("scx_a", "card", "source", False, print)
    assert looks == [], "nothing was installed"
    await client.verify("scx_a", "card", "source", True, print)
    await client.verify("scx_a", "", "", False, print)
    server.answer = [{"event": "done"}]
    await client.withdraw("scx_a")
    await client.revoke("0" * 64)
    await client.reinstate("0" * 64)
    assert looks == [2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ([], "ended too early"),
        ([{"event": "error", "message": "no room"}], "no room"),
        (["{"], "the verifier failed"),
        (["[]"], "not a table"),
        ([{"event": "report"}], "report is missing"),
        ([{"event": "boast"}], "event must be one of"),
        ([{"event": "check", "stage": "static", "check": {}}], "name is missing"),
    ],
)
async def test_answers_that_are_none(server: Server, answer: list[object], reason: str) -> None:
    server.answer = answer
    with pytest.raises(VerifierLost, match=reason):
        await VerifierClient(server.path).verify("scx_a", "", "", False, lambda _: None)


async def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(VerifierLost, match="No such file"):
        await VerifierClient(tmp_path / "none").verify("scx_a", "", "", False, print)


async def test_silence(server: Server) -> None:
    server.keep_open = True
    with pytest.raises(VerifierLost, match="said nothing"):
        await VerifierClient(server.path, silence_s=0.01).verify("scx_a", "", "", False, print)
    await asyncio.wait_for(server.hung_up.wait(), 5)


async def test_who_is_cancelled_hangs_up(server: Server) -> None:
    server.keep_open = True
    server.answer = [reports.encode_progress(STEPS[0])]
    begun = asyncio.Event()
    client = VerifierClient(server.path)
    task = asyncio.create_task(client.verify("scx_a", "", "", False, lambda _: begun.set()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(server.hung_up.wait(), 5)


async def test_withdrawal_and_revocation(server: Server) -> None:
    server.answer = [{"event": "done"}]
    client = VerifierClient(server.path)
    await client.withdraw("scx_a")
    await client.revoke("a" * 64)
    await client.reinstate("a" * 64)
    assert server.requests == [
        {"action": "withdraw", "policy": "scx_a"},
        {"action": "revoke", "object_sha256": "a" * 64},
        {"action": "reinstate", "object_sha256": "a" * 64},
    ]
    server.answer = []
    with pytest.raises(VerifierLost, match="ended too early"):
        await client.revoke("a" * 64)
