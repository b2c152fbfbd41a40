# SPDX-License-Identifier: GPL-2.0-or-later
"""Measure schedcp in the lab, each part in turns with the kernel default, and write the report."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bench import parts, programs, report, results
from lab import image, kernels, recipes, snapshot
from lab.errors import InfraFailure, LabError
from lab.machine import Machine
from lab.place import REPO, Lab, file_digest, say

CPUS = 2
OUT = REPO / "build" / "bench"


def chosen(table: Mapping[str, parts.Part], patterns: Sequence[str]) -> list[str]:
    """The names of the parts that match one of the patterns (all without any), in table order."""
    if not patterns:
        return list(table)
    return [name for name in table if any(fnmatchcase(name, one) for one in patterns)]


def measure(place: parts.Place, name: str, part: parts.Part, rounds: int) -> dict[str, Any]:
    """The entry of one part; one that could not be measured says why."""
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    try:
        try:
            found = part.measure(place, name, rounds)
        except InfraFailure as exc:  # of no run of this part is anything kept
            say(f"{name}: {exc.reason} ...")
            found = part.measure(place, name, rounds)
        targets = part.targets(found)
        return results.measured(part.group, part.title, when, found, targets, part.merit)
    except (LabError, RuntimeError) as exc:
        say(f"{name}: could not be measured: {exc}")
        return results.failed(part.group, part.title, when, str(exc)[:2000])


def described(place: parts.Place, deb: Path, rounds: int) -> dict[str, Any]:
    """The machine and what is in it, for the report."""
    with Machine.resume(place.saved) as machine:
        kernel = machine.run(["uname", "-rv"]).stdout.strip()
        memory_kb = machine.run("awk '/^MemTotal/ {print $2}' /proc/meminfo").stdout
    accelerator = place.saved.boot.accel
    return {
        "kernel": kernel,
        "cpus": CPUS,
        "memory_mb": int(memory_kb) // 1024,
        "accelerator": accelerator,
        "emulated": accelerator != "kvm",
        "package": deb.name,
        "rounds": rounds,
    }


def place_for(deb: Path) -> parts.Place:
    """A saved machine with the package and what the workloads need, and the folder to bring."""
    lab = Lab.from_env()
    made = image.build(lab, deb, recipes.BENCH_PACKAGES)
    saved = snapshot.get(made, kernels.get(lab), cpus=CPUS)
    return parts.Place(lab, saved, programs.collect(lab, OUT / "programs"))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="make bench", description=__doc__)
    top.add_argument("--deb", type=Path, help="the package to measure")
    top.add_argument(
        "--only", default="", metavar="NAMES",
        help="parts, with * as in a shell; the others keep the figures they have",
    )  # fmt: skip
    top.add_argument("--quick", action="store_true", help=f"{parts.QUICK_ROUNDS} rounds")
    top.add_argument("--rounds", type=int, help=f"how many (default: {parts.ROUNDS})")
    top.add_argument("--list", action="store_true", help="show the parts and measure nothing")
    return top


def main() -> int:
    """Measure, writing down each part as it is done, and make the report."""
    options = parser().parse_args()
    table = parts.table()
    names = chosen(table, options.only.replace(",", " ").split())
    if options.list:
        print("\n".join(f"{name:28} {table[name].title}" for name in names))
        return 0
    if not names:
        parser().error(f"no part is called {options.only!r}; --list shows them")
    if options.deb is None:
        parser().error("--deb: the package to measure is missing")
    rounds = options.rounds or (parts.QUICK_ROUNDS if options.quick else parts.ROUNDS)
    if rounds < 1:
        parser().error("--rounds: at least 1")
    place = place_for(options.deb)
    path = OUT / "results.json"
    found = results.load(path, file_digest(options.deb))
    found["machine"] = described(place, options.deb, rounds)
    began = time.monotonic()
    for number, name in enumerate(names, 1):
        say(f"part {number} of {len(names)}: {name}: {table[name].title}")
        found["parts"][name] = measure(place, name, table[name], rounds)
        results.save(path, found)
        report.write(found, list(table), OUT)
        left_s = (time.monotonic() - began) / number * (len(names) - number)
        say(f"part {number} of {len(names)}: done, about {left_s / 60:.0f} min left")
    print(report.text({name: found["parts"][name] for name in names}))
    print(f"figures: {path}\nreport:  {OUT / 'report.html'}")
    return 1 if any("error" in found["parts"][name] for name in names) else 0


if __name__ == "__main__":
    sys.exit(main())
