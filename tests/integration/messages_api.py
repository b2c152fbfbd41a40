# SPDX-License-Identifier: GPL-2.0-or-later
"""A Messages API server on the loopback: the real wire format, answered by a script.

Standard library only, so that a machine of the lab can run it too. Tokens are counted from bytes,
and the prompt cache is kept as the real one does: whole prefixes, to the end of each message.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

BYTES_A_TOKEN = 3.3
LEAST_CACHED = 1024  # tokens
PIECE = 40  # characters in a delta
SENTENCES = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}


@dataclass(frozen=True)
class Turn:
    """What the model answers."""

    blocks: tuple[dict[str, Any], ...]
    stop: str = "tool_use"
    usage: dict[str, Any] | None = None  # in place of the true one


@dataclass(frozen=True)
class Fault:
    """What goes wrong instead."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None  # the body as it is
    cut_after: int = 0  # events
    drip_s: float = 0.0  # between two events
    turn: Turn | None = None  # what is cut or dripped


Answer = Turn | Fault
Script = Callable[[dict[str, Any]], Answer]


def call(tool: str, **arguments: Any) -> dict[str, Any]:
    """A tool call as a block."""
    return {"type": "tool_use", "name": tool, "input": arguments}


def use(tool: str, **arguments: Any) -> Turn:
    """A turn with one tool call."""
    return Turn((call(tool, **arguments),))


def say(words: str, stop: str = "end_turn") -> Turn:
    """A turn of words only."""
    return Turn(({"type": "text", "text": words},), stop)


