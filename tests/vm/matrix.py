# SPDX-License-Identifier: GPL-2.0-or-later
"""``make check-kernels``: load and exercise every policy on every kernel, and print the matrix."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from lab import image, kernels, micro
from lab.image import Image
from lab.kernels import Kernel
from lab.place import REPO, Lab, say
from lab.recipes import KERNEL_SERIES

PAYLOAD = Path(__file__).with_name("exercise.py")
RUN_TIMEOUT_S = 150.0

NO_SCHED_EXT = "this kernel has no sched_ext"
BROKEN_BTF = "scx_bpf_create_dsq"
# Debian's builds whose type information lets no program call some of the kfuncs: seen with the
# kernel's verifier too. On every other kernel both policies must work.
BROKEN = ("7.1.13+", "7.2.12+")


@dataclass(frozen=True, slots=True)
class Cell:
    """One policy on one kernel; ``wrong`` is empty when it came out as it must."""

    series: str
    kernel: str
    policy: str
    outcome: str
    wrong: str


def expected(kernel: Kernel) -> str:
    """Words of the reason for which a kernel must be refused; empty where policies must work."""
    if kernel.series == "6.12":
        return NO_SCHED_EXT
    return BROKEN_BTF if kernel.version.startswith(BROKEN) else ""


def judge(reason: str, verdict: str, failed: str) -> tuple[str, str]:
    """The outcome in words, and what is wrong with it."""
    refused = "" if verdict == "token signed" else verdict.removeprefix("no token: ")
    if reason:
        return (f"refused: {refused}", "" if reason in refused else "not refused as it must be")
    if refused or failed:
        return (refused or failed, refused or failed)
    return ("works", "")


def row(lab_image: Image, series: str) -> list[Cell]:
    """Exercise every policy on the newest kernel of a series."""
    kernel = kernels.get(lab_image.lab, series)
    result = micro.run(lab_image, kernel, {"run": PAYLOAD.read_bytes()}, timeout_s=RUN_TIMEOUT_S)
    if not result.ok:
        reason = str(result.lost) if result.lost else result.output[-2000:]
        return [Cell(series, kernel.version, "all", "the run failed", reason)]
    found = json.loads(result.output.splitlines()[-1])
    cells = []
    for policy, one in found["policies"].items():
        outcome, wrong = judge(expected(kernel), one["verdict"], one["failed"])
        if one["ms"]:
            took = (f"{name.removesuffix('_ms')} {ms:.0f} ms" for name, ms in one["ms"].items())
            outcome = f"{outcome}: {', '.join(took)}"
        cells.append(Cell(series, found["kernel"], policy, outcome, wrong))
    return cells


def main() -> int:
    """Print a line a kernel and policy; 1 when one did not come out as it must."""
    parser = argparse.ArgumentParser(prog="make check-kernels", description=__doc__)
    parser.add_argument("--deb", type=Path, required=True, help="the package to take them from")
    parser.add_argument("--only", choices=KERNEL_SERIES, action="append", help="just this series")
    parser.add_argument("--out", type=Path, default=REPO / "build" / "kernels.json")
    options = parser.parse_args()
    lab_image = image.build(Lab.from_env(), options.deb)
    cells = []
    for series in options.only or KERNEL_SERIES:
        say(f"kernel {series} ...")
        cells += row(lab_image, series)
    for cell in cells:
        mark = "ok  " if not cell.wrong else "FAIL"
        print(f"{mark}  {cell.kernel:32} {cell.policy:10} {cell.outcome}")
        if cell.wrong:
            print(f"      {cell.wrong}")
    options.out.write_text(json.dumps([asdict(cell) for cell in cells], indent=2) + "\n")
    return 1 if any(cell.wrong for cell in cells) else 0


if __name__ == "__main__":
    sys.exit(main())
