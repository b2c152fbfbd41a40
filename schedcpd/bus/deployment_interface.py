# SPDX-License-Identifier: GPL-2.0-or-later
"""``org.schedcp.Daemon1.Deployment``: one attachment of a policy, from the request to its end."""

from typing import Any

from schedcpd.bus import names
from schedcpd.bus.conversion import counters, deployment_values
from schedcpd.bus.core import Core
from schedcpd.bus.members import ValuesInterface, shown
from schedcpd.model import Deployment


class DeploymentInterface(ValuesInterface):
    """One deployment; points to its workload while that is there."""

    def __init__(self, core: Core, deployment: Deployment, workload_path: str) -> None:
        self._core = core
        self._deployment = deployment
        self.workload_path = workload_path
        path = names.deployment_path(deployment.id)
        super().__init__(names.DEPLOYMENT, path, self._converted())

    def read(self, name: str) -> Any:
        """The value of a property now; the counters run on without a signal for each step."""
        if name == "Counters":
            return counters(self._core.deployments.get(self._deployment.id, self._deployment))
        return super().read(name)

    def changed(self, deployment: Deployment) -> None:
        """Show the new state of the deployment."""
        self._deployment = deployment
        self.update(self._converted())

    def workload_gone(self) -> None:
        """Stop pointing to the workload."""
        self.workload_path = names.NO_OBJECT
        self.update(self._converted())

    def _converted(self) -> dict[str, object]:
        ended = self._deployment.exit
        cause = self._core.exit_cause(ended) if ended else None
        return deployment_values(self._deployment, self.workload_path, cause)

    Id = shown("Id", "t")
    Workload = shown("Workload", "o")
    WorkloadId = shown("WorkloadId", "s")
    Policy = shown("Policy", "s")
    Origin = shown("Origin", "s")
    State = shown("State", "s")
    StartedAt = shown("StartedAt", "d")
    EndedAt = shown("EndedAt", "d")
    AttachMs = shown("AttachMs", "d")
    ExitKind = shown("ExitKind", "i")
    ExitCode = shown("ExitCode", "x")
    ExitReason = shown("ExitReason", "s")
    ExitMessage = shown("ExitMessage", "s")
    ExitCause = shown("ExitCause", "s")
    Error = shown("Error", "s")
    Counters = shown("Counters", "a{st}")
    Reason = shown("Reason", "s")
    ObjectSha256 = shown("ObjectSha256", "s")
    Canary = shown("Canary", "a{sv}")
    RevertMs = shown("RevertMs", "d")
    Layer = shown("Layer", "a{sv}")
    Kind = shown("Kind", "s")
    Parameters = shown("Parameters", "a{sx}")
