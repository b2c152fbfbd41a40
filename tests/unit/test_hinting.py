# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio

from schedcpd import hinting as module
from schedcpd.deploy.probe.probe import NoProbe, ProbeSettings
from schedcpd.hinting import Hinting
from schedcpd.model import (
    Deployment,
    DeploymentState,
    LayerClass,
    LayerKind,
    MapRole,
    Objective,
    Origin,
    Plan,
    Policy,
    WorkloadClass,
    WorkloadProfile,
    WorkloadRecord,
    WorkloadState,
)
from unit.fakes import make_policy, make_workload
from unit.task_records import FakeFeed, execed

LONGEST = make_policy("scx_longest")
LONGEST = replace(LONGEST, card=replace(LONGEST.card, maps={"hints": MapRole.HINTS}))
PROFILE = WorkloadProfile(1.0, 0.3, 4, 4, 4.0, 2.0, 0.0, 0.5, 1.0, 1.0)
WORKLOAD = make_workload()
CHILD = (sys.executable, "-I", str(Path(__file__).with_name("fake_probe_child.py")))


class Feed(FakeFeed):
    """In place of the real one; closes what it is given."""

    def __init__(self, ring_fd: int, watched_fd: int, link_fds: tuple[int, ...]) -> None:
        super().__init__()
        self.fds = (ring_fd, watched_fd, *link_fds)
        self.started = False

    def start(self) -> None:
        self.started = True

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)


class Core:
    """A machine with one workload."""

    def __init__(self) -> None:
        self.workloads: dict[str, WorkloadRecord] = {}
        self.policies: Mapping[str, Policy] = {
            one.card.name: one for one in (LONGEST, make_policy("scx_batch"))
        }
        self.active: Deployment | None = None
        self.hints: dict[int, int] = {}
        self.notes: list[tuple[str, str, str]] = []

    def note(self, kind: str, subject: str, message: str) -> None:
        self.notes.append((kind, subject, message))

    async def update_hints(
        self, updates: Mapping[int, int], deletions: Collection[int] = ()
    ) -> None:
        self.hints |= updates

    def attach(self, hinting: Hinting, ident: int, policy: str, **changes: Any) -> None:
        running = DeploymentState.CANARY
        deployment = Deployment(ident, WORKLOAD.id, policy, Origin.AUTOMATIC, running, 1.0)
        self.active = replace(deployment, **changes)
        hinting.policy_changed()


@pytest.fixture
def core() -> Core:
    return Core()


@pytest_asyncio.fixture
async def hinting(
    core: Core, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Hinting]:
    monkeypatch.setattr(module, "TaskFeed", Feed)
    made = Hinting(core, core)
    core.workloads = {WORKLOAD.id: record(work=WorkloadClass.BATCH)}
    settings = ProbeSettings(Path("/p/good"), CHILD)
    await made.start(settings, tmp_path / "runtimes.db", tmp_path / "cgroup", tmp_path / "proc")
    yield made
    await made.close()


def record(
    work: WorkloadClass = WorkloadClass.UNKNOWN,
    plan: Plan | None = None,
    layer: LayerClass | None = None,
) -> WorkloadRecord:
    profile = replace(PROFILE, work=work)
    return WorkloadRecord(WORKLOAD, WorkloadState.NEW, profile, plan, layer)


def plan(policy: str | None = None, kind: LayerKind | None = None) -> Plan:
    layer = LayerClass(kind) if kind else None
    return Plan(policy, Objective.MAKESPAN, "because", layer=layer)


def feed_of(hinting: Hinting) -> Feed:
    return cast("Feed", hinting._feed)


async def test_what_is_there_already_is_watched(hinting: Hinting) -> None:
    assert feed_of(hinting).started
    assert feed_of(hinting).watched == {WORKLOAD.cgroup_id}
    hinting.workload_removed(WORKLOAD.id)
    assert feed_of(hinting).watched == set()


@pytest.mark.parametrize(
    ("known", "watched"),
    [
        (record(), False),
        (record(WorkloadClass.BUILD), False),
        (record(WorkloadClass.BATCH), True),
        (record(plan=plan(None)), False),
        (record(plan=plan("scx_batch")), False),
        (record(plan=plan("scx_longest")), True),
        (record(plan=plan("scx_gone")), False),
        (record(plan=plan("scx_layers", LayerKind.LONGEST)), True),
        (record(plan=plan("scx_layers", LayerKind.FAIR)), False),
        (record(layer=LayerClass(LayerKind.LONGEST)), True),
        (record(plan=plan("scx_longest"), layer=LayerClass(LayerKind.LATENCY)), False),
        (replace(record(), profile=None), False),
    ],
)
async def test_who_is_watched(hinting: Hinting, known: WorkloadRecord, watched: bool) -> None:
    hinting.workload_changed(known)
    assert bool(feed_of(hinting).watched) is watched


async def test_of_what_has_ended_nothing_is_expected(hinting: Hinting, core: Core) -> None:
    feed_of(hinting).told.emit([execed(1, b"xz", stdin=(b"a", 1_000_000))])
    assert hinting.expected(WORKLOAD) == [20_000_000]
    core.workloads = {}
    hinting.workload_removed(WORKLOAD.id)
    assert hinting.expected(WORKLOAD) == ()
    assert feed_of(hinting).watched == set()


async def test_the_policy_that_is_attached_gets_the_hints(hinting: Hinting, core: Core) -> None:
    feed_of(hinting).told.emit([execed(1, b"xz", stdin=(b"a", 1_000_000))])
    core.attach(hinting, 1, "scx_batch")
    await asyncio.sleep(0)
    assert core.hints == {}
    core.attach(hinting, 2, "scx_longest", state=DeploymentState.ATTACHING)
    await asyncio.sleep(0)
    assert core.hints == {}
    core.attach(hinting, 2, "scx_longest")
    await asyncio.sleep(0)
    assert set(core.hints) == {1}
    core.attach(hinting, 2, "scx_longest", state=DeploymentState.ATTACHED)
    assert [note[:2] for note in core.notes] == [("hints", WORKLOAD.id)]
    core.active = None
    hinting.policy_changed()
    core.hints.clear()
    feed_of(hinting).told.emit([execed(2, b"xz", stdin=(b"a", 1_000_000))])
    await asyncio.sleep(0)
    assert core.hints == {}


async def test_a_probe_that_is_none(core: Core, tmp_path: Path) -> None:
    """Its descriptors are closed again, and what happens later does no harm."""
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    hinting = Hinting(core, core)
    for behaviour, words in (("good", "buffer cannot be read"), ("refused", "no .good")):
        with pytest.raises(NoProbe, match=words):
            await hinting.start(
                ProbeSettings(Path("/p") / behaviour, CHILD), tmp_path / "db", tmp_path, tmp_path
            )
    hinting.workload_changed(record(WorkloadClass.BATCH))
    core.workloads = {WORKLOAD.id: record(WorkloadClass.BATCH)}
    assert hinting.expected(WORKLOAD) == ()
    hinting.workload_removed(WORKLOAD.id)
    core.attach(hinting, 1, "scx_longest")
    await hinting.close()
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert not (tmp_path / "db").exists()
