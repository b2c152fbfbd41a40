# SPDX-License-Identifier: GPL-2.0-or-later
"""``schedctl hold``: automation keeps off while a command runs, or until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from argparse import Namespace
from collections.abc import Iterator, Sequence

from schedclient.choose import find_workload
from schedclient.errors import ClientError
from schedclient.exit import ExitCode
from schedclient.names import NO_OBJECT, workload_path
from schedclient.text import visible
from schedctl.context import Context

SIGNALLED = 128  # what a shell adds to the number of the signal that ended a command


async def run(context: Context, arguments: Namespace) -> int:
    """Hold, run the command or wait, and let go; the exit status is the command's."""
    async with context.daemon() as daemon, daemon.presence() as presence:
        path, whom = NO_OBJECT, "this machine"
        if arguments.workload is not None:
            workload = find_workload(await daemon.workloads(), arguments.workload)
            path, whom = workload_path(workload.cgroup_id), workload.unit
        # The daemon lets go when this connection ends, however that happens.
        cookie = await daemon.verb("Hold", "os", path, arguments.reason)
        announce(context, cookie, whom, arguments)
        if arguments.command_line:
            watching = asyncio.ensure_future(warn(context, presence))
            try:
                return await run_program(arguments.command_line)
            finally:
                watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):  # Ctrl-C is how this ends
            await wait(presence)
    return ExitCode.OK


def announce(context: Context, cookie: int, whom: str, arguments: Namespace) -> None:
    """Say that it is held, unless the output is the command's."""
    if arguments.command_line:
        return
    if context.json:
        context.report.json_line({"cookie": cookie, "reason": arguments.reason})
        return
    context.report.line(f"schedcp decides nothing for {visible(whom)} until Ctrl-C.")
    context.report.flush()


async def wait(presence: asyncio.Queue[bool | None]) -> None:
    """Wait until the daemon is gone, and the hold with it; raises ClientError."""
    while await presence.get():
        pass
    raise ClientError("schedcpd has ended, and the hold with it", ExitCode.NOT_RUNNING)


async def warn(context: Context, presence: asyncio.Queue[bool | None]) -> None:
    """Say that the daemon is gone while the command runs on."""
    while await presence.get():
        pass
    context.errors.line("schedctl: schedcpd has ended, and the hold with it")
    context.errors.flush()


async def run_program(program: Sequence[str]) -> int:
    """Run a command line to its end; returns its exit status, as a shell tells it."""
    with signals_passed() as passed:
        try:
            process = await asyncio.create_subprocess_exec(*program)
        except FileNotFoundError as error:
            words = f"there is no command {program[0]!r}"
            raise ClientError(words, ExitCode.NO_COMMAND) from error
        except OSError as error:
            words = f"{program[0]!r} cannot be run: {error.strerror}"
            raise ClientError(words, ExitCode.NOT_EXECUTABLE) from error
        passed.append(process)
        status = await process.wait()
    return status if status >= 0 else SIGNALLED - status


@contextlib.contextmanager
def signals_passed() -> Iterator[list[asyncio.subprocess.Process]]:
    """Give a list of processes that are ended instead of us while this lasts."""
    processes: list[asyncio.subprocess.Process] = []

    def terminate() -> None:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()

    loop = asyncio.get_running_loop()
    # The terminal sends Ctrl-C to the command as well; what it does then is its own affair.
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    loop.add_signal_handler(signal.SIGTERM, terminate)
    try:
        yield processes
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        loop.remove_signal_handler(signal.SIGINT)
