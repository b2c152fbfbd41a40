# SPDX-License-Identifier: GPL-2.0-or-later
"""The installed package: its services, its files, and how it goes."""

from __future__ import annotations

from pathlib import Path

from lab.machine import Machine
from vm.guest import SCHED_EXT, asked, await_default, policy, schedctl, start_idle


def test_services_run_and_nothing_failed(machine: Machine) -> None:
    assert machine.run(["systemctl", "is-active", "schedcpd"]).stdout.strip() == "active"
    failed = machine.run(["systemctl", "--failed", "--plain", "--no-legend"]).stdout
    assert "schedcp" not in failed
    assert schedctl(machine, "doctor").exit_code == 0
    assert policy(machine) == ""


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


def test_upgrade_remove_and_purge(machine: Machine, deb: Path) -> None:
    name = start_idle(machine)
    schedctl(machine, "apply", name, "scx_fair")
    machine.copy_in(deb, "/tmp/schedcp.deb")
    install = "DEBIAN_FRONTEND=noninteractive dpkg --install /tmp/schedcp.deb"
    machine.run(install)
    assert machine.run(["systemctl", "is-active", "schedcpd"]).stdout.strip() == "active"
    await_default(machine)
    start_idle(machine, "second")
    schedctl(machine, "apply", "second.service", "scx_fair")
    machine.run("DEBIAN_FRONTEND=noninteractive dpkg --remove schedcp")
    await_default(machine)
    machine.run("DEBIAN_FRONTEND=noninteractive dpkg --purge schedcp")
    left = "ls -d /etc/schedcp /var/lib/schedcp* /usr/lib/schedcp /run/schedcp* 2>/dev/null || true"
    assert machine.run(left).stdout == ""
    assert machine.run(f"cat {SCHED_EXT}/state").stdout.strip() == "disabled"
