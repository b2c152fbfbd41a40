# SPDX-License-Identifier: GPL-2.0-or-later
"""The last two stages of a verification: a trial of the policy in a micro-VM.

The guest's only process is ``schedcp-trial`` (folder ``trial/``): it loads the policy, puts it
under load and reports check by check, as JSON lines. Nothing that the guest says is believed to be
a success but its last line after a complete set of checks.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from schedcpd.fields import BadField, Fields
from schedcpd.kernel import objects
from schedcpd.kernel.btf import Btf, BtfError
from schedcpd.model import Card, Check, StageOutcome, StageReport, VerifyStage
from schedcpd.verify import initramfs
from schedcpd.verify.microvm import MicroRun, MicroVm, NoMicroVm

KERNEL_CHECKS = ("load", "load-extremes", "attach", "settle")
DYNAMIC_CHECKS = (
    "runnable",
    "fork-storm",
    "nice-mix",
    "pinned",
    "affinity-churn",
    "hotplug",
    "realtime",
    "cpu-max",
    "shares",
    "wakeups",
    "latency",
    "throughput",
    "detach",
    "reattach",
    "exit-kind",
)
CONSOLE_CHECK = "console"
BASELINE = "baseline"
TIMEOUT_S = 240.0
# Stalls are seen sooner than with the card's own timeout; the kernel looks every half of it.
WATCHDOG_MS = 5000
WATCHDOG_PER_WAIT = 2
NAME_LIMIT = 40
MESSAGE_LIMIT = 1000
FIGURE_LIMIT = 1e15
CRASH = re.compile(
    r"^.*(?:\bBUG: |\bOops\b|Kernel panic|\bWARNING: |soft lockup|hard LOCKUP|self-detected stall"
    r"|detected stalls|blocked for more than).*$",
    re.MULTILINE,
)
# An emulator that damaged the guest's code, rather than anything that the guest did.
DAMAGED = re.compile(r"Oops: int3|int3: 0000")

OnCheck = Callable[[VerifyStage, Check], None]


@dataclass(frozen=True, slots=True)
class TrialResult:
    """The two stages, and on what they ran; ``release`` and ``build_id`` are the guest kernel's."""

    kernel: StageReport
    dynamic: StageReport
    release: str
    build_id: str
    accelerator: str


class _Listener:
    """Takes down what the guest says."""

    def __init__(self, on_check: OnCheck) -> None:
        self._on_check = on_check
        self.release = ""
        self.build_id = ""
        self.broken = ""
        self.ended = False
        self.now: tuple[VerifyStage, str] | None = None
        self.checks: dict[VerifyStage, list[Check]] = {
            VerifyStage.KERNEL: [],
            VerifyStage.DYNAMIC: [],
        }
        self.dynamic_at = 0.0

    def hear(self, text: str) -> bool:
        """Take one line; false when nothing more is wanted."""
        try:
            return self._take(Fields(json.loads(text)))
        except (ValueError, RecursionError):
            self.broken = f"the guest spoke nonsense: {text[:80]!r}"
            return False

    def _take(self, fields: Fields) -> bool:
        match fields.text("event", NAME_LIMIT):
            case "hello":
                self.release = fields.text("release", NAME_LIMIT * 2)
                self.build_id = fields.text("build_id", NAME_LIMIT * 2)
            case "begin":
                stage = self._stage(fields)
                self.now = (stage, fields.text("check", NAME_LIMIT))
                if stage is VerifyStage.DYNAMIC and not self.dynamic_at:
                    self.dynamic_at = time.monotonic()
            case "check":
                self.add(self._stage(fields), _check(fields))
            case "broken":
                self.broken = fields.text("message", MESSAGE_LIMIT)
                return False
            case "end":
                self.ended = True
                return False
        return True

    def _stage(self, fields: Fields) -> VerifyStage:
        stage = fields.text("stage", NAME_LIMIT)
        if stage not in (VerifyStage.KERNEL, VerifyStage.DYNAMIC):
            raise BadField(f"{stage!r} is no stage of a trial")
        return VerifyStage(stage)

    def add(self, stage: VerifyStage, check: Check) -> None:
        """Note a check and tell of it."""
        self.checks[stage].append(check)
        self._on_check(stage, check)


def _check(fields: Fields) -> Check:
    return Check(
        name=fields.text("name", NAME_LIMIT),
        passed=fields.truth("passed"),
        message=fields.text("message", MESSAGE_LIMIT),
        figure=fields.number("figure", -FIGURE_LIMIT, FIGURE_LIMIT),
        unit=fields.text("unit", NAME_LIMIT),
        bound=fields.number("bound", -FIGURE_LIMIT, FIGURE_LIMIT),
        baseline=fields.number("baseline", -FIGURE_LIMIT, FIGURE_LIMIT),
    )


