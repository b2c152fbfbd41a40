# SPDX-License-Identifier: GPL-2.0-or-later
"""The budgets of a run: nothing is sent that could cost more than is left of any of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from schedcpd.agent.configuration import BudgetSettings
from schedcpd.agent.conversation import Model, Request
from schedcpd.agent.money import MILLION, Price, Usage, estimated_tokens
from schedcpd.agent.store import Run, Spent, Store
from schedcpd.errors import BudgetSpent

LEAST_ANSWER = 1024  # tokens; a shorter answer is of no use


@dataclass(frozen=True, slots=True)
class Limit:
    """One budget, and what was spent of it."""

    name: str
    tokens: int
    dollars: float
    spent: Spent

    @property
    def left(self) -> Spent:
        """What may still be spent."""
        tokens, dollars = self.tokens - self.spent.tokens, self.dollars - self.spent.dollars
        return Spent(max(tokens, 0), max(dollars, 0.0))


@dataclass(frozen=True, slots=True)
class Booked:
    """A request that may be sent, and what is counted for it until its reply is there."""

    request: Request
    entry: int
    worst: Usage


class Purse:
    """What a run may spend."""

    def __init__(
        self, store: Store, budget: BudgetSettings, price: Price, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._budget = budget
        self._price = price
        self._clock = clock

    def limits(self, run: Run) -> tuple[Limit, ...]:
        """The budgets as they stand for a run."""
        now, budget = self._clock(), self._budget
        analysis = self._store.spent_on_run(run.id)
        workload = self._store.spent_on_workload(run.workload, now)
        return (
            Limit("this analysis", budget.analysis_tokens, budget.analysis_dollars, analysis),
            Limit("this workload", budget.workload_tokens, budget.workload_dollars, workload),
            Limit("the day", budget.day_tokens, budget.day_dollars, self._store.spent(now)),
        )

    async def book(self, run: Run, request: Request, model: Model) -> Booked:
        """Count a request as spent at its dearest, with a shorter answer if need be; BudgetSpent.

        The server counts its tokens only when the estimate, which errs upwards, does not fit.
        """
        limits = self.limits(run)
        tokens = estimated_tokens(request.encoded())
        room, tightest = self._room(limits, tokens)
        if room < request.max_tokens:
            tokens = await model.count(request) or tokens
            room, tightest = self._room(limits, tokens)
        if room < min(LEAST_ANSWER, request.max_tokens):
            raise BudgetSpent(f"the budget of {tightest} is spent")
        request = request.limited(min(request.max_tokens, room))
        worst = Usage(tokens, request.max_tokens)
        spent = Spent(worst.tokens, self._price.at_most(worst))
        return Booked(request, self._store.book(run, spent, self._clock()), worst)

    def settle(self, booked: Booked, usage: Usage | None) -> tuple[Usage, float]:
        """Count what was really used, or the dearest when that is not known."""
        used = usage or booked.worst
        dollars = self._price.dollars(used) if usage else self._price.at_most(used)
        self._store.correct(booked.entry, Spent(used.tokens, dollars))
        return used, dollars

    def release(self, booked: Booked) -> None:
        """Count nothing: the request was not answered."""
        self._store.correct(booked.entry, Spent(0, 0.0))

    def _room(self, limits: tuple[Limit, ...], tokens: int) -> tuple[int, str]:
        """How many tokens an answer may have, and which budget says so."""
        asked = self._price.at_most(Usage(input=tokens))
        rooms = []
        for limit in limits:
            left = limit.left
            room = left.tokens - tokens
            if self._price.output:
                room = min(room, int((left.dollars - asked) * MILLION / self._price.output))
            elif left.dollars < asked:
                room = 0
            rooms.append((room, limit.name))
        return min(rooms)
