# SPDX-License-Identifier: GPL-2.0-or-later
"""What the daemon knows of the machine as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from schedcpd.model.layer import LayerClass
from schedcpd.model.plan import Plan
from schedcpd.model.profile import WorkloadProfile
from schedcpd.model.workload import Workload, WorkloadState


class Mode(StrEnum):
    """How far the daemon may go on its own."""

    AUTO = "auto"  # attach what the planner chooses
    ADVISE = "advise"  # say it, never attach it unasked
    PAUSED = "paused"  # a person said pause: no automatic decision until resume
    SAFE = "safe"  # the last run ended in the middle of a deployment: like paused, until resume


@dataclass(frozen=True, slots=True)
class WorkloadRecord:
    """All that is known of one workload; replaced as a whole when anything changes."""

    workload: Workload
    state: WorkloadState
    profile: WorkloadProfile | None = None
    plan: Plan | None = None
    layer: LayerClass | None = None  # its class in the policy that is attached


@dataclass(frozen=True, slots=True)
class Hold:
    """Somebody on the bus who keeps automation off; ends with their connection."""

    cookie: int
    owner: str  # unique bus name
    uid: int
    workload_id: str  # empty: the whole machine
    reason: str
    since: float  # seconds since the epoch


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the daemon's log, as shown to people."""

    at: float  # seconds since the epoch
    # workload, plan, propose, optimize, attach, class, canary, promote, trip, revert, eject,
    # refuse, quarantine, hold, mode, kernel, config, verify, enroll, revoke, withdraw, phase,
    # hints, repository
    kind: str
    subject: str  # workload id, policy name or empty
    message: str
