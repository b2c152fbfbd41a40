# SPDX-License-Identifier: GPL-2.0-or-later
"""Names for D-Bus signatures that a type checker reads as Python types.

dbus-next takes the signature of a method from the annotations of its function. A module that uses
these aliases must not postpone the evaluation of annotations: no ``from __future__ import``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Count = int
    Line = list[Any]
    Lines = list[list[Any]]
    ObjectPath = str
    Text = str
else:
    Count = "u"
    Line = "dsss"  # when (seconds since the epoch), kind, subject, message
    Lines = "a(dsss)"
    ObjectPath = "o"
    Text = "s"
