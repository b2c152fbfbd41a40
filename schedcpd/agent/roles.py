# SPDX-License-Identifier: GPL-2.0-or-later
"""The four roles: each with its prompt, its tools and what it hands over."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Generic

from schedcpd.agent.handovers import (
    LESSON,
    PLAN,
    PROFILE,
    VERDICT,
    Handed,
    Handover,
    Lesson,
    Observed,
    Planned,
    Verdict,
)


@dataclass(frozen=True, slots=True)
class Role(Generic[Handed]):
    """A part of the work with a context of its own."""

    name: str
    tools: tuple[str, ...]
    handover: Handover[Handed]

    @property
    def prompt(self) -> str:
        """What the model is told of the role, and what all roles are told."""
        return f"{_read('common')}\n{_read(self.name)}"

    def ending(self) -> dict[str, Any]:
        """The tool that ends the role, as the Messages API wants it."""
        ending = self.handover
        return {
            "name": ending.name,
            "description": ending.description,
            "input_schema": ending.arguments,
        }


OBSERVATION: Role[Observed] = Role(
    "observation", ("profile_workload", "explain", "read_workload_file"), PROFILE
)
PLANNING: Role[Planned] = Role("planning", ("search_repository", "read_policy", "outcomes"), PLAN)
EXECUTION: Role[Verdict] = Role(
    "execution",
    ("search_repository", "read_policy", "rules", "verify_policy", "read_verification"),
    VERDICT,
)
LEARNING: Role[Lesson] = Role("learning", ("read_deployment", "outcomes", "record_finding"), LESSON)
ROLES: tuple[Role[Any], ...] = (OBSERVATION, PLANNING, EXECUTION, LEARNING)


def _read(name: str) -> str:
    return (files("schedcpd.agent") / "prompts" / f"{name}.md").read_text(encoding="utf-8")
