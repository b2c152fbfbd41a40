# SPDX-License-Identifier: GPL-2.0-or-later
"""What the bus needs of the core; ``schedcpd.supervisor.Supervisor`` has this shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from schedcpd.model import (
    Deployment,
    Event,
    ExitCause,
    ExitRecord,
    KernelState,
    Mode,
    Policy,
    WorkloadRecord,
)
from schedcpd.signals import Signal


class Core(Protocol):
    """The daemon without its bus: what there is, the verbs, and the signals of change."""

    version: str
    kernel_release: str
    workload_added: Signal[WorkloadRecord]
    workload_changed: Signal[WorkloadRecord]
    workload_removed: Signal[str]  # the workload's id
    policies_changed: Signal[None]
    deployment_added: Signal[Deployment]
    deployment_changed: Signal[Deployment]
    deployment_removed: Signal[int]  # the deployment's id
    state_changed: Signal[None]
    event_logged: Signal[Event]

    @property
    def mode(self) -> Mode:
        """How far the daemon goes on its own now."""

    @property
    def workloads(self) -> Mapping[str, WorkloadRecord]:
        """The workloads by id."""

    @property
    def policies(self) -> Mapping[str, Policy]:
        """The installed policies by name."""

    @property
    def deployments(self) -> Mapping[int, Deployment]:
        """The newest deployments by id."""

    @property
    def active(self) -> Deployment | None:
        """The deployment whose policy is attached, or None."""

    def kernel(self) -> KernelState:
        """What the kernel says at this moment."""

    def unusable(self) -> str:
        """Why nothing can be attached here, or an empty string."""

    def last_exit(self) -> Deployment | None:
        """The deployment that ended last."""

    def exit_cause(self, record: ExitRecord) -> ExitCause:
        """What the exit of a policy means."""

    def events(self, count: int) -> tuple[Event, ...]:
        """The newest ``count`` events, oldest first."""

    async def apply(self, workload_id: str, policy: str) -> Deployment:
        """Attach ``policy`` for the workload; raises a ``SchedcpError``."""

    async def revert(self) -> None:
        """Go back to the kernel default; raises a ``SchedcpError``."""

    async def pause(self) -> None:
        """Go back to the kernel default and decide nothing until ``resume``."""

    async def resume(self) -> None:
        """Decide again, as configured."""
