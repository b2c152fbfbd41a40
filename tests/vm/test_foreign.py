# SPDX-License-Identifier: GPL-2.0-or-later
"""A scheduler of somebody else, enrolled, run, and ended in every way there is."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from lab import roots
from lab.machine import Machine
from lab.place import REPO
from vm.guest import (
    COMPILE,
    asked,
    await_default,
    deployments,
    policy,
    schedctl,
    seconds_to_default,
    start_idle,
)

NAME = "scx_visitor"
PROGRAM = f"/usr/local/bin/{NAME}"
CARD = f"/etc/schedcp/foreign.d/{NAME}.toml"
BUILD = (
    f"gcc -O2 -Wall -Wextra -Werror -o /out/{NAME} /src/tests/vm/foreign/{NAME}.c -lbpf"
    f" && {COMPILE.format(name='scx_stall')}"
)
FIND = f"program=$(pgrep --full --oldest '^{PROGRAM} ')"
RUNNER = "pgrep --full '^/usr/bin/python3 -I -m schedcpd.deploy.foreign'"
FIND_RUNNER = f"runner=$({RUNNER})"
FIND_DAEMON = "daemon=$(systemctl show --value -p MainPID schedcpd)"


@pytest.fixture
def visited(machine: Machine) -> Machine:
    """A machine on which the scheduler is installed, and enrolled with its arguments."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place)
        done = roots.run_in_root(
            ["sh", "-c", BUILD], binds={REPO: "/src", out: "/out"}, capture=True
        )
        assert done.returncode == 0, done.stderr
        machine.run(["mkdir", "-p", f"/usr/local/lib/{NAME}"])
        machine.copy_in(out / NAME, PROGRAM)
        machine.copy_in(out / "scx_stall.bpf.o", f"/usr/local/lib/{NAME}/scx_stall.bpf.o")
    machine.run(["chmod", "755", PROGRAM])
    machine.copy_in(REPO / "tests/vm/foreign/card.toml", "/tmp/arguments")
    schedctl(machine, "enroll-foreign", PROGRAM)
    machine.run(f"cat /tmp/arguments >>{CARD}")
    machine.wait_for(f"schedctl policies {NAME} --json | grep -q '\"level\"'")
    return machine


def test_enrolled_applied_and_reverted(visited: Machine) -> None:
    workload = start_idle(visited)
    shown = asked(visited, "policies", NAME)
    assert (shown["kind"], shown["admissible"]) == ("foreign", True)
    assert schedctl(visited, "doctor").exit_code == 0
    schedctl(visited, "apply", workload, NAME, "--set", "level=7")
    assert policy(visited) == "visitor_1.0_7"
    status = asked(visited, "status")
    assert (status["kernel"]["owner"], status["active"]["kind"]) == ("schedcp", "foreign")
    schedctl(visited, "apply", workload, NAME, "--set", "level=8")
    assert policy(visited) == "visitor_1.0_8"
    schedctl(visited, "revert")
    assert policy(visited) == ""
    first, second = deployments(visited, workload)
    assert (first["state"], second["state"]) == ("reverted", "reverted")
    # From the kernel's log, which systemd has opened for its runner.
    assert (second["exit_kind"], second["exit_reason"]) == (64, "unregistered from user space")
    said = "journalctl --identifier=schedcp-foreign --output=cat"
    visited.wait_for(f"{said} | grep -q 'visitor attached at level 8'")
    visited.wait_for(f"! {RUNNER}")
    assert "schedcp" not in visited.run(["systemctl", "--failed", "--plain"]).stdout


