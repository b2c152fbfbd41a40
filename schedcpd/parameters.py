# SPDX-License-Identifier: GPL-2.0-or-later
"""The parameters of a policy: which of its tunables somebody wants set, and to what."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from schedcpd.errors import BadParameter
from schedcpd.model import Card

NONE: Mapping[str, int] = MappingProxyType({})  # every tunable has its default
_SHOWN = 40  # characters of a name that there is not


def check(card: Card, parameters: Mapping[str, int]) -> None:
    """Raise BadParameter unless the card lets each of them be set so by somebody who asks."""
    if reason := objection(card, parameters):
        raise BadParameter(card.name, reason)


def objection(card: Card, parameters: Mapping[str, int]) -> str:
    """Why the policy cannot be attached with them, in one sentence, or an empty string."""
    tunables = {one.name: one for one in card.tunables}
    free = [one.name for one in card.tunables if not one.role]
    for name, value in parameters.items():
        tunable = tunables.get(name)
        if tunable is None:
            there_are = ", ".join(free) or "none"
            return f"it has no parameter {name[:_SHOWN]!r}; there are: {there_are}"
        if tunable.role:
            return f"{name} says which workload it is for, and is not for anybody to set"
        if not tunable.minimum <= value <= tunable.maximum:
            unit = f" {tunable.unit}" if tunable.unit else ""
            return f"{name} is {value}, not from {tunable.minimum} to {tunable.maximum}{unit}"
    return ""


def words(parameters: Mapping[str, int]) -> str:
    """The parameters for a person, always in the same order; empty without any."""
    return ", ".join(f"{name}={value}" for name, value in sorted(parameters.items()))


def with_words(policy: str, parameters: Mapping[str, int]) -> str:
    """The name of a policy, and with which parameters."""
    return f"{policy} with {words(parameters)}" if parameters else policy
