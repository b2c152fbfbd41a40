# SPDX-License-Identifier: GPL-2.0-or-later
"""Bundles: what machines hand on to each other of their repositories.

A bundle is a text of lines, each of which stands for itself: the signer's public key, an Ed25519
signature, and the signed payload, which is canonical JSON in ASCII, with blanks between them:

    KEY SIGNATURE {"at": 1760000000.0, "bundle": 1, "host": "a", "items": [{"kind": …}, …]}

Nothing is compressed and no path is in it. A line is taken only if its key is one that an
administrator has put into the folder of trusted keys, as ``NAME.pub``; tokens are never part of it,
so that a policy has to be verified where it is to run.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from schedcpd import keys, token
from schedcpd.errors import BundleRefused, RepositoryDamaged
from schedcpd.fields import BadField, Fields
from schedcpd.model import Antipattern, Note, Outcome
from schedcpd.repository import items
from schedcpd.repository.files import read_bounded
from schedcpd.repository.items import Item, Source

VERSION = 1
LINE_LIMIT = 380 * 1024  # characters; the daemon's bus takes no more at once
ITEMS_LIMIT = 200 * 1024  # characters that are put into one line, if there is more than one item
MOST_ITEMS = 1000
MOST_KEYS = 64
KEY_LIMIT = 1024
SUFFIX = ".pub"
SIGNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")

READERS: Mapping[str, Callable[[Fields], Item]] = {
    "policy": items.read_source,
    "outcome": items.read_outcome,
    "antipattern": items.read_antipattern,
    "note": items.read_note,
}
NAMES: Mapping[type[Item], str] = {
    Source: "policy",
    Outcome: "outcome",
    Antipattern: "antipattern",
    Note: "note",
}


@dataclass(frozen=True, slots=True)
class Keys:
    """Where this machine's own key is, and those of the machines that it trusts."""

    own: Path
    trusted: Path


@dataclass(frozen=True, slots=True)
class Line:
    """What a line says."""

    host: str
    at: float  # seconds since the epoch
    items: tuple[Item, ...]


def packed(every: Iterable[Item]) -> list[tuple[Item, ...]]:
    """The items, as many to a line as it has room for; those that nobody could read are left."""
    lines: list[tuple[Item, ...]] = []
    line: list[Item] = []
    size = 0
    for item in every:
        length = len(json.dumps(_table(item)))
        if length > LINE_LIMIT - KEY_LIMIT or not _readable(item):
            continue
        if line and (size + length > ITEMS_LIMIT or len(line) >= MOST_ITEMS):
            lines.append(tuple(line))
            line, size = [], 0
        line.append(item)
        size += length
    return [*lines, tuple(line)] if line else lines


def _readable(item: Item) -> bool:
    try:
        _item(Fields(json.loads(json.dumps(_table(item)))))
    except BadField:
        return False
    return True


def _table(item: Item) -> dict[str, object]:
    return {"kind": NAMES[type(item)], "entry": asdict(item)}


def _item(fields: Fields) -> Item:
    fields.only("kind", "entry")
    return READERS[fields.choice("kind", READERS)](fields.table("entry"))


def seal(line: Line, places: Keys) -> str:
    """The line, signed with this machine's own key, made on first use; RepositoryDamaged."""
    try:
        places.own.mkdir(mode=0o700, parents=True, exist_ok=True)
        private = keys.signing_key(places.own)
    except (OSError, ValueError) as exc:
        raise RepositoryDamaged(str(places.own), str(exc)) from exc
    payload = token.canonical(
        {
            "bundle": VERSION,
            "host": line.host,
            "at": line.at,
            "items": [_table(item) for item in line.items],
        }
    )
    public = token.public_key_of(private).decode().strip()
    signature = base64.b64encode(token.sign_bytes(payload, private)).decode()
    return f"{public} {signature} {payload.decode()}"


def open_line(text: str, places: Keys) -> tuple[Line, str]:
    """What a line says, and the name under which its signer is trusted; raises BundleRefused."""
    if len(text) > LINE_LIMIT:
        raise BundleRefused(f"a line has at most {LINE_LIMIT} characters")
    key, _, rest = text.strip("\n").partition(" ")
    signature, _, payload = rest.partition(" ")
    signer = _trusted(places.trusted).get(key)
    if signer is None:
        raise BundleRefused(
            f"its signer is not trusted here; {places.trusted}/NAME{SUFFIX} has the keys of those "
            "who are"
        )
    try:
        raw = base64.b64decode(signature, validate=True)
        # The same bytes can be written in several ways in base64; only one of them is ours.
        signed = base64.b64encode(raw).decode() == signature and token.is_signed(
            payload.encode("ascii"), raw, key.encode()
        )
    except ValueError as exc:
        raise BundleRefused("it is damaged") from exc
    if not signed:
        raise BundleRefused("bad signature: it was changed on its way")
    try:
        return _line(Fields(json.loads(payload))), signer
    except (ValueError, RecursionError) as exc:  # what was signed need not be well made
        raise BundleRefused(str(exc)) from exc


def _line(fields: Fields) -> Line:
    if fields.integer("bundle") != VERSION:
        raise BadField(f"bundle is {fields.integer('bundle')}, not {VERSION}")
    fields.only("bundle", "host", "at", "items")
    return Line(
        host=items.plain(fields, "host", items.NAME_LIMIT),
        at=fields.number("at"),
        items=tuple(_item(one) for one in fields.tables("items", MOST_ITEMS)),
    )


def _trusted(folder: Path) -> dict[str, str]:
    """The keys that are trusted, each with its name; raises BundleRefused."""
    found = {}
    try:
        for path in sorted(folder.glob(f"*{SUFFIX}"))[:MOST_KEYS]:
            name = path.name.removesuffix(SUFFIX)
            if SIGNER.fullmatch(name):
                found[read_bounded(path, KEY_LIMIT).decode("ascii").strip()] = name
    except (OSError, UnicodeDecodeError) as exc:
        raise BundleRefused(f"the trusted keys cannot be read: {exc}") from exc
    return found
