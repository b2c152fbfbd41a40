# SPDX-License-Identifier: GPL-2.0-or-later
"""The token of a policy: what ``schedcp-verify`` signs and the loader demands.

A file holds ``{"payload": base64, "signature": base64}``, Ed25519 over the payload's bytes; the
payload is canonical JSON. Keys are 32 raw bytes in base64.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from schedcpd.errors import TokenRefused
from schedcpd.fields import BadField, Fields
from schedcpd.kernel.topology import Topology

VERSION = 1
LIFETIME_S = 30 * 24 * 3600
# A clock that is set right after boot may go back a little.
CLOCK_TOLERANCE_S = 60
SIZE_LIMIT = 256 * 1024
KEY_BYTES = 32
END_OF_CALENDAR = 253402300799  # the last second of the year 9999
PAYLOAD_FIELDS = (
    "version",
    "policy",
    "object_sha256",
    "card_sha256",
    "kernel_release",
    "btf_sha256",
    "topology",
    "report_sha256",
    "parameters",
    "issued_at",
    "expires_at",
)


class _Refusal(Exception):
    """Why a token does not admit a candidate."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a token is good: this kernel on these CPUs."""

    kernel_release: str
    btf_sha256: str
    topology: Topology


@dataclass(frozen=True, slots=True)
class Token:
    """The signed statement: this object with this card may run here, within these ranges."""

    policy: str
    object_sha256: str
    card_sha256: str
    machine: Machine
    report_sha256: str
    parameters: Mapping[str, tuple[int, int]]  # name → lowest and highest value
    issued_at: int  # seconds since the epoch
    expires_at: int

    @property
    def validity(self) -> str:
        """Until when it is valid, for a person."""
        until = datetime.fromtimestamp(self.expires_at, UTC)
        return f"valid until {until:%Y-%m-%d %H:%M} UTC"


def sha256(data: bytes) -> str:
    """The SHA-256 digest as everywhere here, in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def read_machine(release: str, btf: bytes, topology: Topology) -> Machine:
    """The machine with this ``uname -r`` and this /sys/kernel/btf/vmlinux."""
    return Machine(release, sha256(btf), topology)


def generate_keys() -> tuple[bytes, bytes]:
    """A new private key and its public key, each as the contents of its file."""
    private = Ed25519PrivateKey.generate()
    file = _encode_key(private.private_bytes_raw())
    return file, public_key_of(file)


def public_key_of(private_key: bytes) -> bytes:
    """The public key's file for a private key's file; ValueError when that is damaged."""
    private = Ed25519PrivateKey.from_private_bytes(_decode_key(private_key))
    return _encode_key(private.public_key().public_bytes_raw())


def _encode_key(raw: bytes) -> bytes:
    return base64.b64encode(raw) + b"\n"


def _decode_key(text: bytes) -> bytes:
    raw = base64.b64decode(text.strip(), validate=True)
    if len(raw) != KEY_BYTES:
        raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(raw)}")
    return raw


def sign(token: Token, private_key: bytes) -> bytes:
    """The token's file, signed with the private key's file; ValueError when that is damaged."""
    payload = _payload(token)
    return _envelope(payload, sign_bytes(payload, private_key))


def sign_bytes(data: bytes, private_key: bytes) -> bytes:
    """The signature over ``data`` with the private key's file; ValueError when that is damaged."""
    return Ed25519PrivateKey.from_private_bytes(_decode_key(private_key)).sign(data)


def is_signed(data: bytes, signature: bytes, public_key: bytes) -> bool:
    """Whether the key in a public key's file signed ``data``; ValueError when it is damaged."""
    key = Ed25519PublicKey.from_public_bytes(_decode_key(public_key))
    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True


def _envelope(payload: bytes, signature: bytes) -> bytes:
    parts = {"payload": payload, "signature": signature}
    return canonical({name: base64.b64encode(part).decode() for name, part in parts.items()})


