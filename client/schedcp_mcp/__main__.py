# SPDX-License-Identifier: GPL-2.0-or-later
"""Entry point of schedcp-mcp: serve one client on standard input and output."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
import sys
from argparse import ArgumentParser
from collections.abc import Sequence

from schedcpd import __version__

DESCRIPTION = """\
Serves the tools of schedcp to an agent over the Model Context Protocol, on standard input and
output. An MCP client starts it; schedcp-mcp(1) has an example of its configuration."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = ArgumentParser("schedcp-mcp", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"schedcp-mcp {__version__}")
    parser.parse_args(arguments)
    logging.basicConfig(format="schedcp-mcp: %(message)s", level=logging.WARNING)
    # Nothing is to be tidied up: the daemon cancels the jobs of whoever leaves the bus. An orderly
    # end would have to wait for the thread that reads standard input.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    asyncio.run(serve())
    return 0


async def serve() -> None:
    """Serve until standard input ends."""
    from mcp.server.stdio import stdio_server  # loading the SDK takes a second

    from schedclient.daemon import connected
    from schedcp_mcp.server import Service, make_server

    server = make_server(Service(functools.partial(connected, None)))
    try:
        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())
    except* BrokenPipeError:
        # Who reads standard output has ended before the input did. An orderly end would flush what
        # the SDK still holds, and complain of it.
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
