# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.deploy import messages
from schedcpd.deploy.livemaps import ENTRIES_AT_ONCE
from schedcpd.deploy.messages import LoaderStatus, MapUpdate, Request
from schedcpd.fields import BadField
from schedcpd.model import ExitRecord

REQUEST = Request(
    policy="scx_batch",
    schedulers=Path("/s"),
    enrolled=Path("/e"),
    tokens=Path("/t"),
    public_key=Path("/k"),
    parameters={"batch_cgid": 2**63},
    settle_s=0.3,
    check_only=False,
    sched_ext=Path("/sys/kernel/sched_ext"),
    object_sha256="ab" * 32,
)
RECORD = ExitRecord(1026, -5, "runtime stall", "sh[1] failed to run for 3.0s", "a\nlong dump")


def test_requests_there_and_back() -> None:
    line = messages.encode_request(REQUEST)
    assert line.endswith(b"\n")
    assert messages.decode_request(line) == REQUEST


@pytest.mark.parametrize("record", [None, RECORD])
def test_statuses_there_and_back(record: ExitRecord | None) -> None:
    line = messages.encode({"exit": messages.encode_exit(record), "counters": {"nr": 2**64 - 1}})
    assert messages.decode_status(messages.decode(line)) == LoaderStatus(record, {"nr": 2**64 - 1})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"policy": None}, "policy is not text"),
        ({"parameters": {"a": "b"}}, "parameters.a is not a whole number"),
        ({"parameters": []}, "parameters is not a table"),
        ({"settle_s": 1e9}, "settle_s is"),
        ({"check_only": 1}, "check_only is neither"),
        ({"bogus": 1}, "unknown field 'bogus'"),
    ],
)
def test_bad_requests(change: dict[str, object], message: str) -> None:
    fields = {**json.loads(messages.encode_request(REQUEST)), **change}
    with pytest.raises(BadField, match=message):
        messages.decode_request(json.dumps(fields).encode())


@given(
    st.text(max_size=64),
    st.dictionaries(st.binary(max_size=8), st.binary(max_size=16)),
    st.lists(st.binary(max_size=8)),
    st.integers(0, 2**63),
)
def test_updates_there_and_back(
    name: str, updates: dict[bytes, bytes], deletions: list[bytes], number: int
) -> None:
    update = MapUpdate(name, updates, deletions, number)
    line = messages.encode_update(update)
    assert line.count(b"\n") == 1
    assert messages.decode_update(messages.decode(line)) == update


def test_as_many_entries_as_there_may_be_fit_on_a_line() -> None:
    entries = {number.to_bytes(8, "little"): bytes(16) for number in range(ENTRIES_AT_ONCE)}
    line = messages.encode_update(MapUpdate("m" * 64, entries))
    assert len(line) <= messages.REQUEST_LIMIT
    assert len(messages.decode_update(messages.decode(line)).updates) == ENTRIES_AT_ONCE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"map": 1}, "map is not text"),
        ({"updates": []}, "updates is not a table"),
        ({"updates": {"0g": "00"}}, "not in hexadecimal"),
        ({"updates": {"00": 1}}, "updates.00 is not text"),
        ({"updates": {"00": "0"}}, "not in hexadecimal"),
        ({"deletions": {}}, "deletions is not a list"),
        ({"deletions": ["zz"]}, "not in hexadecimal"),
        ({"deletions": ["00"] * (ENTRIES_AT_ONCE + 1)}, "deletions is too long"),
    ],
)
def test_bad_updates(change: dict[str, object], message: str) -> None:
    fields = {**json.loads(messages.encode_update(MapUpdate("layers", {}))), **change}
    with pytest.raises(BadField, match=message):
        messages.decode_update(messages.decode(json.dumps(fields).encode()))


@pytest.mark.parametrize("line", [b"", b"{", b"\xff", b"[" * 100_000])
def test_lines_that_are_not_json(line: bytes) -> None:
    with pytest.raises(BadField, match="not JSON"):
        messages.decode_request(line)


def test_an_exit_record_of_the_wrong_shape() -> None:
    with pytest.raises(BadField, match=r"exit\.reason is missing"):
        messages.decode_status(messages.decode(b'{"exit":{"kind":1,"code":2},"counters":{}}'))
    with pytest.raises(BadField, match="exit is missing"):
        messages.decode_status(messages.decode(b'{"counters":{}}'))
