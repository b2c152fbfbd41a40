# SPDX-License-Identifier: GPL-2.0-or-later
"""What agents ask for, in the real kernel: parameters, proposals, plans, files of workloads."""

from __future__ import annotations

import re

import pytest

from lab.machine import PATIENCE_S, Machine
from vm.guest import (
    asked,
    await_promotion,
    deployments,
    policy,
    schedctl,
    start_batch,
    start_idle,
    start_sequential,
)

WHY = ("--objective", "makespan", "--reason", "one long job")
SLICE_NS = 2_345_678


def constants(machine: Machine, name: str) -> set[int]:
    """The values of a constant in the policies that are loaded, in the kernel's own words."""
    dump = r"""
    bpftool map list | sed -nE 's/^([0-9]+): array +name [^ ]*\.rodata .*/\1/p' |
        while read -r id; do bpftool map dump id "$id"; done
    """
    said = machine.run(dump).stdout
    return {int(value, 0) for value in re.findall(rf'"{name}": (\w+)', said)}


def test_parameters_of_a_person_reach_the_kernel(machine: Machine) -> None:
    workload = start_idle(machine)
    schedctl(machine, "apply", workload, "scx_fair", "--set", f"slice_ns={SLICE_NS}")
    assert policy(machine) == "scx_fair"
    assert constants(machine, "slice_ns") == {SLICE_NS}
    (made,) = deployments(machine, workload)
    assert made["parameters"] == {"slice_ns": SLICE_NS}
    assert f"slice_ns={SLICE_NS}" in schedctl(machine, "status").stdout
    refused = schedctl(machine, "apply", workload, "scx_fair", "--set", "slice_ns=1", check=False)
    assert refused.exit_code == 2
    assert "slice_ns is 1, not from 500000 to 20000000" in refused.stderr
    assert constants(machine, "slice_ns") == {SLICE_NS}


def test_a_proposal_goes_through_its_canary_to_its_promotion(machine: Machine) -> None:
    workload = start_sequential(machine)
    # As it was when it had just been made: the canary of one process is short.
    wanted = ("scx_fair", "--set", f"slice_ns={SLICE_NS}", *WHY)
    made = asked(machine, "propose", workload, *wanted)
    assert (made["origin"], made["state"]) == ("agent", "canary")
    assert constants(machine, "slice_ns") == {SLICE_NS}
    await_promotion(machine, "scx_fair")
    found = asked(machine, "deployment", str(made["id"]))
    assert (found["state"], found["parameters"]) == ("attached", {"slice_ns": SLICE_NS})
    assert found["canary"]["decision"] == "promote"
    assert policy(machine) == "scx_fair"
    assert constants(machine, "slice_ns") == {SLICE_NS}
    assert "an agent's proposal" in schedctl(machine, "status").stdout
    schedctl(machine, "revert")
    refused = schedctl(machine, "propose", workload, "scx_fair", *WHY, check=False)
    assert refused.exit_code == 7
    assert "a person decided on this workload" in refused.stderr


@pytest.mark.long
def test_the_incumbent_comes_back_after_one_that_is_no_better(machine: Machine) -> None:
    workload = start_batch(machine)
    await_promotion(machine, "scx_batch")
    (before,) = deployments(machine, workload)
    schedctl(machine, "propose", workload, "scx_batch", "--set", "hold_sips=9", *WHY)

    def restored() -> bool:
        last = deployments(machine, workload)[-1]
        return (last["origin"], last["state"]) == ("automatic", "attached")

    machine.wait_for(
        lambda: len(deployments(machine, workload)) == 3, 2 * PATIENCE_S, interval_s=3.0
    )
    machine.wait_for(restored, interval_s=2.0)
    first, tried, again = deployments(machine, workload)
    assert first["id"] == before["id"]
    assert (tried["state"], tried["parameters"]) == ("reverted", {"hold_sips": 9})
    # Which of the two it is is a matter of noise: the same policy gains nothing over itself.
    no_better = ("it is not certain to be better than the policy before it", "it is worse")
    assert tried["reason"].startswith(tuple(f"canary: {words}" for words in no_better))
    assert (again["policy"], again["parameters"]) == ("scx_batch", {})
    assert constants(machine, "hold_sips") == {8}


@pytest.mark.long
def test_optimize_ends_the_hold_of_a_revert(machine: Machine) -> None:
    workload = start_batch(machine)
    await_promotion(machine, "scx_batch")
    schedctl(machine, "revert")
    assert asked(machine, "show", workload)["state"] == "held"
    decision = asked(machine, "optimize", workload)["decision"]
    assert decision.startswith("scx_batch is attached for it")


def test_ordinary_users_may_not(machine: Machine) -> None:
    workload = start_idle(machine)
    for words in (
        ("propose", workload, "scx_fair", *WHY),
        ("optimize", workload),
        ("read-file", workload, "Makefile"),
        ("show", workload, "--tier", "summary"),
    ):
        refused = schedctl(machine, *words, user="user", check=False)
        assert refused.exit_code == 4, words


@pytest.mark.long
def test_a_closer_look_on_demand(machine: Machine) -> None:
    shown = asked(machine, "show", start_sequential(machine), "--tier", "scheduling")
    assert shown["profile"]["scheduling"]["tasks"] >= 1
    assert shown["profile"]["scheduling"]["run_share"] > 0


def test_a_file_of_a_workload_is_read_as_its_user(machine: Machine) -> None:
    machine.run(
        """
        install -d -o user -g user /home/user/work
        printf 'all:\\n\\tjob\\nDB_PASSWORD=kangaroo\\n' >/home/user/work/Makefile
        echo 'top secret' >/home/user/work/theirs
        chown user:user /home/user/work/Makefile
        ln -s /etc/passwd /home/user/work/link
        systemd-run --unit=works -p User=user -p WorkingDirectory=/home/user/work sleep 1000
        systemd-run --unit=rootly -p WorkingDirectory=/root sleep 1000
        """
    )
    known = "until schedctl list --names | grep -q {}.service; do sleep 0.5; done"
    for unit in ("works", "rootly"):
        machine.run(known.format(unit))
    text = asked(machine, "read-file", "works.service", "Makefile")["text"]
    assert text == "all:\n\tjob\nDB_PASSWORD=[removed:password]\n"
    for unit, path, words in (
        ("works", "theirs", "does not belong to the user"),
        ("works", "link", "a symbolic link is on the way"),
        ("works", "../../../etc/hostname", "stays in it"),
        ("works", "nothing", "no such file"),
        ("rootly", "x", "runs as root"),
    ):
        refused = schedctl(machine, "read-file", f"{unit}.service", path, check=False)
        assert refused.exit_code == 7
        assert words in refused.stderr
