# SPDX-License-Identifier: GPL-2.0-or-later
"""What a tool is, and what it is called with and answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from schedclient.daemon import Daemon

Schema = Mapping[str, Any]  # JSON Schema
Arguments = Mapping[str, Any]  # checked against the schema, its defaults filled in
Progress = Callable[[float, str], Awaitable[None]]  # the share that is done, and what is under way


class ToolError(Exception):
    """What a tool cannot do: one sentence that says what to do about it."""

    def __init__(self, sentence: str) -> None:
        self.sentence = sentence
        super().__init__(sentence)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tool found; with the cursor, the same tool gives what did not fit in."""

    content: dict[str, Any]
    cursor: str = ""

    def document(self) -> dict[str, Any]:
        """The answer as JSON has it, as the schema of the tool's result describes it."""
        return {**self.content, "cursor": self.cursor} if self.cursor else self.content


@dataclass(frozen=True, slots=True)
class Tool:
    """One thing that can be done, described for a language model.

    ``takes_off``: it can take away what somebody else put there.
    """

    name: str
    title: str
    description: str
    arguments: Schema
    result: Schema
    reads_only: bool
    run: Callable[[Daemon, Arguments, Progress], Awaitable[Answer]]
    takes_off: bool = False
