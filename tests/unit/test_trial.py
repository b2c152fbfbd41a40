# SPDX-License-Identifier: GPL-2.0-or-later
"""The trial, with a guest that says what the test wants: what counts as which verdict."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from schedcpd.kernel.objects import read_object
from schedcpd.model import Card, Check, StageOutcome, VerifyStage
from schedcpd.repository.cards import parse_card
from schedcpd.verify import trial
from schedcpd.verify.microvm import MicroRun, MicroVm, NoMicroVm
from schedcpd.verify.trial import DYNAMIC_CHECKS, KERNEL_CHECKS, TrialResult
from unit.made_objects import CARD, OPTIONAL_AT, make_object

CARD_OF_IT = parse_card(CARD.encode(), "card")
HELLO: dict[str, object] = {"event": "hello", "release": "7.3.4", "build_id": "ab12", "cpus": 2}
END: dict[str, object] = {"event": "end"}
Line = dict[str, object] | str


def begin(stage: str, check: str) -> Line:
    return {"event": "begin", "stage": stage, "check": check}


def done(stage: str, check: str, passed: bool = True, **more: object) -> Line:
    figures = {
        "figure": 1.5,
        "unit": "ms",
        "bound": 2,
        "baseline": 0.5,
        "message": f"about {check}",
    }
    return {
        "event": "check",
        "stage": stage,
        "name": check,
        "passed": passed,
        **figures,
        **more,
    }


def kernel_lines() -> list[Line]:
    lines: list[Line] = [HELLO, begin("kernel", "baseline"), {"event": "beat"}]
    for name in KERNEL_CHECKS:
        lines += [begin("kernel", name), done("kernel", name)]
    return lines


def all_lines() -> list[Line]:
    lines = kernel_lines()
    for name in DYNAMIC_CHECKS:
        lines += [begin("dynamic", name), done("dynamic", name)]
    return [*lines, END]


@dataclass(frozen=True, slots=True)
class Guest(MicroVm):
    """A machine that says these lines, unless it is told to stop, and is then lost."""

    says: tuple[Line, ...] = ()
    shows: str = ""
    lost: str = "it ended early"
    broken: str = ""

    def run(self, archive: bytes, timeout_s: float, on_line: Callable[[str], bool]) -> MicroRun:
        if self.broken:
            raise NoMicroVm(self.broken)
        for line in self.says:
            if not on_line(line if isinstance(line, str) else json.dumps(line)):
                return MicroRun((), self.shows, 1.0)
        return MicroRun((), self.shows, 1.0, self.lost)


def guest(lines: Sequence[Line], shows: str = "", lost: str = "it ended early") -> Guest:
    return Guest(Path("qemu"), Path("vmlinuz"), None, says=tuple(lines), shows=shows, lost=lost)


def attempt(vm: MicroVm, card: Card = CARD_OF_IT, data: bytes | None = None) -> TrialResult:
    return trial.run_trial(vm, b"trial", make_object() if data is None else data, card, ignore)


def ignore(_stage: VerifyStage, _check: Check) -> None:
    """Nobody watches."""


def test_a_sound_policy_passes_both_stages() -> None:
    seen: list[tuple[VerifyStage, str]] = []
    vm = guest(all_lines())
    result = trial.run_trial(
        vm, b"trial", make_object(), CARD_OF_IT, lambda stage, one: seen.append((stage, one.name))
    )
    assert result.kernel.outcome is StageOutcome.PASSED
    assert result.dynamic.outcome is StageOutcome.PASSED
    assert (result.release, result.build_id, result.accelerator) == ("7.3.4", "ab12", "tcg")
    names = [(VerifyStage.KERNEL, name) for name in KERNEL_CHECKS]
    names += [(VerifyStage.DYNAMIC, name) for name in (*DYNAMIC_CHECKS, "console")]
    assert seen == names
    expected = Check("load", True, "about load", 1.5, "ms", 2, 0.5)
    assert result.kernel.checks[0] == expected


def test_a_failed_check_fails_its_stage_with_its_words() -> None:
    lines = all_lines()
    lines[-2] = done("dynamic", "exit-kind", passed=False, message="it was ejected")
    result = attempt(guest(lines))
    assert result.kernel.outcome is StageOutcome.PASSED
    assert result.dynamic.outcome is StageOutcome.FAILED
    assert result.dynamic.reason == "exit-kind: it was ejected"


def test_what_the_kernel_refuses_is_not_run() -> None:
    lines = [HELLO, begin("kernel", "load"), done("kernel", "load", passed=False), END]
    result = attempt(guest(lines))
    assert result.kernel.outcome is StageOutcome.FAILED
    assert result.dynamic.outcome is StageOutcome.SKIPPED


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [HELLO],
        [HELLO, begin("kernel", "baseline"), {"event": "beat"}],
    ],
)
def test_a_machine_lost_before_the_policy_says_nothing_of_it(lines: list[Line]) -> None:
    result = attempt(guest(lines))
    assert result.kernel.outcome is StageOutcome.BROKEN
    assert result.dynamic.outcome is StageOutcome.BROKEN
    assert "it ended early" in result.kernel.reason


def test_a_machine_lost_under_the_policy_is_its_fault() -> None:
    lines = [*kernel_lines(), begin("dynamic", "runnable")]
    result = attempt(guest(lines, lost="it hung"))
    assert result.kernel.outcome is StageOutcome.PASSED
    assert result.dynamic.outcome is StageOutcome.FAILED
    assert result.dynamic.reason == "runnable: the machine was lost: it hung"


def test_a_machine_lost_while_loading_is_its_fault() -> None:
    result = attempt(guest([HELLO, begin("kernel", "attach")]))
    assert result.kernel.outcome is StageOutcome.FAILED
    assert result.kernel.reason.startswith("attach: ")
    assert result.dynamic.outcome is StageOutcome.SKIPPED


def test_checks_left_out_are_no_success() -> None:
    lines = [line for line in all_lines() if "hotplug" not in json.dumps(line)]
    result = attempt(guest(lines))
    assert result.dynamic.outcome is StageOutcome.BROKEN
    assert "hotplug" in result.dynamic.reason


def test_no_end_is_no_success() -> None:
    result = attempt(guest(all_lines()[:-1]))
    assert result.dynamic.outcome is StageOutcome.FAILED


def test_a_guest_that_cannot_hold_a_trial() -> None:
    lines: list[Line] = [HELLO, {"event": "broken", "message": "this kernel has no sched_ext"}]
    result = attempt(guest(lines))
    assert result.kernel.outcome is StageOutcome.BROKEN
    assert result.kernel.reason == "this kernel has no sched_ext"


def test_no_machine_is_no_verdict() -> None:
    vm = Guest(Path("qemu"), Path("vmlinuz"), None, broken="no such file")
    result = attempt(vm)
    assert result.kernel.outcome is StageOutcome.BROKEN
    assert result.kernel.reason == "no such file"
    assert result.release == ""


@pytest.mark.parametrize(
    "nonsense",
    [
        "",
        "{",
        "[" * 5000,
        "null",
        {"event": 3},
        {"event": "check", "stage": "kernel", "name": "load"},
        {"event": "check", "stage": "static", "name": "load", "passed": True},
        done("kernel", "x" * 100),
        done("kernel", "load", message="x" * 5000),
        done("kernel", "load", figure="1"),
        '{"event":"check","stage":"kernel","name":"load","passed":true,"figure":nan}',
        {"event": "hello", "release": "x" * 1000, "build_id": ""},
    ],
)
def test_nonsense_is_no_verdict(nonsense: Line) -> None:
    result = attempt(guest([*kernel_lines(), nonsense]))
    assert result.kernel.outcome is StageOutcome.BROKEN
    assert "nonsense" in result.kernel.reason


def test_nonsense_after_the_policy_was_attached_passes_nothing() -> None:
    lines = [*all_lines()[:-1], "garbage"]
    assert attempt(guest(lines)).dynamic.outcome is not StageOutcome.PASSED


@pytest.mark.parametrize(
    "shows",
    [
        "[    5.0] BUG: kernel NULL pointer dereference, address: 0",
        "[    5.0] WARNING: CPU: 1 PID: 3 at kernel/sched/ext.c:1",
        "[    9.0] watchdog: BUG: soft lockup - CPU#0 stuck for 26s!",
        "[   25.0] rcu: INFO: rcu_preempt self-detected stall on CPU",
        "[  125.0] INFO: task init:1 blocked for more than 120 seconds.",
        "[    5.0] Kernel panic - not syncing: Attempted to kill init!",
    ],
)
def test_a_kernel_that_complains_fails_the_policy(shows: str) -> None:
    result = attempt(guest(all_lines(), shows=f"[    1.0] fine\r\n{shows}\r\n[    6.0] fine\r\n"))
    assert result.dynamic.outcome is StageOutcome.FAILED
    assert result.dynamic.reason == f"console: the kernel complained: {shows}"


def test_code_damaged_by_the_emulator_is_no_verdict() -> None:
    shows = "[    5.0] Oops: int3: 0000 [#1] SMP\r\nKernel panic - not syncing: Fatal exception"
    result = attempt(guest([*kernel_lines(), begin("dynamic", "runnable")], shows=shows))
    assert result.dynamic.outcome is StageOutcome.BROKEN


def test_an_object_that_does_not_fit_its_card_is_refused() -> None:
    result = attempt(guest(all_lines()), data=b"nothing")
    assert result.kernel.outcome is StageOutcome.FAILED
    assert result.kernel.checks[0].name == "load"
    assert result.dynamic.outcome is StageOutcome.SKIPPED


def test_what_the_trial_is_told() -> None:
    card = dataclasses.replace(CARD_OF_IT, timeout_ms=30000, max_wait_ms=2000, honours=("nice",))
    lines = trial.configuration(card, read_object(make_object())).decode().splitlines()
    assert f"name {card.name}" in lines
    assert "timeout_ms 5000" in lines
    assert "max_wait_ms 2000" in lines
    assert "honours nice" in lines
    assert f"optional {OPTIONAL_AT} cgroup_set_bandwidth" in lines
    constants = [line for line in lines if line.startswith("constant ")]
    assert len(constants) == len(card.tunables)
    slice_ns = next(one for one in card.tunables if one.name == "slice_ns")
    wanted = f"constant 8 8 {slice_ns.default} {slice_ns.minimum} {slice_ns.maximum} -"
    assert wanted in constants


@pytest.mark.parametrize(
    ("timeout_ms", "max_wait_ms", "expected"),
    [(30000, 2000, 5000), (30000, 5000, 10000), (1000, 500, 1000), (4000, 2000, 4000)],
)
def test_stalls_are_seen_soon(timeout_ms: int, max_wait_ms: int, expected: int) -> None:
    card = dataclasses.replace(CARD_OF_IT, timeout_ms=timeout_ms, max_wait_ms=max_wait_ms)
    assert trial.limits(card) == (expected, max_wait_ms)


def test_a_negative_value_travels_as_the_bytes_it_is() -> None:
    tunables = tuple(
        dataclasses.replace(one, minimum=-1, type="s64") if one.name == "slice_ns" else one
        for one in CARD_OF_IT.tunables
    )
    card = dataclasses.replace(CARD_OF_IT, tunables=tunables)
    text = trial.configuration(card, read_object(make_object())).decode()
    assert f" {2**64 - 1} " in text
