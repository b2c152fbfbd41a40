# SPDX-License-Identifier: GPL-2.0-or-later
"""From exceptions to D-Bus errors: a name and one sentence, never a traceback."""

from __future__ import annotations

import logging

from dbus_next.errors import DBusError

from schedcpd.bus.conversion import text
from schedcpd.bus.names import ERROR_PREFIX
from schedcpd.errors import SchedcpError

log = logging.getLogger(__name__)

INTERNAL = f"{ERROR_PREFIX}Internal"
SHUTTING_DOWN = f"{ERROR_PREFIX}ShuttingDown"
TOO_LARGE = "org.freedesktop.DBus.Error.LimitsExceeded"
INVALID = "org.freedesktop.DBus.Error.InvalidArgs"


def to_dbus(error: Exception, during: str) -> DBusError:
    """The D-Bus error for ``error``; one that nobody foresaw is logged with its traceback."""
    if isinstance(error, DBusError):
        return error
    if isinstance(error, SchedcpError):
        sentence = " ".join(text(str(error)).split())
        return DBusError(f"{ERROR_PREFIX}{type(error).__name__}", sentence)
    log.error("unexpected error in %s", during, exc_info=error)
    return DBusError(INTERNAL, f"{during} failed inside schedcpd; its journal has the details")
