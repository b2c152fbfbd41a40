# SPDX-License-Identifier: GPL-2.0-or-later
"""What the loader's child and the daemon say to each other: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

from schedcpd.deploy.livemaps import ENTRIES_AT_ONCE
from schedcpd.errors import (
    CardError,
    DigestRefused,
    Ejected,
    ForeignScheduler,
    KernelRejected,
    NoSchedExt,
    NoSuchPolicy,
    ProgramFailed,
    SchedcpError,
    TokenRefused,
)
from schedcpd.fields import BadField, Fields
from schedcpd.model import ExitRecord

# An update of a live map: 4096 entries of 24 bytes in hexadecimal.
REQUEST_LIMIT = 256 * 1024
# A dump has up to 32 KiB, and JSON may write each of its bytes as six.
LINE_LIMIT = 512 * 1024
LOG_LIMIT = 8192
TEXT_LIMIT = 1024


class EventName(StrEnum):
    """What the child says."""

    ADMISSIBLE = "admissible"
    ATTACHED = "attached"
    FAILED = "failed"
    STATUS = "status"
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    UPDATED = "updated"
    EJECTED = "ejected"
    DETACHED = "detached"


class Command(StrEnum):
    """What the daemon asks of a child that has attached its policy."""

    STATUS = "status"
    SUSPEND = "suspend"  # to the kernel's own scheduler, with the object kept
    RESUME = "resume"
    UPDATE = "update"  # entries of a live map
    DETACH = "detach"


@dataclass(frozen=True, slots=True)
class Request:
    """The first line to a child: what to load or check, and where everything is.

    One that has checked a policy takes another such line.
    """

    policy: str
    schedulers: Path  # what came with the package
    enrolled: Path  # what the verifier added
    tokens: Path
    public_key: Path
    parameters: Mapping[str, int]
    settle_s: float
    check_only: bool
    sched_ext: Path
    object_sha256: str = ""  # the object that is meant; empty for the one that is there


@dataclass(frozen=True, slots=True)
class LoaderStatus:
    """An attached or ended policy: ``exit`` is None while the kernel has not ended it."""

    exit: ExitRecord | None
    counters: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MapUpdate:
    """What is to be changed in a live map: entries to delete, then entries to write.

    ``number`` comes back with the answer, as the asker of the one before may have left meanwhile.
    """

    name: str
    updates: Mapping[bytes, bytes]
    deletions: Collection[bytes] = ()
    number: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the child could not attach, as it travels: the error's class and its fields."""

    error: str
    stage: str = ""
    reason: str = ""
    log: str = ""
    exit: ExitRecord | None = None

    def to_error(self, policy: str) -> SchedcpError:
        """The exception that it stands for."""
        match self.error:
            case "TokenRefused":
                return TokenRefused(policy, self.reason)
            case "ForeignScheduler":
                return ForeignScheduler(self.reason)
            case "NoSchedExt":
                return NoSchedExt(self.reason)
            case "NoSuchPolicy":
                return NoSuchPolicy(policy)
            case "DigestRefused":
                return DigestRefused(policy, self.reason)
            case "ProgramFailed":
                return ProgramFailed(policy, self.reason)
            case "CardError":
                return CardError(policy, self.reason)
            case "Ejected" if self.exit is not None:
                return Ejected(policy, self.exit.kind, self.exit.message, self.exit)
        return KernelRejected(policy, self.stage, self.reason, self.log)


def encode(message: Mapping[str, object]) -> bytes:
    """One line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Fields:
    """The object on one line; BadField when it is none."""
    try:
        return Fields(json.loads(line), "")
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadField("the line is not JSON") from exc


def encode_request(request: Request) -> bytes:
    """The line of a request."""
    paths = {
        name: str(getattr(request, name))
        for name in ("schedulers", "enrolled", "tokens", "public_key", "sched_ext")
    }
    parameters = {"parameters": dict(request.parameters)}
    return encode({**asdict(request), **paths, **parameters})


def decode_request(line: bytes) -> Request:
    """The child's side of it; BadField when a field is missing or wrong."""
    fields = decode(line)
    fields.only(*Request.__dataclass_fields__)
    return Request(
        policy=fields.text("policy"),
        schedulers=Path(fields.text("schedulers")),
        enrolled=Path(fields.text("enrolled")),
        tokens=Path(fields.text("tokens")),
        public_key=Path(fields.text("public_key")),
        parameters=fields.integers("parameters"),
        settle_s=fields.number("settle_s", 0.0, 60.0),
        check_only=fields.truth("check_only"),
        sched_ext=Path(fields.text("sched_ext")),
        object_sha256=fields.text("object_sha256"),
    )


def encode_update(update: MapUpdate) -> bytes:
    """The line of an update of a live map."""
    return encode(
        {
            "command": Command.UPDATE,
            "map": update.name,
            "updates": {key.hex(): value.hex() for key, value in update.updates.items()},
            "deletions": [key.hex() for key in update.deletions],
            "number": update.number,
        }
    )


def decode_update(fields: Fields) -> MapUpdate:
    """The child's side of it; BadField when a field is missing or wrong."""
    updates = fields.table("updates")
    return MapUpdate(
        name=fields.text("map"),
        updates={_bytes(key): _bytes(updates.text(key)) for key in updates},
        deletions=[_bytes(key) for key in fields.texts("deletions", most=ENTRIES_AT_ONCE)],
        number=fields.integer("number", 0),
    )


def _bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as exc:
        raise BadField("an entry of a map is not in hexadecimal") from exc


def encode_exit(record: ExitRecord | None) -> dict[str, object] | None:
    """An exit record as JSON has it."""
    return asdict(record) if record is not None else None


def decode_exit(
    fields: Fields, text_limit: int = TEXT_LIMIT, dump_limit: int = LINE_LIMIT
) -> ExitRecord | None:
    """The exit record in the field ``exit``, which may be null; BadField."""
    if fields.is_null("exit"):
        return None
    exit_ = fields.table("exit")
    return ExitRecord(
        kind=exit_.integer("kind"),
        code=exit_.integer("code"),
        reason=exit_.text("reason", text_limit),
        message=exit_.text("message", text_limit),
        dump=exit_.text("dump", dump_limit),
    )


def decode_status(fields: Fields) -> LoaderStatus:
    """The exit record and the counters that several events carry; BadField."""
    return LoaderStatus(decode_exit(fields), fields.integers("counters"))


def decode_failure(fields: Fields) -> Failure:
    """The fields of a ``failed`` event; BadField."""
    return Failure(
        error=fields.text("error"),
        stage=fields.text("stage"),
        reason=fields.text("reason"),
        log=fields.text("log", LINE_LIMIT),
        exit=decode_exit(fields),
    )
