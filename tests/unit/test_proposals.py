# SPDX-License-Identifier: GPL-2.0-or-later
"""Plans of agents, and plans that a person asks for, with simulated stages and kernel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from schedcpd.errors import (
    BadParameter,
    Busy,
    Ejected,
    NoSuchPolicy,
    NoSuchWorkload,
    ProposalRefused,
    TokenRefused,
    WorkloadGone,
)
from schedcpd.model import (
    Deployment,
    DeploymentState,
    ForeignProgram,
    LayerClass,
    LayerKind,
    Mode,
    Objective,
    Origin,
    Plan,
    Policy,
    Proposal,
    Tier,
    Tunable,
    WorkloadState,
)
from unit.fakes import GOOD, HARM, cancel_all, make_policy, make_policy_with_maps
from unit.test_supervisor import BATCH, OTHER, STALL, Machine

WEIGHT = Tunable("weight", "u64", "", 100, 1, 1000, "")
DWELL_S = 10.0


def tunable(name: str) -> Policy:
    policy = make_policy(name)
    return replace(policy, card=replace(policy.card, tunables=(*policy.card.tunables, WEIGHT)))


class Proposing(Machine):
    """Both its policies can be tuned."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.supervisor.set_policies([tunable("scx_batch"), tunable("scx_fair")])

    async def propose(
        self,
        policy: str = "scx_fair",
        objective: Objective = Objective.MAKESPAN,
        workload: str = BATCH,
        **parameters: int,
    ) -> Deployment:
        wanted = Proposal(workload, policy, parameters, objective, "few long jobs")
        return await self.supervisor.propose(wanted)

    async def left_alone(self) -> None:
        """A workload for which the built-in planner does nothing."""
        self.busy.clear()
        await self.start_batch()
        assert self.workload_state() is WorkloadState.LEFT_ALONE

    async def refused(
        self, words: str, objective: Objective = Objective.MAKESPAN, **parameters: int
    ) -> None:
        before = self.supervisor.active
        with pytest.raises(ProposalRefused, match=words):
            await self.propose("scx_fair", objective, BATCH, **parameters)
        assert self.supervisor.active == before
        assert words.split("|")[0] in self.told("refuse")[-1]

    def better(self, factor: float) -> None:
        """The policy on trial gets that much more done than the kernel default."""
        throughput = (self.kernel.meter.default.throughput or 0) * factor
        self.kernel.meter.candidate = replace(GOOD, throughput=throughput)

    @property
    def attached(self) -> tuple[str, Origin, dict[str, int]] | None:
        active = self.supervisor.active
        if active is None or active.state is not DeploymentState.ATTACHED:
            return None
        return active.policy, active.origin, dict(active.parameters)


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Proposing]:
    machine = Proposing(tmp_path)
    yield machine
    await machine.supervisor.stop()
    assert machine.kernel.policy == ""
    await cancel_all()


# A workload that has nothing


async def test_only_a_person_chooses_a_foreign_scheduler(machine: Proposing) -> None:
    await machine.left_alone()
    program = ForeignProgram("/usr/bin/scx_fair", "ab" * 32, "fair")
    policy = make_policy("scx_fair")
    machine.supervisor.set_policies([replace(policy, card=replace(policy.card, program=program))])
    await machine.refused("only a person chooses a foreign scheduler")


async def test_a_proposal_is_tried_promoted_and_learnt(machine: Proposing) -> None:
    await machine.left_alone()
    deployment = await machine.propose(weight=250)
    assert (deployment.origin, deployment.state) == (Origin.AGENT, DeploymentState.CANARY)
    assert deployment.parameters == {"weight": 250}
    holder = machine.kernel.holders[-1]
    assert holder.parameters == {"weight": 250, "batch_cgid": 77, "batch_level": 2}
    assert "an agent proposes scx_fair with weight=250 for makespan" in machine.told("propose")[0]
    await machine.win_canary()
    assert machine.attached == ("scx_fair", Origin.AGENT, {"weight": 250})
    assert machine.kernel.ledger.saved[deployment.id].parameters == {"weight": 250}
    assert machine.learnt == [(DeploymentState.ATTACHED, BATCH, Objective.MAKESPAN)]
    plan = machine.supervisor.workloads[BATCH].plan
    assert plan is not None
    assert plan.reason == "proposed by an agent: few long jobs"
    why = machine.supervisor.why(BATCH)
    assert any("scx_fair with weight=250, proposed by an agent, is attached" in one for one in why)


