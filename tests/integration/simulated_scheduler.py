# SPDX-License-Identifier: GPL-2.0-or-later
"""A foreign scheduler and its end of the kernel, simulated in the folder where it is started.

Run by a Python that goes by the name of a scheduler. ``sched_ext`` is what the kernel says,
``kmsg`` its log, ``argv`` gets the arguments; the one after --behave= says what is wrong with it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

HERE = Path.cwd()
KERNEL = HERE / "sched_ext"
LEFT = '6,1,1,-;sched_ext: BPF scheduler "{ops}" disabled (unregistered from user space)\n'


def put(path: Path, text: str) -> None:
    """Change a file at once: the kernel's are never half written."""
    new = path.with_name(f"{path.name}.new-{os.getpid()}")
    new.write_text(text)
    new.replace(path)


def attach(ops: str) -> None:
    put(KERNEL / "root/ops", ops)
    put(KERNEL / "state", "enabled")
    seq = int((KERNEL / "enable_seq").read_text())
    put(KERNEL / "enable_seq", str(seq + 1))  # as the kernel does, last


def be_the_kernel(ops: str) -> None:
    """In a process of its own: detach when the program has gone, in whatever way."""
    read, write = os.pipe()
    if os.fork():
        os.close(read)
        return  # the writing end lives as long as the program
    os.close(write)
    os.read(read, 1)
    if (KERNEL / "state").read_text() == "enabled" and (KERNEL / "root/ops").read_text() == ops:
        with (HERE / "kmsg").open("a") as log:
            log.write(LEFT.format(ops=ops))
        put(KERNEL / "root/ops", "")
        put(KERNEL / "state", "disabled")
    os._exit(0)


def main() -> None:
    behaviour = next((one for one in sys.argv if one.startswith("--behave=")), "")[9:]
    (HERE / "argv").write_text(json.dumps(sys.orig_argv))
    (HERE / "seen").write_text(json.dumps([one.name for one in Path("/proc/self/fd").iterdir()]))
    signal.signal(signal.SIGINT, signal.SIG_IGN if behaviour == "deaf" else signal.SIG_DFL)
    if behaviour == "dies":
        sys.exit(3)
    if behaviour != "silent":
        ops = "another" if behaviour == "misnamed" else "sim_1.0_x86"
        be_the_kernel(ops)
        attach(ops)
    time.sleep(600)


main()
