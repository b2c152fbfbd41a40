# SPDX-License-Identifier: GPL-2.0-or-later
"""An ordinary user reads everything and changes nothing without authorisation."""

from __future__ import annotations

import json

import pytest

from lab.machine import Machine
from vm.guest import asked, policy, schedctl, start_idle

READING = (
    ("status",),
    ("list",),
    ("show", "idle.service"),
    ("policies",),
    ("policies", "scx_batch"),
    ("log",),
    ("doctor",),
    ("why", "idle.service"),
    ("history",),
    ("quarantine",),
    ("verify", "--rules"),
)


def test_user_reads_everything(machine: Machine) -> None:
    schedctl(machine, "apply", start_idle(machine), "scx_fair")
    for words in READING:
        assert schedctl(machine, *words, user="user").stdout, words
        shown = schedctl(machine, *words, "--json", user="user").stdout
        # A log is one object a line, everything else one document.
        assert [json.loads(part) for part in (shown.splitlines() if words == ("log",) else [shown])]


def test_user_changes_nothing(machine: Machine) -> None:
    name = start_idle(machine)
    changing = (
        ("apply", name, "scx_fair"),
        ("revert",),
        ("pause",),
        ("resume",),
        ("hold", "--reason", "mine"),
        ("revoke", "scx_fair"),
        ("verify", "scx_fair"),
    )
    for words in changing:
        refused = schedctl(machine, *words, user="user", check=False)
        assert refused.exit_code == 4, words
        assert "sudo" in refused.stderr, words
    assert policy(machine) == ""
    assert asked(machine, "status")["daemon"]["mode"] == "auto"


def test_user_cannot_go_around_schedctl(machine: Machine) -> None:
    start_idle(machine)
    call = "busctl call org.schedcp.Daemon1 /org/schedcp/Daemon1 org.schedcp.Daemon1.Manager Pause"
    assert machine.run(call, user="user", check=False).exit_code != 0
    assert asked(machine, "status")["daemon"]["mode"] == "auto"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("apply", "nothing.service", "scx_fair"), 9),
        (("apply", "idle.service", "scx_nothing"), 9),
        (("apply", "idle.service"), 2),
        (("show", "../../etc"), 9),
    ],
)
def test_wrong_input_is_told_apart(machine: Machine, words: tuple[str, ...], code: int) -> None:
    start_idle(machine)
    result = schedctl(machine, *words, check=False)
    assert result.exit_code == code
    assert result.stderr.strip()
    assert "Traceback" not in result.stderr
