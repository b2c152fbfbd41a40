# SPDX-License-Identifier: GPL-2.0-or-later
"""The installed packages: their services, their files, and how they go."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.image import built_with
from lab.machine import PATIENCE_S, Machine
from vm.guest import SCHED_EXT, asked, await_default, policy, schedctl, start_idle


def test_services_run_and_nothing_failed(machine: Machine) -> None:
    assert machine.run(["systemctl", "is-active", "schedcpd"]).stdout.strip() == "active"
    failed = machine.run(["systemctl", "--failed", "--plain", "--no-legend"]).stdout
    assert "schedcp" not in failed
    # The daemon answers before it has checked the policies.
    machine.wait_for(lambda: schedctl(machine, "doctor", check=False).exit_code == 0)
    assert policy(machine) == ""


@pytest.mark.parametrize("service", ["schedcpd", "schedcp-agent"])
def test_services_cannot_change_the_system(machine: Machine, service: str) -> None:
    inside = f"nsenter --mount --target $(systemctl show --value --property=MainPID {service})"
    said = machine.run(f"{inside} touch /etc/x /usr/x /usr/lib/x", check=False).stderr
    assert said.count("Read-only file system") == 3, said


def test_private_key_belongs_to_the_verifier_alone(machine: Machine) -> None:
    found = machine.run(["stat", "-c", "%U %a", "/var/lib/schedcp-verify/private.key"]).stdout
    assert found.split() == ["schedcp-verify", "600"]


def test_daemon_runs_in_real_time_and_its_children_do_not(machine: Machine) -> None:
    pid = machine.run(["systemctl", "show", "--value", "-p", "MainPID", "schedcpd"]).stdout.strip()
    shown = machine.run(["chrt", "--pid", pid]).stdout
    assert "SCHED_FIFO|SCHED_RESET_ON_FORK" in shown


def test_man_page_and_completion_are_there(machine: Machine) -> None:
    machine.run("test -s /usr/share/bash-completion/completions/schedctl")
    listed = machine.run("dpkg -L schedcp").stdout
    assert "/usr/share/man/man1/schedctl.1.gz" in listed


def test_bad_configuration_is_refused_and_the_last_good_one_stays(machine: Machine) -> None:
    machine.run("printf '[daemon]\\nmode = \"maybe\"\\n' >/etc/schedcp/schedcpd.toml.d/50-bad.toml")
    machine.run(["systemctl", "reload", "schedcpd"])
    machine.wait_for(lambda: "50-bad.toml:2" in schedctl(machine, "log").stdout)
    assert asked(machine, "status")["daemon"]["mode"] == "auto"
    machine.run(["systemctl", "restart", "schedcpd"], check=False)
    status = machine.run(["systemctl", "show", "-p", "ExecMainStatus", "schedcpd"]).stdout
    assert status.strip() == "ExecMainStatus=78"
    assert schedctl(machine, "status", check=False).exit_code == 3


AGENT_TOML_D = "/etc/schedcp/agent.toml.d"
AGENT_LEFT = (
    "ls -d /etc/schedcp/a* /var/lib/schedcp-agent /usr/lib/schedcp-agent 2>/dev/null || true"
)


def dpkg(machine: Machine, *words: str) -> None:
    """Install, remove or purge, asking nothing."""
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    machine.run(["dpkg", *words], env=env, timeout_s=4 * PATIENCE_S)


def properties(machine: Machine, unit: str, *names: str) -> dict[str, str]:
    """Properties of a unit."""
    line = ["systemctl", "show", unit, *(f"--property={name}" for name in names)]
    lines = machine.run(line).stdout.splitlines()
    return dict(line.split("=", 1) for line in lines)


def set_agent(machine: Machine, settings: str) -> None:
    """Give the agent further settings and start it again."""
    machine.run(f"cat >{AGENT_TOML_D}/50-test.toml", stdin=settings.encode())
    machine.run(["systemctl", "restart", "schedcp-agent"])


def test_agent_is_off_and_quiet(machine: Machine) -> None:
    assert machine.run(["systemctl", "is-enabled", "schedcp-agent"]).stdout.strip() == "enabled"
    found = properties(machine, "schedcp-agent", "Result", "NRestarts")
    assert found == {"Result": "success", "NRestarts": "0"}
    assert "off" in schedctl(machine, "agent", "status", user="user").stdout
    line = "journalctl --boot --quiet --unit=schedcp-agent --priority=warning --output=cat"
    assert machine.run(line).stdout == ""


def test_key_is_seen_by_the_agent_alone(machine: Machine) -> None:
    key = "not-a-real-key-0123456789"
    machine.run("install -D -m 600 /dev/stdin /etc/credstore/anthropic-api-key", stdin=key.encode())
    set_agent(machine, '[agent]\nmode = "ask"\n')
    pid = properties(machine, "schedcp-agent", "MainPID")["MainPID"]
    assert machine.run(["stat", "-c", "%U", f"/proc/{pid}"]).stdout.strip() == "schedcp-agent"
    copy = "/run/credentials/schedcp-agent.service/anthropic-api-key"
    assert machine.run(["cat", copy]).stdout == key
    assert machine.run(["cat", copy], user="user", check=False).exit_code != 0
    said = f"cat /proc/{pid}/cmdline /proc/{pid}/environ; journalctl --unit=schedcp-agent"
    assert key not in machine.run(said).stdout


def test_agent_comes_and_goes_without_the_daemon_noticing(machine: Machine, deb: Path) -> None:
    before = properties(machine, "schedcpd", "MainPID")
    dpkg(machine, "--remove", "schedcp-agent")
    assert machine.run(AGENT_LEFT).stdout.split() == [
        "/etc/schedcp/agent.toml",
        "/var/lib/schedcp-agent",
    ]
    assert schedctl(machine, "agent", "status", check=False).exit_code != 0
    dpkg(machine, "--purge", "schedcp-agent")
    assert machine.run(AGENT_LEFT).stdout == ""
    assert machine.run(["passwd", "--status", "schedcp-agent"]).stdout.split()[1] == "L"
    machine.run(["userdel", "schedcp-agent"])  # as on a machine that never had it
    machine.copy_in(built_with(deb)[1], "/tmp/schedcp-agent.deb")
    dpkg(machine, "--install", "/tmp/schedcp-agent.deb")
    assert "off" in schedctl(machine, "agent", "status").stdout
    assert properties(machine, "schedcp-agent", "NRestarts") == {"NRestarts": "0"}
    assert properties(machine, "schedcpd", "MainPID") == before
    assert schedctl(machine, "doctor").exit_code == 0


def test_upgrade_remove_and_purge(machine: Machine, deb: Path) -> None:
    name = start_idle(machine)
    schedctl(machine, "apply", name, "scx_fair")
    dpkg(machine, "--purge", "schedcp-agent")  # its many modules take long to compile once more
    machine.copy_in(deb, "/tmp/schedcp.deb")
    dpkg(machine, "--install", "/tmp/schedcp.deb")
    assert machine.run(["systemctl", "is-failed", "schedcpd"], check=False).exit_code != 0
    assert machine.run(["systemctl", "is-active", "schedcpd"]).stdout.strip() == "active"
    await_default(machine)
    start_idle(machine, "second")
    schedctl(machine, "apply", "second.service", "scx_fair")
    dpkg(machine, "--remove", "schedcp")
    await_default(machine)
    dpkg(machine, "--purge", "schedcp")
    left = (
        "ls -d /etc/schedcp /var/lib/schedcp* /usr/lib/schedcp* /run/schedcp* 2>/dev/null || true"
    )
    assert machine.run(left).stdout == ""
    assert machine.run(f"cat {SCHED_EXT}/state").stdout.strip() == "disabled"
