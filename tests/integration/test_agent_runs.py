# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole runs of the agent: the real SDK against scripted models, from analysis to deployment."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from integration import agent_scripts, stand_in
from integration.agent_fixtures import KEY, Bench, bench
from integration.agent_scripts import (
    BROKEN_SOURCE,
    COMPOSED,
    CONFIGURED,
    LEARNT,
    LEFT,
    NOTHING,
    OBSERVED,
    SOUND_SOURCE,
    by_role,
    role_of,
    submit,
    wrote,
)
from integration.messages_api import Answer, Script, Turn, call, say, use
from schedclient.errors import ClientError
from schedclient.exit import ExitCode
from schedcpd.agent.roles import ROLES
from schedcpd.agent.store import Run, RunState
from schedcpd.errors import AgentIdle, Busy, NoSuchRun, NoSuchWorkload


async def ran(folder: Path, script: Script, settings: str = "") -> tuple[Run, Bench]:
    async with bench(folder, script, settings) as made:
        return await made.run(), made


async def test_an_installed_policy_is_configured_and_deployed(tmp_path: Path) -> None:
    async with bench(tmp_path, agent_scripts.thorough()) as made:
        run = await made.run()
        assert (run.state, run.calls) == (RunState.DEPLOYED, 8)
        assert "scx_batch is attached, +31% (+22% to +40%)" in run.sentence
        assert made.machine.did("Propose") == [
            (stand_in.PATH, "scx_batch", {}, "makespan", "Many short processes wait for 2 CPUs.")
        ]
        assert made.machine.did("Annotate")[0][:2] == ("policy", "scx_batch")
        # What the roles were told, and in which order they came.
        roles = [role_of(one.document) for one in made.api.received]
        assert roles == ["profile"] * 3 + ["plan"] * 3 + ["lesson"] * 2
        assert 0 < run.dollars < 0.15
        assert run.usage.cache_read > run.usage.input


async def test_each_role_has_its_own_prompt_tools_and_context(tmp_path: Path) -> None:
    async with bench(tmp_path, agent_scripts.mending()) as made:
        await made.run()
        first = {role_of(one.document): one.document for one in reversed(made.api.received)}
        for role in ROLES:
            request = first[role.handover.name.removeprefix("hand_over_")]
            assert request["system"][0]["text"] == role.prompt
            named = [tool["name"] for tool in request["tools"]]
            assert named == [*role.tools, role.handover.name]
            assert len(request["messages"]) == 1
            assert request["system"][0]["cache_control"] == {"type": "ephemeral"}
            assert request["tools"][-1]["cache_control"] == {"type": "ephemeral"}
            assert all(
                "workload" not in one["input_schema"]["properties"] for one in request["tools"]
            )


async def test_a_broken_policy_is_mended_from_the_report_enrolled_and_deployed(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path, agent_scripts.mending()) as made:
        run = await made.run()
        assert run.state is RunState.DEPLOYED, run.sentence
        sources = [source for _, _, source in made.machine.did("Verify")]
        assert sources == [BROKEN_SOURCE, SOUND_SOURCE]
        assert [source for _, _, source in made.machine.did("Enroll")] == [SOUND_SOURCE]
        assert [given[1] for given in made.machine.did("Propose")] == ["scx_mine"]
        assert run.dollars < 0.45


@pytest.mark.parametrize(
    "answers", [{"profile": NOTHING}, {"plan": LEFT}], ids=["observation", "planning"]
)
async def test_what_is_fine_is_left_alone(tmp_path: Path, answers: dict[str, Answer]) -> None:
    run, made = await ran(tmp_path, by_role(**answers))
    assert run.state is RunState.LEFT_ALONE
    assert not made.machine.did("Propose")


async def test_a_policy_that_gains_nothing_is_learnt_from(tmp_path: Path) -> None:
    async with bench(tmp_path, by_role()) as made:
        made.machine.canaries = [(0.01, -0.05, 0.06)]
        run = await made.run()
        assert run.state is RunState.REVERTED
        last = made.api.received[-1].document
        assert role_of(last) == "lesson"
        assert '"canary_decision":"no-gain"' in json.dumps(last).replace('\\"', '"')


async def test_with_deploy_off_it_only_says_what_it_would_do(tmp_path: Path) -> None:
    run, made = await ran(tmp_path, by_role(), "[agent]\ndeploy = false\n")
    assert (run.state, made.machine.did("Propose")) == (RunState.ADVISED, [])
    assert "scx_batch would suit" in run.sentence


async def test_a_refusal_of_the_daemon_is_final(tmp_path: Path) -> None:
    async with bench(tmp_path, by_role()) as made:
        made.machine.refusal = ClientError("the scheduler is held: a match is on", ExitCode.BUSY)
        run = await made.run()
        assert run.state is RunState.ADVISED
        assert "a match is on" in run.sentence
        assert len(made.machine.did("Propose")) == 1


