# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon's objects as typed values; ``--json`` prints them field by field."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from schedctl.errors import ClientError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Properties = Mapping[str, Any]  # by property name, variants taken off
Object = TypeVar("Object", bound="DataclassInstance")

_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "tuple[str, ...]": (list,),
    "tuple[Tunable, ...]": (list,),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Machine:
    """The machine's scheduler now, and the daemon: the properties of the manager."""

    version: str
    kernel_release: str
    mode: str
    sched_ext_state: str
    kernel_policy: str
    owner: str
    unusable: str
    enable_seq: int
    active_deployment: str
    last_deployment: str
    workloads: Mapping[str, int]
    cpus: int


@dataclasses.dataclass(frozen=True, slots=True)
class Workload:
    """A cgroup with processes that belong together."""

    id: str
    cgroup_id: int
    unit: str
    kind: str
    state: str
    appeared_at: float
    sentence: str
    profile: Mapping[str, Any]
    advice: str
    objective: str
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Tunable:
    """One constant of a policy."""

    name: str
    type: str
    unit: str
    default: int
    minimum: int
    maximum: int
    description: str
    role: str


@dataclasses.dataclass(frozen=True, slots=True)
class Policy:
    """An installed policy."""

    name: str
    version: str
    title: str
    summary: str
    suits: tuple[str, ...]
    fails: tuple[str, ...]
    honours: tuple[str, ...]
    ignores: tuple[str, ...]
    min_kernel: str
    timeout_ms: int
    targeted: bool
    sha256: str
    admissible: bool
    token: str
    tunables: tuple[Tunable, ...]
    counters: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Deployment:
    """One attachment of a policy."""

    id: int
    workload: str
    workload_id: str
    policy: str
    origin: str
    state: str
    started_at: float
    ended_at: float
    attach_ms: float
    exit_kind: int
    exit_code: int
    exit_reason: str
    exit_message: str
    exit_cause: str
    error: str
    counters: Mapping[str, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """One line of the daemon's log."""

    at: float
    kind: str
    subject: str
    message: str


def from_properties(kind: type[Object], properties: Properties) -> Object:
    """The object that has these properties; raises ClientError when they are not what they were."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        name = _property_name(field.name)
        value: Any = properties.get(name)
        if type(value) not in _KINDS.get(str(field.type), (dict,)):
            raise ClientError(
                f"schedcpd's {kind.__name__}.{name} is not what this schedctl expects; "
                "after an upgrade: sudo systemctl restart schedcpd"
            )
        if field.name == "tunables":
            value = tuple(Tunable(*one) for one in value)
        values[field.name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)


def _property_name(field: str) -> str:
    return "".join(part.capitalize() for part in field.split("_"))


def as_json(value: Any) -> Any:
    """An object, or a list of them, as what ``json.dumps`` takes."""
    if isinstance(value, list | tuple):
        return [as_json(one) for one in value]
    return dataclasses.asdict(value)
