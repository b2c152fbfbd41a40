# SPDX-License-Identifier: GPL-2.0-or-later
"""Rounds and conditions, on a machine that only notes what it is told."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from bench.experiment import DEFAULT, FIRST, LEARNED, POLICY, Bench, Load, Service
from lab.command import Command, Result, shown
from lab.errors import CommandFailed


class FakeGuest:
    """Notes the commands; what a service answers, and what is scheduled, is given."""

    def __init__(self, answers: Mapping[str, str], policies: str = "-\n") -> None:
        self.answers = answers
        self.policies = policies
        self.commands: list[str] = []
        self.refusals: list[str] = []  # of `schedctl apply`, one a try

    def run(self, command: Command, *, timeout_s: float = 60.0, check: bool = True) -> Result:
        line = shown(command)
        self.commands.append(line)
        if line.startswith("cat /var/tmp/"):
            return Result(0, self.answers[line.removesuffix(".json").split("-")[-1]], "")
        if "alive" in line:
            return Result(0, self.policies, "")
        if line.startswith("schedctl log"):
            return Result(0, "a load-job.service\nb other.service\nc load-job.service\n", "")
        if line.startswith("schedctl apply") and self.refusals:
            return Result(1, "", self.refusals.pop(0))
        return Result(0, "", "")

    def start(self, command: Command, *, unit: str, user: str = "root") -> None:
        assert user == "user"
        self.commands.append(f"start {unit}: {shown(command)}")


LOAD = Load(
    "load",
    (Service("job", "work"), Service("noise", "hum", endless=True)),
    lambda answers: {"s": answers["job"]["s"] + answers["noise"]["s"]},
    "s",
    prepare=("make ready",),
)


def bench(policies: str = "-\n", job: str = '{"s": 1}') -> tuple[Bench, FakeGuest]:
    guest = FakeGuest({"job": job, "noise": '{"s": 2}'}, policies)
    return Bench(guest, "part"), guest


def test_a_run_starts_all_waits_for_the_finite_stops_the_rest_and_reads_the_answers() -> None:
    made, guest = bench("-\nscx_a\nscx_a\n-\nscx_b\n")
    run = made.run(LOAD, LEARNED)
    assert run.figures == {"s": 3}
    assert run.policies == ("scx_a", "scx_b")
    assert run.log == ("a load-job.service", "c load-job.service")
    assert guest.commands[0] == "schedctl resume"
    assert guest.commands[1] == "start load-job: exec work >/var/tmp/load-job.json"
    (watch,) = [line for line in guest.commands if "alive" in line]
    assert "for unit in load-job; do" in watch
    assert "systemctl stop load-job load-noise " in watch


def test_the_kernel_default_is_a_pause() -> None:
    made, guest = bench()
    made.run(LOAD, DEFAULT)
    assert guest.commands[0] == "schedctl pause"


def test_at_first_sight_the_daemon_has_forgotten_everything() -> None:
    made, guest = bench()
    made.run(LOAD, FIRST)
    assert "systemctl stop schedcpd && rm -f /var/lib/schedcp/ledger.db*" in guest.commands[0]
    assert guest.commands[1:3] == ["systemctl start schedcpd", "schedctl resume"]


def test_a_policy_is_applied_by_hand_once_the_workload_is_known_and_reverted() -> None:
    made, guest = bench()
    guest.refusals = ["schedctl: there is no workload 'load-job.service'"]
    run = made.run(LOAD, f"{POLICY}scx_a")
    tries = [line for line in guest.commands if line.startswith("schedctl apply")]
    assert tries == ["schedctl apply load-job.service scx_a"] * 2
    assert "schedctl revert" in guest.commands
    assert run.figures == {"s": 3}


def test_a_policy_that_is_refused_gives_no_figures() -> None:
    made, guest = bench()
    guest.refusals = ["schedctl: scx_a ignores cpu.max"]
    run = made.run(LOAD, f"{POLICY}scx_a")
    assert run.refused == "schedctl: scx_a ignores cpu.max"
    assert run.figures == {}


@pytest.mark.parametrize("answer", ["", "{", "Traceback"])
def test_a_service_that_failed_is_an_error(answer: str) -> None:
    made, _ = bench(job=answer)
    with pytest.raises(CommandFailed):
        made.run(LOAD, DEFAULT)


def test_each_round_has_every_condition_once_and_the_first_sight_comes_first() -> None:
    made, guest = bench()
    conditions = (DEFAULT, FIRST, LEARNED)
    found = made.rounds(LOAD, conditions, 30)
    assert [set(one) for one in found] == [set(conditions)] * 30
    orders = {tuple(one) for one in found}
    assert len(orders) == 3  # the default before, between and after
    places = [list(one).index(DEFAULT) for one in found]
    assert [places.count(place) for place in range(3)] == [10, 10, 10]
    assert all(order.index(FIRST) < order.index(LEARNED) for order in orders)
    assert sum("make ready" in line for line in guest.commands) == 1


def test_the_order_is_the_same_every_time() -> None:
    orders = [[list(one) for one in bench()[0].rounds(LOAD, (DEFAULT, LEARNED), 8)] for _ in "ab"]
    assert orders[0] == orders[1]
