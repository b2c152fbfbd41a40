# SPDX-License-Identifier: GPL-2.0-or-later
"""schedctl: schedcp from the command line."""

import sys

# dbus_next loads GLib's bindings whenever they are installed, and Debian's package depends on them.
# Nothing here uses them: schedctl starts 25 ms sooner without.
sys.modules.setdefault("gi", None)  # type: ignore[arg-type]
