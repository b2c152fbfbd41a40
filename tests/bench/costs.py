# SPDX-License-Identifier: GPL-2.0-or-later
"""What the daemon costs: times from a new cgroup to its plan, attaching, CPU and memory."""

from __future__ import annotations

import json
import statistics
from typing import Any

from bench import idle
from bench.experiment import LEARNED, Bench, Figures, Round, Run, script
from bench.targets import Target
from lab.machine import Machine
from lab.place import say

TIMEOUT_S = 600.0
SINGLE, SINGLE_PER_S = 20, 1
FLOOD, FLOOD_PER_S = 1000, 50
CROWD, CROWD_S = 10_000, 30
TARGET, SLEEP_S = "attach-target", 3600
# Budgets of the blueprint, section "Numbers to design for".
DETECT_MS, PLAN_MS, ATTACH_MS = 50.0, 550.0, 1000.0


def told(figures: Figures) -> list[Round]:
    """One round with one run, under schedcp."""
    return [{LEARNED: Run(LEARNED, figures)}]


def value(figure: str, title: str, at_most: float, unit: str) -> Target:
    """A budget for one figure."""
    return Target(
        title, lambda rounds: [one[LEARNED].figures[figure] for one in rounds], at_most=at_most,
        unit=unit,
    )  # fmt: skip


def ask(machine: Machine, *arguments: object) -> Any:
    """Run the guest's side and take its answer."""
    return json.loads(machine.run(script("arrivals", *arguments), timeout_s=TIMEOUT_S).stdout)


def median_ms(what: str, seconds: list[float]) -> float:
    """The median in milliseconds; RuntimeError when there is none."""
    if not seconds:
        raise RuntimeError(f"none of the new cgroups was {what}")
    return 1e3 * statistics.median(seconds)


def arrival_figures(found: Any) -> Figures:
    """The median time until a new cgroup was known, how many were, and what that cost."""
    return {
        "known_ms": median_ms("known", found["known_s"]),
        "known_share": len(found["known_s"]) / found["count"],
        "cpu_percent": found["cpu_percent"],
        "rss_mb": found["rss_mb"],
    }


def arrivals(bench: Bench, machine: Machine, rounds: int) -> list[Round]:
    """New cgroups one by one: each figure is the median of a row of them."""
    machine.run(["schedctl", "resume"])
    found: list[Round] = []
    for number in range(1, rounds + 1):
        say(f"{bench.part}: row {number} of {rounds}: {SINGLE} new cgroups, one a second ...")
        answer = ask(machine, "arrivals", SINGLE, SINGLE_PER_S)
        planned_ms = median_ms("planned", answer["planned_s"])
        found += told({**arrival_figures(answer), "planned_ms": planned_ms})
    return found


def flood(bench: Bench, machine: Machine, rounds: int) -> list[Round]:
    """Fifty new cgroups a second."""
    say(f"{bench.part}: {FLOOD} new cgroups, {FLOOD_PER_S} a second ...")
    return told(arrival_figures(ask(machine, "arrivals", FLOOD, FLOOD_PER_S)))


def crowd(bench: Bench, machine: Machine, rounds: int) -> list[Round]:
    """Ten thousand cgroups: the daemon at rest, and how soon a new one is known."""
    say(f"{bench.part}: making {CROWD} cgroups, then watching for {CROWD_S} s ...")
    at_rest = ask(machine, "crowd", CROWD, CROWD_S)
    arrived = arrival_figures(ask(machine, "arrivals", SINGLE, SINGLE_PER_S))
    return told({**at_rest, "known_ms": arrived["known_ms"]})


def at_rest(bench: Bench, machine: Machine, rounds: int) -> list[Round]:
    """The daemon when nothing happens."""
    return told(idle.measure(machine))


def attach(bench: Bench, machine: Machine, rounds: int) -> list[Round]:
    """How long it takes to attach each policy by hand, as the daemon itself says."""
    machine.run(["schedctl", "pause"])
    machine.start(["sleep", str(SLEEP_S)], unit=TARGET, user="user")
    machine.wait_for(f"schedctl show {TARGET}.service", TIMEOUT_S)
    found: list[Round] = []
    for number in range(1, rounds + 1):
        say(f"{bench.part}: round {number} of {rounds} ...")
        figures = {}
        for policy in bench.policies():
            line = ["schedctl", "--json", "apply", f"{TARGET}.service", policy]
            done = machine.run(line, check=False)
            if done.exit_code == 0:
                figures[f"{policy}_ms"] = json.loads(done.stdout)["attach_ms"]
            machine.run(["schedctl", "revert"], check=False)
        if not figures:
            raise RuntimeError("no policy could be attached")
        found += told({**figures, "slowest_ms": max(figures.values())})
    return found


ARRIVAL_TARGETS = (
    value("known_ms", "cgroup populated until its workload is known", DETECT_MS, "ms"),
    value("planned_ms", "workload known until it is profiled and planned", PLAN_MS, "ms"),
)
REST_TARGETS = (
    value("cpu_percent", "CPU of the idle daemon", idle.BUDGET_PERCENT, "% of a CPU"),
    value("rss_mb", "memory of the idle daemon", idle.BUDGET_MB, "MB"),
)
CROWD_TARGETS = (
    value("known_ms", "cgroup populated until known, with 10,000 cgroups", DETECT_MS, "ms"),
    value(
        "cpu_percent", "CPU of the daemon with 10,000 cgroups", idle.BUDGET_PERCENT, "% of a CPU"
    ),
)
FLOOD_TARGETS = (
    value("known_ms", "cgroup populated until known, at 50 new ones a second", DETECT_MS, "ms"),
)
ATTACH_TARGETS = (value("slowest_ms", "attaching the slowest policy", ATTACH_MS, "ms"),)
