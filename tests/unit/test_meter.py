# SPDX-License-Identifier: GPL-2.0-or-later
"""What is measured in a window, from files in the place of the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedcpd.deploy.classes import MACHINE
from schedcpd.deploy.meter import Latencies, Meter, Sample
from schedcpd.errors import KernelText
from schedcpd.kernel.latency import SLOTS, CgroupLatency
from unit.fakes import make_workload

WORKLOAD = make_workload("/a.slice/batch.service")
OTHER = "/a.slice/web.service"
PRESSURE = "some avg10=0.00 avg60=0.00 avg300=0.00 total={}\nfull avg10=0.00 total={}\n"


def waited(slot: int, count: int, sleeps: int = 0) -> CgroupLatency:
    """Waits of 2**slot ns."""
    slots = [0] * SLOTS
    slots[slot] = count
    return CgroupLatency(count, count << slot, sleeps, tuple(slots))


class Machine:
    """A machine whose counters the test sets."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 100.0
        self.latencies: Latencies | None = {}
        self.broken: Exception | None = None
        self.yielding: list[str] = []
        self.place = root / "cgroup" / WORKLOAD.id.lstrip("/")
        self.other = root / "cgroup" / OTHER.lstrip("/")
        for folder in (self.place, self.other):
            folder.mkdir(parents=True)
        self.meter = Meter(
            root / "cgroup", root / "cpu", self.read, lambda: [WORKLOAD.id, OTHER],
            lambda: self.now, lambda: 1e9, lambda: self.yielding,
        )  # fmt: skip

    def read(self) -> Latencies | None:
        if self.broken is not None:
            raise self.broken
        return self.latencies

    def count(self, usage_us: int, pressure_us: int, full_us: int = 0) -> None:
        (self.place / "cpu.stat").write_text(f"usage_usec {usage_us}\n")
        (self.root / "cpu").write_text(PRESSURE.format(pressure_us, 0))
        (self.other / "cpu.pressure").write_text(PRESSURE.format(0, full_us))
        (self.place / "cpu.pressure").write_text(PRESSURE.format(0, 10**9))

    def sample(self, **counters: int) -> Sample:
        return self.meter.sample(WORKLOAD, counters)

    @property
    def own_id(self) -> int:
        return self.place.stat().st_ino


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_window(machine: Machine) -> None:
    machine.count(1_000_000, 500_000, 100_000)
    machine.latencies = {machine.own_id: waited(10, 5, sleeps=50), 4711: waited(12, 7)}
    before = machine.sample(nr_enqueued=10, nr_dispatched=8)
    machine.now += 2
    machine.count(4_000_000, 1_500_000, 600_000)
    child = machine.place / "child"
    child.mkdir()
    machine.latencies = {
        machine.own_id: waited(10, 105, sleeps=60),
        child.stat().st_ino: waited(10, 100, sleeps=30),
        4711: waited(12, 57, sleeps=99),
        4712: waited(20, 50),
    }
    window = machine.meter.window(before, machine.sample(nr_enqueued=30, nr_dispatched=9))
    assert (window.at, window.window_s) == (1e9, 2.0)
    assert (window.throughput, window.pressure_some, window.others_full) == (1.5, 0.5, 0.25)
    assert (window.own_waits, window.others_waits) == (200, 100)
    assert window.sleeps_per_s == 20.0
    assert set(window.others) == {4711, 4712}
    assert window.others[4711].waits == 50
    assert 1 << 12 <= window.others[4711].mean_ns <= 1 << 13
    assert window.own_wait_p99_ns is not None
    assert 1 << 10 <= window.own_wait_p99_ns <= 1 << 11
    assert window.others_wait_p99_ns is not None
    assert 1 << 20 <= window.others_wait_p99_ns <= 1 << 21
    assert (window.enqueued, window.dispatched) == (20, 1)


def test_whoever_lets_others_go_first_is_none_of_them(machine: Machine) -> None:
    machine.count(1, 1, 100_000)
    other = machine.other.stat().st_ino
    machine.latencies = {other: waited(10, 5), 4711: waited(12, 7)}
    machine.yielding = [OTHER, "/of.service/that-has-ended"]
    before = machine.sample()
    machine.now += 1
    machine.count(1, 1, 900_000)
    machine.latencies = {other: waited(30, 99), 4711: waited(12, 27)}
    # It still was one of them at one end of the window, and so were its waits.
    machine.yielding = []
    window = machine.meter.window(before, machine.sample())
    assert (window.others_waits, set(window.others)) == (20, {4711})
    assert window.others_full is None
    assert machine.meter.window(machine.sample(), machine.sample()).others_full == 0


def test_of_the_whole_machine_everybody_is_another(machine: Machine) -> None:
    machine.count(1, 1, 100_000)
    (machine.root / "cgroup/cpu.stat").write_text("usage_usec 5000000\n")  # which the root has
    machine.latencies = {machine.own_id: waited(10, 5)}
    before = machine.meter.sample(MACHINE)
    machine.now += 1
    machine.latencies = {machine.own_id: waited(10, 25)}
    window = machine.meter.window(before, machine.meter.sample(MACHINE))
    assert (window.own_waits, window.others_waits, window.throughput) == (0, 20, None)
    assert window.others_full is not None


def test_what_the_kernel_does_not_tell_is_unknown(machine: Machine) -> None:
    machine.latencies = None
    window = machine.meter.window(machine.sample(), machine.sample())
    assert window.window_s > 0
    assert (window.throughput, window.pressure_some, window.others_full) == (None, None, None)
    assert (window.own_wait_p99_ns, window.others_wait_p99_ns) == (None, None)
    assert window.sleeps_per_s is None
    assert window.others == {}
    assert (window.enqueued, window.dispatched) == (None, None)


def test_a_workload_is_called_by_its_unit(machine: Machine) -> None:
    assert machine.meter.named(machine.other.stat().st_ino) == machine.other.name
    assert machine.meter.named(4711) == "another workload"


def test_nobody_who_waited_has_no_percentile(machine: Machine) -> None:
    window = machine.meter.window(machine.sample(), machine.sample())
    assert (window.own_waits, window.own_wait_p99_ns) == (0, None)


@pytest.mark.parametrize("broken", [OSError(5, "I/O"), KernelText("map", "nonsense")])
def test_probe_that_fails_decides_nothing(machine: Machine, broken: Exception) -> None:
    machine.count(1, 1)
    machine.broken = broken
    assert machine.sample().latencies is None
    assert machine.sample().usage_us == 1


def test_files_that_make_no_sense_decide_nothing(machine: Machine) -> None:
    machine.count(1, 1)
    (machine.place / "cpu.stat").write_text("nonsense")
    (machine.root / "cpu").write_text("nonsense")
    (machine.other / "cpu.pressure").write_text("nonsense")
    sample = machine.sample()
    assert (sample.usage_us, sample.pressure_us, sample.full_us) == (None, None, {})


def test_counters_that_only_one_look_has(machine: Machine) -> None:
    before = machine.sample()
    window = machine.meter.window(before, machine.sample(nr_enqueued=5, nr_dispatched=5))
    assert window.enqueued is None
