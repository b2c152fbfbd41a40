# SPDX-License-Identifier: GPL-2.0-or-later
"""What the compiler and the emulator are started through: they see what they are shown."""

from __future__ import annotations

from pathlib import Path


def isolated(bwrap: Path) -> list[str]:
    """The beginning of a command line: no network, no capabilities, no environment, no files.

    The caller adds bubblewrap's options for the files that may be seen, ``--``, and the program.
    """
    return [
        # bubblewrap would bring up the loopback device, for which the service may open no socket.
        *("unshare", "--user", "--map-current-user", "--net", "--"),
        *(str(bwrap), "--unshare-user", "--unshare-pid", "--unshare-ipc"),
        *("--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"),
    ]
