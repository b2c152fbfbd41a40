# SPDX-License-Identifier: GPL-2.0-or-later
"""Work that is not left half done."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Value = TypeVar("Value")


async def finished(work: Coroutine[Any, Any, Value]) -> Value:
    """Carry on to the end however often the asker is cancelled: what is half done is worse."""
    task, cancelled = asyncio.ensure_future(work), False
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    return task.result()
