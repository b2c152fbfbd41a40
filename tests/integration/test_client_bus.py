# SPDX-License-Identifier: GPL-2.0-or-later
"""The client's connection to a bus, by itself."""

from __future__ import annotations

import asyncio

import pytest
from dbus_next.constants import MessageType
from dbus_next.message import Message

from schedclient.bus import DRIVER, connected_bus


@pytest.mark.parametrize("turns", range(6))
async def test_cancellation_at_the_arrival_of_the_answer_is_not_lost(
    bus_address: str, turns: int
) -> None:
    async with connected_bus(bus_address) as bus:
        question = Message(DRIVER, "/org/freedesktop/DBus", DRIVER, "GetId")
        asking = asyncio.ensure_future(bus.ask(question, 10))
        taken: list[bool] = []

        def cancel_after(turns: int) -> None:
            if turns:
                asyncio.get_running_loop().call_soon(cancel_after, turns - 1)
            else:
                taken.append(asking.cancel())

        def arrived(message: Message) -> None:
            if message.message_type is MessageType.METHOD_RETURN:
                cancel_after(turns)

        bus.add_message_handler(arrived)
        await asyncio.wait([asking])
        while not taken:
            await asyncio.sleep(0)
        assert asking.cancelled() == taken[0]
