#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs in a micro-VM: verify both policies on this kernel, attach each, work under it, let go.

Prints one JSON object: for each policy the name of the first check that failed, or an empty string,
and what the loader measured. Standard library only; speaks with the loader as the daemon does.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SCHED_EXT = Path("/sys/kernel/sched_ext")
SCHEDULERS = "/usr/lib/schedcp/schedulers"
STATE = Path("/run/verify")
BATCH = Path("/sys/fs/cgroup/batch")
POLICIES = ("scx_fair", "scx_batch")
WORK_S = 1.5
CPUS = os.cpu_count() or 1


class Failed(Exception):
    """A check failed; the text says which and how."""


class Child:
    """A loader that holds one policy."""

    def __init__(self, policy: str, parameters: dict[str, int]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-m", "schedcpd.deploy.load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        request = {
            "policy": policy,
            "schedulers": SCHEDULERS,
            "tokens": str(STATE / "tokens"),
            "public_key": str(STATE / "public.key"),
            "parameters": parameters,
            "settle_s": 0.3,
            "check_only": False,
            "sched_ext": str(SCHED_EXT),
        }
        self.attached = self.ask(request)
        if self.attached["event"] != "attached":
            raise Failed(f"attach: {self.attached.get('reason')}")

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send one line and read the answer."""
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(message), file=self._process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._process.stdout.readline() or '{"event": "died"}')
        return answer

    def kill(self) -> None:
        """End it as the kernel's OOM killer would."""
        self._process.kill()
        self._process.wait()


def spin(seconds: float) -> int:
    """Use a CPU for some time in a process of its own, counting rounds."""
    rounds, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        rounds += sum(range(100))
    return rounds


def spawn(cpu: int | None, nice: int, cgroup: Path | None) -> int:
    """Start a spinning process, pinned or niced or moved to a cgroup; its pid."""
    pid = os.fork()
    if pid:
        return pid
    if cgroup:
        (cgroup / "cgroup.procs").write_text("0")
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    os.setpriority(os.PRIO_PROCESS, 0, nice)
    spin(WORK_S)
    os._exit(0)


def work() -> None:
    """Hogs of two weights, one pinned to each CPU, a batch, short-lived forks; all must end."""
    pids = [spawn(None, nice, None) for nice in (0, 0, 10, 19)]
    pids += [spawn(cpu, 0, None) for cpu in range(CPUS)]
    pids += [spawn(None, 0, BATCH) for _ in range(6)]
    for _ in range(30):
        subprocess.run(["/bin/true"], check=True)
    for pid in pids:
        _, status = os.waitpid(pid, 0)
        if status:
            raise Failed(f"work: a process ended with wait status {status}")


def await_default() -> None:
    """Wait until the kernel's default scheduler is back."""
    deadline = time.monotonic() + 5
    while (SCHED_EXT / "state").read_text().strip() != "disabled":
        if time.monotonic() > deadline:
            raise Failed("the kernel default did not come back within 5 s")


def exercise(policy: str) -> dict[str, float]:
    """Attach, work, detach with a clean exit; attach again and die; what it took in ms."""
    parameters = {}
    if policy == "scx_batch":
        parameters = {"batch_cgid": BATCH.stat().st_ino, "batch_level": 1}
    child = Child(policy, parameters)
    work()
    status = child.ask({"command": "status"})
    if status["event"] != "status" or status["exit"] is not None:
        raise Failed(f"ejected under work: {status}")
    if not status["counters"]["nr_enqueued"]:
        raise Failed("the policy scheduled nothing")
    if policy == "scx_batch" and not status["counters"]["nr_batch_enqueued"]:
        raise Failed("the policy did not know its batch")
    detached = child.ask({"command": "detach"})
    if (detached.get("exit") or {}).get("kind") != 64:
        raise Failed(f"detach: {detached}")
    await_default()
    again = Child(policy, parameters)
    began = time.monotonic()
    again.kill()
    await_default()
    return {
        "load_ms": child.attached["load_ms"],
        "attach_ms": child.attached["attach_ms"],
        "killed_ms": (time.monotonic() - began) * 1000,
    }


def main() -> None:
    """Verify, then exercise what got a token."""
    signal.alarm(100)
    STATE.mkdir(exist_ok=True)
    BATCH.mkdir()
    verify = [sys.executable, "-I", "-m", "schedcpd.verify", "--state", str(STATE)]
    said = subprocess.run(verify, check=True, capture_output=True, text=True).stdout
    verdicts = dict(line.split(": ", 1) for line in said.splitlines())
    results = {}
    for policy in POLICIES:
        result: dict[str, Any] = {"verdict": verdicts.get(policy, said), "failed": "", "ms": {}}
        if result["verdict"] == "token signed":
            try:
                result["ms"] = exercise(policy)
            except Failed as exc:
                result["failed"] = str(exc)
        results[policy] = result
    print(json.dumps({"kernel": os.uname().release, "policies": results}))


if __name__ == "__main__":
    main()
