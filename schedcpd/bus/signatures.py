# SPDX-License-Identifier: GPL-2.0-or-later
"""Names for D-Bus signatures that a type checker reads as Python types.

dbus-next takes the signature of a method from the annotations of its function. A module that uses
these aliases must not postpone the evaluation of annotations: no ``from __future__ import``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Bundle = list[Any]
    Cookie = int
    Count = int
    Counts = dict[str, int]
    Details = dict[str, Any]
    Excerpt = list[Any]
    Hits = list[list[Any]]
    Identifier = int
    Level = int
    Line = list[Any]
    Lines = list[list[Any]]
    ObjectPath = str
    Outcomes = list[dict[str, Any]]
    Parameters = dict[str, int]
    PartOfText = list[Any]
    Past = list[list[Any]]
    Position = int
    Quarantined = list[list[Any]]
    Rules = list[list[Any]]
    Text = str
    Texts = list[str]
else:
    Bundle = "su"  # a line, the place of the next one or 0
    Cookie = "u"
    Count = "u"
    Counts = "a{su}"
    Details = "a{sv}"
    Excerpt = "st"  # two results
    Hits = "a(ssdss)"  # kind, name, score, title, excerpt
    Identifier = "t"
    Level = "u"
    Line = "dsss"  # when (seconds since the epoch), kind, subject, message
    Lines = "a(dsss)"
    ObjectPath = "o"
    Outcomes = "aa{sv}"
    Parameters = "a{sx}"
    PartOfText = "su"  # the part, the length of the whole
    # id, workload's id, policy, origin, state, started, ended, attach ms, revert ms, reason, error,
    # canary, parameters
    Past = "a(tssssddddssa{sv}a{sx})"
    Position = "u"
    Quarantined = "a(ssssds)"  # policy, object's SHA-256, kernel, workload's id, since, reason
    Rules = "a(sssssss)"  # id, severity, title, catches, why, example, mend
    Text = "s"
    Texts = "as"
