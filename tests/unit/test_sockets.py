# SPDX-License-Identifier: GPL-2.0-or-later
"""Listening sockets by cgroup, from answers of the kernel's socket diagnosis."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import ClassVar, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.errors import KernelText
from schedcpd.kernel.sockets import listeners, parse_answer

MESSAGE, ERROR, DONE = 20, 2, 3


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def message(kind: int, attributes: bytes = b"") -> bytes:
    body = bytes(72) + attributes
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 0) + body


def test_cgroups_of_sockets() -> None:
    first = message(MESSAGE, attribute(8, b"\1") + attribute(21, struct.pack("=Q", 77)))
    second = message(MESSAGE, attribute(21, struct.pack("=Q", 2**40)))
    assert parse_answer(first + second) == ([77, 2**40], False)
    assert parse_answer(first + message(DONE)) == ([77], True)


def test_a_socket_without_a_cgroup_counts_for_nothing() -> None:
    assert parse_answer(message(MESSAGE)) == ([], False)
    assert parse_answer(message(MESSAGE, attribute(21, b"\1\2"))) == ([], False)
    assert parse_answer(message(MESSAGE, struct.pack("=HH", 0, 21))) == ([], False)


def test_an_error_ends_the_answer() -> None:
    assert parse_answer(message(ERROR)) == ([], True)


@pytest.mark.parametrize("length", [0, 15, 5000])
def test_a_message_of_an_impossible_length_is_refused(length: int) -> None:
    with pytest.raises(KernelText):
        parse_answer(struct.pack("=IHHII", length, MESSAGE, 0, 1, 0))


@given(st.binary(max_size=300) | st.binary(max_size=60).map(lambda raw: message(MESSAGE, raw)))
def test_any_bytes_parse_or_are_refused(raw: bytes) -> None:
    with contextlib.suppress(KernelText):
        parse_answer(raw)


def test_the_kernel_may_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("socket.socket", refuse)
    assert listeners() == {}


class FakeChannel:
    """A netlink socket whose kernel has one listening socket for each family."""

    asked: ClassVar[list[bytes]] = []

    def __init__(self, *_: object) -> None:
        self._answers = [message(MESSAGE, attribute(21, struct.pack("=Q", 77))), message(DONE)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def settimeout(self, seconds: float) -> None:
        assert 0 < seconds <= 1, "the event loop must not wait for long"

    def send(self, request: bytes) -> None:
        self.asked.append(request)

    def recv(self, size: int) -> bytes:
        return self._answers.pop(0)


def test_both_families_are_asked_for_listening_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeChannel.asked.clear()
    monkeypatch.setattr("socket.socket", FakeChannel)
    assert listeners() == {77: 2}
    families = [struct.unpack_from("=BBBBI", request, 16) for request in FakeChannel.asked]
    assert [family[0] for family in families] == [socket.AF_INET, socket.AF_INET6]
    assert {family[1] for family in families} == {socket.IPPROTO_TCP}
    assert {family[4] for family in families} == {1 << 10}  # TCP_LISTEN alone


def test_a_kernel_that_never_ends_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeChannel, "recv", lambda *_: message(MESSAGE))
    monkeypatch.setattr("socket.socket", FakeChannel)
    assert listeners() == {}
