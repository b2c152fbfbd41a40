# SPDX-License-Identifier: GPL-2.0-or-later
"""The policies that are installed: one folder each, with an object and a card of its name."""

from __future__ import annotations

import hashlib
from pathlib import Path

from schedcpd.errors import CardError, NoSuchPolicy
from schedcpd.model import Card
from schedcpd.repository import cards
from schedcpd.repository.files import read_bounded

OBJECT_LIMIT = 8 << 20


class PolicyStore:
    """The policies below ``schedulers``; nothing is remembered, so nothing gets stale."""

    def __init__(self, schedulers: Path) -> None:
        self._schedulers = schedulers

    def names(self) -> tuple[str, ...]:
        """The names of the policies that have both an object and a card, sorted."""
        try:
            found = [entry.name for entry in self._schedulers.iterdir()]
        except OSError:
            # A machine without the folder has no policies: that is an answer, not a fault.
            return ()
        return tuple(sorted(name for name in found if self._present(name)))

    def _present(self, name: str) -> bool:
        return bool(cards.POLICY_NAME.fullmatch(name)) and all(
            path.is_file() for path in (self._object(name), self._card(name))
        )

    def _object(self, name: str) -> Path:
        return self._schedulers / name / f"{name}.bpf.o"

    def _card(self, name: str) -> Path:
        return self._schedulers / name / f"{name}.toml"

    def _known(self, name: str) -> str:
        if not self._present(name):
            raise NoSuchPolicy(name[:80])
        return name

    def object_path(self, name: str) -> Path:
        """Where the object of a policy is; NoSuchPolicy when there is no such policy."""
        return self._object(self._known(name))

    def object_bytes(self, name: str) -> bytes:
        """The object of a policy, read once; NoSuchPolicy or CardError when it cannot be."""
        return self._read(self.object_path(name), OBJECT_LIMIT)

    def card_bytes(self, name: str) -> bytes:
        """The card of a policy as it is in its file; NoSuchPolicy or CardError."""
        return self._read(self._card(self._known(name)), cards.SIZE_LIMIT)

    def _read(self, path: Path, limit: int) -> bytes:
        try:
            return read_bounded(path, limit)
        except OSError as exc:
            raise CardError(str(path), f"it cannot be read: {exc}") from exc

    def card(self, name: str) -> Card:
        """The card of a policy; NoSuchPolicy, or CardError when it is refused."""
        return self.parse(name, self.card_bytes(name))

    def parse(self, name: str, data: bytes) -> Card:
        """The card in ``data``, which must be the one of the policy ``name``; CardError."""
        card = cards.parse_card(data, str(self._card(name)))
        if card.name != name:
            raise CardError(str(self._card(name)), f"name is {card.name!r}, not {name!r}")
        return card

    def object_sha256(self, name: str) -> str:
        """The SHA-256 digest of the object in hexadecimal; NoSuchPolicy or CardError."""
        return hashlib.sha256(self.object_bytes(name)).hexdigest()