def test_in_its_sandbox(visited: Machine) -> None:
    schedctl(visited, "apply", start_idle(visited), NAME)
    bounds = visited.run(f"{FIND}; sed -n 's/^CapEff:\\s*//p' /proc/$program/status").stdout
    # CAP_SYS_NICE, CAP_PERFMON and CAP_BPF
    assert int(bounds, 16) == 1 << 23 | 1 << 38 | 1 << 39
    assert "SCHED_FIFO" not in visited.run(f"{FIND}; chrt --pid $program").stdout
    assert "SCHED_FIFO" in visited.run(f"{FIND_RUNNER}; chrt --pid $runner").stdout
    opened = visited.run(f"{FIND}; readlink /proc/$program/fd/*").stdout
    assert "kmsg" not in opened
    inside = f"{FIND}; nsenter --mount --target $program"
    written = visited.run(f"{inside} touch /usr/x /etc/x", check=False).stderr
    assert written.count("Read-only file system") == 2


LONG = pytest.mark.long


@pytest.mark.parametrize(
    "victim", ["program", pytest.param("runner", marks=LONG), pytest.param("daemon", marks=LONG)]
)
def test_killed_program_runner_or_daemon_gives_the_default_back(
    visited: Machine, victim: str
) -> None:
    schedctl(visited, "apply", start_idle(visited), NAME)
    find = {"program": FIND, "runner": FIND_RUNNER, "daemon": FIND_DAEMON}[victim]
    assert seconds_to_default(visited, f"{find}; kill -9 ${victim}") < 1.0
    visited.wait_for(lambda: schedctl(visited, "status", check=False).exit_code == 0)
    visited.wait_for(f"! pgrep --full '^{PROGRAM} '")
    assert asked(visited, "quarantine") == []


@LONG
def test_one_that_does_not_end_is_killed(visited: Machine) -> None:
    schedctl(visited, "apply", start_idle(visited), NAME, "--set", "deaf=yes")
    schedctl(visited, "revert")
    assert policy(visited) == ""
    visited.wait_for(f"! pgrep --full '^{PROGRAM} '")


@LONG
def test_the_kernel_ejects_it(visited: Machine) -> None:
    workload = start_idle(visited)
    visited.start("exec sha256sum /dev/zero", unit="victim", user="user")
    schedctl(visited, "apply", workload, NAME, "--set", "object=stall", check=False)
    await_default(visited)
    visited.wait_for(lambda: deployments(visited, workload)[0]["ended_at"] > 0)
    (ended,) = deployments(visited, workload)
    # The circuit breaker may be faster than the kernel's watchdog.
    assert ended["state"] in ("ejected", "failed", "tripped")
    if ended["state"] != "tripped":
        assert ended["exit_kind"] == 1026
        assert ended["exit_message"]
    (harm,) = asked(visited, "quarantine")
    assert harm["policy"] == NAME
    again = schedctl(visited, "apply", workload, NAME, check=False)
    assert again.exit_code == 7


def test_a_changed_program_is_not_run(visited: Machine) -> None:
    workload = start_idle(visited)
    visited.run(f"printf x >>{PROGRAM}")
    refused = schedctl(visited, "apply", workload, NAME, check=False)
    assert refused.exit_code == 7
    assert f"sudo schedctl enroll-foreign {PROGRAM}" in refused.stderr
    assert policy(visited) == ""
    schedctl(visited, "enroll-foreign", PROGRAM)
    visited.wait_for(lambda: schedctl(visited, "apply", workload, NAME, check=False).exit_code == 0)
    assert policy(visited) == "visitor_1.0_3"


def test_removing_the_card_takes_it_off(visited: Machine) -> None:
    schedctl(visited, "apply", start_idle(visited), NAME)
    visited.run(["rm", CARD])
    await_default(visited)
    assert "not enrolled" in asked(visited, "policies", NAME)["token"]


def test_only_root_enrolls_and_others_are_asked_for_a_password(visited: Machine) -> None:
    refused = schedctl(visited, "enroll-foreign", PROGRAM, user="user", check=False)
    assert refused.exit_code == 4
    workload = start_idle(visited)
    refused = schedctl(visited, "apply", workload, NAME, user="user", check=False)
    assert refused.exit_code == 4
    assert policy(visited) == ""
