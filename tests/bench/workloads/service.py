# SPDX-License-Identifier: GPL-2.0-or-later
"""A service that is served well already: few requests, far apart, over a pipe to a child.

    service.py SECONDS    the latency of its requests as JSON

Standard library only; runs as an ordinary user in the lab.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time

PERIOD_S = 0.05
REQUEST_BYTES = 4096  # a pipe hands over so many in one piece
CHECKSUMS = 20


def serve(requests: int, answers: int) -> None:
    """Answer each request with a checksum, as a small server does."""
    while data := os.read(requests, REQUEST_BYTES):
        os.write(answers, hashlib.sha256(data * CHECKSUMS).digest())


def ask(requests: int, answers: int, length_s: float) -> list[float]:
    """Ask at fixed times; the seconds that each answer took, from when it was due to be asked."""
    data = os.urandom(REQUEST_BYTES)
    began = due = time.monotonic()
    found = []
    while due < began + length_s:
        due += PERIOD_S
        time.sleep(max(due - time.monotonic(), 0.0))
        os.write(requests, data)
        os.read(answers, hashlib.sha256().digest_size)
        found.append(time.monotonic() - due)
    return found


def percentile(ordered: list[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def main() -> None:
    """Fork the server and be its client."""
    there, back = os.pipe(), os.pipe()
    if os.fork() == 0:
        os.close(there[1])
        serve(there[0], back[1])
        os._exit(0)
    os.close(there[0])
    times = sorted(ask(there[1], back[0], float(sys.argv[1])))
    os.close(there[1])
    os.wait()
    shown = {f"p{share * 100:g}": percentile(times, share) * 1e6 for share in (0.5, 0.99)}
    print(json.dumps({"requests": len(times), "request_us": shown}))


if __name__ == "__main__":
    main()
