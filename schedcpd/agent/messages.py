# SPDX-License-Identifier: GPL-2.0-or-later
"""The Messages API through Anthropic's SDK: the only module that knows it.

The library retries what may be retried, and waits as long as the server asks. Added here: an end
to all patience, no redirection (to whom would it go?), no tracing, no trust in what comes back.
"""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
import httpx2

from schedcpd.agent.configuration import ModelSettings
from schedcpd.agent.conversation import Reply, Request, read_reply
from schedcpd.errors import ModelLost
from schedcpd.fields import BadField
from schedcpd.kernel.text import printable

MOST_EVENTS = 200_000
MOST_CHARACTERS = 1_000_000  # of an answer
CONNECT_S = 10.0
COUNT_S = 15.0
WORDS = 300  # characters of what a server says

# What the library raises on an answer that is none: it builds its values unchecked.
_NONSENSE = (
    anthropic.AnthropicError,
    httpx2.HTTPError,
    httpx2.InvalidURL,
    httpx2.StreamError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    RuntimeError,
    AssertionError,
    OSError,
    RecursionError,
)


class Messages:
    """A connection to the server that the settings name."""

    def __init__(self, settings: ModelSettings, key: str) -> None:
        self._settings = settings
        self._key = key
        self._client = anthropic.AsyncAnthropic(
            api_key=key,
            base_url=settings.base_url,
            max_retries=settings.retries,
            timeout=httpx2.Timeout(settings.silence_s, connect=CONNECT_S),
            http_client=anthropic.DefaultAsyncHttpxClient(follow_redirects=False),
            open_telemetry=False,
        )

    async def close(self) -> None:
        """Leave the server."""
        await self._client.close()

    async def send(self, request: Request) -> Reply:
        """The answer, once it is complete; raises ModelLost."""
        body: dict[str, Any] = request.body()
        begun = False
        try:
            async with asyncio.timeout(self._settings.answer_s):
                async with self._client.messages.stream(**body) as stream:
                    begun = True
                    message = await _read(stream)
        except TimeoutError as error:
            waited = f"{self._settings.answer_s:g} s"
            raise ModelLost(f"there was no whole answer within {waited}", begun=begun) from error
        except _NONSENSE as error:
            raise ModelLost(self._words(error), _is_refusal(error), begun) from error
        try:
            reply = read_reply(message)
        except BadField as error:
            raise ModelLost(f"the answer is no message: {error}", begun=True) from error
        if not reply.stop:
            raise ModelLost("the answer broke off in the middle", begun=True)
        return reply

    async def count(self, request: Request) -> int | None:
        """The input tokens of a request, as the server counts them; None when it does not."""
        body = request.body()
        del body["max_tokens"]
        try:
            async with asyncio.timeout(COUNT_S):
                counted = await self._client.messages.count_tokens(**body)
        except (TimeoutError, *_NONSENSE):
            return None
        tokens = counted.input_tokens
        return tokens if type(tokens) is int and tokens > 0 else None

    def _words(self, error: Exception) -> str:
        """What went wrong, in one sentence, never with the key in it."""
        if isinstance(error, anthropic.APIStatusError):
            said = error.api_message if isinstance(error.api_message, str) else ""
            words = f"the server answered {error.status_code}: {said or 'no reason given'}"
        elif isinstance(error, anthropic.APITimeoutError | httpx2.TimeoutException):
            words = f"the server said nothing for {self._settings.silence_s:g} s"
        elif isinstance(error, anthropic.APIConnectionError | httpx2.HTTPError):
            cause = error.__cause__ or error
            words = f"the server cannot be reached: {cause}"
        else:
            words = f"the server's answer makes no sense: {error}"
        return printable(words.replace(self._key, "[key]"), WORDS)


async def _read(stream: anthropic.AsyncMessageStream[None]) -> dict[str, Any]:
    """The message that a stream makes, whole or not; raises ValueError when it does not end."""
    events = characters = 0
    async for event in stream:
        events += 1
        if event.type == "content_block_delta":
            characters += len(event.delta.to_json(indent=None))
        if events > MOST_EVENTS or characters > MOST_CHARACTERS:
            raise ValueError("the answer does not end")
    message = await stream.get_final_message()
    return message.to_dict(mode="json", warnings=False)


def _is_refusal(error: Exception) -> bool:
    """Whether asking again is of no use until somebody changes something: key, model, account."""
    status = error.status_code if isinstance(error, anthropic.APIStatusError) else 0
    return status in (400, 401, 402, 403, 404)
