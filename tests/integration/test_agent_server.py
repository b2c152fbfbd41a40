# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent and a server that errs, lies, is slow or not there; and what it may cost."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from integration import stand_in
from integration.agent_fixtures import KEY, Bench, bench
from integration.agent_scripts import CONFIGURED, OBSERVED, by_role, chatter
from integration.messages_api import Answer, Fault, Turn, call, error, in_turn
from schedcpd.agent.agent import Agent, Places
from schedcpd.agent.store import DAY_S, RunState
from schedcpd.errors import AgentIdle, LedgerDamaged

HASTY = "[model]\nretries = 1\nanswer_s = 10.0\nsilence_s = 1.0\n"


async def failed(folder: Path, answer: Answer, settings: str = HASTY) -> tuple[str, int, Bench]:
    """Why a run fails with this answer, and after how many requests."""
    async with bench(folder, lambda _: answer, settings) as made:
        run = await made.run()
        assert run.state is RunState.FAILED
        assert run.sentence.endswith("the built-in planner goes on")
        assert made.agent.sentence() in run.sentence
        assert not made.machine.did("Propose")
        # It can be asked again as soon as the server is itself again.
        made.api.script = by_role()
        assert (await made.run()).state is RunState.DEPLOYED
        assert made.agent.sentence() == "idle"
        return run.sentence, run.calls, made


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_refusal_is_not_repeated(status: int, tmp_path: Path) -> None:
    sentence, calls, _ = await failed(tmp_path, error(status))
    assert f"the server answered {status}: this is a {status}" in sentence
    assert calls == 1


@pytest.mark.parametrize("status", [429, 529, 500])
async def test_an_overloaded_server_is_asked_again_and_then_left(
    status: int, tmp_path: Path
) -> None:
    async with bench(tmp_path, lambda _: error(status), HASTY) as made:
        run = await made.run()
        assert f"answered {status}" in run.sentence
        assert len(made.api.received) == 2
        assert run.dollars == 0


async def test_as_long_as_the_server_asks_is_waited(tmp_path: Path) -> None:
    script = in_turn(error(429, retry_after="1"), OBSERVED)
    others = by_role()

    def first_then_others(request: dict[str, object]) -> Answer:
        return script(request) if len(made.api.received) <= 2 else others(request)

    async with bench(tmp_path, first_then_others) as made:
        begin = time.monotonic()
        run = await made.run()
        assert run.state is RunState.DEPLOYED
        assert time.monotonic() - begin >= 1.0


async def test_patience_has_an_end_whatever_the_server_asks(tmp_path: Path) -> None:
    sentence, _, _ = await failed(tmp_path, error(429, retry_after="86400"))
    assert "no whole answer within 10 s" in sentence


