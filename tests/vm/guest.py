# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests ask of the machine: schedctl, the kernel's word, workloads, broken policies."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from lab import roots
from lab.command import Result
from lab.machine import PATIENCE_S, Machine
from lab.place import REPO

SCHED_EXT = "/sys/kernel/sched_ext"
# A compiler and a machine in the machine, both emulated, and by a host that may be busy.
VERIFIED_S = 900.0
SCHEDULERS = "/usr/lib/schedcp/schedulers"
COMPILE = (
    "cd /src/schedulers"
    " && clang @include/bpf.flags -isystem /usr/include/x86_64-linux-gnu/linux/bpf"
    " -c /src/tests/vm/policies/{name}.bpf.c -o /out/{name}.full.o"
    " && bpftool gen object /out/{name}.bpf.o /out/{name}.full.o"
)
CARD = """
name = "{name}"
version = "1"
title = "broken"
summary = "Broken on purpose."
suits = ["tests"]
fails = ["always"]
class = "standalone"
min_kernel = "6.16"
requires_kfuncs = []
honours = []
ignores = []
timeout_ms = {timeout_ms}
"""

SIGN = """
import os, sys, time
from pathlib import Path
from schedcpd import token
from schedcpd.kernel.topology import read_topology

name, now = sys.argv[1], int(time.time())
state, folder = Path("/var/lib/schedcp-verify"), Path("/usr/lib/schedcp/schedulers") / name
btf = Path("/sys/kernel/btf/vmlinux").read_bytes()
signed = token.Token(
    policy=name,
    object_sha256=token.sha256((folder / f"{name}.bpf.o").read_bytes()),
    card_sha256=token.sha256((folder / f"{name}.toml").read_bytes()),
    machine=token.read_machine(os.uname().release, btf, read_topology()),
    report_sha256=token.sha256(b"no report"),
    parameters={},
    issued_at=now,
    expires_at=now + 3600,
)
new = state / "tokens" / ".new"
new.write_bytes(token.sign(signed, (state / "private.key").read_bytes()))
new.rename(state / "tokens" / f"{name}.token")
"""

# How the daemon's log says that a policy has won its canary, or that it is out before that.
WON = ("it is better", "it is not clearly worse")
DECIDED = ": canary: | detached| taken off| is in quarantine"


def schedctl(
    machine: Machine,
    *words: str,
    user: str = "root",
    check: bool = True,
    timeout_s: float = PATIENCE_S,
) -> Result:
    """Run schedctl in the machine."""
    return machine.run(["schedctl", *words], user=user, check=check, timeout_s=timeout_s)


def asked(machine: Machine, *words: str, user: str = "root") -> Any:
    """What schedctl prints with --json."""
    return json.loads(schedctl(machine, *words, "--json", user=user).stdout)


def policy(machine: Machine) -> str:
    """The attached scheduler in the kernel's own words; empty for its default."""
    return machine.run(f"cat {SCHED_EXT}/root/ops 2>/dev/null || true").stdout.strip()


def deployments(machine: Machine, workload: str) -> list[dict[str, Any]]:
    """The deployments made for a workload, oldest first."""
    found: list[dict[str, Any]] = asked(machine, "show", workload)["deployments"]
    return found


def await_daemon(machine: Machine) -> None:
    """Wait until the daemon answers."""
    machine.wait_for(lambda: schedctl(machine, "status", check=False).exit_code == 0)


def await_state(machine: Machine, workload: str, state: str) -> None:
    """Wait until the daemon knows a workload and says that it is in that state."""

    def reached() -> bool:
        shown = schedctl(machine, "show", workload, "--json", check=False)
        return shown.exit_code == 0 and json.loads(shown.stdout)["state"] == state

    machine.wait_for(reached)


def await_end(machine: Machine, workload: str) -> dict[str, Any]:
    """Wait until the last deployment for a workload is over, and return it."""
    machine.wait_for(lambda: deployments(machine, workload)[-1]["ended_at"] > 0)
    return deployments(machine, workload)[-1]


