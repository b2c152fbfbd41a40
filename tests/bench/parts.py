# SPDX-License-Identifier: GPL-2.0-or-later
"""The parts of the bench: what each measures, and what it has to reach; one table."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import batches, costs, hint_delay, loads, probe_cost, programs, promises
from bench.experiment import DEFAULT, LEARNED, POLICY, Bench, Load, Round, Run
from bench.targets import Target, harmless
from lab import kernels, snapshot
from lab.machine import Machine
from lab.place import REPO, Lab

ROUNDS, QUICK_ROUNDS = 5, 3
DECISION_LIMIT = 1.05
PROBE_WINDOW_MS = 100
HINTS, HINT_LOOPS = 120, 20_000  # programs started, and loops of a shell whose CPU time is checked
PROBES = REPO / "build/probes"
PROBE_PARTS = {
    "probe": "runqueue",
    "probe-workload": "workload",
    "probe-workload-beside": "workload-beside",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where parts are measured: a saved machine, and the folder with what is brought into it."""

    lab: Lab
    saved: snapshot.Snapshot
    folder: Path

    @contextlib.contextmanager
    def bench(self, part: str) -> Iterator[tuple[Bench, Machine]]:
        """A machine as it was saved, with the workloads in it."""
        with Machine.resume(self.saved) as machine:
            programs.bring(machine, self.folder)
            yield Bench(machine, part), machine


Targets = Callable[[Sequence[Round]], Sequence[Target]]
Guest = Callable[[Bench, Machine, int], list[Round]]


@dataclass(frozen=True, slots=True)
class Part:
    """One part: a group for the report, a sentence, how it is measured, and its targets.

    ``measure`` takes the place, the part's name and the number of rounds.
    """

    group: str
    title: str
    measure: Callable[[Place, str, int], list[Round]]
    targets: Targets = field(default=lambda _: ())
    merit: str = ""  # the figure that the conditions of a decision are compared by


def fixed(*targets: Target) -> Targets:
    """Targets that do not depend on what was measured."""
    return lambda _: targets


def in_machine(act: Guest) -> Callable[[Place, str, int], list[Round]]:
    """Measure in a fresh machine."""

    def measure(place: Place, name: str, rounds: int) -> list[Round]:
        with place.bench(name) as (bench, machine):
            return act(bench, machine, rounds)

    return measure


def compared(
    load: Load, conditions: Sequence[str] = (DEFAULT, LEARNED), *, by_hand: bool = False
) -> Callable[[Place, str, int], list[Round]]:
    """Run a load under some conditions, with ``by_hand`` also under each installed policy."""

    def act(bench: Bench, machine: Machine, rounds: int) -> list[Round]:
        policies = [POLICY + name for name in bench.policies()] if by_hand else []
        return bench.rounds(load, (*conditions, *policies), rounds)

    return in_machine(act)


def best_by_hand(load: Load, rounds: Sequence[Round]) -> str:
    """The condition that was best for the load on the whole, among those that could be had."""
    merits = {
        condition: statistics.median(one[condition].figures[load.merit] for one in rounds)
        for condition in rounds[0]
        if condition != LEARNED and not any(one[condition].refused for one in rounds)
    }
    choose = max if load.more_is_better else min
    return choose(merits, key=lambda condition: merits[condition])


def decision(load: Load) -> Targets:
    """What schedcp chose is to be nearly as good as the best that it could have chosen."""

    def targets(rounds: Sequence[Round]) -> Sequence[Target]:
        best = best_by_hand(load, rounds)
        over, under = (best, LEARNED) if load.more_is_better else (LEARNED, best)
        values = [one[over].figures[load.merit] / one[under].figures[load.merit] for one in rounds]
        title = f"{load.merit} over that of the best choice ({best.removeprefix(POLICY)})"
        return (Target(title, lambda _: values, at_most=DECISION_LIMIT, unit="times"),)

    return targets


def kept_promises(place: Place, name: str, rounds: int) -> list[Round]:
    """Shares and waits in a micro-VM, as rounds of one figure for each promise and measure."""
    found = promises.measure(place.lab, rounds=rounds)
    result: list[Round] = []
    for number in range(rounds):
        figures: dict[str, dict[str, float]] = {}
        for promise, measures in found.items():
            for measure, conditions in measures.items():
                for condition, values in conditions.items():
                    key = DEFAULT if condition == promises.DEFAULT else POLICY + condition
                    figures.setdefault(key, {})[f"{promise}: {measure}"] = values[number]
        result.append({key: Run(key, values) for key, values in figures.items()})
    return result


def promise_targets(rounds: Sequence[Round]) -> Sequence[Target]:
    """Each share within 10 % of what the kernel default gives; a sleeper's wait within 2 times."""
    found = []
    for condition in rounds[0]:
        if condition == DEFAULT:
            continue
        for figure in rounds[0][condition].figures:
            over = statistics.median(one[condition].figures[figure] for one in rounds)
            base = statistics.median(one[DEFAULT].figures[figure] for one in rounds)
            waits = figure.startswith(f"{promises.WAITS}: ")
            if waits and not figure.endswith(promises.WAIT):
                continue
            ratio = over / base if base else 1.0
            off = ratio if waits else abs(ratio - 1)
            found.append(
                Target(
                    f"{condition.removeprefix(POLICY)}: {figure}, "
                    + ("times the kernel default's" if waits else "off the kernel default's"),
                    lambda _, off=off: [off],  # type: ignore[misc]
                    at_most=promises.WAIT_FACTOR if waits else promises.SHARE_OFF,
                    condition=condition,
                )
            )
    return found


