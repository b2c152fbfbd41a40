# SPDX-License-Identifier: GPL-2.0-or-later
"""Each call of a run: booked before it is sent, recorded as it was, and paid."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from schedcpd.agent.conversation import Model, Reply, Request
from schedcpd.agent.purse import Booked, Purse
from schedcpd.agent.store import Exchange, Run, Store
from schedcpd.errors import ModelLost

ATTEMPTS = 2  # an answer that broke off is asked for once more


class Account:
    """What a run says and spends; ``run`` is how it stands now."""

    def __init__(self, run: Run, store: Store, purse: Purse, clock: Callable[[], float]) -> None:
        self.run = run
        self._store = store
        self._purse = purse
        self._clock = clock

    async def ask(self, model: Model, role: str, request: Request) -> Reply:
        """The model's answer; raises BudgetSpent before and ModelLost after it was asked."""
        for attempt in range(1, ATTEMPTS + 1):
            booked = await self._purse.book(self.run, request, model)
            begin = self._clock()
            try:
                reply = await model.send(booked.request)
            except ModelLost as error:
                self._record(role, booked, begin, json.dumps({"error": error.reason}))
                if not error.begun:
                    self._purse.release(booked)
                if not error.begun or attempt == ATTEMPTS:
                    raise
                continue
            used, dollars = self._purse.settle(booked, reply.usage)
            run = self.run
            self.run = replace(run, usage=run.usage + used, dollars=run.dollars + dollars)
            self._record(role, booked, begin, json.dumps(reply.verbatim, ensure_ascii=False))
            return reply
        raise AssertionError  # the last attempt returns or raises

    def _record(self, role: str, booked: Booked, begin: float, reply: str) -> None:
        request = booked.request.encoded().decode()
        exchange = Exchange(role, begin, max(self._clock() - begin, 0.0), request, reply)
        self.run = self._store.record(self.run, exchange)
