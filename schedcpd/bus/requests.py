# SPDX-License-Identifier: GPL-2.0-or-later
"""What callers may send: pure checks that raise a D-Bus error with a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable

from dbus_next.errors import DBusError

from schedcpd.bus import names
from schedcpd.bus.errors import INVALID, TOO_LARGE
from schedcpd.model import Quarantine

LARGEST_SOURCE = 256 * 1024  # bytes
LARGEST_CARD = 64 * 1024
LONGEST_REASON = 200  # characters
LONGEST_ID = 4096

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


def check_release(policy: str, quarantines: Iterable[Quarantine]) -> None:
    """Refuse to let out what is not in quarantine."""
    if policy not in {one.policy for one in quarantines}:
        raise DBusError(INVALID, f"{policy[:40]!r} is not in quarantine")


def check_digest(text: str) -> None:
    """Refuse what is not the SHA-256 digest of an object."""
    if not _DIGEST.fullmatch(text):
        raise DBusError(INVALID, f"{text[:80]!r} is not a SHA-256 digest in lower-case hexadecimal")
