# SPDX-License-Identifier: GPL-2.0-or-later
"""The parsers and readers of the cgroup filesystem, on plain directories."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.errors import KernelText
from schedcpd.kernel import cgroupfs
from schedcpd.kernel.cgroupfs import CpuLimits, CpuStat


def test_flat_keyed_files() -> None:
    assert cgroupfs.parse_flat(b"populated 1\nfrozen 0\n") == {"populated": 1, "frozen": 0}
    assert cgroupfs.parse_flat(b"") == {}


def test_cpu_max() -> None:
    assert cgroupfs.parse_cpu_max(b"max 100000\n") == (None, 100_000)
    assert cgroupfs.parse_cpu_max(b"20000 100000\n") == (20_000, 100_000)


@pytest.mark.parametrize(
    ("parse", "raw"),
    [
        (cgroupfs.parse_flat, b"populated\n"),
        (cgroupfs.parse_flat, b"populated -1\n"),
        (cgroupfs.parse_flat, b"populated 1 2\n"),
        (cgroupfs.parse_flat, b"\n"),
        (cgroupfs.parse_flat, b"usage_usec " + b"9" * 5000),
        (cgroupfs.parse_pids, b"1\n-2\n"),
        (cgroupfs.parse_pids, "٣".encode()),
        (cgroupfs.parse_cpu_max, b"max"),
        (cgroupfs.parse_cpu_max, b"min 100000"),
        (cgroupfs.parse_cpu_max, b""),
        (cgroupfs.parse_number, b""),
        (cgroupfs.parse_number, b"1 2"),
    ],
)
def test_what_is_not_understood_is_refused(parse: Callable[[bytes], object], raw: bytes) -> None:
    with pytest.raises(KernelText):
        parse(raw)


@pytest.mark.parametrize(
    "parse",
    [
        cgroupfs.parse_flat,
        cgroupfs.parse_pids,
        cgroupfs.parse_cpu_max,
        cgroupfs.parse_number,
    ],
)
@given(raw=st.binary(max_size=200))
def test_any_bytes_parse_or_are_refused(parse: Callable[[bytes], object], raw: bytes) -> None:
    with contextlib.suppress(KernelText):
        parse(raw)


def test_a_cgroup_that_is_gone_is_none(tmp_path: Path) -> None:
    place = str(tmp_path / "gone")
    assert cgroupfs.read_id(place) is None
    assert cgroupfs.read_populated(place) is None
    assert cgroupfs.read_cpu_stat(place) is None
    assert cgroupfs.read_limits(place) is None
    assert cgroupfs.children(place) == []
    assert cgroupfs.read_pids(place) == []
    assert not cgroupfs.delegates_cpu(place)


def test_counters(tmp_path: Path) -> None:
    (tmp_path / "cpu.stat").write_text("usage_usec 5\nuser_usec 4\nsystem_usec 1\n")
    assert cgroupfs.read_cpu_stat(str(tmp_path)) == CpuStat(5, 0)
    (tmp_path / "cpu.stat").write_text("usage_usec 5\nnr_throttled 1\nthrottled_usec 70\n")
    assert cgroupfs.read_cpu_stat(str(tmp_path)) == CpuStat(5, 70)


def test_limits(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "cpu.weight").write_text("100\n")
    (tmp_path / "cpu.idle").write_text("0\n")
    limits = cgroupfs.read_limits(str(tmp_path))
    assert limits is not None
    assert limits.is_default
    (tmp_path / "cpu.idle").unlink()  # before Linux 5.15
    (tmp_path / "cpu.weight").write_text("99\n")
    assert cgroupfs.read_limits(str(tmp_path)) == CpuLimits(None, 100_000, 99, idle=False)


def test_processes_of_the_whole_subtree(tmp_path: Path) -> None:
    for number, name in enumerate(("", "a", "a/b", "c")):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "cgroup.procs").write_text(f"{number + 1}\n{number + 11}\n")
    (tmp_path / "c/cgroup.procs").unlink()  # a threaded cgroup refuses to be read
    assert sorted(cgroupfs.read_pids(str(tmp_path))) == [1, 2, 3, 11, 12, 13]
    assert len(cgroupfs.read_pids(str(tmp_path), directories=1)) == 2


def test_a_list_of_processes_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").write_text("123456\n" * 200_000)
    pids = cgroupfs.read_pids(str(tmp_path))
    assert 100_000 < len(pids) < 200_000
    assert set(pids) == {123456}


def test_the_walk_does_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/loop").symlink_to(tmp_path)
    assert list(cgroupfs.walk(str(tmp_path), 100)) == [str(tmp_path), f"{tmp_path}/a"]


def test_place_of_a_cgroup() -> None:
    root = Path("/sys/fs/cgroup")
    assert cgroupfs.directory(root, "/") == "/sys/fs/cgroup"
    assert cgroupfs.directory(root, "/a.slice/b.service") == "/sys/fs/cgroup/a.slice/b.service"
