# SPDX-License-Identifier: GPL-2.0-or-later
"""The ledger: what it keeps, over restarts and kills, beside a model."""

from __future__ import annotations

import itertools
import json
import math
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from schedcpd.deploy import entries
from schedcpd.deploy import ledger as ledger_module
from schedcpd.deploy.ledger import INTERRUPTED, KEPT, Kind, KnownGood, Ledger
from schedcpd.errors import LedgerDamaged
from schedcpd.model import (
    Deployment,
    DeploymentState,
    Outcome,
    PolicyKind,
    Quarantine,
    Transition,
)
from unit.ledger_samples import (
    BATCH,
    EMPTY,
    KERNEL,
    NOW,
    ODD,
    WON,
    WORKLOADS,
    State,
    clock,
    deployment,
    full_disk,
    harm,
    opened,
    outcome,
    state_of,
    step,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


# What it keeps


def test_a_new_ledger_is_empty_and_private(path: Path) -> None:
    with opened(path) as ledger:
        assert state_of(ledger) == EMPTY
        assert ledger.damage == ""
        assert path.stat().st_mode & 0o777 == 0o600
        assert Path(f"{path}-wal").stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_everything_comes_back_as_it_was(path: Path) -> None:
    running, ended = deployment(1), deployment(2, ODD, ended_at=NOW)
    with opened(path) as ledger:
        ledger.record_transition(step(1))
        ledger.save_deployment(running)
        ledger.save_deployment(ended)
        ledger.quarantine(harm())
        ledger.promote(ODD, KERNEL, "c" * 64, "scx_fair", WON)
        ledger.promote(BATCH, KERNEL, "d" * 64, "scx_fair", None)
        before = state_of(ledger)
    with opened(path) as ledger:
        assert state_of(ledger) == before
        assert ledger.damage == ""
        assert ledger.transitions() == (step(1),)
        assert ledger.deployments() == (running, ended)
        assert ledger.quarantines() == (harm(),)
        good = KnownGood(ODD, KERNEL, "c" * 64, "scx_fair", NOW, WON)
        assert ledger.known_good(ODD, KERNEL) == good
        assert ledger.known_good(ODD, "7.2.13") is None


def test_what_earlier_versions_have_written_can_be_read() -> None:
    fields = json.loads(entries.encode(deployment(1, ended_at=2.0)))
    for name in ("layer", "parameters", "kind", "ops"):
        del fields[name]
    read = entries.read_deployment(json.dumps(fields))
    before = replace(deployment(1, ended_at=2.0), layer=None, parameters={})
    assert read == replace(before, kind=PolicyKind.BPF, ops="")


def test_what_was_written_without_parameters_can_be_read() -> None:
    fields = json.loads(entries.encode(deployment(1, ended_at=2.0)))
    del fields["parameters"]
    read = entries.read_deployment(json.dumps(fields))
    assert read == replace(deployment(1, ended_at=2.0), parameters={})


def test_with_which_parameters_a_policy_was_good_comes_back(path: Path) -> None:
    with opened(path) as ledger:
        ledger.promote(BATCH, KERNEL, "d" * 64, "scx_fair", None, {"shift": -3})
        good = ledger.known_good(BATCH, KERNEL)
        assert good is not None
        assert good.parameters == {"shift": -3}


def test_the_newest_come_last(path: Path) -> None:
    with opened(path) as ledger:
        for number in range(1, 6):
            ledger.record_transition(step(number))
            ledger.save_deployment(deployment(number, WORKLOADS[number % 2]))
        ledger.save_deployment(deployment(1, ODD, ended_at=NOW))  # in its old place
        assert ledger.transitions(2) == (step(4), step(5))
        assert [one.id for one in ledger.deployments(3)] == [3, 4, 5]
        assert [one.id for one in ledger.deployments(2, ODD)] == [3, 5]
        assert [one.id for one in ledger.deployments()] == [1, 2, 3, 4, 5]
        assert not ledger.deployments(0)
        assert not ledger.transitions(0)


def test_a_deployment_number_is_never_given_out_twice(path: Path) -> None:
    with opened(path) as ledger:
        assert [ledger.next_deployment_id() for _ in range(3)] == [1, 2, 3]
    with opened(path) as ledger:
        assert ledger.next_deployment_id() == 4


def test_only_so_much_is_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {**KEPT, Kind.TRANSITION: 4, Kind.DEPLOYMENT: 3, Kind.KNOWN_GOOD: 2, Kind.OUTCOME: 5}
    monkeypatch.setattr(ledger_module, "SHAPE", replace(ledger_module.SHAPE, kept=few))
    with opened(path) as ledger:
        for number in range(1, 10):
            ledger.record_transition(step(number))
            ledger.save_deployment(deployment(number))
            ledger.promote(f"/{number}", KERNEL, "c" * 64, "scx_fair", None)
            ledger.save_outcome(outcome(number))
        assert ledger.outcomes() == tuple(outcome(number) for number in range(5, 10))
        assert ledger.transitions() == tuple(step(number) for number in range(6, 10))
        assert [one.id for one in ledger.deployments()] == [7, 8, 9]
        kept = [number for number in range(1, 10) if ledger.known_good(f"/{number}", KERNEL)]
        assert kept == [8, 9]


def test_what_a_deployment_taught_takes_the_place_of_what_it_had_before(path: Path) -> None:
    with opened(path) as ledger:
        for one in (outcome(1, ODD), outcome(2), replace(outcome(1, ODD), effect=0.5)):
            ledger.save_outcome(one)
    with opened(path) as ledger:
        assert ledger.outcomes() == (replace(outcome(1, ODD), effect=0.5), outcome(2))
        ledger.forget_outcome(1)
        ledger.forget_outcome(7)
        assert ledger.outcomes() == (outcome(2),)


def test_a_quarantine_is_for_one_object_kernel_and_workload(path: Path) -> None:
    with opened(path) as ledger:
        ledger.quarantine(harm())
        sha = harm().object_sha256
        assert ledger.quarantined(sha, KERNEL, BATCH) == harm()
        assert ledger.quarantined(sha, KERNEL, ODD) is None
        assert ledger.quarantined(sha, "7.2.13", BATCH) is None
        assert ledger.quarantined("other", KERNEL, BATCH) is None
        everywhere = harm(workload_id="")
        ledger.quarantine(everywhere)
        assert ledger.quarantined(sha, KERNEL, ODD) == everywhere
        assert ledger.release("scx_fair") == 0
        assert ledger.release("scx_batch") == 2
        assert ledger.quarantined(sha, KERNEL, BATCH) is None


def test_what_did_harm_is_no_longer_good(path: Path) -> None:
    sha = harm().object_sha256
    with opened(path) as ledger:
        for workload_id in WORKLOADS:
            ledger.promote(workload_id, KERNEL, sha, "scx_batch", WON)
        ledger.promote(BATCH, "7.2.13", sha, "scx_batch", WON)  # harm is a reason to look again
        ledger.promote("/other", KERNEL, "another", "scx_fair", WON)
        ledger.quarantine(harm())
        assert ledger.known_good(BATCH, KERNEL) is None
        assert ledger.known_good(BATCH, "7.2.13") is None
        assert ledger.known_good(ODD, KERNEL) is not None
        ledger.quarantine(harm(workload_id=""))
        assert ledger.known_good(ODD, KERNEL) is None
        assert ledger.known_good("/other", KERNEL) is not None


def test_what_could_not_be_read_back_is_not_written(path: Path) -> None:
    with opened(path) as ledger:
        with pytest.raises(LedgerDamaged):
            ledger.save_deployment(replace(deployment(1), attach_ms=math.nan))
        with pytest.raises(LedgerDamaged):
            ledger.record_transition(replace(step(1), reason="x" * 2**21))
        ledger.save_deployment(deployment(1))
        with pytest.raises(LedgerDamaged):
            ledger.save_deployment(replace(deployment(1), revert_ms=math.inf))
        assert ledger.deployments() == (deployment(1),)
    with opened(path) as ledger:
        assert ledger.damage == ""


# Runs


def test_a_run_that_was_closed_was_clean(path: Path) -> None:
    with opened(path) as ledger:
        assert ledger.open_run("boot 1")
        assert not ledger.rebooted
        ledger.close_run()
    with opened(path) as ledger:
        assert ledger.open_run("boot 1")
        assert not ledger.rebooted
    with opened(path) as ledger:  # closed the file, not the run
        assert not ledger.open_run("boot 2")
        assert ledger.rebooted
        ledger.close_run()
    with opened(path) as ledger:
        assert ledger.open_run("boot 2")


def test_what_was_under_way_is_ended_in_the_record(path: Path) -> None:
    ended = deployment(1, ended_at=5.0)
    with opened(path) as ledger:
        ledger.open_run("boot 1")
        ledger.save_deployment(ended)
        ledger.save_deployment(deployment(2))
    with opened(path) as ledger:
        ledger.open_run("boot 2")
        assert ledger.deployments() == (
            ended,
            replace(deployment(2), state=DeploymentState.EJECTED, ended_at=NOW, error=INTERRUPTED),
        )


def test_what_was_under_way_has_to_prove_itself_again(path: Path) -> None:
    with opened(path) as ledger:
        ledger.open_run("boot 1")
        ledger.save_deployment(deployment(1, ended_at=5.0))
        ledger.save_deployment(replace(deployment(2, ODD), object_sha256="b" * 64))
        ledger.promote(BATCH, KERNEL, "a" * 64, "scx_batch", WON)
        ledger.promote(ODD, KERNEL, "b" * 64, "scx_fair", WON)
    with opened(path) as ledger:
        ledger.open_run("boot 2")
        assert ledger.known_good(BATCH, KERNEL) is not None
        assert ledger.known_good(ODD, KERNEL) is None


# Random operations beside a model


@dataclass
class Model:
    """What the ledger should say."""

    transitions: list[Transition] = field(default_factory=list)
    deployments: dict[int, Deployment] = field(default_factory=dict)
    quarantines: dict[tuple[str, str], Quarantine] = field(default_factory=dict)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    good: dict[str, KnownGood] = field(default_factory=dict)
    ids: int = 0

    def state(self) -> State:
        return (
            tuple(self.transitions),
            tuple(self.deployments.values()),
            tuple(self.quarantines.values()),
            tuple(self.outcomes.values()),
            tuple(self.good.get(workload_id) for workload_id in WORKLOADS),
        )


policies = st.sampled_from(["scx_batch", "scx_fair"])
scopes = st.sampled_from([*WORKLOADS, ""])


class Comparison(RuleBasedStateMachine):
    """Every operation, a restart and a kill, in any order."""

    @initialize()
    def begin(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="ledger-"))
        self.generation = itertools.count(1)
        self.path = self.place / "ledger.db"
        self.ledger = Ledger(self.path, clock)
        self.model = Model()
        self.count = itertools.count(1)

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()
            shutil.rmtree(self.place)

    @rule()
    def transition(self) -> None:
        one = step(next(self.count))
        self.ledger.record_transition(one)
        self.model.transitions.append(one)

    @rule(workload_id=st.sampled_from(WORKLOADS))
    def deploy(self, workload_id: str) -> None:
        self.model.ids += 1
        assert self.ledger.next_deployment_id() == self.model.ids
        self.ledger.save_deployment(deployment(self.model.ids, workload_id))
        self.model.deployments[self.model.ids] = deployment(self.model.ids, workload_id)

    @rule(index=st.integers(0, 100))
    def end(self, index: int) -> None:
        if self.model.deployments:
            ident = list(self.model.deployments)[index % len(self.model.deployments)]
            ended = deployment(ident, self.model.deployments[ident].workload_id, ended_at=NOW)
            self.ledger.save_deployment(ended)
            self.model.deployments[ident] = ended

    @rule(policy=policies, scope=scopes)
    def quarantine(self, policy: str, scope: str) -> None:
        entry = harm(policy, scope)
        self.ledger.quarantine(entry)
        self.model.quarantines[policy, scope] = entry
        for workload_id, good in list(self.model.good.items()):
            if good.policy == policy and scope in ("", workload_id):
                del self.model.good[workload_id]

    @rule(policy=policies)
    def release(self, policy: str) -> None:
        keys = [key for key in self.model.quarantines if key[0] == policy]
        assert self.ledger.release(policy) == len(keys)
        for key in keys:
            del self.model.quarantines[key]

    @rule(policy=policies, workload_id=st.sampled_from(WORKLOADS))
    def promote(self, policy: str, workload_id: str) -> None:
        sha = harm(policy).object_sha256
        self.ledger.promote(workload_id, KERNEL, sha, policy, WON)
        self.model.good[workload_id] = KnownGood(workload_id, KERNEL, sha, policy, NOW, WON)

    @rule(number=st.integers(1, 4), workload=st.sampled_from(WORKLOADS))
    def learn(self, number: int, workload: str) -> None:
        self.ledger.save_outcome(outcome(number, workload))
        self.model.outcomes[number] = outcome(number, workload)

    @rule(number=st.integers(1, 4))
    def forget(self, number: int) -> None:
        self.ledger.forget_outcome(number)
        self.model.outcomes.pop(number, None)

    @rule()
    def restart(self) -> None:
        self.ledger.close()
        self.ledger = Ledger(self.path, clock)

    @rule()
    def kill(self) -> None:
        """Go on with what is on the disk at this moment, as after a kill."""
        killed = self.path.with_name(f"ledger-{next(self.generation)}.db")
        shutil.copyfile(self.path, killed)
        if Path(f"{self.path}-wal").exists():
            shutil.copyfile(f"{self.path}-wal", f"{killed}-wal")
        self.ledger.close()
        self.path = killed
        self.ledger = Ledger(killed, clock)

    @rule()
    def fill_the_disk(self) -> None:
        before = state_of(self.ledger)
        with full_disk(self.path), pytest.raises(LedgerDamaged):
            self.ledger.save_deployment(replace(deployment(999), reason="x" * 100_000))
        assert state_of(self.ledger) == before

    @invariant()
    def they_agree(self) -> None:
        if not hasattr(self, "ledger"):
            return
        assert self.ledger.damage == ""
        assert state_of(self.ledger) == self.model.state()
        for policy, scope in itertools.product(["scx_batch", "scx_fair"], WORKLOADS):
            found = self.ledger.quarantined(harm(policy).object_sha256, KERNEL, scope)
            quarantines = self.model.quarantines
            assert found == quarantines.get((policy, ""), quarantines.get((policy, scope)))


TestComparison = Comparison.TestCase
TestComparison.settings = settings(
    max_examples=15,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
