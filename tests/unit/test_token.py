# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest

from schedcpd.errors import TokenRefused
from schedcpd.kernel.topology import Topology
from schedcpd.token import (
    LIFETIME_S,
    PAYLOAD_FIELDS,
    SIZE_LIMIT,
    Candidate,
    Machine,
    Token,
    canonical,
    check,
    generate_keys,
    public_key_of,
    read_machine,
    sha256,
    sign,
)

NOW = 1_800_000_000
HERE = read_machine("7.3.4", b"btf", Topology("0-1", "0", {"llc 0": "0-1"}))
CANDIDATE = Candidate("scx_batch", b"object", b"card", {"slice_ns": 5, "batch_cgid": 99})
TOKEN = Token(
    policy="scx_batch",
    object_sha256=sha256(b"object"),
    card_sha256=sha256(b"card"),
    machine=HERE,
    report_sha256=sha256(b"report"),
    parameters={"slice_ns": (1, 10), "batch_cgid": (0, 2**64 - 1)},
    issued_at=NOW,
    expires_at=NOW + LIFETIME_S,
)
PRIVATE, PUBLIC = generate_keys()
FILE = sign(TOKEN, PRIVATE)


def reason(
    file: bytes = FILE,
    *,
    candidate: Candidate = CANDIDATE,
    machine: Machine = HERE,
    now: float = NOW,
    public: bytes = PUBLIC,
) -> str:
    with pytest.raises(TokenRefused) as caught:
        check(file, public, candidate, machine, now)
    assert caught.value.policy == candidate.policy
    return caught.value.reason


def forged(payload: bytes) -> bytes:
    """A file with a payload of our choice, signed with the right key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(PRIVATE))
    parts = {"payload": payload, "signature": key.sign(payload)}
    return canonical({name: base64.b64encode(part).decode() for name, part in parts.items()})


def test_a_token_that_holds() -> None:
    assert check(FILE, PUBLIC, CANDIDATE, HERE, NOW + 5) == TOKEN
    assert TOKEN.validity == "valid until 2027-02-14 08:00 UTC"


def test_a_key_is_known_by_its_private_half() -> None:
    assert public_key_of(PRIVATE) == PUBLIC
    with pytest.raises(ValueError, match="32 bytes"):
        public_key_of(base64.b64encode(b"short"))


@pytest.mark.parametrize("part", ["payload", "signature"])
@pytest.mark.parametrize("at", [0, 10, -1])
def test_a_flipped_bit_in_payload_or_signature(part: str, at: int) -> None:
    outer = json.loads(FILE)
    raw = bytearray(base64.b64decode(outer[part]))
    raw[at] ^= 1
    outer[part] = base64.b64encode(raw).decode()
    assert reason(canonical(outer)).startswith("bad signature")


def test_a_flipped_bit_anywhere() -> None:
    for at in range(len(FILE)):
        data = bytearray(FILE)
        data[at] ^= 1
        assert reason(bytes(data)).startswith(("bad signature", "the token is damaged")), at


def changed(value: object) -> object:
    """Something else of the same type."""
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return value + "0"
    assert isinstance(value, dict)
    return {**value, "more": [0, 1]}


@pytest.mark.parametrize("field", sorted(PAYLOAD_FIELDS))
def test_a_field_that_was_changed_under_the_old_signature(field: str) -> None:
    outer = json.loads(FILE)
    payload = json.loads(base64.b64decode(outer["payload"]))
    for other in ({**payload, field: changed(payload[field])}, {**payload, field: None}):
        outer["payload"] = base64.b64encode(canonical(other)).decode()
        assert reason(canonical(outer)).startswith("bad signature")


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"payload": 1, "signature": ""}',
        b'{"payload": "=", "signature": ""}',
        FILE[:-1] + b',"more":1}',
        b"[" * 100_000,
    ],
)
def test_files_that_are_no_token(file: bytes) -> None:
    assert reason(file) == "the token is damaged"


def test_a_token_that_is_too_large() -> None:
    assert reason(b" " * (SIZE_LIMIT + 1)) == "the token is too large"


def test_another_key() -> None:
    assert reason(public=generate_keys()[1]).startswith("bad signature")
    assert reason(public=b"!").startswith("the public key is damaged")
    assert reason(public=base64.b64encode(b"x")).startswith("the public key is damaged")


def test_other_files() -> None:
    assert "object does not match" in reason(candidate=replace(CANDIDATE, object=b"objecT"))
    assert "card does not match" in reason(candidate=replace(CANDIDATE, card=b"Card"))
    assert reason(candidate=replace(CANDIDATE, policy="scx_fair")) == "the token is for scx_batch"


def test_other_machines() -> None:
    assert reason(machine=replace(HERE, kernel_release="6.18.1")) == (
        "verified for another kernel: 7.3.4, and this is 6.18.1"
    )
    assert reason(machine=replace(HERE, btf_sha256="0")) == (
        "verified for another build of this kernel"
    )
    more = replace(HERE.topology, possible="0-3")
    assert reason(machine=replace(HERE, topology=more)).startswith(
        "verified for another CPU topology: this machine has possible CPUs 0-3"
    )


def test_a_cpu_that_is_offline_changes_nothing() -> None:
    fewer = replace(HERE, topology=replace(HERE.topology, cpus={"llc 0": "0"}))
    assert check(FILE, PUBLIC, CANDIDATE, fewer, NOW) == TOKEN


def test_times() -> None:
    assert check(FILE, PUBLIC, CANDIDATE, HERE, NOW + LIFETIME_S - 1) == TOKEN
    assert reason(now=NOW + LIFETIME_S).startswith("the token expired on 2027-02-14 08:00 UTC")
    assert check(FILE, PUBLIC, CANDIDATE, HERE, NOW - 60) == TOKEN
    assert "not valid yet" in reason(now=NOW - 61)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"slice_ns": 0}, "parameter slice_ns=0 is outside [1, 10]"),
        ({"slice_ns": 11}, "parameter slice_ns=11 is outside [1, 10]"),
        ({"batch_cgid": -1}, "parameter batch_cgid=-1 is outside [0, 18446744073709551615]"),
        ({"bogus": 1}, "unknown parameter 'bogus'"),
    ],
)
def test_parameters(parameters: dict[str, int], expected: str) -> None:
    assert reason(candidate=replace(CANDIDATE, parameters=parameters)) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"version": 2}, "the token has version 2, not 1"),
        ({"policy": 5}, "policy is not text"),
        ({"extra": 5}, "unknown field 'extra'"),
        ({"expires_at": 10**15}, "expires_at is 1000000000000000"),
        ({"parameters": {"slice_ns": [10, 1]}}, "parameters.slice_ns is an empty range"),
        ({"topology": {"possible": "0", "nodes": "0", "cpus": {"x": "5-1"}}}, "topology.cpus"),
        ({"topology": {"possible": "0", "nodes": "0"}}, "topology.cpus is missing"),
    ],
)
def test_signed_nonsense(change: dict[str, object], expected: str) -> None:
    payload = json.loads(base64.b64decode(json.loads(FILE)["payload"]))
    assert reason(forged(canonical({**payload, **change}))).startswith(expected)


def test_a_signed_payload_that_is_not_json() -> None:
    assert reason(forged(b"hello")) == "the token's payload is not JSON"
