# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon's objects as typed values; ``--json`` prints them field by field."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from schedclient.errors import ClientError

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
    "tuple[Hold, ...]": (list,),
    "tuple[Classified, ...]": (list,),
    "tuple[Candidate, ...]": (list,),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Machine:
    """The machine's scheduler now, and the daemon: the properties of the manager."""

    version: str
    kernel_release: str
    mode: str
    safe: str
    sched_ext_state: str
    kernel_policy: str
    owner: str
    unusable: str
    enable_seq: int
    active_deployment: str
    last_deployment: str
    workloads: Mapping[str, int]
    cpus: int
    holds: tuple[Hold, ...]
    classes: tuple[Classified, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Classified:
    """A workload that has a class now; 0 is the policy's own weight and slice."""

    workload_id: str
    kind: str
    weight: int
    slice_us: int
    since: float
    set_ms: float


@dataclasses.dataclass(frozen=True, slots=True)
class Hold:
    """Somebody who keeps automation off; no workload: off the whole machine."""

    cookie: int
    owner: str
    uid: int
    workload_id: str
    reason: str
    since: float


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """What the planner weighed for a workload; no policy: the kernel's default."""

    policy: str
    score: float
    evidence: str
    objection: str


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
    candidates: tuple[Candidate, ...] = ()
    layer: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    identity: str = ""


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
    choices: tuple[str, ...] = ()


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
    enrolled: bool
    tunables: tuple[Tunable, ...]
    counters: Mapping[str, str]
    kind: str = "bpf"
    program: str = ""

    @property
    def unknown(self) -> bool:
        """Whether it is an installed program that nobody has enrolled."""
        return self.kind == "foreign" and not self.enrolled


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
    reason: str
    object_sha256: str
    canary: Mapping[str, Any]
    revert_ms: float
    layer: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    kind: str = "bpf"
    parameters: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Past:
    """A deployment as the history has it."""

    id: int
    workload_id: str
    policy: str
    origin: str
    state: str
    started_at: float
    ended_at: float
    attach_ms: float
    revert_ms: float
    reason: str
    error: str
    canary: Mapping[str, Any]
    parameters: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Quarantine:
    """A policy that must not be attached again; no workload: for none."""

    policy: str
    object_sha256: str
    kernel_release: str
    workload_id: str
    since: float
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Hit:
    """An entry of the repository that a search found; a higher score fits better."""

    kind: str
    name: str
    score: float
    title: str
    excerpt: str


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """A rule of the static analysis."""

    id: str
    severity: str
    title: str
    catches: str
    why: str
    example: str
    mend: str


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """A long piece of work; stages and report are JSON texts."""

    id: int
    kind: str
    subject: str
    state: str
    now: str
    stages: str
    report: str
    error: str
    started_at: float
    ended_at: float


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """One line of the daemon's log."""

    at: float
    kind: str
    subject: str
    message: str


_STRUCTS: dict[str, Callable[..., Any]] = {
    "classes": Classified,
    "tunables": Tunable,
    "holds": Hold,
    "candidates": Candidate,
}


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
        if field.name in _STRUCTS:
            value = tuple(_STRUCTS[field.name](*one) for one in value)
        values[field.name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)


def from_details(kind: type[Object], details: Properties) -> Object:
    """The object with these fields, as a method returns them; raises ClientError."""
    return from_properties(kind, {_property_name(name): one for name, one in details.items()})


def _property_name(field: str) -> str:
    return "".join(part.capitalize() for part in field.split("_"))


def as_json(value: Any) -> Any:
    """An object, or a list of them, as what ``json.dumps`` takes."""
    if isinstance(value, list | tuple):
        return [as_json(one) for one in value]
    return dataclasses.asdict(value)
