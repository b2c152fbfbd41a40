# SPDX-License-Identifier: GPL-2.0-or-later
"""A long-tail batch of real work, run in the lab: 40 files compressed at once, one of them long.

``prepare`` cuts the input files from what is installed on the machine, so large that a short job
takes about ``SHORT_S`` seconds of CPU here; ``run`` compresses all of them at once and prints what
each took as JSON. Standard library only; runs as an ordinary user.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path

JOBS = 40
SHORT_S = 1.0  # CPU seconds
LONG_FACTOR = 24  # the long job against a short one
COMPRESS = ("/usr/bin/xz", "--format=xz", "-1", "--threads=1", "--stdout")
SOURCES = ("/usr/lib/python3", "/usr/lib/x86_64-linux-gnu", "/usr/bin")
SAMPLE_BYTES = 2_000_000


def corpus(size: int) -> bytes:
    """``size`` bytes of real files, always the same on the same installation."""
    parts: list[bytes] = []
    have = 0
    while have < size:
        for source in SOURCES:
            for path in sorted(Path(source).rglob("*")):
                if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK):
                    parts.append(path.read_bytes())
                    have += len(parts[-1])
                if have >= size:
                    break
    return b"".join(parts)[:size]


def compress(path: Path) -> int:
    """Start compressing one file, whose result is thrown away; the process."""
    actions = (
        (os.POSIX_SPAWN_OPEN, 0, str(path), os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
    )
    return os.posix_spawn(COMPRESS[0], COMPRESS, os.environ, file_actions=actions)


def speed(folder: Path) -> float:
    """Bytes that one compressor takes in per second of CPU on this machine."""
    sample = folder / "sample"
    sample.write_bytes(corpus(SAMPLE_BYTES))
    for _ in range(2):  # the first one fills the caches
        usage = os.wait4(compress(sample), 0)[2]
    sample.unlink()
    return SAMPLE_BYTES / (usage.ru_utime + usage.ru_stime)


def prepare(folder: Path) -> None:
    """Write the input files; the long one is the first, as in a list sorted by size."""
    folder.mkdir(parents=True)
    short = int(speed(folder) * SHORT_S)
    data = corpus(short * LONG_FACTOR)
    for index in range(JOBS):
        part = data if index == 0 else data[index * short % (len(data) - short) :][:short]
        (folder / f"{index:02d}").write_bytes(part)
    print(json.dumps({"short_bytes": short, "long_bytes": len(data)}))


def run(folder: Path) -> None:
    """Compress every file at once; prints the makespan and each job's CPU and end, in seconds."""
    paths = sorted(folder.iterdir())
    began = time.monotonic()
    running = {compress(path): path.name for path in paths}
    jobs = []
    while running:
        pid, status, usage = os.wait4(-1, 0)
        if status != 0:
            sys.exit(f"job {running[pid]} failed with wait status {status}")
        cpu_s = usage.ru_utime + usage.ru_stime
        jobs.append({"job": running.pop(pid), "cpu_s": cpu_s, "end_s": time.monotonic() - began})
    own = resource.getrusage(resource.RUSAGE_SELF)
    makespan_s = time.monotonic() - began
    own_s = own.ru_utime + own.ru_stime
    print(json.dumps({"makespan_s": makespan_s, "own_cpu_s": own_s, "jobs": jobs}))


if __name__ == "__main__":
    {"prepare": prepare, "run": run}[sys.argv[1]](Path(sys.argv[2]))
