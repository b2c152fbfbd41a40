# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from schedcpd.kernel.topology import Topology, format_cpus, parse_cpus, read_topology


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


@pytest.fixture
def sys(tmp_path: Path) -> Path:
    """Four CPUs, two to a last-level cache; the last two are small."""
    cpus = tmp_path / "devices/system/cpu"
    write(cpus / "possible", "0-3")
    write(cpus / "online", "0-3")
    write(tmp_path / "devices/system/node/possible", "0")
    write(tmp_path / "devices/cpu_core/cpus", "0-1")
    write(tmp_path / "devices/cpu_atom/cpus", "2-3")
    for cpu in range(4):
        for level, name in ((1, cpu), (3, cpu // 2)):
            write(cpus / f"cpu{cpu}/cache/index{level}/level", str(level))
            write(cpus / f"cpu{cpu}/cache/index{level}/id", str(name))
        (cpus / f"cpu{cpu}/node0").mkdir()
        write(cpus / f"cpu{cpu}/cpu_capacity", "1024" if cpu < 2 else "512")
    return tmp_path


def test_cpus_alike_are_described_together(sys: Path) -> None:
    assert read_topology(sys) == Topology(
        "0-3",
        "0",
        {
            "llc 0, node 0, type core, capacity 1024": "0-1",
            "llc 1, node 0, type atom, capacity 512": "2-3",
        },
    )


def test_a_machine_that_tells_little(tmp_path: Path) -> None:
    write(tmp_path / "devices/system/cpu/online", "0,2")
    (tmp_path / "devices/system/cpu/cpu0").mkdir()
    assert read_topology(tmp_path) == Topology("", "", {"no details": "0,2"})


def test_machines_alike_are_of_one_kind(sys: Path) -> None:
    here = read_topology(sys)
    assert here.kind == "cpus 4, llc 2, node 1, type 2"
    assert Topology("", "", {"no details": "0,2"}).kind == "cpus 0, llc 0, node 0, type 0"


def test_hotplug_makes_no_other_machine(sys: Path) -> None:
    before = read_topology(sys)
    write(sys / "devices/system/cpu/online", "0-1")
    after = read_topology(sys)
    assert after != before
    assert before.difference(after) == ""
    assert after.difference(before) == ""


def test_another_machine_is_told_by_its_difference(sys: Path) -> None:
    here = read_topology(sys)
    assert "possible CPUs 0-7" in here.difference(replace(here, possible="0-7"))
    assert "nodes 0-1 instead of 0" in here.difference(replace(here, nodes="0-1"))
    moved = replace(here, cpus={"llc 0": "0-3"})
    assert here.difference(moved).startswith("CPU 0 has llc 0 instead of llc 0, node 0")


@pytest.mark.parametrize("text", ["", "0", "0-3", "0-1,4,6-9", "1,3"])
def test_lists_of_cpus_there_and_back(text: str) -> None:
    assert format_cpus(parse_cpus(text)) == text


@pytest.mark.parametrize("text", ["x", "3-1", "0-99999999", "-1", "0-8192"])
def test_bad_lists_of_cpus(text: str) -> None:
    with pytest.raises(ValueError, match=r"range of CPUs|invalid literal"):
        parse_cpus(text)
