# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever is killed, and whenever: a known state afterwards, and nothing left running."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from lab import kernels
from lab.machine import Machine, boot_spec
from lab.place import Lab
from vm.guest import asked, await_daemon, await_policy, policy, schedctl, start_idle

ROUNDS = int(os.environ.get("SCHEDCP_CRASHES", "6"))
SEED = 3
SECONDS_A_ROUND = 300


@pytest.mark.long
def test_kill_at_random_moments(machine: Machine) -> None:
    workload = start_idle(machine)
    machine.copy_in(Path(__file__).with_name("crash.py"), "/tmp/crash.py")
    argv = ["python3", "/tmp/crash.py", str(ROUNDS), str(SEED), workload]
    found = json.loads(machine.run(argv, timeout_s=ROUNDS * SECONDS_A_ROUND).stdout)
    print(found)
    assert found["broken"] == ""
    assert sum(found["struck"].values()) == ROUNDS


def test_power_cut_during_a_deployment(machine: Machine, tmp_path: Path) -> None:
    workload = start_idle(machine)
    schedctl(machine, "apply", workload, "scx_fair")
    await_policy(machine, "scx_fair")
    disk = tmp_path / "disk.qcow2"
    with closing(machine.monitor()) as monitor:
        # What is on the disk at this moment, and nothing of what is only in memory.
        monitor.execute("stop")
        shutil.copyfile(machine.spec.disk, disk)
    machine.kill()
    lab = Lab.from_env()
    spec = boot_spec(lab, kernels.get(lab), machine.spec.memory, machine.spec.cpus, "")
    with Machine(lab, spec, disk, "qcow2") as again:
        again.await_boot()
        await_daemon(again)
        assert policy(again) == ""
        shown = asked(again, "status")
        assert shown["daemon"]["mode"] == "safe"
        assert "safe mode" in schedctl(again, "status", user="user").stdout
        (last,) = asked(again, "history", workload)
        assert last["policy"] == "scx_fair"
        assert last["ended_at"] > 0
        assert schedctl(again, "doctor", check=False).exit_code == 1
        schedctl(again, "resume")
        assert asked(again, "status")["daemon"]["mode"] == "auto"