async def test_it_stays_where_the_planner_sees_no_class(machine: Proposing) -> None:
    await machine.left_alone()
    machine.fits = False  # it is no batch
    await machine.propose()
    await machine.win_canary()
    await machine.tick(5)
    assert machine.attached == ("scx_fair", Origin.AGENT, {})


async def test_what_won_needs_no_second_canary_but_with_other_parameters(
    machine: Proposing,
) -> None:
    await machine.left_alone()
    await machine.propose(weight=250)
    await machine.win_canary()
    await machine.supervisor.revert()
    await machine.supervisor.optimize(BATCH)  # ends the hold of the person who reverted
    again = await machine.propose(weight=250)
    assert again.state is DeploymentState.ATTACHED
    other = await machine.propose(weight=251)
    assert other.state is DeploymentState.CANARY


async def test_a_proposal_that_does_harm_is_taken_off_and_not_tried_again(
    machine: Proposing,
) -> None:
    await machine.left_alone()
    await machine.propose()
    machine.kernel.meter.candidate = HARM
    await machine.kernel.pass_windows(4)
    assert machine.supervisor.active is None
    assert machine.learnt == [(DeploymentState.TRIPPED, BATCH, Objective.MAKESPAN)]
    machine.kernel.now += DWELL_S
    await machine.refused("quarantine")


async def test_a_lost_canary_bars_these_parameters_only(machine: Proposing) -> None:
    await machine.left_alone()
    await machine.propose(weight=7)
    machine.better(0.3)
    await machine.kernel.pass_windows(4)
    assert machine.supervisor.active is None
    machine.kernel.now += DWELL_S
    await machine.refused("lost its canary", weight=7)
    assert (await machine.propose(weight=8)).state is DeploymentState.CANARY


async def test_a_proposal_waits_for_the_dwell_time_after_the_one_before(
    machine: Proposing,
) -> None:
    await machine.left_alone()
    await machine.propose(weight=7)
    machine.better(0.3)
    await machine.kernel.pass_windows(4)
    await machine.refused("another proposal for it ended less than 10 s ago", weight=8)


# What comes first


async def test_a_person_comes_first(machine: Proposing) -> None:
    await machine.left_alone()
    await machine.supervisor.apply(BATCH, "scx_batch")
    await machine.refused("a person chose scx_batch")
    await machine.supervisor.revert()
    await machine.refused("a person decided on this workload")


async def test_another_workload_comes_first(machine: Proposing) -> None:
    await machine.start_batch()
    machine.supervisor.populated(OTHER, True)
    await machine.settle()
    with pytest.raises(ProposalRefused, match="another workload has a policy"):
        await machine.propose(workload=OTHER)


async def test_classes_of_others_come_first(machine: Proposing) -> None:
    layers = make_policy_with_maps()
    machine.supervisor.set_policies([*machine.supervisor.policies.values(), layers])
    await machine.left_alone()
    machine.supervisor.populated(OTHER, True)
    await machine.settle()
    await machine.supervisor.classify(OTHER, "scx_layers", LayerClass(LayerKind.LATENCY))
    await machine.refused("another workload has a policy")
    with pytest.raises(ProposalRefused, match="it is for all workloads"):
        await machine.propose("scx_layers")


