# SPDX-License-Identifier: GPL-2.0-or-later
"""Holds and who may end them."""

from __future__ import annotations

import pytest

from schedcpd.deploy.holds import HOLDS_AT_ONCE, Holds
from schedcpd.errors import Busy, NoSuchHold

BATCH = "/system.slice/batch.service"


@pytest.fixture
def holds() -> Holds:
    return Holds(lambda: 1000.0)


def test_a_hold_on_the_machine_blocks_every_workload(holds: Holds) -> None:
    assert holds.blocking(BATCH) is None
    hold = holds.add(":1.7", 1000, "", "measuring")
    assert (hold.owner, hold.uid, hold.reason, hold.since) == (":1.7", 1000, "measuring", 1000.0)
    assert holds.blocking(BATCH) is hold
    assert holds.blocking("/other") is hold


def test_a_hold_on_a_workload_blocks_that_one(holds: Holds) -> None:
    hold = holds.add(":1.7", 1000, BATCH, "")
    assert holds.blocking(BATCH) is hold
    assert holds.blocking(BATCH + "/child") is None
    assert holds.blocking("/other") is None


def test_the_oldest_hold_is_named(holds: Holds) -> None:
    first = holds.add(":1.7", 1000, BATCH, "")
    second = holds.add(":1.8", 1000, "", "")
    assert holds.blocking(BATCH) is first
    assert holds.all() == (first, second)
    assert holds.release(first.cookie, ":1.7") is first
    assert holds.blocking(BATCH) is second


def test_only_the_owner_releases(holds: Holds) -> None:
    hold = holds.add(":1.7", 1000, BATCH, "")
    with pytest.raises(NoSuchHold):
        holds.release(hold.cookie, ":1.8")
    with pytest.raises(NoSuchHold):
        holds.release(hold.cookie + 1, ":1.7")
    assert holds.blocking(BATCH) is hold
    holds.release(hold.cookie, ":1.7")
    with pytest.raises(NoSuchHold):
        holds.release(hold.cookie, ":1.7")


def test_an_owner_who_leaves_holds_nothing(holds: Holds) -> None:
    holds.add(":1.7", 1000, BATCH, "")
    holds.add(":1.7", 1000, "", "")
    other = holds.add(":1.8", 1000, "/other", "")
    assert holds.drop_owner(":1.7") == 2
    assert holds.drop_owner(":1.7") == 0
    assert holds.all() == (other,)


def test_cookies_are_never_given_out_twice(holds: Holds) -> None:
    cookies = []
    for _ in range(3):
        hold = holds.add(":1.7", 1000, "", "")
        cookies.append(hold.cookie)
        holds.release(hold.cookie, ":1.7")
    assert len(set(cookies)) == 3


def test_nobody_fills_our_memory(holds: Holds) -> None:
    for _ in range(HOLDS_AT_ONCE):
        holds.add(":1.7", 1000, "", "")
    with pytest.raises(Busy):
        holds.add(":1.7", 1000, "", "")
    holds.add(":1.8", 1000, "", "")
