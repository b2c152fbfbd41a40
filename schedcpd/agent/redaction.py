# SPDX-License-Identifier: GPL-2.0-or-later
"""What must not leave the machine, taken out of texts and tables.

Beside what ``schedcpd.redaction`` finds in a text: what stands in a field or after an option
that is called like a secret, who lives here, and the end of a text that was cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from schedcpd.redaction import Redactor

GONE = "[removed]"

_SECRET_NAME = re.compile(
    r"(?i)-{0,2}[\w.-]*(?:passw(?:or)?d|passphrase|passcode|pwd|secret|token|api[_-]?key"
    r"|access[_-]?key|private[_-]?key|credential|bearer|cookie)[\w.-]*"
)
_MORE = tuple(
    (re.compile(pattern), gone)
    for pattern, gone in (
        (r"(/(?:home|Users)/)[^/\s\"':;,]+", r"\1[user]"),
        (r"(?<![\w~])~[a-z_][a-z0-9_-]{0,31}(?=/)", "~[user]"),
        (r"[^\s\"]+…", "…"),  # half a secret may stand where a text was cut
    )
)


class Redaction:
    """Takes out secrets, what the settings add, and words that nobody may see."""

    def __init__(self, patterns: Iterable[str] = (), secrets: Iterable[str] = ()) -> None:
        """``patterns`` are regular expressions; ``secrets`` are taken out word by word."""
        self._redactor = Redactor(re.compile(one) for one in patterns)
        self._secrets = tuple(one for one in secrets if one)

    def text(self, text: str) -> str:
        """The text without them."""
        for secret in self._secrets:
            text = text.replace(secret, GONE)
        text = self._redactor.redact(text).text
        for pattern, gone in _MORE:
            text = pattern.sub(gone, text)
        return text

    def value(self, value: Any) -> Any:
        """The same for what JSON has."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self._field(str(key), one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return self._words(value)
        return value

    def _field(self, name: str, value: Any) -> Any:
        named = isinstance(value, str) and value and _SECRET_NAME.fullmatch(name)
        return GONE if named else self.value(value)

    def _words(self, words: Iterable[Any]) -> list[Any]:
        """A list, perhaps of the arguments of a program."""
        kept: list[Any] = []
        before: Any = ""
        for word in words:
            option = isinstance(before, str) and before.startswith("-")
            named = option and _SECRET_NAME.fullmatch(before) and isinstance(word, str)
            kept.append(GONE if named else self.value(word))
            before = word
        return kept
