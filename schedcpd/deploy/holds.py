# SPDX-License-Identifier: GPL-2.0-or-later
"""Holds: people and programs that keep automation off, for as long as they are on the bus."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from schedcpd.errors import Busy, NoSuchHold
from schedcpd.model import Hold

HOLDS_AT_ONCE = 64  # of one owner; nobody needs more, and nobody may fill our memory


class Holds:
    """The holds in force; ``clock`` gives seconds since the epoch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._cookies = itertools.count(1)
        self._holds: dict[int, Hold] = {}

    def add(self, owner: str, uid: int, workload_id: str, reason: str) -> Hold:
        """Hold one workload, or the whole machine when ``workload_id`` is empty.

        ``owner`` is the unique bus name of the holder. Raises Busy when it has too many already.
        """
        if sum(hold.owner == owner for hold in self._holds.values()) >= HOLDS_AT_ONCE:
            raise Busy(f"you have {HOLDS_AT_ONCE} holds already; release one first")
        hold = Hold(next(self._cookies), owner, uid, workload_id, reason, self._clock())
        self._holds[hold.cookie] = hold
        return hold

    def release(self, cookie: int, owner: str) -> Hold:
        """End one hold and return it; raises NoSuchHold unless ``owner`` has it."""
        hold = self._holds.get(cookie)
        if hold is None or hold.owner != owner:
            raise NoSuchHold(cookie)
        del self._holds[cookie]
        return hold

    def drop_owner(self, owner: str) -> int:
        """End every hold of an owner who left the bus; how many there were."""
        cookies = [hold.cookie for hold in self._holds.values() if hold.owner == owner]
        for cookie in cookies:
            del self._holds[cookie]
        return len(cookies)

    def blocking(self, workload_id: str) -> Hold | None:
        """The oldest hold that keeps automation off this workload, or None."""
        return next(
            (hold for hold in self._holds.values() if hold.workload_id in ("", workload_id)), None
        )

    def all(self) -> tuple[Hold, ...]:
        """Every hold, oldest first."""
        return tuple(self._holds.values())
