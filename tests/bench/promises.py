# SPDX-License-Identifier: GPL-2.0-or-later
"""Promises kept: what tasks get under nice, affinity, `cpu.weight` and `cpu.max`, and how long they
wait when they wake up; under each policy and the kernel default, in turns whose order is random.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.figures import estimate
from lab import image, kernels, micro, roots
from lab.errors import BuildFailed
from lab.place import REPO, Lab, say

DEFAULT = "default"
WAITS = "wake-ups"  # the promise of which one measure is a wait, in milliseconds
WAIT = "wait of a sleeper"
SHARE_OFF = 0.10  # relative, of what the kernel default gives
WAIT_FACTOR = 2.0
POLICIES = ("scx_layers", "scx_fair")
SWITCH_S = 3.0  # of one window: to change the policy, and to settle, under emulation
RUN = """#!/bin/sh
export PYTHONPATH=/run/payload PYTHONDONTWRITEBYTECODE=1
exec python3 promises_guest.py {rounds} {window_ms} {policies}
"""


def objects(lab: Lab) -> Path:
    """The folder of the policies' objects, compiled in the build root."""
    out = REPO / "build" / "schedulers"
    argv = ("make", "-s", "-C", "/src/schedulers", f"OUT=/src/{out.relative_to(REPO)}")
    built = roots.run_in_root(argv, lab=lab, binds={REPO: "/src"}, capture=True)
    if built.returncode != 0:
        raise BuildFailed(f"the policies could not be compiled: {built.stdout}{built.stderr}")
    return out


def measure(
    lab: Lab, policies: Sequence[str] = POLICIES, rounds: int = 5, window_ms: int = 1500,
    series: str = kernels.DEFAULT_SERIES,
) -> dict[str, Any]:  # fmt: skip
    """Measure in a micro-VM; promise → measure → condition → values, one of each round.

    Values are per cent of one CPU, and milliseconds for WAIT. RuntimeError with the guest's words
    when it fails.
    """
    compiled = objects(lab)
    files = {
        "run": RUN.format(rounds=rounds, window_ms=window_ms, policies=" ".join(policies)).encode(),
        "promises_guest.py": (REPO / "tests/bench/promises_guest.py").read_bytes(),
    }
    for name in policies:
        files[f"{name}.bpf.o"] = (compiled / f"{name}.bpf.o").read_bytes()
        files[f"{name}.toml"] = (REPO / f"schedulers/{name}/{name}.toml").read_bytes()
    for path in (REPO / "schedcpd").rglob("*.py"):
        files[str(path.relative_to(REPO))] = path.read_bytes()
    kernel = kernels.get(lab, series)
    say(f"promises: {rounds} rounds of {window_ms} ms with kernel {kernel.version} ...")
    windows = 8 * rounds * (len(policies) + 1)
    timeout_s = 120 + windows * (window_ms / 1000 + SWITCH_S)
    result = micro.run(image.current(lab), kernel, files, timeout_s=timeout_s)
    if not result.ok:
        raise RuntimeError(result.output + str(result.lost or "") + result.console[-2000:])
    found: dict[str, Any] = json.loads(result.output.splitlines()[-1])
    return found


def judged(promise: str, name: str, values: dict[str, list[float]]) -> dict[str, Any]:
    """The figures of one measure: an estimate for each condition, and what is made of it.

    ``off`` of a policy is its median over that of the kernel default, less one; ``kept`` says
    whether that is within the bounds of the promise.
    """
    found: dict[str, Any] = {}
    default = estimate(values[DEFAULT])
    for condition, numbers in values.items():
        one = estimate(numbers)
        found[condition] = {"median": one.median, "low": one.low, "high": one.high}
        if condition == DEFAULT:
            continue
        off = one.median / default.median - 1 if default.median else 0.0
        kept = abs(off) <= SHARE_OFF
        if promise == WAITS:
            kept = name != WAIT or off <= WAIT_FACTOR - 1
        found[condition] |= {"off": off, "kept": kept}
    return found


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """Promise → measure → condition → figures, see ``judged``."""
    return {
        promise: {name: judged(promise, name, values) for name, values in measures.items()}
        for promise, measures in found.items()
    }


def table(figures: dict[str, Any]) -> list[str]:
    """Lines for a person: medians, their intervals, and how far off the kernel default they are."""
    lines = []
    for promise, measures in figures.items():
        lines.append(promise)
        for name, conditions in measures.items():
            unit = "ms" if name == WAIT else "%"
            for condition, one in conditions.items():
                text = f"  {name:26} {condition:14} {_text(one)} {unit}"
                if condition != DEFAULT:
                    text += f"   {100 * one['off']:+6.1f} %{'' if one['kept'] else '   NOT KEPT'}"
                lines.append(text)
    return lines


def _text(one: dict[str, float]) -> str:
    return f"{one['median']:7.2f} ({one['low']:.2f} to {one['high']:.2f})"


def main() -> int:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.promises", description=__doc__)
    parser.add_argument("--policy", action="append", metavar="NAME", help=f"instead of {POLICIES}")
    parser.add_argument("--out", type=Path, default=REPO / "build/bench/promises.json")
    parser.add_argument("--kernel", default=kernels.DEFAULT_SERIES, metavar="SERIES")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--window-ms", type=int, default=1500)
    options = parser.parse_args()
    policies = options.policy or POLICIES
    found = measure(Lab.from_env(), policies, options.rounds, options.window_ms, options.kernel)
    figures = summary(found)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(figures, indent=2) + "\n")
    print("\n".join(table(figures)))
    print(f"figures: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
