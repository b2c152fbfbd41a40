# SPDX-License-Identifier: GPL-2.0-or-later
"""Keeps the objects on the bus in step with the core."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable
from typing import TypeVar

from schedcpd.bus import names
from schedcpd.bus.authorisation import Authority, Polkit
from schedcpd.bus.clients import Clients
from schedcpd.bus.connection import Connection, ObjectInterface
from schedcpd.bus.conversion import policy_values, workload_values
from schedcpd.bus.core import Core
from schedcpd.bus.deployment_interface import DeploymentInterface
from schedcpd.bus.job_interface import JobInterface
from schedcpd.bus.joining import join, take_name
from schedcpd.bus.manager_interface import ManagerInterface
from schedcpd.bus.members import Gate
from schedcpd.bus.policy_interface import PolicyInterface
from schedcpd.bus.repository_interface import RepositoryInterface
from schedcpd.bus.workload_interface import WorkloadInterface
from schedcpd.model import Deployment, Event, Job, WorkloadRecord

log = logging.getLogger(__name__)

Value = TypeVar("Value")


async def serve(core: Core, bus_address: str | None = None) -> BusService:
    """Show ``core`` on the system bus (or another); raises BusUnavailable.

    When it returns, every object is there and the name is ours.
    """
    connection = await join(bus_address, names.ROOT_PATH)
    service = BusService(core, connection, Polkit(connection))
    try:
        await service.start()
    except BaseException:
        await service.close()
        raise
    return service


class BusService:
    """The objects on the bus.

    ``disconnected`` gets a sentence as its result when the connection or the name is lost, and is
    cancelled by ``close``.
    """

    def __init__(self, core: Core, connection: Connection, authority: Authority) -> None:
        self.disconnected: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._core = core
        self._connection = connection
        self._workloads: dict[str, WorkloadInterface] = {}  # by id
        self._workload_ids: dict[str, str] = {}  # by path
        self._policies: dict[str, PolicyInterface] = {}
        self._deployments: dict[int, DeploymentInterface] = {}
        self._jobs: dict[int, JobInterface] = {}
        self._gate = Gate(authority)
        self._clients = Clients(connection, self._edge(self._client_gone))
        self._manager = ManagerInterface(core, self._gate, self._clients, self._workload_ids)
        self._repository = RepositoryInterface(core.library, self._gate, self._clients)
        self._watch = asyncio.ensure_future(self._watch_connection())

    async def start(self) -> None:
        """Export what there is, follow the core's signals and take the name."""
        self._export(self._manager)
        self._export(self._repository)
        for record in tuple(self._core.workloads.values()):
            self._workload_changed(record)
        self._policies_changed()
        for deployment in tuple(self._core.deployments.values()):
            self._deployment_changed(deployment)
        for job in tuple(self._core.jobs.values()):
            self._job_changed(job)
        self._connect_signals()
        await take_name(self._connection, names.BUS_NAME)

    async def close(self) -> None:
        """Answer the calls that wait, and leave the bus."""
        self.disconnected.cancel()
        await self._gate.close()
        await self._clients.close()
        self._watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._watch
        await self._connection.close()

    async def _watch_connection(self) -> None:
        reason = await self._connection.lost()
        if not self.disconnected.done():
            self.disconnected.set_result(f"the connection to the system bus was lost: {reason}")

    def _connect_signals(self) -> None:
        core = self._core
        core.workload_added.connect(self._edge(self._workload_changed))
        core.workload_changed.connect(self._edge(self._workload_changed))
        core.workload_removed.connect(self._edge(self._workload_removed))
        core.policies_changed.connect(self._edge(lambda _: self._policies_changed()))
        core.deployment_added.connect(self._edge(self._deployment_changed))
        core.deployment_changed.connect(self._edge(self._deployment_changed))
        core.deployment_removed.connect(self._edge(self._deployment_removed))
        core.job_added.connect(self._edge(self._job_changed))
        core.job_changed.connect(self._edge(self._job_changed))
        core.job_removed.connect(self._edge(self._job_removed))
        core.state_changed.connect(self._edge(lambda _: self._manager.refresh()))
        core.event_logged.connect(self._edge(self._event_logged))

    def _edge(self, function: Callable[[Value], None]) -> Callable[[Value], None]:
        """Keep what goes wrong on the bus from the core, which emits the signal."""

        @functools.wraps(function)
        def guarded(value: Value) -> None:
            if not self._connection.connected:
                return
            try:
                function(value)
            except Exception:
                log.exception("the bus could not be told of %r", value)

        return guarded

    def _export(self, interface: ObjectInterface) -> None:
        self._connection.export(interface.path, interface)

    def _unexport(self, interface: ObjectInterface) -> None:
        self._connection.unexport(interface.path, interface)

    def _workload_changed(self, record: WorkloadRecord) -> None:
        known = self._workloads.get(record.workload.id)
        path = names.workload_path(record.workload.cgroup_id)
        if known is not None and known.path == path:
            known.update(workload_values(record))
            return
        self._workload_removed(record.workload.id)  # the same name, but another cgroup
        if path in self._workload_ids:  # renamed: one cgroup is one workload
            self._workload_removed(self._workload_ids[path])
        interface = WorkloadInterface(record)
        self._workloads[interface.workload_id] = interface
        self._workload_ids[path] = interface.workload_id
        self._export(interface)

    def _workload_removed(self, workload_id: str) -> None:
        interface = self._workloads.pop(workload_id, None)
        if interface is None:
            return
        del self._workload_ids[interface.path]
        for deployment in self._deployments.values():
            if deployment.workload_path == interface.path:
                deployment.workload_gone()
        self._unexport(interface)

    def _policies_changed(self) -> None:
        policies = self._core.policies
        for name in self._policies.keys() - policies.keys():
            self._unexport(self._policies.pop(name))
        for name, policy in policies.items():
            if name in self._policies:
                self._policies[name].update(policy_values(policy))
                continue
            try:
                interface = PolicyInterface(policy)
            except ValueError as error:
                log.warning("a policy is left out: %s", error)
                continue
            self._policies[name] = interface
            self._export(interface)

    def _deployment_changed(self, deployment: Deployment) -> None:
        known = self._deployments.get(deployment.id)
        if known is not None:
            known.changed(deployment)
        else:
            workload = self._workloads.get(deployment.workload_id)
            path = workload.path if workload else names.NO_OBJECT
            interface = DeploymentInterface(self._core, deployment, path)
            self._deployments[deployment.id] = interface
            self._export(interface)
        self._manager.refresh()

    def _deployment_removed(self, deployment_id: int) -> None:
        interface = self._deployments.pop(deployment_id, None)
        if interface is not None:
            self._unexport(interface)
        self._manager.refresh()

    def _job_changed(self, job: Job) -> None:
        if job.ended_at:
            self._manager.job_over(job.id)
        known = self._jobs.get(job.id)
        if known is not None:
            known.changed(job)
            return
        self._jobs[job.id] = JobInterface(self._core, self._gate, job, self._manager.submitter)
        self._export(self._jobs[job.id])

    def _job_removed(self, job_id: int) -> None:
        interface = self._jobs.pop(job_id, None)
        if interface is not None:
            self._unexport(interface)

    def _client_gone(self, sender: str) -> None:
        self._manager.client_gone(sender)

    def _event_logged(self, event: Event) -> None:
        self._manager.event_logged(event)
