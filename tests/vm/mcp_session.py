# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs in the guest: calls tools of the installed schedcp-mcp with the SDK's own client.

Standard input has a JSON list of pairs of a tool's name and its arguments, standard output gets a
JSON list of objects: name, error (a sentence or empty), answer, progress.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from mcp import Client
from mcp.client.stdio import StdioServerParameters


async def call(client: Client, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Call one tool."""
    told: list[float] = []

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        told.append(progress)

    found = await client.call_tool(name, arguments, progress_callback=tell)
    error = getattr(found.content[0], "text", "") if found.is_error else ""
    answer = found.structured_content
    return {"name": name, "error": error, "answer": answer, "progress": told}


async def main() -> None:
    """Call them one after the other, in one session."""
    calls = json.load(sys.stdin)
    async with Client(StdioServerParameters(command="schedcp-mcp")) as client:
        listed = await client.list_tools()  # the client checks answers against these schemas
        known = {tool.name for tool in listed.tools}
        done = [await call(client, name, arguments) for name, arguments in calls if name in known]
    json.dump(done, sys.stdout)


asyncio.run(main())
