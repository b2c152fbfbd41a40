# SPDX-License-Identifier: GPL-2.0-or-later
"""Text from the machine, made fit to be shown."""

from __future__ import annotations

import unicodedata

_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def visible(text: str, kept: str = "") -> str:
    """The text with nothing in it that moves a cursor, hides or turns around other text.

    ``kept``: the characters of these kinds that may stay.
    """
    return "".join(
        "\N{REPLACEMENT CHARACTER}"
        if unicodedata.category(one) in _INVISIBLE and one not in kept
        else one
        for one in text
    )