async def test_holds_pause_and_advice_come_first(machine: Proposing) -> None:
    await machine.left_alone()
    supervisor = machine.supervisor
    await supervisor.hold(":1.5", 1000, BATCH, "a match is on")
    await machine.refused("the scheduler is held: a match is on")
    supervisor.bus_client_gone(":1.5")
    await supervisor.pause()
    await machine.refused("mode is paused")
    await supervisor.resume()
    supervisor.configure(Mode.ADVISE, DWELL_S)
    await machine.refused("mode is advise")


async def test_safe_mode_comes_first(machine: Proposing) -> None:
    await machine.start_batch()
    machine.kernel.policy = ""  # killed: the loader died with the daemon
    await cancel_all()
    machine.supervisor = machine.start()
    machine.supervisor.set_policies([tunable("scx_fair")])
    await machine.start_batch()
    await machine.refused("safe mode: scx_batch was")


async def test_the_canary_under_way_comes_first(machine: Proposing) -> None:
    await machine.start_batch()
    await machine.refused("the canary of scx_batch is not over")


async def test_the_dwell_time_comes_first(machine: Proposing) -> None:
    await machine.start_batch()
    machine.fits = False
    await machine.tick(3)
    assert machine.supervisor.active is None
    await machine.refused("its policy was let go a moment ago")


async def test_a_policy_that_would_not_be_loaded_is_not_tried(machine: Proposing) -> None:
    await machine.left_alone()
    machine.supervisor.set_policies([make_policy("scx_fair", admissible=False)])
    await machine.refused("no token")
    with pytest.raises(NoSuchPolicy):
        await machine.propose("scx_batch")
    with pytest.raises(NoSuchWorkload):
        await machine.propose(workload="/nowhere")


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"weight": 1001}, "weight is 1001, not from 1 to 1000"),
        ({"height": 1}, "no parameter 'height'; there are: weight"),
        ({"batch_cgid": 1}, "batch_cgid says which workload"),
    ],
)
async def test_parameters_outside_the_card_are_refused(
    parameters: dict[str, int], words: str, machine: Proposing
) -> None:
    await machine.left_alone()
    with pytest.raises(BadParameter, match=words):
        await machine.propose("scx_fair", Objective.MAKESPAN, BATCH, **parameters)
    with pytest.raises(BadParameter, match=words):
        await machine.supervisor.apply(BATCH, "scx_fair", parameters)
    assert not machine.kernel.holders


async def test_a_policy_that_the_loader_refuses_leaves_what_was_planned(
    machine: Proposing,
) -> None:
    await machine.left_alone()
    before = machine.supervisor.workloads[BATCH]
    machine.kernel.refusal = TokenRefused("scx_fair", "it expired")
    with pytest.raises(TokenRefused):
        await machine.propose()
    assert machine.supervisor.workloads[BATCH] == before


async def test_a_workload_that_ends_while_its_proposal_is_on_its_way_in(
    machine: Proposing,
) -> None:
    await machine.left_alone()
    machine.kernel.gate.clear()
    proposing = asyncio.create_task(machine.propose())
    await machine.settle()
    with pytest.raises(Busy):
        await machine.propose("scx_batch")
    machine.supervisor.populated(BATCH, False)
    machine.kernel.gate.set()
    await proposing
    await machine.settle()
    await machine.tick()
    assert machine.supervisor.active is None


# In the place of another


async def incumbent(machine: Proposing) -> None:
    """The planner's own policy has won its canary."""
    await machine.start_batch()
    await machine.win_canary()
    assert machine.attached == ("scx_batch", Origin.AUTOMATIC, {})


async def test_a_better_one_takes_the_place_of_the_incumbent(machine: Proposing) -> None:
    await incumbent(machine)
    machine.better(2.0)
    deployment = await machine.propose(weight=250)
    assert deployment.state is DeploymentState.CANARY
    await machine.win_canary()
    assert machine.attached == ("scx_fair", Origin.AGENT, {"weight": 250})
    assert "it is better than the policy before it" in machine.told("promote")[-1]
    good = machine.kernel.ledger.known_good(BATCH, "7.3")
    assert good is not None
    assert (good.policy, good.parameters) == ("scx_fair", {"weight": 250})


