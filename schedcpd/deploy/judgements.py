# SPDX-License-Identifier: GPL-2.0-or-later
"""What the deployer has to judge on the way in and out; pure functions."""

from __future__ import annotations

from collections.abc import Mapping

from schedcpd.deploy.conduct import Ending
from schedcpd.deploy.messages import LoaderStatus
from schedcpd.deploy.states import Trigger
from schedcpd.errors import Ejected
from schedcpd.kernel.sched_ext import exit_cause
from schedcpd.model import (
    Card,
    Deployment,
    DeploymentState,
    ExitCause,
    ExitRecord,
    Origin,
    Workload,
)


def is_enough(
    active: Deployment,
    workload: Workload,
    card: Card,
    origin: Origin,
    parameters: Mapping[str, int],
) -> bool:
    """Whether what is asked for is there already.

    A person who asks for a policy does not wait for the end of its canary, and gets the parameters
    that are asked for.
    """
    same = (active.workload_id, active.policy) == (workload.id, card.name)
    if not same or active.parameters != parameters:
        return False
    return origin is not Origin.MANUAL or active.state is DeploymentState.ATTACHED


def target_parameters(card: Card, workload: Workload) -> dict[str, int]:
    """The values of those tunables that say which cgroup the policy is for."""
    values = {"target-id": workload.cgroup_id, "target-level": workload.level}
    return {tunable.name: values[tunable.role] for tunable in card.tunables if tunable.role}


def is_fault(record: ExitRecord | None) -> bool:
    """Whether the kernel threw the policy out for an error of its own."""
    return record is not None and bool(record.kind) and exit_cause(record) is ExitCause.FAULT


def ejected_meanwhile(policy: str, ending: Ending, status: LoaderStatus) -> Ending:
    """The ending that it is when the kernel threw the policy out while it was taken off."""
    record = status.exit
    if record is None or not is_fault(record) or ending.trigger is Trigger.GONE:
        return ending
    error = Ejected(policy, record.kind, record.message or record.reason, record)
    return Ending(DeploymentState.EJECTED, Trigger.GONE, str(error), status, ending.trip)