def error(status: int, **headers: str) -> Fault:
    """An error as the API words it."""
    kind = SENTENCES.get(status, "overloaded_error" if status == 529 else "api_error")
    body = {"type": "error", "error": {"type": kind, "message": f"this is a {status}"}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Fault(status, named, json.dumps(body).encode())


def in_turn(*answers: Answer) -> Script:
    """A script that answers one after the other, and the last for ever."""
    left = list(answers)

    def script(_: dict[str, Any]) -> Answer:
        return left.pop(0) if len(left) > 1 else left[0]

    return script


@dataclass(frozen=True)
class Received:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


class MessagesApi:
    """The server; ``received`` has what was asked."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.received: list[Received] = []
        self.counts: Callable[[int], Answer | int] = lambda tokens: tokens
        self._cached: set[str] = set()
        self._numbers = iter(range(1, 10**9))
        self._tasks: set[asyncio.Task[Any]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while (request := await read_request(reader)) is not None:
                await self._answer(request, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has what it wanted
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def stop(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _answer(self, request: Received, writer: asyncio.StreamWriter) -> None:
        body = request.document
        if request.path.endswith("/count_tokens"):
            counted = self.counts(tokens_of(body))
            if isinstance(counted, int):
                write_whole(writer, 200, json.dumps({"input_tokens": counted}).encode())
            elif isinstance(counted, Fault):
                write_whole(writer, counted.status, counted.raw or b"", counted.headers)
            await writer.drain()
            return
        self.received.append(request)
        answer = self.script(body)
        fault = answer if isinstance(answer, Fault) else Fault(turn=answer)
        if fault.raw is not None:
            kind = "text/event-stream" if fault.status == 200 else "application/json"
            write_whole(writer, fault.status, fault.raw, {"content-type": kind, **fault.headers})
            await writer.drain()
            return
        assert isinstance(answer, Turn) or fault.turn is not None
        turn = answer if isinstance(answer, Turn) else fault.turn
        assert turn is not None
        write_head(
            writer, 200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
        )
        for number, event in enumerate(self._events(body, turn)):
            if fault.cut_after and number >= fault.cut_after:
                raise ConnectionError
            data = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
            writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            await writer.drain()
            if fault.drip_s:
                await asyncio.sleep(fault.drip_s)
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    def _events(self, body: dict[str, Any], turn: Turn) -> Iterator[dict[str, Any]]:
        usage = turn.usage or self._usage(body, turn)
        message = {
            "id": f"msg_{next(self._numbers):024d}",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**usage, "output_tokens": 1},
        }
        yield {"type": "message_start", "message": message}
        yield {"type": "ping"}
        for index, block in enumerate(turn.blocks):
            start, deltas = self._streamed(block)
            yield {"type": "content_block_start", "index": index, "content_block": start}
            for delta in deltas:
                yield {"type": "content_block_delta", "index": index, "delta": delta}
            yield {"type": "content_block_stop", "index": index}
        yield {
            "type": "message_delta",
            "delta": {"stop_reason": turn.stop, "stop_sequence": None},
            "usage": usage,
        }
        yield {"type": "message_stop"}

    def _streamed(self, block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        match block["type"]:
            case "tool_use":
                start = {"id": f"toolu_{next(self._numbers):020d}", **block, "input": {}}
                pieces = cut(json.dumps(block["input"]))
                return start, [{"type": "input_json_delta", "partial_json": one} for one in pieces]
            case "thinking":
                end = {"type": "signature_delta", "signature": block["signature"]}
                pieces = cut(block["thinking"])
                deltas = [{"type": "thinking_delta", "thinking": one} for one in pieces]
                return {"type": "thinking", "thinking": "", "signature": ""}, [*deltas, end]
        deltas = [{"type": "text_delta", "text": one} for one in cut(block["text"])]
        return {"type": "text", "text": ""}, deltas

    def _usage(self, body: dict[str, Any], turn: Turn) -> dict[str, Any]:
        """What the call uses, with the prefixes that were cached before and are now."""
        total = tokens_of(body)
        read = written = 0
        for tokens, digest in prefixes(body):
            if tokens < LEAST_CACHED:
                continue
            if digest in self._cached:
                read = max(read, tokens)
            self._cached.add(digest)
            written = max(written, tokens)
        said = sum(len(json.dumps(one)) for one in turn.blocks)
        return {
            "input_tokens": max(total - max(read, written), 1),
            "cache_read_input_tokens": read,
            "cache_creation_input_tokens": max(written - read, 0),
            "output_tokens": int(said / BYTES_A_TOKEN) + 20,
        }


def tokens_of(value: Any) -> int:
    return int(len(json.dumps(value, ensure_ascii=False).encode()) / BYTES_A_TOKEN) + 1


def prefixes(body: dict[str, Any]) -> Iterator[tuple[int, str]]:
    """Size and digest of the request to the end of each part: tools, system, each message."""
    parts = [body.get("tools", []), body.get("system", []), *body["messages"]]
    said = b""
    for part in parts:
        said += json.dumps(without_marks(part), sort_keys=True).encode()
        yield int(len(said) / BYTES_A_TOKEN), hashlib.sha256(said).hexdigest()


def without_marks(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_marks(one) for key, one in value.items() if key != "cache_control"}
    return [without_marks(one) for one in value] if isinstance(value, list) else value


def cut(text: str) -> list[str]:
    size = max(PIECE, len(text) // 200)
    return [text[place : place + size] for place in range(0, len(text), size)]


async def read_request(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(first.split()[1].partition("?")[0], headers, body)


def write_head(writer: asyncio.StreamWriter, status: int, headers: dict[str, str]) -> None:
    lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in headers.items())]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())


def write_whole(
    writer: asyncio.StreamWriter, status: int, body: bytes, headers: dict[str, str] | None = None
) -> None:
    given = {"content-type": "application/json", **(headers or {})}
    write_head(writer, status, {**given, "content-length": str(len(body))})
    writer.write(body)


@contextlib.asynccontextmanager
async def running(script: Script, port: int = 0) -> AsyncIterator[tuple[MessagesApi, str]]:
    """Run the server; gives it and its address."""
    api = MessagesApi(script)
    server = await asyncio.start_server(api.serve, "127.0.0.1", port, limit=2**22)
    try:
        yield api, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await api.stop()
        await server.wait_closed()