@pytest.mark.parametrize("factor", [1.0, 0.3])
async def test_one_that_is_no_better_leaves_the_incumbent(
    factor: float, machine: Proposing
) -> None:
    await incumbent(machine)
    machine.better(factor)
    await machine.propose("scx_batch", weight=250)  # the same policy, tuned
    await machine.kernel.pass_windows(4)
    await machine.settle()
    assert machine.attached == ("scx_batch", Origin.AUTOMATIC, {})
    assert machine.workload_state() is WorkloadState.MANAGED
    plan = machine.supervisor.workloads[BATCH].plan
    assert plan is not None
    assert (plan.policy, plan.parameters) == ("scx_batch", {})


async def test_a_refinement_has_to_do_better_than_the_refinement_before(
    machine: Proposing,
) -> None:
    await incumbent(machine)
    machine.better(2.0)
    await machine.propose(weight=250)
    await machine.win_canary()
    machine.better(1.9)  # better than the kernel default, and not than what is there
    await machine.propose(weight=300)
    await machine.kernel.pass_windows(4)
    await machine.settle()
    assert machine.attached == ("scx_fair", Origin.AGENT, {"weight": 250})
    machine.better(3.0)
    machine.kernel.now += DWELL_S
    await machine.propose(weight=400)
    await machine.win_canary()
    assert machine.attached == ("scx_fair", Origin.AGENT, {"weight": 400})


async def test_a_class_that_the_daemon_gave_is_an_incumbent_too(machine: Proposing) -> None:
    layers = make_policy_with_maps()
    supervisor = machine.supervisor
    supervisor.set_policies([*supervisor.policies.values(), layers])
    await machine.left_alone()
    plan = Plan("scx_layers", Objective.MAKESPAN, "a batch", layer=LayerClass(LayerKind.BATCH))
    supervisor._set(BATCH, plan=plan)
    workload = supervisor.workloads[BATCH].workload
    await supervisor._deployer.classify(
        *(workload, layers, LayerClass(LayerKind.BATCH), Origin.AUTOMATIC, Objective.MAKESPAN)
    )
    await machine.refused("the canary of scx_layers is not over")
    await machine.kernel.pass_windows(4)
    assert machine.attached == ("scx_layers", Origin.AUTOMATIC, {})
    await machine.propose()
    assert not supervisor.yielding
    await machine.kernel.pass_windows(4)
    await machine.settle()
    assert not machine.kernel.policy, "it was no better; the planner, asked again, does nothing"
    assert machine.workload_state() is WorkloadState.LEFT_ALONE
    machine.kernel.now += DWELL_S
    machine.better(2.0)
    await machine.propose(weight=9)
    await machine.win_canary()


async def test_the_same_again_changes_nothing(machine: Proposing) -> None:
    await incumbent(machine)
    before = machine.supervisor.active
    assert await machine.propose("scx_batch") == before
    assert len(machine.kernel.holders) == 1


async def test_what_cannot_be_compared_is_refused(machine: Proposing) -> None:
    await incumbent(machine)
    await machine.refused("scx_batch is there for makespan", Objective.LATENCY)


async def test_the_incumbent_comes_back_when_the_loader_refuses_the_other(
    machine: Proposing,
) -> None:
    await incumbent(machine)
    machine.kernel.refusal = Ejected("scx_fair", 1024, "at once")
    with pytest.raises(Ejected):
        await machine.propose()
    machine.kernel.refusal = None
    await machine.settle()
    assert machine.attached == ("scx_batch", Origin.AUTOMATIC, {})


async def test_a_person_who_reverts_the_canary_has_the_last_word(machine: Proposing) -> None:
    await incumbent(machine)
    await machine.propose()
    await machine.supervisor.revert()
    await machine.settle()
    assert machine.supervisor.active is None
    assert machine.workload_state() is WorkloadState.HELD


