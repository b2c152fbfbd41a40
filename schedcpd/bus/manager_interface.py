# SPDX-License-Identifier: GPL-2.0-or-later
"""``org.schedcp.Daemon1.Manager``: the machine's scheduler as it is now, and the verbs."""

import os
from collections.abc import Callable, Mapping
from typing import Any

from schedcpd.bus import names
from schedcpd.bus.authorisation import Action
from schedcpd.bus.clients import Clients
from schedcpd.bus.connection import current_caller
from schedcpd.bus.conversion import (
    class_structs,
    deployment_details,
    deployment_path,
    event_line,
    hold_struct,
    number,
    owner,
    past_struct,
    profile_answer,
    quarantine_struct,
    rule_struct,
    state_counts,
    text,
    texts,
    whole_text,
)
from schedcpd.bus.core import Core
from schedcpd.bus.members import Gate, ValuesInterface, method, shown, signal
from schedcpd.bus.requests import (
    check_digest,
    check_proposal,
    check_reason,
    check_release,
    check_submission,
    check_text,
    class_of,
    objective_of,
    tier_of,
)
from schedcpd.bus.signatures import (
    Cookie,
    Count,
    Details,
    Excerpt,
    Identifier,
    Level,
    Line,
    Lines,
    ObjectPath,
    Parameters,
    Past,
    Quarantined,
    Rules,
    Text,
    Texts,
)
from schedcpd.errors import Busy, NoSuchPolicy, NoSuchWorkload
from schedcpd.model import Event, Proposal

MOST_EVENTS = 1000
MOST_PAST = 1000  # deployments at once
MOST_HOLDS = 64
MOST_HOLDS_OF_ONE = 16  # user, so that nobody can take them all
# They change with every workload and every class, which are told of themselves.
UNTOLD = {"Workloads", "Classes"}


