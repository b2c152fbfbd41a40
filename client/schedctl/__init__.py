# SPDX-License-Identifier: GPL-2.0-or-later
"""schedctl: schedcp from the command line."""

import sys

# dbus_next loads GLib's bindings and asyncio loads TLS wherever they are installed, and both do
# without. Nothing here uses them: schedctl starts a quarter sooner.
for unused in ("gi", "ssl"):
    sys.modules.setdefault(unused, None)  # type: ignore[arg-type]