def start_idle(machine: Machine, unit: str = "idle", user: str = "user") -> str:
    """Start a service that sleeps, wait until the daemon knows it, and return its name."""
    machine.start(["sleep", "1000"], unit=unit, user=user)
    name = f"{unit}.service"
    machine.wait_for(lambda: name in schedctl(machine, "list").stdout)
    return name


def start_sequential(machine: Machine) -> str:
    """Start one process that computes, for which the built-in planner does nothing; its name."""
    machine.start("exec sha256sum /dev/zero", unit="sequential", user="user")
    await_state(machine, "sequential.service", "left-alone")
    return "sequential.service"


def start_batch(machine: Machine, unit: str = "batch") -> str:
    """Start 9 processes that compute for a long time in a service of their own."""
    job = (
        "xz -1 --threads=1 --stdout /usr/bin/python3.13 /usr/lib/x86_64-linux-gnu/*.so* >/dev/null"
    )
    machine.start(f"for i in $(seq 9); do {job} & done; wait", unit=unit, user="user")
    return f"{unit}.service"


def await_policy(machine: Machine, name: str, timeout_s: float = PATIENCE_S) -> None:
    """Wait until the kernel says that the policy of that name is attached."""

    def attached() -> bool:
        return policy(machine) == name

    machine.wait_for(attached, timeout_s, interval_s=1.0)


def await_promotion(machine: Machine, name: str) -> None:
    """Wait until the policy of that name has got through its canary; fail at once if it has not.

    In the machine and in long steps: looking costs CPU, and the canary counts what a batch gets.
    """
    said = f"journalctl --quiet --output=cat --unit=schedcpd --grep='{name}({DECIDED})'"
    told = machine.run(f"until {said}; do sleep 3; done", timeout_s=2 * PATIENCE_S).stdout
    first = told.partition("\n")[0]
    assert any(f"{name}: canary: {won}" in first for won in WON), told


def await_default(machine: Machine, timeout_s: float = PATIENCE_S) -> None:
    """Wait until the kernel says that no sched_ext scheduler is attached."""
    machine.wait_for(f"grep -qx disabled {SCHED_EXT}/state", timeout_s)


def seconds_to_default(machine: Machine, command: str) -> float:
    """Run a command in the machine and return how long the kernel took to its default from then."""
    script = f"""
    {command}
    begin=$(date +%s%N)
    # Without a process for each look, which an emulated machine takes long to start.
    until read -r state <{SCHED_EXT}/state && [ "$state" = disabled ]; do :; done
    echo $(( $(date +%s%N) - begin ))
    """
    return int(machine.run(script).stdout) / 1e9


def install_policy(machine: Machine, name: str, timeout_ms: int = 5000) -> None:
    """Compile a broken policy, install it and sign a token for it with the verifier's key.

    The verifier itself would refuse it: what is tested with it is what catches a policy later. With
    a short timeout that is the kernel, with a longer one the daemon may be faster. Its timer, due
    when the machine was saved long ago, would have it take the token away.
    """
    machine.run(["systemctl", "stop", "schedcp-verify.timer", "schedcp-verify.service"])
    with tempfile.TemporaryDirectory() as place:
        out = Path(place)
        done = roots.run_in_root(
            ["sh", "-c", COMPILE.format(name=name)],
            binds={REPO: "/src", out: "/out"},
            capture=True,
        )
        assert done.returncode == 0, done.stderr
        folder = f"{SCHEDULERS}/{name}"
        machine.run(["mkdir", "-p", folder])
        machine.copy_in(out / f"{name}.bpf.o", f"{folder}/{name}.bpf.o")
        (out / "card").write_text(CARD.format(name=name, timeout_ms=timeout_ms))
        machine.copy_in(out / "card", f"{folder}/{name}.toml")
    machine.run(["python3", "-c", SIGN, name])
    machine.wait_for(lambda: name in schedctl(machine, "policies").stdout)
