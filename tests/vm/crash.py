#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs in the lab's machine: kill -9 one part of schedcp at random moments of a deployment.

Afterwards each time: a known state, the same in the kernel's words and in the daemon's, nothing of
ours left running that should not be, and a ledger in order. Prints one JSON object; standard
library only. Usage: crash.py ROUNDS SEED WORKLOAD
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

SCHED_EXT = Path("/sys/kernel/sched_ext")
LEDGERS = Path("/var/lib/schedcp")
POLICIES = ("scx_fair", "scx_batch")
SETTLE_S = 240.0
# What to kill, and how a process of it is found.
VICTIMS = {
    "daemon": "^/usr/bin/python3 -I -m schedcpd$",
    "loader": "schedcpd.deploy.load$",
    "verifier": "schedcpd.verify.serve$",
    "micro-VM": "^/usr/bin/qemu-system",
}
LEFT_OVER = ("verifier", "micro-VM")


class Broken(Exception):
    """An invariant does not hold; the text says which."""


def said(*argv: str) -> str:
    """What a command prints; empty when it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def pids(victim: str) -> list[str]:
    """The processes of one kind."""
    return said("pgrep", "--full", VICTIMS[victim]).split()


def kernel_policy() -> str | None:
    """The attached policy, empty for the default, None while the kernel is changing it."""
    state = (SCHED_EXT / "state").read_text().strip()
    if state == "disabled":
        return ""
    try:
        return (SCHED_EXT / "root/ops").read_text().strip() if state == "enabled" else None
    except FileNotFoundError:  # it left between the two reads
        return None


def status() -> dict[str, Any] | None:
    """What the daemon says; None while it cannot be reached."""
    text = said("schedctl", "status", "--json")
    found: dict[str, Any] | None = json.loads(text) if text else None
    return found


def inconsistency() -> str:
    """What is wrong at this moment, or an empty string."""
    before, shown, after = kernel_policy(), status(), kernel_policy()
    if before is None or before != after:
        return "the kernel is changing its scheduler"
    if shown is None:
        return "the daemon cannot be reached"
    if shown["kernel"]["policy"] != before:
        return f"the kernel has {before!r}, the daemon says {shown['kernel']['policy']!r}"
    if before and shown["kernel"]["owner"] != "schedcp":
        return f"{before} is attached, and the daemon does not know it"
    loaders = len(pids("loader"))
    if loaders != bool(before):
        return f"{loaders} loaders for {before or 'the kernel default'}"
    return next((f"a {kind} is left" for kind in LEFT_OVER if pids(kind)), "")


def await_order(what: Callable[[], str]) -> float:
    """Wait until nothing is wrong; how many seconds that took."""
    began = time.monotonic()
    while wrong := what():
        if time.monotonic() - began > SETTLE_S:
            raise Broken(wrong)
        subprocess.run(["systemctl", "reset-failed", "schedcpd"], check=False)
        time.sleep(0.2)
    return time.monotonic() - began


def check_ledger() -> None:
    """The daemon, which reads all of its ledger at each start, never found it damaged."""
    if damaged := list(LEDGERS.glob("*.damaged-*")):
        raise Broken(f"the ledger was damaged: {damaged}")


def strike(dice: random.Random, workload: str) -> str:
    """Begin something, kill some part of schedcp at a moment of chance, and say which."""
    victim = dice.choices(list(VICTIMS), (40, 40, 10, 10))[0]
    if victim in LEFT_OVER:
        work, longest_s = ["schedctl", "verify", dice.choice(POLICIES)], 20.0
    else:
        work, longest_s = ["schedctl", "apply", workload, dice.choice(POLICIES)], 8.0
    with subprocess.Popen(work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        time.sleep(dice.uniform(0, longest_s))
        found = pids(victim)
        if found:
            subprocess.run(["kill", "-9", *found], check=False)
        process.terminate()
    return victim if found else f"{victim} (not there yet)"


def main() -> None:
    """Strike, wait for order, tidy up; again."""
    rounds, seed, workload = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    dice, struck, waits = random.Random(seed), Counter[str](), []
    broken = ""
    for number in range(rounds):
        victim = strike(dice, workload)
        try:
            waits.append(await_order(inconsistency))
            check_ledger()
        except Broken as exc:
            broken = f"round {number + 1}, {victim} killed: {exc}"
            break
        struck[victim] += 1
        subprocess.run(["schedctl", "resume"], check=False, capture_output=True)
        subprocess.run(["schedctl", "revert"], check=False, capture_output=True)
    print(json.dumps({"broken": broken, "struck": struck, "slowest_s": max(waits, default=0.0)}))


if __name__ == "__main__":
    main()