def run_trial(
    vm: MicroVm, trial_binary: bytes, data: bytes, card: Card, on_check: OnCheck
) -> TrialResult:
    """Try a policy and tell of each check as it is done; never raises for what the guest does."""
    started = time.monotonic()
    listener = _Listener(on_check)
    try:
        conf = configuration(card, objects.read_object(data))
        archive = initramfs.archive({"init": trial_binary}, {"policy.o": data, "trial.conf": conf})
        run = vm.run(archive, TIMEOUT_S, listener.hear)
    except (objects.ObjectError, BtfError, LookupError) as exc:
        listener.add(VerifyStage.KERNEL, Check("load", passed=False, message=str(exc)))
        run = MicroRun((), "", 0.0)
        listener.ended = True
    except NoMicroVm as exc:
        listener.broken = str(exc)
        run = MicroRun((), "", 0.0)
    trouble = _trouble(listener, run)
    if not trouble:
        _judge_end(listener, run)
    ended = time.monotonic()
    parted = listener.dynamic_at or ended
    kernel = _report(VerifyStage.KERNEL, listener, trouble, KERNEL_CHECKS, parted - started)
    if kernel.outcome is not StageOutcome.PASSED and not trouble:
        dynamic = StageReport(VerifyStage.DYNAMIC, StageOutcome.SKIPPED)
    else:
        names = (*DYNAMIC_CHECKS, CONSOLE_CHECK)
        dynamic = _report(VerifyStage.DYNAMIC, listener, trouble, names, ended - parted)
    return TrialResult(kernel, dynamic, listener.release, listener.build_id, vm.accelerator)


def _trouble(listener: _Listener, run: MicroRun) -> str:
    """Why the run says nothing about the policy, or nothing."""
    if listener.broken:
        return listener.broken
    if DAMAGED.search(run.console):
        return "the emulator damaged the guest's code"
    untouched = listener.now is None or listener.now[1] == BASELINE
    if untouched and not listener.ended:
        return f"the micro-VM was lost before the policy was loaded: {run.lost}"
    return ""


def _judge_end(listener: _Listener, run: MicroRun) -> None:
    """Turn the loss of the machine, and what its console says, into checks."""
    crash = CRASH.search(run.console)
    said = crash[0].strip()[:200] if crash else ""
    if run.lost and listener.now:
        stage, name = listener.now
        because = f"; its console says: {said}" if said else ""
        message = f"the machine was lost: {run.lost}{because}"
        listener.add(stage, Check(name, passed=False, message=message))
    if listener.now and listener.now[0] is VerifyStage.DYNAMIC:
        message = f"the kernel complained: {said}" if said else "the kernel had nothing to complain"
        listener.add(VerifyStage.DYNAMIC, Check(CONSOLE_CHECK, passed=not said, message=message))


def _report(
    stage: VerifyStage, listener: _Listener, trouble: str, names: Sequence[str], seconds: float
) -> StageReport:
    checks = tuple(listener.checks[stage])
    failed = [check for check in checks if not check.passed]
    if trouble:
        return StageReport(stage, StageOutcome.BROKEN, seconds, trouble, checks=checks)
    if failed:
        reason = f"{failed[0].name}: {failed[0].message}"
        return StageReport(stage, StageOutcome.FAILED, seconds, reason, checks=checks)
    missing = [name for name in names if name not in {check.name for check in checks}]
    if missing:
        reason = f"the trial ended without the check {missing[0]}"
        return StageReport(stage, StageOutcome.BROKEN, seconds, reason, checks=checks)
    return StageReport(stage, StageOutcome.PASSED, seconds, checks=checks)


def configuration(card: Card, about: objects.PolicyObject) -> bytes:
    """What the trial is told of the policy: one setting a line."""
    timeout_ms, max_wait_ms = limits(card)
    members = Btf(about.btf).members(objects.OPS_STRUCT)
    lines = [f"name {card.name}", f"timeout_ms {timeout_ms}", f"max_wait_ms {max_wait_ms}"]
    lines.append(f"timeout_offset {members['timeout_ms'].offset}")
    lines += [
        f"optional {members[name].offset} {name}"
        for name in objects.OPTIONAL_OPS
        if name in members
    ]
    lines += [f"honours {promise}" for promise in card.honours if promise in ("nice", "cpu.max")]
    for tunable in card.tunables:
        place = about.constant(tunable.name, tunable.type)
        values = [
            value & (1 << 8 * place.size) - 1
            for value in (tunable.default, tunable.minimum, tunable.maximum)
        ]
        numbers = " ".join(str(number) for number in (place.offset, place.size, *values))
        lines.append(f"constant {numbers} {tunable.role or '-'}")
    return "".join(f"{line}\n" for line in lines).encode()


def limits(card: Card) -> tuple[int, int]:
    """The watchdog's timeout and the longest wait that the trial allows, in milliseconds."""
    timeout_ms = min(card.timeout_ms, max(WATCHDOG_MS, WATCHDOG_PER_WAIT * card.max_wait_ms))
    return timeout_ms, card.max_wait_ms
