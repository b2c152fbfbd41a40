# SPDX-License-Identifier: GPL-2.0-or-later
"""Asks the verifier's service for work: one connection a request, and its answer as it comes.

One JSON object a line. The verifier ends what it does, and all that it started, when the connection
is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

from schedcpd.errors import VerifierLost
from schedcpd.fields import BadField, Fields
from schedcpd.model import Report
from schedcpd.reports import Progress, decode_progress, decode_report

SOCKET = Path("/run/schedcp-verify.sock")
# A report with all its findings; JSON may write a character as six bytes.
LINE_LIMIT = 4 << 20
# The longest silence is that of a micro-VM that hangs until the verifier kills it.
SILENCE_S = 300.0


class VerifierClient:
    """The verifier behind the socket at ``path``."""

    def __init__(
        self,
        path: Path = SOCKET,
        silence_s: float = SILENCE_S,
        changed: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """``changed`` is awaited when policies or tokens may have changed, before it is said."""
        self._path = path
        self._silence_s = silence_s
        self._changed = changed

    async def verify(
        self,
        policy: str,
        card: str,
        source: str,
        enroll: bool,
        on_progress: Callable[[Progress], None],
    ) -> Report:
        """The verdict on a policy: an installed one when ``card`` and ``source`` are empty.

        ``enroll`` puts it among the installed ones when it passes. VerifierLost when there is none.
        """
        request: dict[str, object] = {"action": "verify", "policy": policy}
        if card or source:
            request |= {"card": card, "source": source, "enroll": enroll}
        report = await self._report(request, on_progress)
        if enroll or not source:
            await self._tell_changed()
        return report

    async def _report(
        self, request: dict[str, object], on_progress: Callable[[Progress], None]
    ) -> Report:
        async with contextlib.aclosing(self._answers(request)) as answers:
            async for event, fields in answers:
                try:
                    if event == "report":
                        return decode_report(fields.table("report"))
                    step = decode_progress(fields)
                except BadField as exc:
                    raise VerifierLost(str(exc)) from exc
                on_progress(step)
        raise VerifierLost("its answer ended too early")

    async def _tell_changed(self) -> None:
        if self._changed is not None:
            await self._changed()

    async def withdraw(self, policy: str) -> None:
        """Remove an enrolled policy and its token; VerifierLost with the reason when it cannot."""
        await self._done({"action": "withdraw", "policy": policy})

    async def revoke(self, object_sha256: str) -> None:
        """Never sign a token for this object again, and take away the one it has; VerifierLost."""
        await self._done({"action": "revoke", "object_sha256": object_sha256})

    async def reinstate(self, object_sha256: str) -> None:
        """Undo ``revoke``: the next verification may sign a token again; VerifierLost."""
        await self._done({"action": "reinstate", "object_sha256": object_sha256})

    async def _done(self, request: dict[str, object]) -> None:
        async with contextlib.aclosing(self._answers(request)) as answers:
            async for event, _ in answers:
                if event == "done":
                    await self._tell_changed()
                    return
        raise VerifierLost("its answer ended too early")

    async def _answers(
        self, request: dict[str, object]
    ) -> AsyncGenerator[tuple[str, Fields], None]:
        try:
            reader, writer = await asyncio.open_unix_connection(str(self._path), limit=LINE_LIMIT)
        except OSError as exc:
            raise VerifierLost(f"{self._path}: {exc.strerror}") from exc
        try:
            writer.write(json.dumps(request).encode() + b"\n")
            await writer.drain()
            while line := await self._line(reader):
                yield _event(line)
        except TimeoutError as exc:
            raise VerifierLost(f"it said nothing for {self._silence_s:.0f} s") from exc
        except (OSError, ValueError) as exc:  # a line that is too long, or no JSON, or a bad field
            raise VerifierLost(str(exc)) from exc
        finally:
            writer.close()

    async def _line(self, reader: asyncio.StreamReader) -> bytes:
        async with asyncio.timeout(self._silence_s):
            return await reader.readline()


def _event(line: bytes) -> tuple[str, Fields]:
    fields = Fields(json.loads(line))
    event = fields.text("event")
    if event == "error":
        raise VerifierLost(fields.text("message"))
    return event, fields