# Refinement

REFINE = use(
    "hand_over_lesson", worked="yes", lesson="slices too long", next="refine", hint="halve them"
)
FINER = use(
    "hand_over_plan",
    way="configure",
    policy="scx_fair",
    parameters={"slice_ns": 1_000_000},
    objective="makespan",
    reason="Shorter slices.",
)


async def test_a_refinement_that_beats_the_incumbent_stays(tmp_path: Path) -> None:
    async with bench(tmp_path, by_role(plan=[CONFIGURED, FINER], lesson=[REFINE, LEARNT])) as made:
        made.machine.canaries = [(0.1, 0.08, 0.12), (0.3, 0.28, 0.32)]
        run = await made.run()
        assert [given[1] for given in made.machine.did("Propose")] == ["scx_batch", "scx_fair"]
        assert run.sentence.startswith("scx_fair is attached, +30%")
        plans = [one.document for one in made.api.received if role_of(one.document) == "plan"]
        assert "halve them" in json.dumps(plans[1]["messages"])


async def test_a_refinement_that_does_not_beat_it_leaves_the_incumbent(tmp_path: Path) -> None:
    async with bench(tmp_path, by_role(plan=[CONFIGURED, FINER], lesson=[REFINE, LEARNT])) as made:
        made.machine.canaries = [(0.1, 0.05, 0.15), (0.13, 0.08, 0.18)]
        run = await made.run()
        proposed = [given[1] for given in made.machine.did("Propose")]
        assert proposed == ["scx_batch", "scx_fair"]
        assert run.state is RunState.DEPLOYED
        assert "scx_fair did not beat scx_batch, which stays" in run.sentence


async def test_there_are_no_more_rounds_than_set(tmp_path: Path) -> None:
    script = by_role(plan=[CONFIGURED, FINER], lesson=REFINE)
    async with bench(tmp_path, script, "[agent]\nrounds = 2\n") as made:
        made.machine.canaries = [(0.1, 0.09, 0.11), (0.3, 0.29, 0.31), (0.5, 0.49, 0.51)]
        await made.run()
        assert len(made.machine.did("Propose")) == 3


# Models that do not do as they are told


async def test_a_verdict_that_the_verifier_did_not_give_counts_nothing(tmp_path: Path) -> None:
    script = by_role(plan=COMPOSED, verdict=[submit(BROKEN_SOURCE), wrote("passed")])
    run, made = await ran(tmp_path, script)
    assert run.state is RunState.FAILED
    assert not made.machine.did("Enroll")
    assert not made.machine.did("Propose")


async def test_what_is_enrolled_is_what_passed_last(tmp_path: Path) -> None:
    """A sound draft, then a broken one of the same name: the verdict on the first is void."""
    script = by_role(
        plan=COMPOSED, verdict=[submit(SOUND_SOURCE), submit(BROKEN_SOURCE), wrote("passed")]
    )
    run, made = await ran(tmp_path, script)
    assert run.state is RunState.FAILED
    assert not made.machine.did("Enroll")


async def test_giving_up_ends_the_run(tmp_path: Path) -> None:
    script = by_role(plan=COMPOSED, verdict=[submit(SOUND_SOURCE), wrote("gave-up")])
    run, made = await ran(tmp_path, script)
    assert run.state is RunState.FAILED
    assert not made.machine.did("Enroll")


async def test_a_refusing_model_ends_the_run(tmp_path: Path) -> None:
    run, _ = await ran(tmp_path, lambda _: say("I cannot help with that.", "refusal"))
    assert (run.state, run.calls) == (RunState.FAILED, 1)
    assert "refused" in run.sentence


async def test_a_model_that_only_talks_is_ended(tmp_path: Path) -> None:
    run, _ = await ran(tmp_path, agent_scripts.chatter)
    assert (run.state, run.calls) == (RunState.FAILED, 4)


async def test_a_model_that_goes_in_circles_is_ended(tmp_path: Path) -> None:
    run, made = await ran(tmp_path, lambda _: use("profile_workload"))
    assert run.state is RunState.FAILED
    assert run.calls <= 6
    assert len(made.machine.did("Profile")) == 3  # the first is the opening's


async def test_a_model_that_never_ends_is_ended(tmp_path: Path) -> None:
    numbers = iter(range(1000))

    def script(_: dict[str, Any]) -> Answer:
        return use("read_workload_file", path=f"file-{next(numbers)}")

    run, _ = await ran(tmp_path, script, "[model]\nturns = 5\n")
    assert (run.state, run.calls) == (RunState.FAILED, 5)
    assert "5 turns" in run.sentence


