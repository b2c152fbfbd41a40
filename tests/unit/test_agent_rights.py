# SPDX-License-Identifier: GPL-2.0-or-later
"""What the agent may ask of the daemon without a password: what its tools need, and no more."""

from __future__ import annotations

import re
from pathlib import Path

from schedcpd.bus.authorisation import Action

RULES = Path(__file__).parents[2] / "dbus-policy/50-schedcp-agent.rules"
UNIT = Path(__file__).parents[2] / "systemd/schedcp-agent.service"


def test_the_agent_may_do_what_its_tools_need_and_no_more() -> None:
    granted = re.findall(r'"(org\.schedcp\.[^"]+)"', RULES.read_text())
    assert {Action(one) for one in granted} == {
        Action.ANNOTATE,  # record_finding
        Action.ENROLL,  # enroll_policy, of what passed in its own run
        Action.OPTIMIZE,  # deploy_policy: in a canary, never against a person
        Action.PROFILE,  # profile_workload
        Action.READ_FILES,  # read_workload_file
        Action.VERIFY,  # verify_policy
    }


def test_the_rights_are_those_of_the_user_that_the_agent_runs_as() -> None:
    (user,) = re.findall(r"^User=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert f'subject.user == "{user}"' in RULES.read_text()
