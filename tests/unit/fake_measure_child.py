# SPDX-License-Identifier: GPL-2.0-or-later
"""The child of the workload probe without a kernel: the folder's name says how it behaves."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path


def main() -> int:
    folder = Path(sys.argv[1])
    say = sys.stdout.buffer.write
    match folder.name:
        case "good":
            say((folder / "report").read_bytes())
        case "arguments":
            say(" ".join((*sys.argv[2:], *sorted(os.environ))).encode())
            return 1
        case "refused":
            say("no \N{RIGHT-TO-LEFT OVERRIDE}good".encode() + b"\xff")
            return 1
        case "dies":
            return 7
        case "nonsense":
            say(b"1234")
        case "floods":
            while True:
                say(b"x" * 65536)
        case "hangs":
            say(b"x")
            sys.stdout.flush()
            time.sleep(60)
    return 0


sys.exit(main())
