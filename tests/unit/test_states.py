# SPDX-License-Identifier: GPL-2.0-or-later
"""The state machine of the scheduler, against a model of the kernel that knows no table."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from schedcpd.deploy.states import (
    AT_REST,
    FORWARD,
    IN_KERNEL,
    TRANSITIONS,
    InvalidTransition,
    MachineState,
    SchedulerMachine,
    Trigger,
    was_interrupted,
)
from schedcpd.errors import LedgerDamaged
from schedcpd.model import Transition

S, T = MachineState, Trigger


class Tape:
    """Takes transitions down, until it is full."""

    def __init__(self) -> None:
        self.steps: list[Transition] = []
        self.full = False

    def record(self, step: Transition) -> None:
        if self.full:
            raise LedgerDamaged("/tape", "the disk is full")
        self.steps.append(step)


def make() -> tuple[SchedulerMachine, Tape]:
    tape = Tape()
    return SchedulerMachine(tape.record, lambda: 1000.0), tape


def drive(*triggers: Trigger) -> tuple[SchedulerMachine, Tape]:
    machine, tape = make()
    for trigger in triggers:
        machine.fire(trigger, 1)
    return machine, tape


# The table


def reachable(start: MachineState, triggers: frozenset[Trigger]) -> set[MachineState]:
    found, pending = {start}, deque([start])
    while pending:
        state = pending.popleft()
        for (before, trigger), after in TRANSITIONS.items():
            if before is state and trigger in triggers and after not in found:
                found.add(after)
                pending.append(after)
    return found


def test_every_state_can_be_reached() -> None:
    assert reachable(S.DEFAULT, frozenset(T)) == set(S)


@pytest.mark.parametrize("state", list(S))
def test_from_every_state_there_is_a_way_to_the_default(state: MachineState) -> None:
    wanted = frozenset({T.REVERT, T.DETACHED, T.CONFIRM})
    assert S.DEFAULT in reachable(state, wanted)


@pytest.mark.parametrize("state", sorted(set(S) - AT_REST))
def test_wherever_a_policy_may_be_it_can_go_without_our_doing(state: MachineState) -> None:
    assert TRANSITIONS[state, T.GONE] is S.DEFAULT
    assert TRANSITIONS[state, T.TRIP] is S.DETACHING
    assert TRANSITIONS[state, T.REVERT] is S.DETACHING


def test_a_policy_comes_in_only_through_attaching_and_leaves_only_through_detaching() -> None:
    for (before, trigger), after in TRANSITIONS.items():
        if after in IN_KERNEL and before not in IN_KERNEL:
            assert before is S.ATTACHING, trigger
        if before in IN_KERNEL and after not in IN_KERNEL:
            assert after is S.DETACHING or trigger is T.GONE, trigger


def test_only_a_rest_begins_a_deployment() -> None:
    assert {state for state, trigger in TRANSITIONS if trigger is T.DEPLOY} == AT_REST


# The machine


def test_a_canary_that_is_won() -> None:
    machine, tape = drive(T.DEPLOY, T.CANARY, T.SUSPEND, T.SUSPENDED, T.RESUME, T.CANARY, T.PROMOTE)
    assert machine.state is S.ATTACHED
    assert machine.deployment == 1
    assert [step.after for step in tape.steps] == [
        S.ATTACHING, S.CANARY_ON, S.DETACHING, S.CANARY_OFF, S.ATTACHING, S.CANARY_ON, S.ATTACHED,
    ]  # fmt: skip
    machine.fire(T.REVERT, 1, "the workload ended")
    machine.fire(T.DETACHED, 1)
    assert (machine.state, machine.deployment) == (S.DEFAULT, 0)
    assert tape.steps[-2].reason == "the workload ended"


def test_a_canary_may_be_won_in_a_window_of_the_default() -> None:
    machine, _ = drive(T.DEPLOY, T.CANARY, T.SUSPEND, T.SUSPENDED, T.RESUME, T.SETTLED)
    assert machine.state is S.ATTACHED


def test_each_transition_is_on_record_before_it_is_made() -> None:
    seen: list[MachineState] = []
    machine: SchedulerMachine
    machine = SchedulerMachine(lambda step: seen.append(machine.state), lambda: 0.0)
    machine.fire(T.DEPLOY, 1)
    machine.fire(T.SETTLED, 1)
    assert seen == [S.DEFAULT, S.ATTACHING]


def test_a_trigger_without_meaning_changes_nothing() -> None:
    machine, tape = drive(T.DEPLOY)
    assert not machine.may(T.PROMOTE)
    with pytest.raises(InvalidTransition, match="promote of deployment 1 in state attaching"):
        machine.fire(T.PROMOTE, 1)
    assert machine.state is S.ATTACHING
    assert len(tape.steps) == 1


def test_a_second_deployment_is_refused() -> None:
    machine, _ = drive(T.DEPLOY)
    for trigger in (T.DEPLOY, T.SETTLED, T.GONE):
        with pytest.raises(InvalidTransition):
            machine.fire(trigger, 2)
    assert machine.deployment == 1


def test_a_deployment_has_a_number() -> None:
    machine, _ = make()
    with pytest.raises(InvalidTransition):
        machine.fire(T.DEPLOY)


@pytest.mark.parametrize("before", [(), (T.DEPLOY,), (T.DEPLOY, T.CANARY)])
def test_nothing_is_attached_that_cannot_be_written_down(before: tuple[Trigger, ...]) -> None:
    machine, tape = drive(*before)
    state, deployment = machine.state, machine.deployment
    tape.full = True
    forward = next(
        trigger for (at, trigger), after in TRANSITIONS.items() if at is state and after in FORWARD
    )
    with pytest.raises(LedgerDamaged):
        machine.fire(forward, 1)
    assert (machine.state, machine.deployment) == (state, deployment)
    assert "full" in machine.unrecorded


def test_a_full_disk_keeps_no_policy_in_the_kernel() -> None:
    machine, tape = drive(T.DEPLOY, T.SETTLED)
    tape.full = True
    assert machine.fire(T.TRIP, 1) is S.DETACHING
    assert machine.fire(T.DETACHED, 1) is S.DEFAULT
    assert "full" in machine.unrecorded
    tape.full = False
    machine.fire(T.DEPLOY, 2)
    assert machine.unrecorded == ""


def test_safe_mode_lasts_until_it_is_confirmed() -> None:
    machine, _ = make()
    machine.fire(T.UNCLEAN, reason="the machine went down")
    assert machine.state is S.SAFE
    with pytest.raises(InvalidTransition):
        machine.fire(T.UNCLEAN)
    assert machine.fire(T.CONFIRM) is S.DEFAULT


def test_safe_mode_obeys_a_person() -> None:
    machine, _ = make()
    machine.fire(T.UNCLEAN)
    assert machine.fire(T.DEPLOY, 1) is S.ATTACHING


def step_to(state: MachineState) -> Transition:
    return Transition(1.0, 1, S.DEFAULT, state, "")


@pytest.mark.parametrize("state", list(S))
def test_which_starts_are_safe_mode(state: MachineState) -> None:
    assert was_interrupted(False, step_to(state)) is (state is not S.DEFAULT)
    assert was_interrupted(True, step_to(state)) is (state is S.SAFE)


def test_a_first_start_is_not_safe_mode() -> None:
    assert not was_interrupted(True, None)
    assert not was_interrupted(False, None)  # killed before it ever did anything
    assert was_interrupted(False, None, damaged=True)


# Random walks, beside a model that follows the kernel instead of the table


class Walk(RuleBasedStateMachine):
    """The model knows the kernel (a link or none), the loader, and what it was told to do."""

    def __init__(self) -> None:
        super().__init__()
        self.machine, self.tape = make()
        self.loaded = 0  # the deployment whose loader runs
        self.linked = 0  # the deployment whose link is in the kernel
        self.last = 0
        self.safe = False

    def fire(self, trigger: Trigger) -> None:
        self.machine.fire(trigger, self.loaded or self.last)

    @precondition(lambda self: not self.loaded)
    @rule(settles=st.sampled_from(["canary", "attached", "failed", "gone"]))
    def deploy(self, settles: str) -> None:
        self.last += 1
        self.loaded = self.last
        self.safe = False
        self.fire(T.DEPLOY)
        self.arrive(settles)

    def arrive(self, settles: str) -> None:
        assert self.machine.state is S.ATTACHING
        assert not self.linked, "two policies attached"
        if settles in ("failed", "gone"):
            self.fire(T.FAILED if settles == "failed" else T.GONE)
            self.loaded = 0
            return
        self.linked = self.loaded
        self.fire(T.CANARY if settles == "canary" else T.SETTLED)

    @precondition(lambda self: self.machine.state is S.CANARY_ON)
    @rule(instead=st.sampled_from(["", "", "revert", "trip", "gone"]))
    def suspend(self, instead: str) -> None:
        self.fire(T.SUSPEND)
        if instead == "gone":
            self.out(T.GONE)
            return
        if instead:
            self.fire(Trigger(instead))
            self.out(T.DETACHED)
            return
        self.linked = 0
        self.fire(T.SUSPENDED)

    @precondition(lambda self: self.machine.state is S.CANARY_OFF)
    @rule(settles=st.sampled_from(["canary", "attached", "failed", "gone"]))
    def resume(self, settles: str) -> None:
        self.fire(T.RESUME)
        self.arrive(settles)

    @precondition(lambda self: self.machine.state is S.CANARY_ON)
    @rule()
    def promote(self) -> None:
        self.fire(T.PROMOTE)

    @precondition(lambda self: self.loaded)
    @rule(why=st.sampled_from([T.REVERT, T.TRIP]), full=st.booleans())
    def let_go(self, why: Trigger, full: bool) -> None:
        self.tape.full = full
        self.fire(why)
        assert self.machine.state is S.DETACHING
        self.out(T.DETACHED)
        self.tape.full = False

    @precondition(lambda self: self.loaded)
    @rule()
    def vanish(self) -> None:
        self.out(T.GONE)

    def out(self, trigger: Trigger) -> None:
        self.linked = 0
        self.fire(trigger)
        self.loaded = 0

    @precondition(lambda self: not self.loaded)
    @rule()
    def restart_after_a_crash(self) -> None:
        if not self.safe:
            self.machine.fire(T.UNCLEAN)
            self.safe = True

    @precondition(lambda self: self.safe)
    @rule()
    def confirm(self) -> None:
        self.machine.fire(T.CONFIRM)
        self.safe = False

    @rule(trigger=st.sampled_from(list(T)), stranger=st.booleans())
    def nonsense(self, trigger: Trigger, stranger: bool) -> None:
        """A trigger that the table does not know here, or of somebody else, changes nothing."""
        foreign = stranger and bool(self.loaded)
        if self.machine.may(trigger) and not foreign:
            return
        before = (self.machine.state, self.machine.deployment, len(self.tape.steps))
        with pytest.raises(InvalidTransition):
            self.machine.fire(trigger, self.last + 1 if foreign else self.loaded)
        assert (self.machine.state, self.machine.deployment, len(self.tape.steps)) == before

    @invariant()
    def the_state_tells_what_is_in_the_kernel(self) -> None:
        state = self.machine.state
        assert (state in IN_KERNEL) == bool(self.linked)
        assert (state is S.CANARY_OFF) == bool(self.loaded and not self.linked)
        assert (state in AT_REST) == (not self.loaded)
        assert (state is S.SAFE) == self.safe
        assert self.machine.deployment == self.loaded

    @invariant()
    def the_record_is_a_chain(self) -> None:
        for step in self.tape.steps:
            assert any(
                before == step.before and after == step.after
                for (before, _), after in TRANSITIONS.items()
            )
        if self.tape.steps and not self.machine.unrecorded:
            assert self.tape.steps[-1].after == self.machine.state


TestWalk = Walk.TestCase
TestWalk.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
