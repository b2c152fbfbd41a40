# SPDX-License-Identifier: GPL-2.0-or-later
"""The values that travel from stage to stage; standard library only, all immutable."""

from schedcpd.model.deployment import (
    Canary,
    CanaryDecision,
    Deployment,
    DeploymentState,
    Origin,
    Quarantine,
    Transition,
)
from schedcpd.model.kernel import ExitCause, ExitKind, ExitRecord, KernelState
from schedcpd.model.layer import LayerClass, LayerKind
from schedcpd.model.machine import Event, Hold, Mode, WorkloadRecord
from schedcpd.model.outcome import Outcome, OutcomeKind
from schedcpd.model.plan import Candidate, Objective, Plan, Proposal
from schedcpd.model.policy import (
    Card,
    Fit,
    ForeignProgram,
    MapRole,
    Policy,
    PolicyKind,
    Tunable,
    is_called,
)
from schedcpd.model.probes import (
    Histogram,
    ProbesProfile,
    SleepReason,
    SystemCall,
    Waker,
    WakerKind,
)
from schedcpd.model.profile import Program, SchedulingProfile, Tier, WorkloadProfile
from schedcpd.model.repository import Antipattern, Harm, Hit, Note, Standing
from schedcpd.model.verdict import (
    Check,
    Finding,
    Job,
    JobState,
    Report,
    Rule,
    Severity,
    StageOutcome,
    StageReport,
    VerifyStage,
)
from schedcpd.model.workload import Excerpt, Workload, WorkloadClass, WorkloadKind, WorkloadState

__all__ = [
    "Antipattern",
    "Canary",
    "CanaryDecision",
    "Candidate",
    "Card",
    "Check",
    "Deployment",
    "DeploymentState",
    "Event",
    "Excerpt",
    "ExitCause",
    "ExitKind",
    "ExitRecord",
    "Finding",
    "Fit",
    "ForeignProgram",
    "Harm",
    "Histogram",
    "Hit",
    "Hold",
    "Job",
    "JobState",
    "KernelState",
    "LayerClass",
    "LayerKind",
    "MapRole",
    "Mode",
    "Note",
    "Objective",
    "Origin",
    "Outcome",
    "OutcomeKind",
    "Plan",
    "Policy",
    "PolicyKind",
    "ProbesProfile",
    "Program",
    "Proposal",
    "Quarantine",
    "Report",
    "Rule",
    "SchedulingProfile",
    "Severity",
    "SleepReason",
    "StageOutcome",
    "StageReport",
    "Standing",
    "SystemCall",
    "Tier",
    "Transition",
    "Tunable",
    "VerifyStage",
    "Waker",
    "WakerKind",
    "Workload",
    "WorkloadClass",
    "WorkloadKind",
    "WorkloadProfile",
    "WorkloadRecord",
    "WorkloadState",
    "is_called",
]
