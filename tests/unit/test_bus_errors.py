# SPDX-License-Identifier: GPL-2.0-or-later
"""Every error of the core has a D-Bus name and a line of text."""

from __future__ import annotations

import logging

import pytest
from dbus_next.errors import DBusError

from schedcpd import errors
from schedcpd.bus.errors import INTERNAL, to_dbus

CLASSES = [
    one
    for one in vars(errors).values()
    if isinstance(one, type) and issubclass(one, errors.SchedcpError)
]


@pytest.mark.parametrize("kind", CLASSES)
def test_each_class_is_named(kind: type[errors.SchedcpError]) -> None:
    error = kind.__new__(kind)
    error.args = ("two\nlines\0\udcff",)
    sent = to_dbus(error, "Apply")
    assert sent.type == f"org.schedcp.Daemon1.Error.{kind.__name__}"
    assert sent.text == "two lines\ufffd\ufffd"


def test_what_nobody_foresaw_goes_to_the_journal_only(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        sent = to_dbus(KeyError("/secret"), "Apply")
    assert sent.type == INTERNAL
    assert "secret" not in sent.text
    assert "secret" in caplog.text


def test_an_error_of_the_bus_stays_what_it_is() -> None:
    error = DBusError("org.example.Error", "text")
    assert to_dbus(error, "Apply") is error
