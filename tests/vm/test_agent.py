# SPDX-License-Identifier: GPL-2.0-or-later
"""The installed agent: from an analysis to the attached policy that a scripted model wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab.machine import Machine
from lab.place import REPO
from vm.guest import policy, schedctl, start_sequential

ENROLLED = Path(__file__).with_name("enrolled")
KEY = "sk-ant-api03-TheKeyOfTheLab-0123456789"
PORT = 8787
LONG_S = 1800  # two verifications and a canary, under emulation
STANDS_IN = "/tmp/stands-in"

# Server and script of the integration tests, with a policy that is known to pass.
SERVE = f"""
import asyncio
from pathlib import Path
from integration import agent_scripts, messages_api

source = Path("/tmp/scx_mine.bpf.c").read_text()
broken = source.replace("sx_insert(p, SHARED_DSQ, SLICE_NS, enq_flags);", ";")
assert broken != source
script = agent_scripts.mending(source, broken, Path("/tmp/scx_mine.toml").read_text())

async def main():
    async with messages_api.running(script, {PORT}):
        await asyncio.Event().wait()

asyncio.run(main())
"""
SETTINGS = f"""
[agent]
mode = "ask"
rounds = 0
[model]
base_url = "http://127.0.0.1:{PORT}"
"""


def start_server(machine: Machine) -> None:
    """Run the loopback server in the machine."""
    machine.run(["mkdir", "-p", f"{STANDS_IN}/integration"])
    for name in ("messages_api.py", "agent_scripts.py"):
        machine.copy_in(REPO / "tests/integration" / name, f"{STANDS_IN}/integration/{name}")
    for suffix in (".bpf.c", ".toml"):
        machine.copy_in(ENROLLED / f"scx_mine{suffix}", f"/tmp/scx_mine{suffix}")
    command = ["env", f"PYTHONPATH={STANDS_IN}", "python3", "-c", SERVE]
    machine.start(command, unit="messages-api", user="user")
    machine.wait_for(f"grep -q ' 0100007F:{PORT:04X} 00000000:0000 0A ' /proc/net/tcp")


def configure(machine: Machine, settings: str) -> None:
    """Give the agent its settings and a key, and start it anew."""
    machine.run(
        f"mkdir -p /etc/schedcp/agent.toml.d /etc/credstore; "
        f"cat >/etc/schedcp/agent.toml.d/test.toml <<'END'\n{settings}\nEND\n"
        f"printf %s {KEY} >/etc/credstore/anthropic-api-key; "
        "chmod 600 /etc/credstore/anthropic-api-key; systemctl restart schedcp-agent"
    )


def agent(machine: Machine, *words: str) -> Any:
    """What schedctl says of the agent."""
    return json.loads(schedctl(machine, "agent", *words, "--json").stdout)


@pytest.mark.long
def test_from_an_analysis_to_the_policy_that_the_model_wrote(machine: Machine) -> None:
    start_server(machine)
    configure(machine, SETTINGS)
    # One process that computes: the built-in planner does nothing for it, so that no policy of its
    # own is to be beaten, and there is a CPU for the agent and for the verification.
    workload = start_sequential(machine)
    preview = agent(machine, "preview", workload)
    assert preview["tokens_at_most"] < 8000
    schedctl(machine, "agent", "analyse", workload)
    machine.wait_for(lambda: agent(machine)["run"] == 0, LONG_S, interval_s=5.0)
    (run,) = agent(machine, "history")
    assert run["state"] == "deployed", run["sentence"]
    assert policy(machine) == "scx_mine"
    # It may have what passed enrolled, but not decide that it is chosen from now on.
    promote = ["runuser", "-u", "schedcp-agent", "--", "busctl", "call", "org.schedcp.Daemon1"]
    promote += [
        "/org/schedcp/Daemon1",
        "org.schedcp.Daemon1.Repository",
        "Promote",
        "s",
        "scx_mine",
    ]
    refused = machine.run(promote, check=False)
    assert refused.exit_code != 0
    assert "not authorised for" in refused.stderr, refused.stderr
    assert run["dollars"] < 0.45
    said = agent(machine, "show", "1")["calls"]
    assert "SCX101" in said[-2]["request"] + said[-3]["request"]
    journal = machine.run(["journalctl", "--unit=schedcp-agent", "--no-pager"]).stdout
    assert KEY not in journal + json.dumps(said)


def test_without_a_key_it_stays_and_says_so(machine: Machine) -> None:
    configure(machine, SETTINGS)
    machine.run("rm /etc/credstore/anthropic-api-key; systemctl restart schedcp-agent")
    machine.wait_for("systemctl is-active --quiet schedcp-agent")
    status = agent(machine)
    assert status["state"] == "unable"
    assert "there is no key" in status["sentence"]
    configure(machine, "[agent]\nmode = 5\n")
    assert "agent.mode" in agent(machine)["sentence"]
    restarts = machine.run("systemctl show --property=NRestarts --value schedcp-agent").stdout
    assert restarts.strip() == "0"


def test_who_may_see_what_is_sent(machine: Machine) -> None:
    configure(machine, SETTINGS)
    assert schedctl(machine, "agent", "status", user="user").exit_code == 0
    assert schedctl(machine, "agent", "budget", user="user").exit_code == 0
    for words in (("history",), ("preview", "cron.service"), ("analyse", "cron.service")):
        refused = schedctl(machine, "agent", *words, user="user", check=False)
        assert refused.exit_code == 4, refused.stderr
