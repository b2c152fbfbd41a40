# SPDX-License-Identifier: GPL-2.0-or-later
"""The installed verifier: one's own policy from source to the kernel, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.machine import Machine
from vm.guest import SCHEDULERS, VERIFIED_S, asked, await_default, policy, schedctl, start_idle

ENROLLED = Path(__file__).with_name("enrolled")
# Written so that it does not find the shell that looks.
LEFT = "pgrep --full '[q]emu-system|schedcpd[.]verify[.]serve|[b]wrap|[c]lang'"

TAMPER = """
import random
from pathlib import Path
from schedcpd.deploy.load import admit
from schedcpd.deploy.messages import Request
from schedcpd.errors import TokenRefused

tokens = Path("/var/lib/schedcp-verify/tokens")
own = Path("/tmp/tokens")
own.mkdir()
token = (tokens / "scx_fair.token").read_bytes()
request = Request(
    policy="scx_fair", schedulers=Path("/usr/lib/schedcp/schedulers"),
    enrolled=Path("/var/lib/schedcp-verify/enrolled"), tokens=own,
    public_key=Path("/var/lib/schedcp-verify/public.key"), parameters={}, settle_s=0.3,
    check_only=True, sched_ext=Path("/sys/kernel/sched_ext"),
)
(own / "scx_fair.token").write_bytes(token)
admit(request)
dice, refused = random.Random(1), 0
for _ in range(200):
    at = dice.randrange(len(token))
    other = (token[at] + dice.randrange(1, 256)) % 256
    (own / "scx_fair.token").write_bytes(token[:at] + bytes([other]) + token[at + 1 :])
    try:
        admit(request)
    except TokenRefused:
        refused += 1
print(refused)
"""


def copy_policy(machine: Machine, name: str) -> str:
    """Copy a source and its card into the machine; the path of the source there."""
    for suffix in (".bpf.c", ".toml"):
        machine.copy_in(ENROLLED / f"{name}{suffix}", f"/tmp/{name}{suffix}")
    return f"/tmp/{name}.bpf.c"


def test_ones_own_policy_from_source_to_the_kernel_and_out(machine: Machine) -> None:
    workload = start_idle(machine)
    source = copy_policy(machine, "scx_mine")
    refused = schedctl(machine, "apply", workload, "scx_mine", check=False)
    assert refused.exit_code == 9
    said = schedctl(machine, "enroll", source, timeout_s=VERIFIED_S).stdout
    for stage in ("compile", "static", "kernel", "dynamic"):
        assert stage in said
    shown = {one["name"]: one for one in asked(machine, "policies")}
    assert shown["scx_mine"]["enrolled"]
    machine.wait_for(lambda: "scx_mine" in schedctl(machine, "policies").stdout)
    schedctl(machine, "apply", workload, "scx_mine")
    assert policy(machine) == "scx_mine"
    schedctl(machine, "revoke", "scx_mine")
    await_default(machine)
    refused = schedctl(machine, "apply", workload, "scx_mine", check=False)
    assert refused.exit_code == 7
    assert "revoked" in refused.stderr
    schedctl(machine, "withdraw", "scx_mine")
    assert "scx_mine" not in schedctl(machine, "policies").stdout
    refused = schedctl(machine, "withdraw", "scx_fair", check=False)
    assert refused.exit_code != 0
    assert "package" in refused.stderr


def test_source_that_loses_tasks_is_refused_with_rule_and_line(machine: Machine) -> None:
    copy_policy(machine, "scx_mine")
    line = "sx_insert(p, SHARED_DSQ, SLICE_NS, enq_flags);"
    machine.run(["sed", "-i", f"s/{line}/;/", "/tmp/scx_mine.bpf.c"])
    refused = schedctl(machine, "verify", "/tmp/scx_mine.bpf.c", check=False, timeout_s=VERIFIED_S)
    assert refused.exit_code == 7
    assert "SCX101" in refused.stdout
    assert "/tmp/scx_mine.bpf.c:" in refused.stdout
    assert machine.run("ls /var/lib/schedcp-verify/enrolled 2>/dev/null || true").stdout == ""


def test_file_of_the_host_is_not_told_to_the_caller(machine: Machine) -> None:
    copy_policy(machine, "scx_mine")
    machine.run("sed -i '3i #include \"/etc/passwd\"' /tmp/scx_mine.bpf.c")
    refused = schedctl(machine, "verify", "/tmp/scx_mine.bpf.c", check=False, timeout_s=VERIFIED_S)
    assert refused.exit_code == 7
    assert "/etc/passwd" in refused.stdout
    assert "root:x" not in refused.stdout + refused.stderr


def test_verification_ends_with_the_one_who_wanted_it(machine: Machine) -> None:
    copy_policy(machine, "scx_mine")
    # Another slice makes another object, of which no verdict is known: it takes a micro-VM.
    machine.run("sed -i 's/SLICE_NS 2000000/SLICE_NS 2500000/' /tmp/scx_mine.bpf.c")
    machine.start(["schedctl", "verify", "/tmp/scx_mine.bpf.c"], unit="asker")
    machine.wait_for("pgrep --full '^/usr/bin/qemu-system'")
    machine.run(["systemctl", "kill", "--signal=KILL", "asker"])
    machine.wait_for(f"! {LEFT}")


def test_packaged_policies_are_known(machine: Machine) -> None:
    shown = schedctl(machine, "verify", "scx_fair").stdout
    assert "scx_fair" in shown
    report = asked(machine, "verify", "scx_fair")
    assert report["cached"]
    assert {one["name"] for one in report["stages"][-1]["checks"]} >= {"runnable", "hotplug"}


def test_policy_that_was_changed_gets_no_token(machine: Machine) -> None:
    machine.run(f"echo '# x' >>{SCHEDULERS}/scx_fair/scx_fair.toml")
    refused = schedctl(machine, "verify", "scx_fair", check=False)
    assert refused.exit_code == 7
    assert "not as packaged" in refused.stdout


@pytest.mark.long
def test_two_hundred_changes_of_a_token(machine: Machine) -> None:
    assert machine.run(["python3", "-c", TAMPER], timeout_s=VERIFIED_S).stdout.split() == ["200"]
