# SPDX-License-Identifier: GPL-2.0-or-later
"""What systemd and the journal are told."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import cast

import pytest

from schedcpd.__main__ import status_line, write_journal
from schedcpd.model import Deployment, DeploymentState, Event, Mode, Origin
from schedcpd.supervisor import Supervisor


@dataclass
class Told:
    """As much of a supervisor as the status line is made of."""

    active: Deployment | None = None
    safe: str = ""
    reason: str = ""
    mode: Mode = Mode.AUTO

    def unusable(self) -> str:
        return self.reason


def deployment(state: DeploymentState) -> Deployment:
    return Deployment(1, "/a.service", "scx_batch", Origin.AUTOMATIC, state, 1.0)


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (Told(), "the kernel default schedules; mode auto"),
        (Told(deployment(DeploymentState.ATTACHED)), "scx_batch schedules for /a.service"),
        (
            Told(deployment(DeploymentState.CANARY)),
            "scx_batch takes turns with the kernel default for /a.service",
        ),
        (Told(reason="no sched_ext"), "advice only: sched_ext cannot be used here"),
        (Told(safe="cut off"), "safe mode: cut off; 'schedctl resume' ends it"),
    ],
)
def test_status_line(told: Told, line: str) -> None:
    assert status_line(cast(Supervisor, told)) == line


@pytest.mark.parametrize(
    ("kind", "level"), [("trip", logging.WARNING), ("quarantine", logging.WARNING), ("hold", 20)]
)
def test_harm_is_a_warning(caplog: pytest.LogCaptureFixture, kind: str, level: int) -> None:
    with caplog.at_level(logging.INFO, "schedcpd"):
        write_journal(Event(1.0, kind, "/a.service", "words"))
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (level, "/a.service: words")