@pytest.mark.parametrize(
    "tool",
    [
        "deploy_policy",
        "enroll_policy",
        "revert_workload",
        "classify_workload",
        "bash",
        "list_workloads",
    ],
)
async def test_tools_of_no_role_are_refused_and_too_many_end_the_run(
    tool: str, tmp_path: Path
) -> None:
    run, made = await ran(tmp_path, lambda _: use(tool, policy="scx_batch"))
    assert (run.state, run.calls) == (RunState.FAILED, 3)
    assert {member for member, _ in made.machine.verbs} == {"Profile"}


async def test_another_workload_cannot_be_named(tmp_path: Path) -> None:
    script = by_role(profile=[use("profile_workload", workload="sshd.service"), OBSERVED])
    run, made = await ran(tmp_path, script)
    assert run.state is RunState.DEPLOYED
    assert len(made.machine.did("Profile")) == 1
    second = made.api.received[1].document["messages"][-1]["content"][0]
    assert second["is_error"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"work": "batch"},
        {"work": "magic", "objective": "makespan", "prospect": "likely", "summary": "x"},
        {"work": "batch", "objective": "makespan", "prospect": "likely", "summary": "x" * 2000},
        {"work": ["batch"], "objective": "makespan", "prospect": "likely", "summary": "x"},
    ],
)
async def test_a_hand_over_that_is_wrong_is_told_and_mended(
    wrong: dict[str, Any], tmp_path: Path
) -> None:
    run, made = await ran(tmp_path, by_role(profile=[use("hand_over_profile", **wrong), OBSERVED]))
    assert run.state is RunState.DEPLOYED
    told = made.api.received[1].document["messages"][-1]["content"][0]
    assert told["is_error"]
    assert "hand over again" in told["content"][0]["text"]


async def test_a_hand_over_that_stays_wrong_ends_the_run(tmp_path: Path) -> None:
    run, _ = await ran(tmp_path, lambda _: use("hand_over_profile", work="magic"))
    assert (run.state, run.calls) == (RunState.FAILED, 4)


async def test_an_answer_that_was_cut_off_does_nothing(tmp_path: Path) -> None:
    cut = Turn((call("read_workload_file", path="Makefile"),), "max_tokens")
    run, made = await ran(tmp_path, by_role(profile=[cut, OBSERVED]))
    assert run.state is RunState.DEPLOYED
    assert not made.machine.did("ReadFile")


async def test_several_calls_in_one_answer(tmp_path: Path) -> None:
    both = Turn((call("explain"), call("profile_workload", tier="scheduling")))
    run, made = await ran(tmp_path, by_role(profile=[both, OBSERVED]))
    assert run.state is RunState.DEPLOYED
    results = made.api.received[1].document["messages"][-1]["content"]
    assert [one["type"] for one in results] == ["tool_result"] * 2


# One run at a time, and its end before its time


async def test_one_run_at_a_time_and_cancelling(tmp_path: Path) -> None:
    hang = asyncio.Event()
    async with bench(tmp_path, by_role()) as made:
        profile = made.machine.profile

        async def slow(workload: str, tier: str) -> dict[str, Any]:
            await hang.wait()
            return await profile(workload, tier)

        made.machine.profile = slow  # type: ignore[method-assign]
        number = await made.agent.analyse(stand_in.UNIT, "person")
        with pytest.raises(Busy):
            await made.agent.analyse(stand_in.UNIT, "person")
        with pytest.raises(NoSuchRun):
            made.agent.cancel(number + 1)
        made.agent.cancel(number)
        await made.over()
        assert made.agent.history(1)[0].state is RunState.CANCELLED
        with pytest.raises(NoSuchRun):
            made.agent.cancel(number)


async def test_what_cannot_be_asked_for(tmp_path: Path) -> None:
    async with bench(tmp_path, by_role()) as made:
        with pytest.raises(NoSuchWorkload):
            await made.agent.analyse("nobody.service", "person")
        made.machine.away = True
        with pytest.raises(AgentIdle, match="schedcpd is not running"):
            await made.agent.analyse(stand_in.UNIT, "person")


async def test_a_preview_is_what_leaves_to_the_byte_without_the_key(tmp_path: Path) -> None:
    async with bench(tmp_path, by_role()) as made:
        preview = json.loads(await made.agent.preview(stand_in.UNIT))
        assert not made.api.received
        await made.run()
        first = made.api.received[0]
        assert first.body.decode() == preview["request"]
        assert len(first.body) == preview["bytes"]
        assert first.headers["authorization"] == f"Bearer {KEY}"
        assert KEY not in made.sent()


async def test_transcripts_are_verbatim_and_outlive_the_agent(tmp_path: Path) -> None:
    async with bench(tmp_path, by_role()) as made:
        run = await made.run()
        said = made.agent.transcript(run.id)
        assert [one.request.encode() for one in said] == [one.body for one in made.api.received]
        assert json.loads(said[0].reply)["content"][0]["name"] == "hand_over_profile"
        assert [one.role for one in said] == ["observation", "planning", "learning"]