async def test_after_harm_what_was_good_comes_back_with_its_parameters(
    machine: Proposing,
) -> None:
    await machine.left_alone()
    await machine.propose(weight=250)
    await machine.win_canary()
    machine.better(2.0)
    await machine.propose("scx_batch")
    machine.kernel.holders[-1].end(STALL)
    await machine.settle()
    machine.kernel.meter.candidate = GOOD
    assert machine.attached == ("scx_fair", Origin.AUTOMATIC, {"weight": 250})


# What a person asks for


async def test_optimize_plans_for_what_was_left_alone(machine: Proposing) -> None:
    await machine.left_alone()
    told = await machine.supervisor.optimize(BATCH)
    assert told == "the kernel default schedules it: 1 processes"
    machine.busy.add(BATCH)
    told = await machine.supervisor.optimize(BATCH)
    assert told == ("scx_batch is attached for it in turns with the kernel default: 40 processes")
    active = machine.supervisor.active
    assert active is not None
    assert active.origin is Origin.AUTOMATIC
    told = await machine.supervisor.optimize(BATCH)
    assert told == "scx_batch is canary for it already: 40 processes"


async def test_optimize_ends_what_kept_automation_off(machine: Proposing) -> None:
    await machine.start_batch()
    await machine.supervisor.revert()
    assert machine.workload_state() is WorkloadState.HELD
    await machine.supervisor.optimize(BATCH)
    machine.better(0.3)
    await machine.kernel.pass_windows(4)  # it loses its canary
    assert machine.workload_state() is WorkloadState.LEFT_ALONE
    machine.better(1.0)
    assert "in turns" in await machine.supervisor.optimize(BATCH)


async def test_optimize_leaves_what_a_person_chose(machine: Proposing) -> None:
    await machine.left_alone()
    await machine.supervisor.apply(BATCH, "scx_fair")
    told = await machine.supervisor.optimize(BATCH)
    assert told == "scx_fair is attached for it already: as a person chose"


async def test_optimize_attaches_in_mode_advise_and_not_when_paused(machine: Proposing) -> None:
    machine.supervisor.configure(Mode.ADVISE, DWELL_S)
    await machine.start_batch()
    assert machine.workload_state() is WorkloadState.ADVISED
    assert "in turns" in await machine.supervisor.optimize(BATCH)
    machine.supervisor.pressed()
    await machine.supervisor.pause()
    assert "mode is paused" in await machine.supervisor.optimize(BATCH)
    assert machine.supervisor.active is None


async def test_optimize_of_a_workload_that_ends(machine: Proposing) -> None:
    await machine.left_alone()
    machine.gone.add(BATCH)
    with pytest.raises(WorkloadGone):
        await machine.supervisor.optimize(BATCH)
    with pytest.raises(NoSuchWorkload):
        await machine.supervisor.optimize("/nowhere")


async def test_optimize_while_it_is_on_its_way_in(machine: Proposing) -> None:
    machine.kernel.gate.clear()
    await machine.start_batch()
    with pytest.raises(Busy):
        await machine.supervisor.optimize(BATCH)
    machine.kernel.gate.set()


# What can be read


async def test_a_workload_is_looked_at_as_closely_as_asked(machine: Proposing) -> None:
    await machine.left_alone()
    await machine.supervisor.examine(BATCH, Tier.SCHEDULING)
    assert machine.examined == [(BATCH, Tier.SCHEDULING)]
    with pytest.raises(NoSuchWorkload):
        await machine.supervisor.examine("/nowhere", Tier.SUMMARY)


async def test_files_and_deployments_can_be_read(machine: Proposing) -> None:
    await machine.start_batch()
    excerpt = await machine.supervisor.read_file(BATCH, "Makefile", 0, 8)
    assert excerpt.text == "Makefile"
    with pytest.raises(NoSuchWorkload):
        await machine.supervisor.read_file("/nowhere", "Makefile", 0, 8)
    active = machine.supervisor.active
    assert active is not None
    assert machine.supervisor.deployment(active.id) == active