MESSAGE = b'{"type":"message_start","message":'
NONSENSE = [
    Fault(turn=OBSERVED, cut_after=4),
    Fault(raw=b"event: message_start\ndata: {not json\n\n"),
    Fault(raw=b"event: message_start\ndata: " + MESSAGE + b"7}\n\n"),
    Fault(raw=b"event: message_start\ndata: " + MESSAGE + b'{"content":5}}\n\n'),
    Fault(raw=b'event: content_block_delta\ndata: {"type":"content_block_delta","index":9}\n\n'),
    Fault(raw=b'event: message_stop\ndata: {"type":"message_stop"}\n\n'),
    Fault(raw=b""),
    Fault(raw=b"<html>a captive portal</html>"),
    Fault(raw=bytes(range(256)) * 40),
    Fault(raw=b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n'),
    Fault(status=302, headers={"location": "http://127.0.0.1:9/"}, raw=b""),
    Fault(status=200, headers={"content-type": "application/json"}, raw=b"[" * 5000),
    Turn(({"type": "text", "text": "x" * 1_200_000},), "end_turn"),
]


# The library warns of what it takes in unchecked.
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("answer", NONSENSE, ids=range(len(NONSENSE)))
async def test_nonsense_ends_the_run_and_nothing_else(answer: Answer, tmp_path: Path) -> None:
    sentence, calls, _ = await failed(tmp_path, answer, HASTY)
    assert "the language model cannot be used" in sentence
    assert calls <= 2


async def test_an_answer_that_broke_off_is_asked_for_once_more(tmp_path: Path) -> None:
    script = by_role(profile=[Fault(turn=OBSERVED, cut_after=6), OBSERVED])
    async with bench(tmp_path, script, HASTY) as made:
        run = await made.run()
        assert (run.state, run.calls) == (RunState.DEPLOYED, 4)
        # What broke off is paid at its dearest.
        assert run.dollars > 8192 * 10 / 1e6


async def test_a_slow_drip_is_read_and_silence_is_not_waited_out(tmp_path: Path) -> None:
    script = by_role(profile=Fault(turn=OBSERVED, drip_s=0.05))
    async with bench(tmp_path, script, HASTY) as made:
        assert (await made.run()).state is RunState.DEPLOYED


async def test_silence_ends_the_run(tmp_path: Path) -> None:
    sentence, _, _ = await failed(tmp_path, Fault(turn=OBSERVED, drip_s=30))
    assert "nothing for 1 s" in sentence


async def test_no_network(tmp_path: Path) -> None:
    async with bench(
        tmp_path, chatter, '[model]\nbase_url = "http://127.0.0.1:9"\nretries = 0\n'
    ) as made:
        run = await made.run()
        assert "the server cannot be reached" in run.sentence
        assert run.dollars == 0


async def test_the_key_is_in_no_sentence_and_no_transcript(tmp_path: Path) -> None:
    body = {"type": "error", "error": {"type": "authentication_error", "message": f"bad key {KEY}"}}
    async with bench(tmp_path, lambda _: Fault(401, {}, json.dumps(body).encode()), HASTY) as made:
        run = await made.run()
        assert "bad key [key]" in run.sentence
        kept = str(made.agent.transcript(run.id)) + run.sentence + made.agent.sentence()
        assert KEY not in kept


# What keeps it from working at all


async def test_without_a_key_it_says_so(tmp_path: Path) -> None:
    async with bench(tmp_path, by_role()) as made:
        (tmp_path / "credentials/anthropic-api-key").unlink()
        assert "there is no key" in made.agent.sentence()
        with pytest.raises(AgentIdle, match="there is no key"):
            await made.agent.analyse(stand_in.UNIT, "person")
        # What would be sent can be seen before there is one.
        assert json.loads(await made.agent.preview(stand_in.UNIT))["bytes"] > 1000
        assert not made.api.received


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ('[agent]\nmode = "off"\n', "it is off"),
        ('[model]\nname = "unheard-of"\n', "there is no price for unheard-of"),
        ('[agent]\nmood = "auto"\n', "test.toml:2: agent.mood is not a key"),
        ('[model]\nbase_url = "http://example.org"\n', "must be an https:// address"),
    ],
)
async def test_what_is_wrong_with_the_settings_is_said(
    settings: str, said: str, tmp_path: Path
) -> None:
    async with bench(tmp_path, by_role(), settings) as made:
        assert said in made.agent.sentence()
        with pytest.raises(AgentIdle):
            await made.agent.analyse(stand_in.UNIT, "person")
        (tmp_path / "agent.toml.d/test.toml").unlink()
        made.agent.reload()
        assert (await made.run()).state is RunState.DEPLOYED


async def test_bad_settings_leave_the_last_good_ones(tmp_path: Path) -> None:
    async with bench(tmp_path, by_role(), "[agent]\nrounds = 3\n") as made:
        (tmp_path / "agent.toml.d/test.toml").write_text("[agent]\nrounds = many\n")
        made.agent.reload()
        assert made.agent.configuration.agent.rounds == 3
        assert "test.toml:2" in made.agent.sentence()


async def test_without_a_record_nothing_is_spent(tmp_path: Path) -> None:
    async with bench(tmp_path, by_role()) as made:
        places = Places(made.places.configuration, made.places.credentials, tmp_path / "nowhere")
        other = Agent(places, made.machine.connection, made.agent._open_model, time.time)
        other.start()
        assert "nowhere" in other.sentence()
        with pytest.raises(AgentIdle):
            await other.analyse(stand_in.UNIT, "person")
        with pytest.raises(AgentIdle):
            other.history(1)


# Budgets


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ("analysis_dollars = 0.015", "this analysis"),
        ("analysis_tokens = 2500", "this analysis"),
        ("workload_dollars = 0.015", "this workload"),
        ("day_dollars = 0.015", "the day"),
        ("day_tokens = 0", "the day"),
    ],
)
async def test_what_could_cost_more_than_is_left_is_not_sent(
    budget: str, said: str, tmp_path: Path
) -> None:
    async with bench(tmp_path, by_role(), f"[budget]\n{budget}\n") as made:
        run = await made.run()
        assert run.state is RunState.STOPPED
        assert run.sentence == f"the budget of {said} is spent; the built-in planner goes on"
        assert not made.machine.did("Propose")
        assert not made.api.received


