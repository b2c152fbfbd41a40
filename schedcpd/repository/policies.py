# SPDX-License-Identifier: GPL-2.0-or-later
"""The policies that are installed: one folder each, with an object and a card of its name."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from schedcpd.errors import CardError, NoSuchPolicy
from schedcpd.model import Card
from schedcpd.repository import cards
from schedcpd.repository.files import read_bounded

OBJECT_LIMIT = 8 << 20
SOURCE_LIMIT = 1 << 20


class PolicyStore:
    """The policies below ``roots``; nothing is remembered, so nothing gets stale.

    Of two policies of one name the first root's counts: what is enrolled never hides what came with
    the package.
    """

    def __init__(self, *roots: Path) -> None:
        self._roots = roots

    def names(self) -> tuple[str, ...]:
        """The names of the policies that have both an object and a card, sorted."""
        found: set[str] = set()
        for root in self._roots:
            # A machine without the folder has no policies: that is an answer, not a fault.
            with contextlib.suppress(OSError):
                found.update(entry.name for entry in root.iterdir())
        return tuple(sorted(name for name in found if self._folder(name)))

    def _folder(self, name: str) -> Path | None:
        if not cards.POLICY_NAME.fullmatch(name):
            return None
        folders = (root / name for root in self._roots)
        return next((one for one in folders if _is_policy(one)), None)

    def _known(self, name: str) -> Path:
        if (folder := self._folder(name)) is None:
            raise NoSuchPolicy(name[:80])
        return folder

    def object_path(self, name: str) -> Path:
        """Where the object of a policy is; NoSuchPolicy when there is no such policy."""
        return self._known(name) / f"{name}.bpf.o"

    def object_bytes(self, name: str) -> bytes:
        """The object of a policy, read once; NoSuchPolicy or CardError when it cannot be."""
        return self._read(self.object_path(name), OBJECT_LIMIT)

    def card_bytes(self, name: str) -> bytes:
        """The card of a policy as it is in its file; NoSuchPolicy or CardError."""
        return self._read(self._known(name) / f"{name}.toml", cards.SIZE_LIMIT)

    def source_bytes(self, name: str) -> bytes:
        """The source of a policy, empty where it came without; NoSuchPolicy or CardError."""
        path = self._known(name) / f"{name}.bpf.c"
        return self._read(path, SOURCE_LIMIT) if path.is_file() else b""

    def _read(self, path: Path, limit: int) -> bytes:
        try:
            return read_bounded(path, limit)
        except OSError as exc:
            raise CardError(str(path), f"it cannot be read: {exc}") from exc

    def card(self, name: str) -> Card:
        """The card of a policy; NoSuchPolicy, or CardError when it is refused."""
        return self.parse(name, self.card_bytes(name))

    def parse(self, name: str, data: bytes) -> Card:
        """The card in ``data``, which must be that of the installed policy ``name``; CardError."""
        path = str(self._known(name) / f"{name}.toml")
        card = cards.parse_card(data, path)
        if card.name != name:
            raise CardError(path, f"name is {card.name!r}, not {name!r}")
        return card

    def object_sha256(self, name: str) -> str:
        """The SHA-256 digest of the object in hexadecimal; NoSuchPolicy or CardError."""
        return hashlib.sha256(self.object_bytes(name)).hexdigest()


def _is_policy(folder: Path) -> bool:
    return all((folder / f"{folder.name}{end}").is_file() for end in (".bpf.o", ".toml"))
