# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon's face on the system bus: authorise, convert, forward."""

import sys

# dbus_next loads GLib's bindings whenever they are installed, and Debian's package depends on them.
# Nothing here uses them: without them the daemon is 3 MB smaller.
sys.modules.setdefault("gi", None)  # type: ignore[arg-type]
