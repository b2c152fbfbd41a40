# SPDX-License-Identifier: GPL-2.0-or-later
"""``org.schedcp.Daemon1.Manager``: the machine's scheduler as it is now, and the verbs."""

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import Any

from schedcpd.bus import names
from schedcpd.bus.authorisation import Action, Authority
from schedcpd.bus.connection import Caller
from schedcpd.bus.conversion import (
    deployment_path,
    event_line,
    number,
    owner,
    state_counts,
    text,
)
from schedcpd.bus.core import Core
from schedcpd.bus.members import ValuesInterface, method, shown, signal
from schedcpd.bus.signatures import Count, Line, Lines, ObjectPath, Text
from schedcpd.errors import NoSuchPolicy, NoSuchWorkload
from schedcpd.model import Event

MOST_EVENTS = 1000
UNTOLD = {"Workloads"}  # changes with every workload, which is told of itself


class ManagerInterface(ValuesInterface):
    """The verbs, and properties that are read from the core, and so from the kernel, each time."""

    def __init__(self, core: Core, authority: Authority, workloads: Mapping[str, str]) -> None:
        """``workloads`` gives the id of the workload at a path."""
        self.authority = authority
        self.under_way: dict[asyncio.Task[Any], Caller] = {}
        self.closing = False
        self._core = core
        self._workloads = workloads
        self._readers: dict[str, Callable[[], Any]] = {
            "Version": lambda: text(core.version),
            "KernelRelease": lambda: text(core.kernel_release),
            "Mode": lambda: str(core.mode),
            "SchedExtState": lambda: text(core.kernel().state),
            "KernelPolicy": lambda: text(core.kernel().policy),
            "Owner": lambda: owner(core.kernel(), core.deployments.values()),
            "Unusable": lambda: text(core.unusable()),
            "EnableSeq": lambda: number("t", core.kernel().enable_seq),
            "ActiveDeployment": lambda: deployment_path(core.active),
            "LastDeployment": lambda: deployment_path(core.last_exit()),
            "Workloads": lambda: state_counts(core.workloads.values()),
            "Cpus": lambda: number("u", os.cpu_count() or 1),
        }
        super().__init__(names.MANAGER, names.ROOT_PATH, self._now())

    def read(self, name: str) -> Any:
        """The value of a property now."""
        return self._readers[name]()

    def refresh(self) -> None:
        """Tell the bus of the properties that differ from those told before."""
        self.update(self._now())

    def _now(self) -> dict[str, Any]:
        return {name: read() for name, read in self._readers.items() if name not in UNTOLD}

    Version = shown("Version", "s")
    KernelRelease = shown("KernelRelease", "s")
    Mode = shown("Mode", "s")
    SchedExtState = shown("SchedExtState", "s")
    KernelPolicy = shown("KernelPolicy", "s")
    Owner = shown("Owner", "s")
    Unusable = shown("Unusable", "s")
    EnableSeq = shown("EnableSeq", "t")
    ActiveDeployment = shown("ActiveDeployment", "o")
    LastDeployment = shown("LastDeployment", "o")
    Workloads = shown("Workloads", "a{su}")
    Cpus = shown("Cpus", "u")

    @method("Apply", action=Action.APPLY)
    async def apply(self, workload: ObjectPath, policy: Text) -> ObjectPath:
        """Attach a policy for a workload; returns the deployment."""
        workload_id = self._workloads.get(workload)
        if workload_id is None:
            raise NoSuchWorkload(workload)
        if policy not in self._core.policies:
            raise NoSuchPolicy(policy)
        deployment = await self._core.apply(workload_id, policy)
        return names.deployment_path(deployment.id)

    @method("Revert", action=Action.REVERT)
    async def revert(self) -> None:
        """Go back to the kernel default."""
        await self._core.revert()

    @method("Pause", action=Action.PAUSE)
    async def pause(self) -> None:
        """Go back to the kernel default and decide nothing until Resume."""
        await self._core.pause()

    @method("Resume", action=Action.PAUSE)
    async def resume(self) -> None:
        """Decide again."""
        await self._core.resume()

    @method("Events", action=None)
    async def events(self, count: Count) -> Lines:
        """The newest events, oldest first."""
        return [event_line(event) for event in self._core.events(min(count, MOST_EVENTS))]

    @signal("EventLogged")
    def event_logged(self, event: Event) -> Line:
        """Tell the bus of an event."""
        return event_line(event)
