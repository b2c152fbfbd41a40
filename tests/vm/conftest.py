# SPDX-License-Identifier: GPL-2.0-or-later
"""A lab machine with the package installed, resumed afresh for every test."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from lab import image, kernels, snapshot
from lab.errors import InfraFailure, LabError
from lab.machine import Machine
from lab.place import REPO, Lab

LOGS = REPO / "build" / "vm-logs"
FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def deb() -> Path:
    """The package under test; `make check-vm` names it."""
    name = os.environ.get("SCHEDCP_DEB")
    if not name:
        pytest.fail("SCHEDCP_DEB does not name the package to test; run: make check-vm")
    return Path(name)


@pytest.fixture(scope="session")
def saved(deb: Path) -> snapshot.Snapshot:
    """A settled boot of the newest sched_ext kernel with the package installed."""
    lab = Lab.from_env()
    return snapshot.get(image.build(lab, deb), kernels.get(lab))


@pytest.fixture
def machine(saved: snapshot.Snapshot, request: pytest.FixtureRequest) -> Iterator[Machine]:
    """One machine for one test; what a failed one said is kept in build/vm-logs."""
    with Machine.resume(saved) as machine:
        yield machine
        if request.node.stash.get(FAILED, False):
            keep_logs(machine, request.node.name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember for the fixture whether the test failed."""
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


def keep_logs(machine: Machine, name: str) -> None:
    """Save console and journal of a machine whose test failed."""
    LOGS.mkdir(parents=True, exist_ok=True)
    try:
        journal = machine.run(["journalctl", "--boot", "--no-pager"]).stdout
    except InfraFailure:
        raise
    except LabError as exc:
        journal = f"no journal: {exc}"
    (LOGS / f"{name}.log").write_text(f"{machine.console()}\n\n{journal}")
