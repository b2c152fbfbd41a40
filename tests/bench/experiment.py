# SPDX-License-Identifier: GPL-2.0-or-later
"""Loads, and the conditions under which they run in a lab machine: in turns, in random order."""

from __future__ import annotations

import json
import random
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from bench.programs import GUEST_FOLDER, GUEST_ROOT
from lab.command import Command, Result
from lab.errors import CommandFailed
from lab.place import say

DEFAULT = "kernel default"
FIRST = "schedcp, first sight"
LEARNED = "schedcp"
POLICY = "policy "  # and its name: attached by hand
SEED = 7
RUN_TIMEOUT_S = 1800.0
APPLY_TIMEOUT_S = 60.0
LEDGER = "/var/lib/schedcp/ledger.db*"

# Waits for the units that end, stops the others, and tells which policies it saw meanwhile, a line
# a second. Runs in the guest, where all that this costs is the fork of one sleep a second.
WATCH = """
ops=/sys/kernel/sched_ext/root/ops
alive() {{
    for unit in {finite}; do
        if [ -d /sys/fs/cgroup/system.slice/$unit.service ]; then return 0; fi
    done
    return 1
}}
while alive; do
    if read -r name 2>/dev/null <$ops; then echo "$name"; else echo -; fi
    sleep 1
done
systemctl stop {units} 2>/dev/null || :
"""
SAID = 6  # lines of the daemon's log that are kept of a run

Figures = dict[str, float]


class Guest(Protocol):
    """What the bench needs of a lab machine."""

    def run(self, command: Command, *, timeout_s: float = 60.0, check: bool = True) -> Result: ...

    def start(self, command: Command, *, unit: str, user: str = "root") -> None: ...


