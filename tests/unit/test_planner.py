# SPDX-License-Identifier: GPL-2.0-or-later
"""The planner: which policy is chosen, from what, and what is told of those that are not."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.config import Thresholds
from schedcpd.model import (
    Candidate,
    Fit,
    LayerClass,
    LayerKind,
    MapRole,
    Objective,
    Outcome,
    OutcomeKind,
    Plan,
    Policy,
    SchedulingProfile,
    Tunable,
    WorkloadClass,
    WorkloadProfile,
)
from schedcpd.plan.planner import KERNEL_DEFAULT, Situation, plan
from schedcpd.plan.rules import NOUNS
from schedcpd.plan.scores import HALF_LIFE_S
from unit.fakes import FIT, make_policy, make_policy_with_maps
from unit.test_classify import tasks

NOW = 1_760_000_000.0
CPUS = 2
BATCH = WorkloadProfile(
    *(NOW, 0.3, 41, 41, 38.2, 1.97, 0.0, 0.99, 0.0, 7200.0),
    workers=38.0,
    worker_share=0.97,
    worker_threads=1.0,
    worker_age_s=3.2,
    worker_program="xz",
)
SERVICE = replace(BATCH, listeners=1, work=WorkloadClass.LATENCY)
IDLE = replace(BATCH, runnable=0.0, workers=0.0, pressure_some=0.0)
QUICK = Fit(0.6, Objective.LATENCY, "request P99 of schbench")
WORKLOAD = "xz of user 1000"


def policy(name: str, fits: Mapping[WorkloadClass, Fit], **changes: Any) -> Policy:
    made = make_policy(name)
    return replace(made, card=replace(made.card, fits=fits, **changes))


RUN = policy("scx_batch", {WorkloadClass.BATCH: FIT})
FAIR = policy("scx_fair", {})
LATENCY = policy("scx_latency", {WorkloadClass.LATENCY: QUICK})


def outcome(**changes: Any) -> Outcome:
    made = Outcome(
        deployment=1,
        at=NOW - 60,
        workload=WORKLOAD,
        work=WorkloadClass.BATCH,
        objective=Objective.MAKESPAN,
        policy="scx_batch",
        object_sha256=RUN.object_sha256,
        kernel_release="7.3",
        topology="cpus 2",
        kind=OutcomeKind.EFFECT,
        metric="jobs",
        effect=0.2,
        low=0.1,
        high=0.3,
        pairs=5,
    )
    return replace(made, **changes)


LOST = outcome(effect=-0.2, low=-0.3, high=-0.1)
NEUTRAL = outcome(effect=0.01, low=-0.02, high=0.04)
HARMLESS = outcome(kind=OutcomeKind.HARMLESS)
FAILED = outcome(kind=OutcomeKind.FAILURE, reason="others waited\x1b[2J")


def decide(
    *outcomes: Outcome,
    profile: WorkloadProfile = BATCH,
    policies: tuple[Policy, ...] = (RUN, FAIR, LATENCY),
    **changes: Any,
) -> Plan:
    by_name = {one.card.name: one for one in policies}
    return plan(Situation(WORKLOAD, profile, CPUS, by_name, outcomes, **changes))


def of(name: str, decided: Plan) -> Candidate:
    return next(one for one in decided.candidates if one.policy == name)


TUNED = outcome(parameters={"weight": 250}, effect=0.6, low=0.5, high=0.7)


def tuned(*outcomes: Outcome) -> Plan:
    weight = Tunable("weight", "u64", "", 100, 1, 1000, "")
    card = replace(RUN.card, tunables=(*RUN.card.tunables, weight))
    return decide(*outcomes, policies=(replace(RUN, card=card), FAIR))


def test_parameters_with_which_a_policy_was_better_here_are_used_again() -> None:
    decided = tuned(TUNED)
    assert (decided.policy, decided.parameters) == ("scx_batch", {"weight": 250})
    assert decided.candidates[0].evidence.startswith("with weight=250: +60% in 1 canary here")
    assert decided.candidates[1].evidence.startswith("+22% for a batch, by its card")


@pytest.mark.parametrize(
    "other",
    [
        replace(TUNED, workload="another"),
        replace(TUNED, effect=-0.2, low=-0.3, high=-0.1),
        replace(TUNED, parameters={"weight": 1001}),  # the card allows less by now
        replace(TUNED, parameters={"height": 1}),
        replace(TUNED, kind=OutcomeKind.FAILURE),
    ],
)
def test_other_outcomes_with_parameters_change_nothing(other: Outcome) -> None:
    assert tuned(other) == tuned()


def test_the_card_decides_while_nothing_else_is_known() -> None:
    decided = decide()
    assert (decided.policy, decided.objective) == ("scx_batch", Objective.MAKESPAN)
    assert decided.work is WorkloadClass.BATCH
    assert decided.candidates == (
        Candidate("scx_batch", 0.22, f"+22% for a batch, by its card: {FIT.evidence}"),
        KERNEL_DEFAULT,
        Candidate("scx_fair", 0.0, "nothing that was measured says that it would help here"),
        Candidate(
            *("scx_latency", 0.0, "nothing that was measured says that it would help here"),
            "it does not look like a service",
        ),
    )


@pytest.mark.parametrize("work", WorkloadClass)
def test_a_batch_is_one_by_its_figures_whatever_it_looks_like(work: WorkloadClass) -> None:
    assert decide(profile=replace(BATCH, work=work), policies=(RUN,)).policy == "scx_batch"
    running_dry = replace(BATCH, work=work, runnable=1.0)
    assert decide(profile=running_dry, policies=(RUN,)).policy is None


def test_a_build_needs_what_a_batch_needs() -> None:
    builds = policy("scx_build", {WorkloadClass.BUILD: FIT})
    build = replace(BATCH, work=WorkloadClass.BUILD)
    decided = decide(profile=build, policies=(builds,))
    assert (decided.policy, decided.work) == ("scx_build", WorkloadClass.BUILD)
    assert "a parallel build, makespan counts" in decided.reason
    assert decide(profile=replace(build, listeners=1), policies=(builds,)).policy is None
    assert decide(policies=(builds,)).policy is None, "it does not look like one"


def test_a_service_gets_what_is_for_services() -> None:
    decided = decide(profile=SERVICE)
    assert (decided.policy, decided.objective) == ("scx_latency", Objective.LATENCY)
    assert decided.reason.endswith("runnable on 2 CPUs: a service, latency counts")
    assert of("scx_batch", decided).objection.startswith("1 TCP socket waits for clients")


@pytest.mark.parametrize("changes", [{"pressure_some": 0.01}, {"throttled_s": 0.2}])
def test_a_service_that_no_policy_can_help_is_left_alone(changes: dict[str, Any]) -> None:
    assert decide(profile=replace(SERVICE, **changes)).policy is None


def test_idle_work_is_left_alone_with_the_plainest_reason() -> None:
    decided = decide(outcome(effect=5.0), profile=IDLE)
    assert (decided.policy, decided.objective) == (None, Objective.NONE)
    assert decided.reason.startswith("0.0 threads are runnable on 2 CPUs")


def test_what_it_did_here_counts_more_than_any_card() -> None:
    promising = policy("scx_batch", {WorkloadClass.BATCH: replace(FIT, gain=0.6)})
    for seen, words in ((NEUTRAL, "+1% in 1 canary here"), (LOST, "-20% in 1 canary here")):
        decided = decide(seen, policies=(promising,))
        assert decided.policy is None
        assert decided.objective is Objective.NONE
        assert of("scx_batch", decided).evidence.startswith(f"{words}; +60% for a batch")
    assert (
        "the best policy, scx_batch, would gain 3.5%"
        in decide(NEUTRAL, policies=(promising,)).reason
    )
    assert "no policy is expected to gain anything" in decide(LOST).reason


def test_what_it_gained_here_is_enough_without_a_card() -> None:
    gained = outcome(object_sha256=FAIR.object_sha256, policy="scx_fair", effect=0.4)
    decided = decide(gained)
    assert (decided.policy, decided.objective) == ("scx_fair", Objective.MAKESPAN)
    assert of("scx_fair", decided).evidence == "+40% in 1 canary here"
    assert decide(gained, profile=SERVICE).policy == "scx_latency", "that was for a batch"


def test_a_loss_is_forgiven_some_day() -> None:
    assert decide(replace(LOST, at=NOW - HALF_LIFE_S)).policy is None
    assert decide(replace(LOST, at=NOW - 6 * HALF_LIFE_S)).policy == "scx_batch"
    assert decide(replace(LOST, at=NOW + 9 * HALF_LIFE_S)).policy is None, "the clock was set back"


def test_one_loss_among_many_canaries_is_noise() -> None:
    harmless = [replace(HARMLESS, deployment=number) for number in range(2, 9)]
    decided = decide(LOST, *harmless)
    assert decided.policy == "scx_batch"
    assert "did no harm in 7 canaries here" in of("scx_batch", decided).evidence


def test_similar_workloads_count_less_than_the_card() -> None:
    other = replace(FAILED, workload="another")
    assert decide(other).policy == "scx_batch"
    decided = decide(other, replace(other, deployment=2, workload="a third"))
    assert decided.policy is None
    assert of("scx_batch", decided).evidence.startswith(
        "did harm 2 times with similar workloads (others waited\N{REPLACEMENT CHARACTER}[2J); +22%"
    )
    elsewhere = [replace(one, work=WorkloadClass.IO) for one in (other, other)]
    assert decide(*elsewhere).policy == "scx_batch", "work of another class is not similar"
    many = [outcome(deployment=n, workload=str(n), effect=9.0, low=8.0) for n in range(99)]
    assert of("scx_batch", decide(*many)).score < 0.5 * 9.0


def test_outcomes_of_another_object_do_not_count() -> None:
    assert decide(replace(FAILED, object_sha256="f" * 64)) == decide()


def test_a_barred_policy_is_named_with_the_reason() -> None:
    decided = decide(barred={"scx_batch": "it is in quarantine"})
    assert (decided.policy, decided.objective) == (None, Objective.MAKESPAN)
    assert decided.reason.endswith("a batch, makespan counts, but it is in quarantine")
    assert of("scx_batch", decided) == replace(
        of("scx_batch", decide()), objection="it is in quarantine"
    )
    second = policy("scx_second", {WorkloadClass.BATCH: replace(FIT, gain=0.1)})
    policies = (RUN, second)
    assert decide(barred={"scx_batch": "no token"}, policies=policies).policy == "scx_second"


def test_a_policy_that_is_too_new_for_the_kernel() -> None:
    new = policy("scx_batch", {WorkloadClass.BATCH: FIT}, min_kernel="6.16")
    decided = decide(policies=(new,), kernel_release="6.12.95+deb13-amd64")
    assert decided.policy is None
    assert of("scx_batch", decided).objection == "scx_batch needs Linux 6.16; this is 6.12"
    for release in ("6.16.1", "7.0", "", "strange"):
        assert decide(policies=(new,), kernel_release=release).policy == "scx_batch"


def test_a_tie_is_decided_by_name_and_one_with_the_default_for_the_default() -> None:
    twin = policy("scx_attic", {WorkloadClass.BATCH: FIT})
    assert decide(policies=(RUN, twin)).policy == "scx_attic"
    nothing = policy("scx_batch", {WorkloadClass.BATCH: replace(FIT, gain=0.0)})
    decided = decide(policies=(nothing,))
    assert decided.policy is None
    assert decided.candidates[0] == KERNEL_DEFAULT


@pytest.mark.parametrize(("margin", "chosen"), [(0.22, "scx_batch"), (0.23, None)])
def test_the_margin_is_what_a_gain_has_to_be_worth(margin: float, chosen: str | None) -> None:
    assert decide(thresholds=Thresholds(margin=margin)).policy == chosen


# Policies with classes


def layered(**fits: Fit) -> Policy:
    made = make_policy_with_maps()
    return replace(
        made, card=replace(made.card, fits={WorkloadClass(work): fit for work, fit in fits.items()})
    )


def expected(usual_s: float, longest_s: float) -> SchedulingProfile:
    return tasks(expected_s=usual_s, longest_s=longest_s)


SMALL = replace(FIT, gain=0.1)


@pytest.mark.parametrize(
    ("work", "seen", "kind"),
    [
        (WorkloadClass.BATCH, None, LayerKind.BATCH),
        (WorkloadClass.BATCH, expected(0.0, 0.0), LayerKind.BATCH),
        (WorkloadClass.BATCH, expected(7.0, 7.0), LayerKind.BATCH),
        (WorkloadClass.BATCH, expected(1.0, 1.9), LayerKind.BATCH),
        (WorkloadClass.BATCH, expected(1.0, 2.0), LayerKind.LONGEST),
        (WorkloadClass.BUILD, expected(1.0, 2.0), LayerKind.BATCH),
        (WorkloadClass.LATENCY, None, LayerKind.LATENCY),
        (WorkloadClass.INTERACTIVE, None, LayerKind.LATENCY),
        (WorkloadClass.FRAMES, None, LayerKind.LATENCY),
        (WorkloadClass.BACKGROUND, None, LayerKind.BACKGROUND),
    ],
)
def test_which_class_work_gets(
    work: WorkloadClass, seen: SchedulingProfile | None, kind: LayerKind
) -> None:
    profile = replace(BATCH, work=work, scheduling=seen)
    decided = decide(profile=profile, policies=(layered(**{work.value: SMALL}),))
    assert (decided.policy, decided.layer) == ("scx_layers", LayerClass(kind))
    assert of("scx_layers", decided).layer == decided.layer


def test_without_a_map_for_hints_nobody_is_ordered_by_them() -> None:
    policy = layered(batch=SMALL)
    maps = {"layers": MapRole.CLASSES}
    hintless = replace(policy, card=replace(policy.card, maps=maps))
    profile = replace(BATCH, scheduling=expected(1.0, 24.0))
    assert decide(profile=profile, policies=(hintless,)).layer == LayerClass(LayerKind.BATCH)


LONGEST = policy(
    "scx_longest", {WorkloadClass.BATCH: replace(FIT, gain=0.17)}, maps={"hints": MapRole.HINTS}
)
UNEVEN = replace(BATCH, scheduling=expected(0.1, 2.4))


def test_where_jobs_differ_the_one_that_is_told_goes_first() -> None:
    policies = (RUN, LONGEST)
    assert decide(policies=policies).policy == "scx_batch"
    decided = decide(policies=policies, profile=UNEVEN)
    assert (decided.policy, decided.layer) == ("scx_longest", None)
    assert (
        "; the longest is expected to take 24 times as long as a usual one: a batch"
        in decided.reason
    )
    blind = of("scx_batch", decided)
    assert blind.score == 0.11
    assert "+11% for a batch, by its card: 50% of +22%, as it is not told which" in blind.evidence
    # What no policy that is told can be had for is done by the other one.
    assert decide(policies=(RUN,), profile=UNEVEN).policy == "scx_batch"


def test_what_was_measured_counts_more_than_what_is_expected() -> None:
    assert decide(outcome(), policies=(RUN, LONGEST), profile=UNEVEN).policy == "scx_batch"


@pytest.mark.parametrize("work", [WorkloadClass.COMPUTE, WorkloadClass.IO])
def test_work_that_no_class_is_for(work: WorkloadClass) -> None:
    seen = tasks(voluntary_per_s=30.0)
    compute = replace(BATCH, work=work, runnable=3.0, scheduling=seen)
    decided = decide(profile=compute, policies=(layered(**{work.value: SMALL}),))
    assert decided.policy is None
    assert of("scx_layers", decided).objection == f"scx_layers has no class for {NOUNS[work]}"


def test_a_policy_for_one_is_preferred_where_it_gains_more() -> None:
    policies = (RUN, layered(batch=SMALL))
    decided = decide(policies=policies)
    assert (decided.policy, decided.layer) == ("scx_batch", None)
    assert of("scx_layers", decided).layer == LayerClass(LayerKind.BATCH)
    decided = decide(policies=policies, barred={"scx_batch": "another workload has scx_frames"})
    assert (decided.policy, decided.layer) == ("scx_layers", LayerClass(LayerKind.BATCH))


def test_a_plan_takes_little_time_though_much_is_remembered() -> None:
    policies = tuple(policy(f"scx_p{number}", {WorkloadClass.BATCH: FIT}) for number in range(20))
    seen = [
        outcome(deployment=number, object_sha256=policies[number % 20].object_sha256)
        for number in range(1000)
    ]
    taken = []
    for _ in range(5):
        started = time.process_time()
        decide(*seen, policies=policies)
        taken.append(time.process_time() - started)
    assert min(taken) < 0.05


# Properties

gains = st.floats(-1, 20)
fits = st.builds(
    Fit, gains, st.sampled_from([Objective.MAKESPAN, Objective.LATENCY]), st.just("measured")
)
NAMES = ("scx_a", "scx_b", "scx_c")
cards = st.dictionaries(st.sampled_from(WorkloadClass), fits, max_size=4)
installed = st.fixed_dictionaries(dict.fromkeys(NAMES, cards)).map(
    lambda found: {name: policy(name, card) for name, card in found.items()}
)
outcomes = st.lists(
    st.builds(
        Outcome,
        deployment=st.integers(1, 99),
        at=st.floats(NOW - 100 * 86_400, NOW + 86_400),
        workload=st.sampled_from([WORKLOAD, "another"]),
        work=st.sampled_from(WorkloadClass),
        objective=st.sampled_from(Objective),
        policy=st.just(""),
        object_sha256=st.sampled_from([make_policy(name).object_sha256 for name in NAMES]),
        kernel_release=st.just("7.3"),
        topology=st.just("cpus 2"),
        kind=st.sampled_from(OutcomeKind),
        effect=st.floats(-1e15, 1e15),
        low=st.floats(-1e15, 1e15),
        high=st.floats(-1e15, 1e15),
        reason=st.text(max_size=20),
    ),
    max_size=6,
).map(tuple)
profiles = st.builds(
    lambda work, seen: replace(seen, work=work),
    st.sampled_from(WorkloadClass),
    st.sampled_from([BATCH, SERVICE, IDLE, replace(BATCH, throttled_s=0.3)]),
)
situations = st.builds(
    Situation,
    workload=st.just(WORKLOAD),
    profile=profiles,
    cpus=st.integers(1, 64),
    policies=installed,
    outcomes=outcomes,
    barred=st.dictionaries(st.sampled_from(NAMES), st.just("barred"), max_size=3),
    kernel_release=st.sampled_from(["", "6.12", "7.3.4"]),
    thresholds=st.builds(Thresholds, margin=st.floats(0.01, 1)),
)


@given(situations)
def test_what_is_chosen_gains_enough_and_nothing_speaks_against_it(seen: Situation) -> None:
    decided = plan(seen)
    if decided.policy is None:
        return
    chosen = of(decided.policy, decided)
    assert not chosen.objection
    assert decided.policy not in seen.barred
    assert chosen.score >= seen.thresholds.margin
    better = [one for one in decided.candidates if one.score > chosen.score]
    assert all(one.objection for one in better)
    assert decided.work in NOUNS


@given(situations)
def test_every_plan_explains_itself(seen: Situation) -> None:
    decided = plan(seen)
    assert decided.reason.isprintable()
    assert len(decided.reason) > 10
    names = [one.policy for one in decided.candidates]
    assert sorted(names) == ["", *NAMES]
    assert of("", decided) == KERNEL_DEFAULT
    assert [one.score for one in decided.candidates] == sorted(
        (one.score for one in decided.candidates), reverse=True
    )
    for one in decided.candidates:
        assert one.evidence
        assert one.evidence.isprintable()


@given(situations)
def test_the_same_situation_has_the_same_plan(seen: Situation) -> None:
    turned = replace(seen, policies=dict(reversed(list(seen.policies.items()))))
    assert plan(seen) == plan(seen) == plan(turned)


@given(situations, st.data())
def test_better_evidence_never_lowers_a_score(seen: Situation, data: st.DataObject) -> None:
    """One outcome turns out better than it was, or a better one comes on top."""
    more = data.draw(st.floats(0, 1e6))
    before = {one.policy: one.score for one in plan(seen).candidates}
    if seen.outcomes:
        place = data.draw(st.integers(0, len(seen.outcomes) - 1))
        old = seen.outcomes[place]
        raised = {name: getattr(old, name) + more for name in ("effect", "low", "high")}
        better = replace(old, **raised) if old.kind is OutcomeKind.EFFECT else old
        changed = (*seen.outcomes[:place], better, *seen.outcomes[place + 1 :])
        for one in plan(replace(seen, outcomes=changed)).candidates:
            assert one.score >= before[one.policy]
    best = outcome(effect=20.0, low=19.0, high=21.0, work=seen.profile.work)
    for name in NAMES:
        on_top = replace(best, object_sha256=seen.policies[name].object_sha256)
        after = plan(replace(seen, outcomes=(*seen.outcomes, on_top)))
        assert of(name, after).score >= before[name]


@given(situations, st.sampled_from([LOST, NEUTRAL, FAILED]))
def test_a_loss_never_raises_a_score_above_nothing(seen: Situation, loss: Outcome) -> None:
    loss = replace(loss, object_sha256=seen.policies["scx_a"].object_sha256)
    before, after = plan(seen), plan(replace(seen, outcomes=(*seen.outcomes, loss)))
    assert of("scx_a", after).score <= max(of("scx_a", before).score, 0.0)
    if before.policy != "scx_a":
        assert after.policy != "scx_a"
