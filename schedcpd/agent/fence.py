# SPDX-License-Identifier: GPL-2.0-or-later
"""A fence around what strangers wrote, so that a model can tell it from what it is asked to do.

The marker cannot be guessed, and is taken out of what stands inside: nothing inside can end it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import unicodedata
from typing import Any

from schedcpd.agent.redaction import Redaction

LONGEST = 8_000  # characters inside a fence
KEPT_CONTROLS = "\n\t"
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
CUT = "\n[cut here: it was longer]"


class Fence:
    """The fence of one run; it redacts what goes inside."""

    def __init__(self, marker: str, redaction: Redaction) -> None:
        self.marker = marker
        self._redaction = redaction

    def around(self, kind: str, value: Any) -> str:
        """A text or a JSON value, redacted, made visible, cut to size and fenced."""
        redacted = self._redaction.value(value)
        text = redacted if isinstance(redacted, str) else _json(redacted)
        # Again: what was joined by taking out a character may be a secret only now.
        inside = self._redaction.text(visible(text).replace(self.marker, ""))
        if len(inside) > LONGEST:
            inside = inside[:LONGEST] + CUT
        return f"<data {kind} {self.marker}>\n{inside}\n</data {self.marker}>"


class Markers:
    """Gives each run its marker: the same each time it is asked for, and known to nobody."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def of(self, run: int) -> str:
        """The marker of a run."""
        return hmac.new(self._key, str(run).encode(), hashlib.sha256).hexdigest()[:24]


def visible(text: str) -> str:
    """The text without characters that control, hide or turn around others, or stand for such."""
    return "".join(
        one if one in KEPT_CONTROLS or unicodedata.category(one) not in _HIDDEN else ""
        for one in text.replace("\N{REPLACEMENT CHARACTER}", "")
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