@dataclass(frozen=True, slots=True)
class Service:
    """A command that runs as an ordinary user in a unit of its own and prints one JSON object.

    An endless one is stopped when all others have ended, and tells then.
    """

    name: str
    command: str
    endless: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """One or more services at once, and what their answers say as figures by name.

    ``prepare`` is run once, as the ordinary user. ``merit`` is the figure that counts.
    """

    name: str
    services: tuple[Service, ...]
    figures: Callable[[Mapping[str, Any]], Figures]
    merit: str
    more_is_better: bool = False
    prepare: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a load under one condition."""

    condition: str
    figures: Figures
    policies: tuple[str, ...] = ()  # seen in the kernel, in the order of their appearance
    log: tuple[str, ...] = ()  # what the daemon noted of the first service, oldest first
    refused: str = ""  # why the condition could not be had; the figures are empty then


Round = dict[str, Run]


@dataclass(slots=True)
class Bench:
    """A machine in which loads are run; ``part`` is the name that progress is told by."""

    machine: Guest
    part: str
    dice: random.Random = field(default_factory=lambda: random.Random(SEED))

    def prepare(self, load: Load) -> None:
        """Do once what the load needs before it can run."""
        for command in load.prepare:
            say(f"{self.part}: preparing: {command[:70]} ...")
            self.machine.run(as_user(command), timeout_s=RUN_TIMEOUT_S)

    def rounds(self, load: Load, conditions: Sequence[str], rounds: int) -> list[Round]:
        """Prepare the load, and run it under each condition once a round, in random order."""
        self.prepare(load)
        found: list[Round] = []
        for number, order in enumerate(self.orders(conditions, rounds), 1):
            done: Round = {}
            for condition in order:
                here = f"{self.part}: round {number} of {rounds}: {condition}"
                say(f"{here} ...")
                done[condition] = run = self.run(load, condition)
                say(f"{here}: {told(load, run)}")
            found.append(done)
        return found

    def orders(self, conditions: Sequence[str], rounds: int) -> list[list[str]]:
        """A random order for each round, so that each condition is in each place equally often."""
        found: list[list[str]] = []
        while len(found) < rounds:
            one = self.dice.sample(list(conditions), len(conditions))
            turned = [one[i:] + one[:i] for i in range(len(one))]
            found += self.dice.sample(turned, len(turned))
        return [first_sight_first(one) for one in found[:rounds]]

    def run(self, load: Load, condition: str) -> Run:
        """Run the load once."""
        self.enter(condition)
        units = {one.name: f"{load.name}-{one.name}" for one in load.services}
        results = {one.name: f"/var/tmp/{units[one.name]}.json" for one in load.services}
        for one in load.services:
            command = f"exec {one.command} >{results[one.name]}"
            self.machine.start(command, unit=units[one.name], user="user")
        refused = ""
        if condition.startswith(POLICY):
            refused = self.apply(units[load.services[0].name], condition.removeprefix(POLICY))
        seen, said = self.await_end(load, units)
        if condition.startswith(POLICY):
            self.machine.run(["schedctl", "revert"], check=False)
        if refused:
            return Run(condition, {}, seen, said, refused)
        answers = {name: self.answer(path) for name, path in results.items()}
        return Run(condition, load.figures(answers), seen, said)

    def enter(self, condition: str) -> None:
        """Bring the daemon into a condition."""
        if condition == FIRST:
            self.machine.run(f"systemctl stop schedcpd && rm -f {LEDGER}")
            self.machine.run(["systemctl", "start", "schedcpd"])
        verb = "resume" if condition in (FIRST, LEARNED) else "pause"
        self.machine.run(["schedctl", verb])

    def apply(self, unit: str, policy: str) -> str:
        """Attach a policy for a unit, once it is known; why not, or nothing."""
        deadline = time.monotonic() + APPLY_TIMEOUT_S
        line = ["schedctl", "apply", f"{unit}.service", policy]
        while (done := self.machine.run(line, check=False)).exit_code != 0:
            if "there is no workload" not in done.stderr or time.monotonic() > deadline:
                return done.stderr.strip() or f"exit status {done.exit_code}"
        return ""

    def await_end(
        self, load: Load, units: Mapping[str, str]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Wait for the services that end, stop the others; the policies seen, and the reasons."""
        finite = " ".join(units[one.name] for one in load.services if not one.endless)
        script = WATCH.format(finite=finite, units=" ".join(units.values()))
        seen = self.machine.run(script, timeout_s=RUN_TIMEOUT_S).stdout.split()
        log = self.machine.run(["schedctl", "log", "--lines=60"], check=False).stdout
        first = units[load.services[0].name]
        said = [line for line in log.splitlines() if f"{first}.service" in line]
        return tuple(dict.fromkeys(name for name in seen if name != "-")), tuple(said[-SAID:])

    def answer(self, path: str) -> Any:
        """The JSON that a service has written; raises CommandFailed when it failed."""
        text = self.machine.run(["cat", path]).stdout
        try:
            return json.loads(text)
        except ValueError as exc:
            unit = path.rpartition("/")[2].removesuffix(".json")
            line = ["journalctl", "--no-pager", "--lines=10", f"--unit={unit}"]
            said = self.machine.run(line, check=False).stdout
            raise CommandFailed(f"the service {unit}", 1, text, said) from exc

    def policies(self) -> list[str]:
        """The names of the installed policies."""
        return self.machine.run(["schedctl", "policies", "--names"]).stdout.split()


def first_sight_first(order: list[str]) -> list[str]:
    """The same order, but what is only known after the first sight comes after it."""
    if FIRST not in order or LEARNED not in order:
        return order
    early, late = sorted((order.index(FIRST), order.index(LEARNED)))
    return [*order[:early], FIRST, *order[early + 1 : late], LEARNED, *order[late + 1 :]]


def as_user(command: str) -> list[str]:
    """A command line as the ordinary user, in no session of a login."""
    return ["runuser", "-u", "user", "--", "sh", "-c", command]


def told(load: Load, run: Run) -> str:
    """One run in a few words."""
    if run.refused:
        return f"refused: {run.refused}"
    policies = f" under {', '.join(run.policies)}" if run.policies else ""
    return f"{load.merit} {run.figures[load.merit]:.4g}{policies}"


def program(name: str, *arguments: object) -> str:
    """The command line of one of the bench's programs in the guest."""
    return shlex.join([f"{GUEST_FOLDER}/{name}", *(str(one) for one in arguments)])


def script(name: str, *arguments: object) -> str:
    """The command line of one of the bench's Python workloads in the guest."""
    line = ["env", f"PYTHONPATH={GUEST_ROOT}", "/usr/bin/python3", "-m", f"bench.workloads.{name}"]
    return shlex.join([*line, *(str(one) for one in arguments)])
