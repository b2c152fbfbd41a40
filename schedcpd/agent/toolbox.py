# SPDX-License-Identifier: GPL-2.0-or-later
"""The tools as the roles have them: for one workload, and nothing that is not offered.

The model never says which workload: it is filled in here. What no role is offered (to enroll, to
deploy) is done by the run itself, from typed values, and only with what passed the verifier in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from schedclient.daemon import Daemon
from schedclient.tools.catalogue import call, catalogue
from schedclient.tools.tool import Answer, Schema, ToolError

FOR_ONE = "workload"  # the argument that is filled in
TOOL_S = 900.0  # a verification under emulation takes minutes


@dataclass(frozen=True, slots=True)
class Subject:
    """The workload of a run."""

    number: str  # of its cgroup
    identity: str  # what stays the same when it is started again
    name: str  # for people


@dataclass(frozen=True, slots=True)
class Draft:
    """A policy as it was submitted."""

    name: str
    source: str
    card: str


class Toolbox:
    """Calls tools for one workload, and remembers which drafts passed.

    ``tell`` is given what a long tool is doing now.
    """

    def __init__(self, daemon: Daemon, subject: Subject, tell: Callable[[str], None]) -> None:
        self._daemon = daemon
        self._subject = subject
        self._tell = tell
        self.passed: dict[str, Draft] = {}

    async def use(self, name: str, given: object) -> dict[str, Any]:
        """Call a tool; returns the answer as JSON has it, raises ToolError."""
        arguments = self._filled_in(name, given)
        try:
            async with asyncio.timeout(TOOL_S):
                answer = await call(self._daemon, name, arguments, self._progress)
        except TimeoutError as error:
            raise ToolError(f"{name} did not end within {TOOL_S:g} s") from error
        self._note(name, arguments, answer)
        return answer.document()

    def _filled_in(self, name: str, given: object) -> object:
        if name not in catalogue or FOR_ONE not in catalogue[name].arguments["properties"]:
            return given
        if not isinstance(given, Mapping):
            return given  # refused by the tool, which says why
        if FOR_ONE in given:
            raise ToolError(f"{name} is for the workload of this run: leave out {FOR_ONE}")
        optional = FOR_ONE not in catalogue[name].arguments["required"]
        wanted = self._subject.identity if optional else self._subject.number
        # Where it may be left out, another argument may stand in its place.
        return {**given} if optional and given.get("policy") else {**given, FOR_ONE: wanted}

    def _note(self, name: str, arguments: object, answer: Answer) -> None:
        content = answer.content
        if name != "verify_policy" or not isinstance(arguments, Mapping):
            return
        draft = Draft(*(str(arguments.get(one, "")) for one in ("name", "source", "card")))
        # The verdict on an earlier draft of that name says nothing about this one.
        self.passed.pop(draft.name, None)
        if content.get("passed") is True and draft.source:
            self.passed[draft.name] = draft

    async def _progress(self, _: float, message: str) -> None:
        self._tell(message)


def offered(names: Iterable[str]) -> tuple[dict[str, Any], ...]:
    """The tools of a role, as the Messages API wants them."""
    return tuple(
        {
            "name": name,
            "description": catalogue[name].description,
            "input_schema": without_workload(catalogue[name].arguments),
        }
        for name in names
    )


def without_workload(arguments: Schema) -> dict[str, Any]:
    """The schema of arguments that are filled in where they say which workload."""
    properties = {name: one for name, one in arguments["properties"].items() if name != FOR_ONE}
    required = [name for name in arguments["required"] if name != FOR_ONE]
    return {**arguments, "properties": properties, "required": required}
