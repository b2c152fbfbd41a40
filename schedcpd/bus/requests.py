# SPDX-License-Identifier: GPL-2.0-or-later
"""What callers may send: pure checks that raise a D-Bus error with a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable

from dbus_next.errors import DBusError

from schedcpd.bus import names
from schedcpd.bus.errors import INVALID, TOO_LARGE
from schedcpd.model import LayerClass, LayerKind, Objective, Quarantine, Tier

LARGEST_SOURCE = 256 * 1024  # bytes
LARGEST_CARD = 64 * 1024
LONGEST_REASON = 200  # characters
LONGEST_ID = 4096
LONGEST_NOTE = 4000
# Of the repository; a note may be on a workload as well.
KINDS = ("policy", "primitive", "outcome", "antipattern", "note")

_DIGEST = re.compile(r"[0-9a-f]{64}")


def check_text(name: str, value: str, longest: int = LONGEST_ID) -> None:
    """Refuse a text that is too long."""
    if len(value) > longest:
        raise DBusError(TOO_LARGE, f"the {name} is longer than {longest} characters")


def check_reason(reason: str) -> None:
    """Refuse a hold that does not say why: others will ask."""
    if not reason.strip():
        raise DBusError(INVALID, "a hold needs a reason, for others will ask for it")
    check_text("reason", reason, LONGEST_REASON)


def check_kind(kind: str) -> None:
    """Refuse a kind of entry that there is not; an empty one is for all."""
    if kind and kind not in KINDS:
        raise DBusError(INVALID, f"{kind[:40]!r} is no kind; there are {', '.join(KINDS)}")


def check_annotation(kind: str, name: str, note: str) -> None:
    """Refuse a note that says nothing, or is on nothing that there can be."""
    if kind != "workload":
        check_kind(kind)
    if bool(kind) != bool(name):
        raise DBusError(INVALID, "a note is on an entry, given by kind and name, or on nothing")
    check_text("name", name)
    if not note.strip():
        raise DBusError(INVALID, "the note is empty")
    check_text("note", note, LONGEST_NOTE)


def check_retirement(reason: str) -> None:
    """Refuse to retire a policy without saying why: others will ask."""
    if not reason.strip() or not reason.isprintable():
        raise DBusError(INVALID, "to retire a policy needs a reason, in one line")
    check_text("reason", reason, LONGEST_REASON)


def check_submission(policy: str, card: str, source: str, enroll: bool) -> None:
    """Refuse a policy that cannot be one."""
    try:
        names.policy_path(policy)
    except ValueError as error:
        raise DBusError(
            INVALID,
            f"{policy[:40]!r} is not the name of a policy: scx_ and up to 11 of a-z, 0-9 and _",
        ) from error
    if bool(card) != bool(source):
        missing = "source" if card else "card"
        raise DBusError(INVALID, f"the {missing} of {policy} is missing: they go together")
    if enroll and not source:
        raise DBusError(INVALID, f"there is nothing to enroll: {policy} came without its source")
    for name, value, largest in (("source", source, LARGEST_SOURCE), ("card", card, LARGEST_CARD)):
        if len(value.encode(errors="surrogatepass")) > largest:
            words = f"the {name} of {policy} is larger than {largest // 1024} KiB"
            raise DBusError(TOO_LARGE, words)


def objective_of(objective: str) -> Objective:
    """What a proposal is to improve; refuses one that says nothing."""
    known = [str(one) for one in Objective if one is not Objective.NONE]
    if objective not in known:
        raise DBusError(
            INVALID, f"{objective[:40]!r} is no objective; there are {', '.join(known)}"
        )
    return Objective(objective)


def tier_of(tier: str) -> Tier:
    """How closely a workload is to be looked at."""
    known = [str(one) for one in Tier]
    if tier not in known:
        raise DBusError(INVALID, f"{tier[:40]!r} is no tier; there are {', '.join(known)}")
    return Tier(tier)


def check_proposal(reason: str) -> None:
    """Refuse a proposal without a reason that can be shown on one line."""
    if not reason.strip() or not reason.isprintable():
        raise DBusError(INVALID, "a proposal needs a reason, on one line that can be printed")
    check_text("reason", reason, LONGEST_REASON)


def class_of(kind: str, weight: int, slice_us: int) -> LayerClass:
    """The class that is asked for; refuses one that there is not."""
    kinds = [str(one) for one in LayerKind]
    if kind not in kinds:
        raise DBusError(INVALID, f"{kind[:40]!r} is no class; there are {', '.join(kinds)}")
    layer = LayerClass(LayerKind(kind), weight, slice_us)
    if layer.objection:
        raise DBusError(INVALID, layer.objection)
    return layer


def check_release(policy: str, quarantines: Iterable[Quarantine]) -> None:
    """Refuse to let out what is not in quarantine."""
    if policy not in {one.policy for one in quarantines}:
        raise DBusError(INVALID, f"{policy[:40]!r} is not in quarantine")


def check_digest(text: str) -> None:
    """Refuse what is not the SHA-256 digest of an object."""
    if not _DIGEST.fullmatch(text):
        raise DBusError(INVALID, f"{text[:80]!r} is not a SHA-256 digest in lower-case hexadecimal")
