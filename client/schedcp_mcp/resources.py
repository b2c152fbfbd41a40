# SPDX-License-Identifier: GPL-2.0-or-later
"""Resources: what can be looked at by an address, each the answer of a tool."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

import mcp_types as types

SCHEME = "schedcp://"
MIME_TYPE = "application/json"


@dataclass(frozen=True, slots=True)
class Address:
    """Where the answer of a tool is found; in a template the last part is an argument."""

    place: str
    tool: str
    title: str
    description: str
    argument: str = ""
    number: bool = False  # whether the argument is one

    def as_resource(self) -> types.Resource:
        """The address as the protocol has it."""
        return types.Resource(
            uri=f"{SCHEME}{self.place}",
            name=self.place,
            title=self.title,
            description=self.description,
            mime_type=MIME_TYPE,
        )

    def as_template(self) -> types.ResourceTemplate:
        """The template as the protocol has it."""
        return types.ResourceTemplate(
            uri_template=f"{SCHEME}{self.place}/{{{self.argument}}}",
            name=f"{self.place}-{self.argument}",
            title=self.title,
            description=self.description,
            mime_type=MIME_TYPE,
        )


FIXED = (
    Address("status", "machine_status", "Status", "What schedules the machine now"),
    Address("workloads", "list_workloads", "Workloads", "The workloads that use most CPU"),
    Address("policies", "list_policies", "Policies", "The installed policies"),
    Address("rules", "rules", "Rules", "What the static analysis looks for"),
    Address("events", "events", "Events", "What happened lately, newest first"),
)

TEMPLATES = (
    Address(
        "workloads",
        "explain",
        "A workload",
        "Why a workload, given by its number or unit, is scheduled as it is",
        "workload",
    ),
    Address("policies", "list_policies", "A policy", "An installed policy by name", "name"),
    Address("rules", "rules", "A rule", "A rule by its id, such as SCX101", "rule"),
    Address(
        "deployments",
        "read_deployment",
        "A deployment",
        "One attachment of a policy by number",
        "deployment",
        number=True,
    ),
    Address(
        "verifications",
        "read_verification",
        "A verification",
        "What a verification found, by the number of its job",
        "job",
        number=True,
    ),
)


def find(uri: str) -> tuple[str, dict[str, object]] | None:
    """The tool and the arguments behind an address; None when there is none."""
    if not uri.startswith(SCHEME):
        return None
    place, slash, last = uri.removeprefix(SCHEME).partition("/")
    if not slash:
        return next(((one.tool, {}) for one in FIXED if one.place == place), None)
    for one in TEMPLATES:
        if one.place == place and last:
            value = unquote(last)
            return one.tool, {one.argument: _number(value) if one.number else value}
    return None


def _number(value: str) -> object:
    """The number that is written there; anything else is for the tool to refuse."""
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 20 else value
