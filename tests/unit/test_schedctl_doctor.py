# SPDX-License-Identifier: GPL-2.0-or-later
"""Each check of the doctor, made to pass, warn and fail."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schedclient.objects import Hold, Machine, Policy
from schedcpd import __version__
from schedcpd.model import KernelState
from schedctl.actions import doctor
from schedctl.actions.doctor import CHECKS, Facts, Result
from schedctl.context import Context
from schedctl.report import Report

MACHINE = Machine(
    __version__, "7.3.4", "auto", "", "enabled", "", "kernel-default", "", 1, "/", "/", {}, 2, ()
)
HOLD = Hold(1, ":1.7", 1000, "", "a match", 0.0)
POLICY = Policy(
    *("scx_batch", "1", "", "", (), (), (), (), "6.16", 3000, True, ""),
    *(True, "valid", False, (), {}),
)
HEALTHY = Facts(
    kernel=KernelState(True, "disabled", "", 0, 0, 0),
    btf="",
    command_line="quiet splash",
    pressure=True,
    tuners=(),
    machine=MACHINE,
    policies=(POLICY,),
    daemon_error="",
)
FOREIGN = replace(
    POLICY, name="scx_lavd", kind="foreign", enrolled=True, admissible=False, token="changed"
)
INSTALLED = replace(FOREIGN, enrolled=False, token="not enrolled")
REFUSED = replace(POLICY, admissible=False, token="expired")


def results(facts: Facts) -> dict[str, Result]:
    return {one.check: one.result for one in (examine(facts) for examine in CHECKS)}


def test_a_healthy_machine() -> None:
    assert set(results(HEALTHY).values()) == {Result.OK}


@pytest.mark.parametrize(
    ("check", "result", "change"),
    [
        ("sched_ext", "fail", {"kernel": KernelState(False, "absent", "", 0, 0, 0)}),
        ("BTF", "fail", {"btf": "No such file or directory"}),
        ("isolcpus", "fail", {"command_line": "quiet isolcpus=1"}),
        ("PSI", "fail", {"pressure": False}),
        ("daemon", "fail", {"machine": None, "daemon_error": "it is not running"}),
        ("daemon", "warn", {"machine": replace(MACHINE, mode="paused")}),
        ("policies", "ok", {"policies": (POLICY, FOREIGN)}),
        ("foreign", "warn", {"policies": (POLICY, FOREIGN)}),
        ("foreign", "ok", {"policies": (POLICY, INSTALLED), "runner": False}),
        ("foreign", "ok", {"policies": (replace(FOREIGN, admissible=True),)}),
        ("foreign", "warn", {"policies": (replace(FOREIGN, admissible=True),), "runner": False}),
        ("daemon", "fail", {"machine": replace(MACHINE, mode="safe", safe="power")}),
        ("holds", "warn", {"machine": replace(MACHINE, holds=(HOLD,))}),
        ("holds", "warn", {"machine": None}),
        ("verifier", "warn", {"verifier": False}),
        ("versions", "warn", {"machine": replace(MACHINE, version="9.9")}),
        ("policies", "fail", {"policies": ()}),
        ("policies", "fail", {"policies": (REFUSED,)}),
        ("policies", "warn", {"policies": (POLICY, REFUSED)}),
        ("attaching", "fail", {"machine": replace(MACHINE, unusable="cpu.max is set")}),
        ("scheduler", "warn", {"kernel": KernelState(True, "enabled", "lavd", 0, 0, 0)}),
        ("tuners", "warn", {"tuners": ("tuned.service",)}),
    ],
)
def test_what_is_wrong_is_found(check: str, result: str, change: dict[str, Any]) -> None:
    facts = replace(HEALTHY, **change)
    assert results(facts)[check] == result
    (message,) = (
        one.message for one in (examine(facts) for examine in CHECKS) if one.check == check
    )
    assert message


def test_our_own_policy_is_not_foreign() -> None:
    kernel = KernelState(True, "enabled", "scx_batch", 0, 0, 0)
    ours = replace(HEALTHY, kernel=kernel, machine=replace(MACHINE, owner="schedcp"))
    assert results(ours)["scheduler"] is Result.OK


async def test_looks_at_the_machine(tmp_path: Path) -> None:
    sys, proc = tmp_path / "sys", tmp_path / "proc"
    (sys / "fs/cgroup/system.slice/tuned.service").mkdir(parents=True)
    (sys / "kernel/sched_ext/root").mkdir(parents=True)
    (sys / "kernel/sched_ext/state").write_text("enabled\n")
    (sys / "kernel/sched_ext/root/ops").write_text("lavd\n")
    (proc / "pressure").mkdir(parents=True)
    (tmp_path / "schedcp-verify.sock").touch()
    (proc / "pressure/cpu").write_text("some avg10=0.00\n")
    (proc / "cmdline").write_text("isolcpus=1\n")
    report = Report(io.StringIO(), 80, colour=False)
    context = Context(
        report, report, bus_address="unix:path=/nonexistent", sys=sys, proc=proc, run=tmp_path
    )
    facts = await doctor.gather(context)
    assert facts.kernel.policy == "lavd"
    assert facts.btf == "No such file or directory"
    assert facts.command_line == "isolcpus=1\n"
    assert facts.pressure
    assert facts.verifier
    assert facts.tuners == ("tuned.service",)
    assert "the system bus cannot be reached" in facts.daemon_error
