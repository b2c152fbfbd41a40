# SPDX-License-Identifier: GPL-2.0-or-later
"""``schedctl doctor``: what keeps schedcp from doing its work here, one check a line."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from schedclient.errors import KERNELS, ClientError
from schedclient.exit import ExitCode
from schedclient.objects import Machine, Policy, as_json
from schedcpd import __version__
from schedcpd.kernel.sched_ext import isolates_domains, read_state
from schedcpd.model import KernelState
from schedctl.context import Context
from schedctl.report import listing

# Units that attach schedulers, or turn the same knobs.
TUNERS = (
    "ananicy-cpp.service",
    "ananicy.service",
    "com.system76.Scheduler.service",
    "scx.service",
    "scx_loader.service",
    "tuned.service",
)


class Result(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"  # it works, but not all of it, or not for long
    FAIL = "fail"  # schedcp cannot attach a policy


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor."""

    check: str
    result: Result
    message: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What the checks look at."""

    kernel: KernelState
    btf: str  # why it cannot be read, or empty
    command_line: str
    pressure: bool
    tuners: tuple[str, ...]
    machine: Machine | None  # None without the daemon
    policies: tuple[Policy, ...]
    daemon_error: str
    verifier: bool = True  # whether its socket is there
    runner: bool = True  # whether the socket of who runs foreign schedulers is there


async def run(context: Context, _: Namespace) -> ExitCode:
    """Run every check; the exit status is 1 when one failed."""
    facts = await gather(context)
    checks = [examine(facts) for examine in CHECKS]
    if context.json:
        context.report.json(as_json(checks))
    else:
        write(context, checks)
    return ExitCode.ERROR if any(one.result is Result.FAIL for one in checks) else ExitCode.OK


def write(context: Context, checks: Sequence[Check]) -> None:
    """Write a line a check, wrapped beside its name."""
    for one in checks:
        context.report.marked(one.result, one.check, one.message)


async def gather(context: Context) -> Facts:
    """Look at the machine, and ask the daemon if it is there."""
    machine: Machine | None = None
    policies: tuple[Policy, ...] = ()
    error = ""
    try:
        async with context.daemon() as daemon:
            machine = await daemon.machine()
            policies = await daemon.policies()
    except ClientError as failure:
        error = failure.sentence
    return Facts(
        kernel=read_state(context.sys / "kernel/sched_ext"),
        btf=_unreadable(context.sys / "kernel/btf/vmlinux"),
        command_line=_text(context.proc / "cmdline"),
        pressure=bool(_text(context.proc / "pressure/cpu")),
        tuners=tuple(
            unit for unit in TUNERS if (context.sys / "fs/cgroup/system.slice" / unit).is_dir()
        ),
        machine=machine,
        policies=policies,
        daemon_error=error,
        verifier=(context.run / "schedcp-verify.sock").exists(),
        runner=(context.run / "schedcp-foreign.sock").exists(),
    )


def _unreadable(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        return error.strerror or "it cannot be read"
    return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # absent, or PSI is switched off
        return ""


def sched_ext(facts: Facts) -> Check:
    """Whether the kernel has sched_ext."""
    if facts.kernel.supported:
        return Check("sched_ext", Result.OK, f"the kernel has it; it is {facts.kernel.state}")
    return Check("sched_ext", Result.FAIL, f"this kernel has none; {KERNELS}")


def btf(facts: Facts) -> Check:
    """Whether the kernel tells its types, which every policy is fitted to."""
    if not facts.btf:
        return Check("BTF", Result.OK, "/sys/kernel/btf/vmlinux is readable")
    words = f"/sys/kernel/btf/vmlinux: {facts.btf}; Debian's own kernels have it"
    return Check("BTF", Result.FAIL, words)


def isolcpus(facts: Facts) -> Check:
    """Whether isolcpus= makes the kernel refuse every policy."""
    if isolates_domains(facts.command_line):
        words = "isolcpus= on the kernel command line: the kernel refuses every policy; remove it"
        return Check("isolcpus", Result.FAIL, words)
    return Check("isolcpus", Result.OK, "no CPUs are isolated from scheduling")


def pressure(facts: Facts) -> Check:
    """Whether the kernel tells of CPU pressure, which is what wakes the daemon."""
    if facts.pressure:
        return Check("PSI", Result.OK, "the kernel tells of CPU pressure")
    words = "there is no /proc/pressure/cpu, so no workload is noticed; boot with psi=1"
    return Check("PSI", Result.FAIL, words)


def daemon(facts: Facts) -> Check:
    """Whether the daemon answers on the bus."""
    if facts.machine is None:
        return Check("daemon", Result.FAIL, facts.daemon_error)
    if facts.machine.mode == "paused":
        return Check("daemon", Result.WARN, "paused; let it decide again with: schedctl resume")
    if facts.machine.mode == "safe":
        words = f"in safe mode: {facts.machine.safe}; let it decide again with: schedctl resume"
        return Check("daemon", Result.FAIL, words)
    return Check("daemon", Result.OK, f"schedcpd answers, in mode {facts.machine.mode}")


def versions(facts: Facts) -> Check:
    """Whether daemon and client are of one version."""
    if facts.machine is None:
        return Check("versions", Result.WARN, f"schedctl is {__version__}; there is no daemon")
    if facts.machine.version == __version__:
        return Check("versions", Result.OK, f"schedcpd and schedctl are both {__version__}")
    words = (
        f"schedcpd is {facts.machine.version}, schedctl {__version__}; "
        "sudo systemctl restart schedcpd"
    )
    return Check("versions", Result.WARN, words)


def policies(facts: Facts) -> Check:
    """Whether the loader would take the policies."""
    if facts.machine is None:
        return Check("policies", Result.WARN, "only the daemon can tell")
    if not facts.policies:
        words = "none in /usr/lib/schedcp/schedulers; reinstall the package schedcp"
        return Check("policies", Result.FAIL, words)
    verified = [one for one in facts.policies if one.kind == "bpf"]
    refused = [one for one in verified if not one.admissible]
    if not refused:
        names = listing(one.name for one in verified)
        return Check("policies", Result.OK, f"{names} may be loaded")
    reasons = "; ".join(f"{one.name}: {one.token}" for one in refused)
    result = Result.FAIL if len(refused) == len(verified) else Result.WARN
    words = f"{reasons}; have them verified with: sudo systemctl start schedcp-verify"
    return Check("policies", result, words)


def programs(facts: Facts) -> Check:
    """Whether the installed schedulers of others can be applied."""
    if facts.machine is None:
        return Check("foreign", Result.WARN, "only the daemon can tell")
    found = [one for one in facts.policies if one.kind == "foreign"]
    refused = [one for one in found if one.enrolled and not one.admissible]
    if refused:
        reasons = "; ".join(f"{one.name}: {one.token}" for one in refused)
        return Check("foreign", Result.WARN, reasons)
    if not facts.runner and any(one.enrolled for one in found):
        words = "nothing would run them; start it with: sudo systemctl start schedcp-foreign.socket"
        return Check("foreign", Result.WARN, words)
    told = (f"{one.name} ({'not enrolled' if one.unknown else 'enrolled'})" for one in found)
    return Check("foreign", Result.OK, listing(told) or "no scheduler of others is installed")


def verifier(facts: Facts) -> Check:
    """Whether the verifier waits for work."""
    if facts.verifier:
        return Check("verifier", Result.OK, "it waits for work")
    words = (
        "its socket is missing, so nothing can be verified; start it with: "
        "sudo systemctl start schedcp-verify.socket"
    )
    return Check("verifier", Result.WARN, words)


def attaching(facts: Facts) -> Check:
    """Whether the daemon sees something that keeps it from attaching, as CPU limits."""
    if facts.machine is None:
        return Check("attaching", Result.WARN, "only the daemon can tell")
    if facts.machine.unusable:
        return Check("attaching", Result.FAIL, facts.machine.unusable)
    return Check("attaching", Result.OK, "the daemon sees nothing in the way")


def holds(facts: Facts) -> Check:
    """Whether somebody keeps automation off."""
    if facts.machine is None:
        return Check("holds", Result.WARN, "only the daemon can tell")
    if not facts.machine.holds:
        return Check("holds", Result.OK, "nobody keeps automation off")
    held = "; ".join(f"user {one.uid}: {one.reason}" for one in facts.machine.holds)
    return Check("holds", Result.WARN, f"automation is kept off by {held}")


def foreign(facts: Facts) -> Check:
    """Whether somebody else's scheduler is attached."""
    policy = facts.kernel.policy
    ours = facts.machine is not None and facts.machine.owner == "schedcp"
    if policy and not ours:
        words = f"{policy!r} is attached by somebody else; schedcp waits until it is gone"
        return Check("scheduler", Result.WARN, words)
    return Check("scheduler", Result.OK, f"{policy or 'the kernel default'} schedules")


def tuners(facts: Facts) -> Check:
    """Whether other tuners run."""
    if not facts.tuners:
        return Check("tuners", Result.OK, "no other tuner runs")
    words = f"{listing(facts.tuners)} may turn the same knobs; run one of them or schedcp"
    return Check("tuners", Result.WARN, words)


CHECKS: tuple[Callable[[Facts], Check], ...] = (
    sched_ext,
    btf,
    isolcpus,
    pressure,
    daemon,
    versions,
    policies,
    programs,
    verifier,
    attaching,
    holds,
    foreign,
    tuners,
)
