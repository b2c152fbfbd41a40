# SPDX-License-Identifier: GPL-2.0-or-later
"""Run one command and print the seconds and CPU seconds that it took as JSON.

    timed.py COMMAND ARGUMENT...

Standard library only; runs as an ordinary user in the lab.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main() -> None:
    """Fails as the command does."""
    argv = sys.argv[1:]
    null = ((os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),)
    began = time.monotonic()
    _, status, usage = os.wait4(os.posix_spawnp(argv[0], argv, os.environ, file_actions=null), 0)
    took_s = time.monotonic() - began
    if status != 0:
        sys.exit(f"{argv[0]} failed with wait status {status}")
    print(json.dumps({"seconds": took_s, "cpu_s": usage.ru_utime + usage.ru_stime}))


if __name__ == "__main__":
    main()