async def test_a_run_ends_at_the_budget_and_a_restart_changes_nothing(tmp_path: Path) -> None:
    talk = in_turn(*(Turn((call("read_workload_file", path=f"f{n}"),)) for n in range(50)))
    settings = "[budget]\nday_dollars = 0.04\n[model]\nmax_tokens = 2048\nturns = 60\n"
    async with bench(tmp_path, talk, settings) as made:
        run = await made.run()
        assert run.state is RunState.STOPPED
        spent = made.agent.budget()[2].spent.dollars
        assert 0.02 < spent <= 0.04
        assert run.dollars == pytest.approx(spent)
        other = Agent(made.places, made.machine.connection, made.agent._open_model, time.time)
        made.agent._store.close()  # type: ignore[union-attr]
        other.start()
        made.agent = other
        assert other.budget()[2].spent.dollars == pytest.approx(spent)
        assert (await made.run()).state is RunState.STOPPED
        assert other.budget()[2].spent.dollars <= 0.04
        # A day later there is money again.
        other._clock = lambda: time.time() + DAY_S + 60
        made.api.script = by_role()
        assert (await made.run()).state is RunState.DEPLOYED


async def test_answers_become_shorter_as_the_budget_ends(tmp_path: Path) -> None:
    talk = in_turn(*(Turn((call("read_workload_file", path=f"f{n}"),)) for n in range(50)))
    async with bench(tmp_path, talk, "[budget]\nanalysis_dollars = 0.1\n") as made:
        await made.run()
        rooms = [one.document["max_tokens"] for one in made.api.received]
        assert rooms[0] == 8192
        assert 1024 <= rooms[-1] < 8192


async def test_the_server_counts_where_the_estimate_does_not_fit(tmp_path: Path) -> None:
    async with bench(tmp_path, by_role(), "[budget]\nanalysis_tokens = 10700\n") as made:
        counted: list[int] = []

        def count(tokens: int) -> int:
            counted.append(tokens)
            return 500

        made.api.counts = count
        assert await first_room(made) == 8192
        assert counted


async def test_without_a_count_the_estimate_stands(tmp_path: Path) -> None:
    async with bench(tmp_path, by_role(), "[budget]\nanalysis_tokens = 10700\n") as made:
        made.api.counts = lambda _: error(404)
        assert await first_room(made) < 8192


async def first_room(made: Bench) -> int:
    await made.run()
    room: int = made.api.received[0].document["max_tokens"]
    return room


@pytest.mark.parametrize(
    "usage",
    [
        {"input_tokens": 0, "output_tokens": 0},
        {"input_tokens": -5, "output_tokens": 20},
        {"input_tokens": "many", "output_tokens": 20},
        {"input_tokens": 10**15, "output_tokens": 20},
    ],
)
async def test_a_server_that_lies_about_usage_is_paid_the_dearest(
    usage: dict[str, object], tmp_path: Path
) -> None:
    lying = Turn(OBSERVED.blocks, usage=usage)
    async with bench(tmp_path, by_role(profile=lying)) as made:
        run = await made.run()
        assert run.dollars > 8192 * 10 / 1e6


async def test_a_record_that_cannot_be_written_ends_the_run(tmp_path: Path) -> None:
    async with bench(tmp_path, by_role()) as made:
        store = made.agent._store
        assert store is not None

        def full(*_: object) -> int:
            raise LedgerDamaged("agent.db", "the disk is full")

        store.book = full  # type: ignore[assignment]
        run = await made.run()
        assert (run.state, made.api.received) == (RunState.FAILED, [])
        assert "the disk is full" in run.sentence


async def test_a_model_that_hangs_can_be_cancelled(tmp_path: Path) -> None:
    async with bench(tmp_path, lambda _: Fault(turn=CONFIGURED, drip_s=60)) as made:
        number = await made.agent.analyse(stand_in.UNIT, "person")
        async with asyncio.timeout(5):
            while not made.api.received:
                await asyncio.sleep(0.01)
        made.agent.cancel(number)
        await made.over()
        run = made.agent.history(1)[0]
        assert run.state is RunState.CANCELLED
        # The server may have worked on it all the same.
        assert run.dollars > 0