def probe(place: Place, name: str, rounds: int) -> list[Round]:
    """A probe: throughput of each load with it over that without."""
    kind, length = PROBE_PARTS[name], (4 * rounds, PROBE_WINDOW_MS)
    found = probe_cost.measure(place.lab, kernels.DEFAULT_SERIES, kind, PROBES, *length)
    figures = {f"{load}_ratio": cost.ratio for load, cost in found.items()}
    return costs.told(figures)


def hints(place: Place, name: str, rounds: int) -> list[Round]:
    """How soon a runtime hint follows the start of a program, beside busy loops."""
    tasks = (PROBES / "tasks.bpf.o").read_bytes()
    found = hint_delay.measure(place.lab, kernels.DEFAULT_SERIES, tasks, HINTS, HINT_LOOPS)
    if found["wrong"]:
        raise RuntimeError("; ".join(found["wrong"]))
    delay = found["delays_ms"]["exec to hint sent, busy"]
    return costs.told({"hint_median_ms": delay["median"], "hint_p99_ms": delay["p99"]})


def all_batches() -> dict[str, Part]:
    """Eight kinds in four variants; the first variant goes by the name of the kind alone."""
    return {
        f"batch-{kind}" if variant == "first" else f"batch-{kind}-{variant}": Part(
            "Long-tail batches",
            f"{title}, {words}",
            compared(batches.load(kind, variant), batches.CONDITIONS),
            fixed(*batches.TARGETS),
        )
        for variant, words in batches.VARIANTS.items()
        for kind, title in batches.KINDS.items()
    }


def decided() -> dict[str, Part]:
    """Every load of the set, under each policy by hand."""
    chosen = [batches.load(kind, "first") for kind in batches.KINDS]
    chosen += [loads.MESSAGES, loads.BUILD_ALONE, loads.BUILD_FRAMES]
    chosen += [load for load, _, _ in loads.HARMLESS.values()]
    return {
        f"decision-{load.name.removesuffix('-first')}": Part(
            "Decisions",
            f"{load.name}: what schedcp chooses, and every policy applied by hand",
            compared(load, by_hand=True),
            decision(load),
            load.merit,
        )
        for load in chosen
    }


def table() -> dict[str, Part]:
    """All parts by name, in the order in which they are measured."""
    parts = all_batches()
    parts["messages"] = Part(
        "Requests", "two message threads, four workers each (schbench's semantics)",
        compared(loads.MESSAGES), fixed(*loads.MESSAGE_TARGETS),
    )  # fmt: skip
    parts["build"] = Part(
        "Compilation and frames", "a parallel compilation (busybox) alone",
        compared(loads.BUILD_ALONE), fixed(harmless("build_s", "build time")),
    )  # fmt: skip
    parts["build-frames"] = Part(
        "Compilation and frames", "the same with a loop of 60 frames a second beside it",
        compared(loads.BUILD_FRAMES), fixed(*loads.FRAME_TARGETS),
    )  # fmt: skip
    for name, (load, title, targets) in loads.mixtures().items():
        parts[name] = Part("Several at once", title, compared(load), fixed(*targets))
    for name, (load, title, targets) in loads.HARMLESS.items():
        parts[f"harmless-{name}"] = Part("Do no harm", title, compared(load), fixed(*targets))
    parts |= decided()
    parts["promises"] = Part(
        "Promises kept", "shares under nice levels, cpu.weight and cpu.max",
        kept_promises, promise_targets,
    )  # fmt: skip
    parts["pipe"] = Part(
        "What scheduling costs", "context switches a second through a pipe pair, per policy",
        compared(loads.PIPE, (DEFAULT,), by_hand=True),
    )  # fmt: skip
    parts["idle"] = Part(
        "What the daemon costs", "the daemon when nothing happens",
        in_machine(costs.at_rest), fixed(*costs.REST_TARGETS),
    )  # fmt: skip
    parts["arrivals"] = Part(
        "What the daemon costs", "new cgroups, one a second",
        in_machine(costs.arrivals), fixed(*costs.ARRIVAL_TARGETS),
    )  # fmt: skip
    parts["flood"] = Part(
        "What the daemon costs", f"{costs.FLOOD_PER_S} new cgroups a second",
        in_machine(costs.flood), fixed(*costs.FLOOD_TARGETS),
    )  # fmt: skip
    parts["crowd"] = Part(
        "What the daemon costs", f"{costs.CROWD} cgroups",
        in_machine(costs.crowd), fixed(*costs.CROWD_TARGETS),
    )  # fmt: skip
    parts["attach"] = Part(
        "What the daemon costs", "attaching each policy by hand",
        in_machine(costs.attach), fixed(*costs.ATTACH_TARGETS),
    )  # fmt: skip
    parts["hints"] = Part(
        "What the daemon costs", "runtime hints: from the start of a program to its hint",
        hints, fixed(costs.value("hint_p99_ms", "start of a program to its hint, P99",
                                 hint_delay.BUDGET_MS, "ms")),
    )  # fmt: skip
    for name, kind in PROBE_PARTS.items():
        about = f"the {kind} probe: throughput with it over that without"
        parts[name] = Part("What the daemon costs", about, probe)
    return parts
