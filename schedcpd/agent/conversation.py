# SPDX-License-Identifier: GPL-2.0-or-later
"""What is sent to a model and what comes back, without the library that does it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from schedcpd.agent.money import Usage
from schedcpd.fields import BadField, Fields

Block = Mapping[str, Any]  # a content block of the Messages API
Message = Mapping[str, Any]

CACHED = {"cache_control": {"type": "ephemeral"}}
MOST_TOKENS = 100_000_000
MOST_BLOCKS = 64
LONGEST_TEXT = 400_000


@dataclass(frozen=True, slots=True)
class Request:
    """One call of the Messages API."""

    model: str
    max_tokens: int
    system: str
    tools: tuple[Mapping[str, Any], ...]
    messages: tuple[Message, ...]
    effort: str = ""

    def body(self) -> dict[str, Any]:
        """What is sent, but for ``stream``; role, tools and conversation so far can be cached."""
        body: dict[str, Any] = {
            "max_tokens": self.max_tokens,
            "messages": [*self.messages[:-1], _last_cached(self.messages[-1])],
            "model": self.model,
        }
        if self.effort:
            body["output_config"] = {"effort": self.effort}
        body["system"] = [{"type": "text", "text": self.system, **CACHED}]
        body["tools"] = [*self.tools[:-1], {**self.tools[-1], **CACHED}]
        return body

    def encoded(self) -> bytes:
        """The bytes that are sent."""
        body = {**self.body(), "stream": True}
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()

    def limited(self, max_tokens: int) -> Request:
        """The same, with room for a shorter answer."""
        return replace(self, max_tokens=max_tokens)


def _last_cached(message: Message) -> Message:
    *first, last = message["content"]
    return {**message, "content": [*first, {**last, **CACHED}]}


@dataclass(frozen=True, slots=True)
class Call:
    """A tool that the model wants to use."""

    id: str
    name: str
    arguments: object  # untyped until the tool has checked it


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the model; ``content`` goes back to it as it came."""

    content: tuple[Block, ...]
    calls: tuple[Call, ...]
    stop: str
    usage: Usage | None  # None when the server did not say anything credible
    verbatim: Mapping[str, Any]  # all of it


class Model(Protocol):
    """Answers requests; ``schedcpd.agent.messages.Messages`` is the real one."""

    async def send(self, request: Request) -> Reply:
        """The answer; raises ModelLost."""

    async def count(self, request: Request) -> int | None:
        """The input tokens of a request, as the server counts them; None when it does not."""


def read_reply(message: object) -> Reply:
    """A message as the API sent it; raises BadField when it is none."""
    fields = Fields(message)
    assert isinstance(message, dict)  # Fields takes nothing else
    blocks = fields.tables("content", MOST_BLOCKS)
    content: list[Block] = []
    calls: list[Call] = []
    for block, verbatim in zip(blocks, message["content"], strict=True):
        kind = block.text("type", 60)
        if kind == "text" and not block.text("text", LONGEST_TEXT):
            continue  # the API takes no empty text back
        if kind == "tool_use":
            call = Call(block.text("id", 200), block.text("name", 200), verbatim.get("input"))
            calls.append(call)
        content.append(verbatim)
    stop = "" if fields.is_null("stop_reason") else fields.text("stop_reason", 60)
    return Reply(tuple(content), tuple(calls), stop, read_usage(fields), message)


def read_usage(fields: Fields) -> Usage | None:
    """What the server says it has used; None when that cannot be."""
    try:
        usage = fields.table("usage")
        read = Usage(
            usage.integer("input_tokens", 0, MOST_TOKENS),
            usage.integer("output_tokens", 0, MOST_TOKENS),
            _optional(usage, "cache_read_input_tokens"),
            _optional(usage, "cache_creation_input_tokens"),
        )
    except BadField:
        return None
    return read if read.tokens > read.output > 0 else None


def _optional(usage: Fields, name: str) -> int:
    if name not in set(usage) or usage.is_null(name):
        return 0
    return usage.integer(name, 0, MOST_TOKENS)
