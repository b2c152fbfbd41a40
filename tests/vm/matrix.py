# SPDX-License-Identifier: GPL-2.0-or-later
"""``make check-kernels``: verify the package's policies for every kernel, and print the matrix.

Each is loaded, attached and tried in the verifier's micro-VM with that kernel.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from lab import kernels, verdicts
from lab.errors import BuildFailed
from lab.kernels import Kernel
from lab.place import REPO, Lab, say
from lab.recipes import KERNEL_SERIES

NO_SCHED_EXT = "has no sched_ext"
BROKEN_BTF = "SCX012"
PASSED = "token signed"
# Debian's builds whose type information lets no program call some of the kfuncs: seen with the
# kernel's verifier too. On every other kernel both policies must work.
BROKEN = ("7.1.13+", "7.2.12+")


@dataclass(frozen=True, slots=True)
class Cell:
    """One policy on one kernel; ``wrong`` is empty when it came out as it must."""

    kernel: str
    policy: str
    verdict: str
    wrong: str


def expected(kernel: Kernel) -> str:
    """Words that the verdict must have on this kernel."""
    if kernel.series == "6.12":
        return NO_SCHED_EXT
    return BROKEN_BTF if kernel.version.startswith(BROKEN) else PASSED


def row(lab: Lab, deb: Path, series: str) -> list[Cell]:
    """Verify every policy for the newest kernel of a series."""
    kernel = kernels.get(lab, series)
    try:
        found = verdicts.verify(lab, deb, kernel)
    except BuildFailed as exc:
        return [Cell(kernel.version, "all", "none", str(exc))]
    words = expected(kernel)
    return [
        Cell(kernel.version, policy, said, "" if words in said else f"it must say: {words}")
        for policy, said in found.items()
    ]


def main() -> int:
    """Print a line a kernel and policy; 1 when one did not come out as it must."""
    parser = argparse.ArgumentParser(prog="make check-kernels", description=__doc__)
    parser.add_argument("--deb", type=Path, required=True, help="the package to take them from")
    parser.add_argument("--only", choices=KERNEL_SERIES, action="append", help="just this series")
    parser.add_argument("--out", type=Path, default=REPO / "build" / "kernels.json")
    options = parser.parse_args()
    lab = Lab.from_env()
    cells = []
    for series in options.only or KERNEL_SERIES:
        say(f"kernel {series} ...")
        for cell in row(lab, options.deb, series):
            mark = "FAIL" if cell.wrong else "ok  "
            print(f"{mark}  {cell.kernel:32} {cell.policy:10} {cell.verdict}", flush=True)
            if cell.wrong:
                print(f"      {cell.wrong}")
            cells.append(cell)
    options.out.write_text(json.dumps([asdict(cell) for cell in cells], indent=2) + "\n")
    return 1 if any(cell.wrong for cell in cells) else 0


if __name__ == "__main__":
    sys.exit(main())
