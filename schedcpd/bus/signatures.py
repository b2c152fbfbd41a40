# SPDX-License-Identifier: GPL-2.0-or-later
"""Names for D-Bus signatures that a type checker reads as Python types.

dbus-next takes the signature of a method from the annotations of its function. A module that uses
these aliases must not postpone the evaluation of annotations: no ``from __future__ import``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Cookie = int
    Count = int
    Line = list[Any]
    Lines = list[list[Any]]
    ObjectPath = str
    Past = list[list[Any]]
    Quarantined = list[list[Any]]
    Rules = list[list[Any]]
    Text = str
    Texts = list[str]
else:
    Cookie = "u"
    Count = "u"
    Line = "dsss"  # when (seconds since the epoch), kind, subject, message
    Lines = "a(dsss)"
    ObjectPath = "o"
    # id, workload's id, policy, origin, state, started, ended, attach ms, revert ms, reason, error,
    # canary
    Past = "a(tssssddddssa{sv})"
    Quarantined = "a(ssssds)"  # policy, object's SHA-256, kernel, workload's id, since, reason
    Rules = "a(sssssss)"  # id, severity, title, catches, why, example, mend
    Text = "s"
    Texts = "as"
