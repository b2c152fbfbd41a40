# SPDX-License-Identifier: GPL-2.0-or-later
"""What analyses cost, with policies of real size; printed, and kept in build/agent-proof.json.

Tokens are counted as the loopback server counts them, from bytes, and cached as the real one does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from integration.agent_fixtures import Bench, bench
from integration.agent_scripts import (
    COMPOSED,
    LEARNT,
    OBSERVED,
    by_role,
    submit,
    texts_of,
    thorough,
    wrote,
)
from integration.client import REPOSITORY
from integration.messages_api import Script, Turn, call, tokens_of, use
from integration.stand_in import StandIn
from schedcpd.agent import messages
from schedcpd.agent.roles import ROLES, Role
from schedcpd.agent.store import Run, RunState
from schedcpd.agent.toolbox import offered
from schedcpd.model import Report

SOURCE = (REPOSITORY / "schedulers/scx_batch/scx_batch.bpf.c").read_text()
CARD = (REPOSITORY / "schedulers/scx_batch/scx_batch.toml").read_text()
BROKEN = SOURCE.replace("enq_flags)", "0)")
PROOF = REPOSITORY / "build/agent-proof.json"

ANALYSIS_DOLLARS = 0.15
SYNTHESIS_DOLLARS = 0.45
FIRST_TOKENS = 8000


def furnished(machine: StandIn) -> None:
    """A repository with texts of real size, and a verifier that knows the source."""
    machine.memory = {"scx_batch": SOURCE}
    machine.hits = [
        ["policy", f"scx_{number}", 0.9, "a policy of the repository", "for many processes " * 15]
        for number in range(8)
    ]
    machine.past = [
        {"effect": 0.1, "low": 0.05, "high": 0.15, "policy": "scx_batch", "reason": "won " * 20}
        for _ in range(8)
    ]
    sound, refused = StandIn.judged(machine, "scx_bpf_dsq_insert("), machine.judged("")

    def judged(source: str) -> Report:
        return sound if source == SOURCE else refused

    machine.judged = judged  # type: ignore[method-assign]


def synthesis() -> Script:
    """Reads a whole policy, writes one as long, and mends it from the verifier's report."""
    pages = [
        use("read_policy", name="scx_batch", part="source", **({"cursor": one} if one else {}))
        for one in ("", "5000", "10000")
    ]
    attempts = [submit(BROKEN, card=CARD), use("rules", rule="SCX101"), submit(SOURCE, card=CARD)]
    search = use("search_repository", query="shortest first, for many short processes")
    return by_role(
        profile=[use("profile_workload", tier="scheduling"), OBSERVED],
        plan=[search, use("read_policy", name="scx_batch"), COMPOSED],
        verdict=[*pages, *attempts, wrote("passed")],
        lesson=[use("record_finding", kind="policy", name="scx_mine", text="+31 %"), LEARNT],
    )


def role_sizes(role: Role[Any]) -> dict[str, int]:
    tools = [*offered(role.tools), role.ending()]
    return {
        "prompt_bytes": len(role.prompt.encode()),
        "prompt_tokens": tokens_of(role.prompt),
        "tools_tokens": tokens_of(tools),
    }


def answer_sizes(made: Bench, sizes: dict[str, list[int]]) -> None:
    """How many characters the answers of each tool have."""
    for received in made.api.received:
        messages = received.document["messages"]
        names = {
            block["id"]: block["name"]
            for message in messages
            for block in message["content"]
            if block["type"] == "tool_use"
        }
        for block in messages[-1]["content"]:
            if block["type"] == "tool_result":
                size = sum(map(len, texts_of(block["content"])))
                sizes.setdefault(names[block["tool_use_id"]], []).append(size)


def figures(run: Run, made: Bench) -> dict[str, Any]:
    usage = run.usage
    return {
        "calls": run.calls,
        "tokens": {
            "input": usage.input,
            "output": usage.output,
            "cache_read": usage.cache_read,
            "cache_write": usage.cache_write,
        },
        "dollars": round(run.dollars, 4),
        "first_request_tokens": tokens_of(made.api.received[0].document),
        "outside_the_model_s": round(run.ended - run.started - run.model_s, 3),
    }


async def test_what_it_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert messages.MOST_EVENTS  # the library is loaded before anything is timed
    sizes: dict[str, list[int]] = {}
    proof: dict[str, Any] = {
        "model": "claude-sonnet-5-5",
        "roles": {role.name: role_sizes(role) for role in ROLES},
    }
    for name, script in (("analysis", thorough()), ("synthesis", synthesis())):
        (tmp_path / name).mkdir()
        async with bench(tmp_path / name, script) as made:
            furnished(made.machine)
            run = await made.run()
            assert run.state is RunState.DEPLOYED, run.sentence
            answer_sizes(made, sizes)
            proof[name] = figures(run, made)
    proof["answer_characters"] = {name: max(sizes[name]) for name in sorted(sizes)}
    PROOF.parent.mkdir(exist_ok=True)
    PROOF.write_text(json.dumps(proof, indent=1) + "\n")
    with capsys.disabled():
        print("\n" + json.dumps(proof, indent=1))
    assert proof["analysis"]["dollars"] < ANALYSIS_DOLLARS
    assert proof["synthesis"]["dollars"] < SYNTHESIS_DOLLARS
    assert proof["analysis"]["first_request_tokens"] < FIRST_TOKENS
    assert all(most <= 8200 for most in proof["answer_characters"].values())


async def test_prompts_are_small_and_cached_within_a_role(tmp_path: Path) -> None:
    script = by_role(profile=[Turn((call("profile_workload"),)), OBSERVED])
    async with bench(tmp_path, script) as made:
        run = await made.run()
    assert run.usage.cache_read > 0
    assert all(role_sizes(role)["prompt_tokens"] < 1200 for role in ROLES)
