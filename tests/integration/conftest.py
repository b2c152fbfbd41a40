# SPDX-License-Identifier: GPL-2.0-or-later
"""A private bus with polkit, the service on it, and a watch on what a test leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from integration import bus_daemon, client, mock_polkit
from integration.fake_core import FakeCore, batch_machine
from schedcpd.bus.service import BusService, serve


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> None:
    """Programs that the tests interrupt must not inherit deafness from a job in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
async def no_leaks() -> AsyncIterator[None]:
    """Fail a test that leaves a task or a process behind."""
    tasks, children = asyncio.all_tasks(), _children()
    yield
    assert asyncio.all_tasks() - tasks <= {asyncio.current_task()}
    assert _children() == children


def _children() -> set[str]:
    found: set[str] = set()
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended
            found.update((thread / "children").read_text().split())
    return found


@pytest.fixture
def bus_address(no_leaks: None) -> Iterator[str]:
    """The address of a bus of the test's own."""
    if shutil.which("dbus-daemon") is None:
        if os.environ.get("CI"):
            pytest.fail("dbus-daemon is not installed")
        pytest.skip("dbus-daemon is not installed")
    # Not tmp_path: the name of a socket has room for some 100 characters, and other users pass.
    with tempfile.TemporaryDirectory(prefix="schedcp-") as folder:
        Path(folder).chmod(0o755)
        with bus_daemon.running(Path(folder)) as address:
            yield address


@pytest.fixture
async def polkit(bus_address: str) -> AsyncIterator[mock_polkit.MockPolkit]:
    """polkit, which says yes unless told otherwise."""
    connection, authority = await mock_polkit.start(bus_address)
    yield authority
    await mock_polkit.stop(connection, authority)


@pytest.fixture
async def core(no_leaks: None) -> AsyncIterator[FakeCore]:
    """A machine with a managed batch."""
    machine = batch_machine()
    yield machine
    await machine.stop()


@pytest.fixture
async def service(
    core: FakeCore, bus_address: str, polkit: mock_polkit.MockPolkit
) -> AsyncIterator[BusService]:
    """The core on the bus."""
    running = await serve(core, bus_address)
    yield running
    await running.close()


@pytest.fixture
async def caller(bus_address: str, service: BusService) -> AsyncIterator[client.Client]:
    """A client beside the running service."""
    async with client.connected(bus_address) as plain_client:
        yield plain_client