def canonical(value: Mapping[str, object]) -> bytes:
    """JSON with sorted keys and no blanks."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _payload(token: Token) -> bytes:
    machine = token.machine
    return canonical(
        {
            "version": VERSION,
            "policy": token.policy,
            "object_sha256": token.object_sha256,
            "card_sha256": token.card_sha256,
            "kernel_release": machine.kernel_release,
            "btf_sha256": machine.btf_sha256,
            "topology": asdict(machine.topology),
            "report_sha256": token.report_sha256,
            "parameters": {name: list(pair) for name, pair in token.parameters.items()},
            "issued_at": token.issued_at,
            "expires_at": token.expires_at,
        }
    )


@dataclass(frozen=True, slots=True)
class Candidate:
    """What somebody wants loaded: the very bytes that will go to the kernel."""

    policy: str
    object: bytes
    card: bytes
    parameters: Mapping[str, int]


def check(
    data: bytes, public_key: bytes, candidate: Candidate, machine: Machine, now: float
) -> Token:
    """The token in ``data`` if it admits ``candidate`` here and now, else TokenRefused."""
    policy = candidate.policy
    try:
        token = _read(data, public_key)
        _check_files(token, candidate)
        _check_machine(token.machine, machine)
        _check_time(token, now)
        _check_parameters(token, candidate.parameters)
    except (BadField, _Refusal) as exc:
        raise TokenRefused(policy, str(exc)) from exc
    return token


def _read(data: bytes, public_key: bytes) -> Token:
    if len(data) > SIZE_LIMIT:
        raise _Refusal("the token is too large")
    try:
        outer = Fields(json.loads(data))
        outer.only("payload", "signature")
        payload = base64.b64decode(outer.text("payload", SIZE_LIMIT), validate=True)
        signature = base64.b64decode(outer.text("signature"), validate=True)
    except (ValueError, RecursionError) as exc:
        raise _Refusal("the token is damaged") from exc
    if data != _envelope(payload, signature):
        # The same bytes can be written in many ways in base64; only one of them is ours.
        raise _Refusal("the token is damaged")
    try:
        signed = is_signed(payload, signature, public_key)
    except ValueError as exc:
        raise _Refusal(f"the public key is damaged: {exc}") from exc
    if not signed:
        raise _Refusal("bad signature: the token was changed, or signed with another key")
    return _parse(payload)


def _parse(payload: bytes) -> Token:
    try:
        fields = Fields(json.loads(payload))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise _Refusal("the token's payload is not JSON") from exc
    if fields.integer("version") != VERSION:
        raise _Refusal(f"the token has version {fields.integer('version')}, not {VERSION}")
    fields.only(*PAYLOAD_FIELDS)
    return Token(
        policy=fields.text("policy"),
        object_sha256=fields.text("object_sha256"),
        card_sha256=fields.text("card_sha256"),
        machine=Machine(
            fields.text("kernel_release"), fields.text("btf_sha256"), _topology(fields)
        ),
        report_sha256=fields.text("report_sha256"),
        parameters=_ranges(fields.table("parameters")),
        issued_at=fields.integer("issued_at", 0),
        expires_at=fields.integer("expires_at", 0, END_OF_CALENDAR),
    )


def _topology(fields: Fields) -> Topology:
    table = fields.table("topology")
    cpus = table.table("cpus")
    texts = {name: cpus.text(name, SIZE_LIMIT) for name in cpus}
    topology = Topology(table.text("possible", SIZE_LIMIT), table.text("nodes"), texts)
    try:
        topology.by_cpu()
    except ValueError as exc:
        raise BadField(f"topology.cpus: {exc}") from exc
    return topology


def _ranges(table: Fields) -> dict[str, tuple[int, int]]:
    return {name: table.pair(name) for name in table}


def _check_files(token: Token, candidate: Candidate) -> None:
    if token.policy != candidate.policy:
        raise _Refusal(f"the token is for {token.policy}")
    if token.object_sha256 != sha256(candidate.object):
        raise _Refusal("the object does not match the token: its file was changed")
    if token.card_sha256 != sha256(candidate.card):
        raise _Refusal("the card does not match the token: its file was changed")


def _check_machine(signed: Machine, here: Machine) -> None:
    if signed.kernel_release != here.kernel_release:
        raise _Refusal(
            f"verified for another kernel: {signed.kernel_release}, "
            f"and this is {here.kernel_release}"
        )
    if signed.btf_sha256 != here.btf_sha256:
        raise _Refusal("verified for another build of this kernel")
    if difference := signed.topology.difference(here.topology):
        raise _Refusal(f"verified for another CPU topology: this machine has {difference}")


def _check_time(token: Token, now: float) -> None:
    if now >= token.expires_at:
        until = token.validity.removeprefix("valid until ")
        raise _Refusal(f"the token expired on {until}; start schedcp-verify.service")
    if now < token.issued_at - CLOCK_TOLERANCE_S:
        raise _Refusal("the token is not valid yet: is the clock right?")


def _check_parameters(token: Token, parameters: Mapping[str, int]) -> None:
    for name, value in parameters.items():
        if name not in token.parameters:
            raise _Refusal(f"unknown parameter {name[:80]!r}")
        low, high = token.parameters[name]
        if not low <= value <= high:
            raise _Refusal(f"parameter {name}={value} is outside [{low}, {high}]")
