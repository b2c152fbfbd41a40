# SPDX-License-Identifier: GPL-2.0-or-later
"""CPU limits set on the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedcpd.deploy.limits import find_limits
from schedcpd.errors import KernelText


def make(
    root: Path, path: str, populated: bool = True, delegates: str = "cpu memory", **files: str
) -> Path:
    place = root / path
    place.mkdir(parents=True, exist_ok=True)
    (place / "cgroup.subtree_control").write_text(delegates + "\n")
    (place / "cgroup.events").write_text(f"populated {populated:d}\n")
    defaults = {"cpu_max": "max 100000", "cpu_weight": "100", "cpu_idle": "0"}
    for name, text in {**defaults, **files}.items():
        (place / name.replace("_", ".")).write_text(text + "\n")
    return place


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "cgroup.subtree_control").write_text("cpuset cpu\n")
    make(tmp_path, "system.slice")
    return tmp_path


def test_no_limits(root: Path) -> None:
    make(root, "system.slice/a.service", delegates="")
    assert find_limits(root) == ()


def test_each_kind_of_limit(root: Path) -> None:
    make(root, "system.slice/max.service", cpu_max="20000 100000")
    make(root, "system.slice/weight.service", cpu_weight="50")
    make(root, "system.slice/idle.service", cpu_idle="1", cpu_weight="0")
    make(root, "system.slice/both.service", cpu_max="250000 100000", cpu_weight="1000")
    assert find_limits(root) == (
        "/system.slice/both.service has cpu.max 250% of one CPU and cpu.weight 1000 instead of 100",
        "/system.slice/idle.service has cpu.idle",
        "/system.slice/max.service has cpu.max 20% of one CPU",
        "/system.slice/weight.service has cpu.weight 50 instead of 100",
    )


def test_a_limit_of_a_slice_counts(root: Path) -> None:
    make(root, "user.slice/user-1000.slice", cpu_weight="200")
    make(root, "user.slice")
    assert len(find_limits(root)) == 1


def test_an_empty_cgroup_does_not_count(root: Path) -> None:
    make(root, "system.slice/a.service", populated=False, cpu_max="20000 100000")
    assert find_limits(root) == ()


def test_where_the_controller_ends_so_does_the_search(root: Path) -> None:
    make(root, "system.slice/a.service", delegates="memory")
    make(root, "system.slice/a.service/sub", cpu_weight="1")  # files that nobody enforces
    assert find_limits(root) == ()
    (root / "cgroup.subtree_control").write_text("memory\n")
    make(root, "b.service", cpu_weight="1")
    assert find_limits(root) == ()


def test_a_cgroup_may_vanish(root: Path) -> None:
    (root / "system.slice/going.service").mkdir()
    assert find_limits(root) == ()
    assert find_limits(root / "missing") == ()


def test_a_limit_that_is_not_understood_is_not_overlooked(root: Path) -> None:
    make(root, "system.slice/a.service", cpu_max="lots")
    with pytest.raises(KernelText, match=r"cpu\.max"):
        find_limits(root)


def test_names_are_made_printable(root: Path) -> None:
    make(root, "system.slice/esc\x1b[2J" + "x" * 200, cpu_weight="1")
    [sentence] = find_limits(root)
    assert sentence.isprintable()
    assert len(sentence) < 200


def test_one_cgroup(root: Path) -> None:
    make(root, "system.slice/a.service", cpu_max="20000 100000")
    make(root, "system.slice/b.service", cpu_weight="50")
    make(root, "system.slice/empty.service", populated=False, cpu_weight="50")
    [sentence] = find_limits(root, "/system.slice/b.service")
    assert sentence.startswith("/system.slice/b.service has cpu.weight 50")
    assert not find_limits(root, "/system.slice")
    assert not find_limits(root, "/system.slice/empty.service")
    assert not find_limits(root, "/system.slice/gone.service")
