# SPDX-License-Identifier: GPL-2.0-or-later
"""The installed repository: what the package brings is found, what is noted stays."""

from __future__ import annotations

from lab.machine import Machine
from vm.guest import asked, schedctl

MARK = "zebra"


def test_what_the_package_brings_is_found_and_read(machine: Machine) -> None:
    found = asked(machine, "search", "honour cpu.weight of nested cgroups")
    assert ("primitive", "cgroup_weights") in {(one["kind"], one["name"]) for one in found}
    found = asked(machine, "search", "many compression jobs that all have to finish")
    assert found[0]["name"] == "scx_batch"
    assert "sched_ext_ops" in schedctl(machine, "read", "policy", "scx_batch", "source").stdout
    assert "SCX_CREDIT_BPF_H" in (
        schedctl(machine, "read", "primitive", "bounded_priority", "source").stdout
    )


def test_notes_and_decisions_outlive_the_daemon(machine: Machine) -> None:
    schedctl(machine, "note", MARK, "--on", "policy/scx_batch")
    schedctl(machine, "retire", "scx_batch", "--reason", "the jobs here spin")
    machine.run("systemctl restart schedcpd")
    assert [one["kind"] for one in asked(machine, "search", MARK)] == ["note"]
    assert machine.run("stat -c %a /var/lib/schedcp/repository.db").stdout.strip() == "600"
    schedctl(machine, "promote", "scx_batch")


def test_a_bundle_is_taken_from_a_machine_that_is_trusted(machine: Machine) -> None:
    schedctl(machine, "note", MARK)
    schedctl(machine, "export", "/tmp/here.bundle")
    refused = schedctl(machine, "import", "/tmp/here.bundle", check=False)
    assert refused.exit_code == 7
    assert "not trusted here" in refused.stderr
    folder = "/etc/schedcp/trusted-keys.d"
    machine.run(f"cut -d ' ' -f 1 /tmp/here.bundle | head -n 1 >{folder}/here.pub")
    schedctl(machine, "import", "/tmp/here.bundle")
    names = {one["name"] for one in asked(machine, "search", MARK, "--kind", "note")}
    assert {name for name in names if name.endswith("@here")}
    machine.run("sed -i s/zebra/zebrb/ /tmp/here.bundle")
    refused = schedctl(machine, "import", "/tmp/here.bundle", check=False)
    assert "bad signature" in refused.stderr