class ManagerInterface(ValuesInterface):
    """The verbs, and properties that are read from the core, and so from the kernel, each time."""

    def __init__(
        self, core: Core, gate: Gate, clients: Clients, workloads: Mapping[str, str]
    ) -> None:
        """``workloads`` gives the id of the workload at a path."""
        self.gate = gate
        self._core = core
        self._clients = clients
        self._workloads = workloads
        self._submitters: dict[int, str] = {}  # job that runs → the client that waits for it
        self._readers: dict[str, Callable[[], Any]] = {
            "Version": lambda: text(core.version),
            "KernelRelease": lambda: text(core.kernel_release),
            "Mode": lambda: str(core.mode),
            "Safe": lambda: text(core.safe),
            "SchedExtState": lambda: text(core.kernel().state),
            "KernelPolicy": lambda: text(core.kernel().policy),
            "Owner": lambda: owner(core.kernel(), core.deployments.values()),
            "Unusable": lambda: text(core.unusable()),
            "EnableSeq": lambda: number("t", core.kernel().enable_seq),
            "ActiveDeployment": lambda: deployment_path(core.active),
            "LastDeployment": lambda: deployment_path(core.last_exit()),
            "Workloads": lambda: state_counts(core.workloads.values()),
            "Cpus": lambda: number("u", os.cpu_count() or 1),
            "Classes": lambda: class_structs(core.deployments.values()),
            "Holds": lambda: [hold_struct(hold) for hold in core.holds],
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
    Safe = shown("Safe", "s")
    SchedExtState = shown("SchedExtState", "s")
    KernelPolicy = shown("KernelPolicy", "s")
    Owner = shown("Owner", "s")
    Unusable = shown("Unusable", "s")
    EnableSeq = shown("EnableSeq", "t")
    ActiveDeployment = shown("ActiveDeployment", "o")
    LastDeployment = shown("LastDeployment", "o")
    Workloads = shown("Workloads", "a{su}")
    Cpus = shown("Cpus", "u")
    Classes = shown("Classes", "a(ssuudd)")
    Holds = shown("Holds", "a(usussd)")

    @method("Apply", action=Action.APPLY)
    async def apply(self, workload: ObjectPath, policy: Text, parameters: Parameters) -> ObjectPath:
        """Attach a policy for a workload; returns the deployment."""
        workload_id = self._workload_at(workload)
        self._check_installed(policy)
        deployment = await self._core.apply(workload_id, policy, parameters)
        return names.deployment_path(deployment.id)

    @method("Propose", action=Action.OPTIMIZE)
    async def propose(
        self,
        workload: ObjectPath,
        policy: Text,
        parameters: Parameters,
        objective: Text,
        reason: Text,
    ) -> ObjectPath:
        """Try what an agent proposes for a workload; returns the deployment."""
        workload_id = self._workload_at(workload)
        self._check_installed(policy)
        check_proposal(reason)
        wanted = objective_of(objective)
        proposal = Proposal(workload_id, policy, parameters, wanted, reason)
        deployment = await self._core.propose(proposal)
        return names.deployment_path(deployment.id)

    @method("Optimize", action=Action.OPTIMIZE)
    async def optimize(self, workload: ObjectPath) -> Text:
        """Plan for a workload now, and do it; returns a sentence of what was decided."""
        return text(await self._core.optimize(self._workload_at(workload)))

    @method("Profile", action=Action.PROFILE)
    async def profile(self, workload: ObjectPath, tier: Text) -> Details:
        """Look at a workload now, as closely as is asked for."""
        wanted = tier_of(tier)
        return profile_answer(await self._core.examine(self._workload_at(workload), wanted))

    @method("ReadFile", action=Action.READ_FILES)
    async def read_file(
        self, workload: ObjectPath, path: Text, offset: Count, length: Count
    ) -> Excerpt:
        """A part of a text file in the working directory of a workload, without secrets."""
        found = await self._core.read_file(self._workload_at(workload), path, offset, length)
        return [whole_text(found.text), number("t", found.total)]

    @method("Classify", action=Action.APPLY)
    async def classify(
        self, workload: ObjectPath, policy: Text, kind: Text, weight: Level, slice_us: Level
    ) -> ObjectPath:
        """Give a workload a class in a policy for the whole machine; returns the deployment."""
        workload_id = self._workload_at(workload)
        self._check_installed(policy)
        layer = class_of(kind, weight, slice_us)
        deployment = await self._core.classify(workload_id, policy, layer)
        return names.deployment_path(deployment.id)

    @method("Detach", action=Action.REVERT)
    async def detach(self, workload: ObjectPath) -> None:
        """Take off what is attached for one workload, and leave the others what they have."""
        await self._core.detach(self._workload_at(workload))

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

    @method("Hold", action=Action.HOLD)
    async def hold(self, workload: ObjectPath, reason: Text) -> Cookie:
        """Keep automation off until ReleaseHold, or until the caller leaves the bus."""
        workload_id = "" if workload == names.NO_OBJECT else self._workload_at(workload)
        check_reason(reason)
        sender = current_caller().sender
        uid = await self._clients.uid(sender)
        users = [hold.uid for hold in self._core.holds]
        if len(users) >= MOST_HOLDS or users.count(uid) >= MOST_HOLDS_OF_ONE:
            raise Busy("too many clients hold the scheduler")
        hold = await self._core.hold(sender, uid, workload_id, reason)
        self._clients.watch(sender)
        return hold.cookie

    @method("ReleaseHold", action=Action.HOLD)
    async def release_hold(self, cookie: Cookie) -> None:
        """End a hold of the caller's."""
        sender = current_caller().sender
        await self._core.release_hold(cookie, sender)
        self._forget_idle(sender)

    @method("Verify", action=Action.VERIFY)
    async def verify(self, policy: Text, card: Text, source: Text) -> ObjectPath:
        """Start to verify a policy; returns the job."""
        return await self._submit(policy, card, source, enroll=False)

    @method("Enroll", action=Action.ENROLL)
    async def enroll(self, policy: Text, card: Text, source: Text) -> ObjectPath:
        """Start to verify a policy, and put it in the repository if it passes."""
        return await self._submit(policy, card, source, enroll=True)

    @method("Release", action=Action.CONFIGURE)
    async def release(self, policy: Text) -> None:
        """Let a policy out of quarantine."""
        check_release(policy, self._core.quarantines)
        await self._core.release(policy)

    @method("Revoke", action=Action.CONFIGURE)
    async def revoke(self, policy: Text) -> None:
        """Have a policy's object signed no more, once it is out of the kernel."""
        self._check_installed(policy)
        await self._core.revoke(policy)

    @method("Reinstate", action=Action.CONFIGURE)
    async def reinstate(self, object_sha256: Text) -> None:
        """Undo Revoke."""
        check_digest(object_sha256)
        await self._core.reinstate(object_sha256)

    @method("Withdraw", action=Action.CONFIGURE)
    async def withdraw(self, policy: Text) -> None:
        """Remove an enrolled policy, once it is out of the kernel."""
        self._check_installed(policy)
        await self._core.withdraw(policy)

    @method("Why", action=None)
    async def why(self, workload: Text) -> Texts:
        """Why a workload is scheduled as it is, the newest first."""
        return texts(self._core.why(self._id_of(workload)))

    @method("History", action=None)
    async def history(self, workload: Text, count: Count) -> Past:
        """The newest deployments, for one workload or for all, newest first."""
        found = self._core.history(self._id_of(workload), min(count, MOST_PAST))
        return [past_struct(deployment) for deployment in found]

    @method("ReadDeployment", action=None)
    async def read_deployment(self, deployment: Identifier) -> Details:
        """One deployment, also one that is no object any more."""
        found = self._core.deployment(deployment)
        return deployment_details(found, self._core.exit_cause(found.exit) if found.exit else None)

    @method("Quarantines", action=None)
    async def quarantines(self) -> Quarantined:
        """The policies that must not be attached again."""
        return [quarantine_struct(one) for one in self._core.quarantines]

    @method("Rules", action=None)
    async def rules(self) -> Rules:
        """The rules of the static analysis."""
        return [rule_struct(rule) for rule in self._core.rules]

    @method("Events", action=None)
    async def events(self, count: Count) -> Lines:
        """The newest events, oldest first."""
        return [event_line(event) for event in self._core.events(min(count, MOST_EVENTS))]

    def _workload_at(self, path: str) -> str:
        """The id of the workload at a path; raises NoSuchWorkload."""
        workload_id = self._workloads.get(path)
        if workload_id is None:
            raise NoSuchWorkload(path)
        return workload_id

    def _id_of(self, workload: str) -> str:
        """The id of a workload given by its path, or by its id: it may have ended."""
        check_text("workload", workload)
        return self._workloads.get(workload, workload)

    async def _submit(self, policy: str, card: str, source: str, enroll: bool) -> str:
        check_submission(policy, card, source, enroll)
        if not source:
            self._check_installed(policy)
        job = await self._core.verify(policy, card, source, enroll)
        sender = current_caller().sender
        self._submitters[job.id] = sender
        self._clients.watch(sender)
        return names.job_path(job.id)

    def _check_installed(self, policy: str) -> None:
        if policy not in self._core.policies:
            raise NoSuchPolicy(policy)

    def submitter(self, job: int) -> str | None:
        """The client that waits for a job; None when nobody does, or it is over."""
        return self._submitters.get(job)

    def job_over(self, job: int) -> None:
        """A job has ended: its end depends on nobody any longer."""
        sender = self._submitters.pop(job, None)
        if sender is not None:
            self._forget_idle(sender)

    def client_gone(self, sender: str) -> None:
        """End what a client that has left held and waited for."""
        self._core.bus_client_gone(sender)
        for job in [job for job, submitter in self._submitters.items() if submitter == sender]:
            self._core.cancel(job)

    def _forget_idle(self, sender: str) -> None:
        """Watch a client no longer when nothing ends with it."""
        holding = any(hold.owner == sender for hold in self._core.holds)
        if not holding and sender not in self._submitters.values():
            self._clients.forget(sender)

    @signal("EventLogged")
    def event_logged(self, event: Event) -> Line:
        """Tell the bus of an event."""
        return event_line(event)
