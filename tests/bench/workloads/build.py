# SPDX-License-Identifier: GPL-2.0-or-later
"""A real parallel compilation, run in the lab: busybox in a small configuration.

    build.py prepare ARCHIVE FOLDER    unpack and configure
    build.py run FOLDER                compile all of it; seconds and CPU seconds as JSON

Standard library only; runs as an ordinary user. Needs make, gcc and bzip2.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

PROCESSES_PER_CPU = 2
# Next to them some hundred files of the library that all of them use.
APPLETS = "CAT CHMOD CP CUT DD GREP HEAD LN LS MKDIR MV RM SED SORT TAIL TEST TOUCH TR UNIQ WC"


def make(folder: Path, *arguments: str) -> None:
    """Run make; its output is thrown away, and new questions are answered with the default."""
    line = ["make", "--silent", f"--directory={folder}", *arguments]
    answers = "\n" * 2000
    done = subprocess.run(line, input=answers, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(line)} failed: {done.stderr[-500:]}")


def prepare(archive: Path, folder: Path) -> None:
    """Unpack the source and configure it."""
    folder.mkdir(parents=True)
    line = ["tar", "-C", str(folder), "--strip-components=1", "-xjf", str(archive)]
    subprocess.run(line, check=True)
    make(folder, "allnoconfig")
    config = folder / ".config"
    text = config.read_text()
    for applet in APPLETS.split():
        text = text.replace(f"# CONFIG_{applet} is not set", f"CONFIG_{applet}=y")
    config.write_text(text)
    make(folder, "oldconfig")


def run(folder: Path) -> None:
    """Compile from scratch, as `make -j` with twice as many processes as CPUs."""
    make(folder, "clean")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    make(folder, f"--jobs={PROCESSES_PER_CPU * (os.cpu_count() or 1)}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"build_s": time.monotonic() - began, "cpu_s": cpu_s}))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["prepare", archive, folder]:
            prepare(Path(archive), Path(folder))
        case ["run", folder]:
            run(Path(folder))
        case _:
            sys.exit(__doc__)
