# SPDX-License-Identifier: GPL-2.0-or-later
"""Every error that schedcp raises on purpose.

::

    SchedcpError
    ├── ConfigError            a configuration file is refused; the last good one stays
    ├── CardError              a policy card is refused
    ├── TokenRefused           object, card or token do not belong together here and now
    ├── NoSchedExt             this kernel has no sched_ext, or it cannot be used
    ├── ForeignScheduler       somebody else's scheduler is attached: respected, not fought
    ├── LimitsSet              a cgroup has a CPU weight or limit that the policy would ignore
    ├── Quarantined            the policy did harm here before
    ├── Held                   somebody holds the scheduler as it is
    ├── NotVerified            the policy did not pass its verification
    ├── VerifierLost           the verifier cannot be reached or did not answer
    ├── NotEnrolled            a packaged policy cannot be withdrawn
    ├── LedgerDamaged          the record of what happened cannot be read or written
    ├── RepositoryDamaged      what was noted and decided cannot be read or written
    ├── BundleRefused          a part of the repository of another machine is not taken
    ├── NotSuited              the policy's card names no work that it would be chosen for
    ├── KernelRejected         the kernel refused to load or to attach the policy
    ├── Ejected                the kernel threw the policy out after it was attached
    ├── LoaderLost             the loader died or stopped answering
    ├── DigestRefused          a foreign policy is not what root has enrolled, or not enrolled
    ├── ProgramFailed          the program of a foreign policy attached nothing
    ├── ForeignPolicy          a foreign policy is not verified, so nothing can be taken back
    ├── MapRefused             an entry of a live map of the policy was not taken
    ├── NoClasses              the policy has no classes to give
    ├── BadParameter           the policy has no such parameter, or not with that value
    ├── ProposalRefused        a plan of an agent is against what somebody else has decided
    ├── FileRefused            a file of a workload is not one to be read
    ├── NotApplied             nothing is attached for that workload
    ├── WorkloadGone           a workload ended while it was looked at
    ├── ProbeFailed            the closest look at a workload cannot be taken, or not now
    ├── Busy                   another change is under way, or another policy is attached
    ├── KernelText             a kernel file does not read as it should
    ├── NoPressure             the kernel does not tell its CPU pressure (PSI)
    ├── NoSuchWorkload         no workload of that name
    ├── NoSuchPolicy           no policy of that name
    ├── NoSuchDeployment       no deployment of that number, or too long ago
    ├── NoSuchEntry            nothing of that kind and name in the repository
    ├── NoSuchJob              no job of that number
    ├── NoSuchHold             no hold with that cookie
    ├── AgentIdle              the agent cannot work: it is off, has no key or bad settings
    ├── NoSuchRun              the agent has no run of that number
    ├── ModelLost              the server of the language model cannot be used
    ├── BudgetSpent            the next call could cost more than there is left
    ├── RunStopped             a run of the agent cannot go on
    ├── NotAuthorized          polkit did not allow the caller to do that
    └── BusUnavailable         the system bus cannot be reached, or somebody else has our name

The message of each is one sentence for a person and says what to do next where there is something
to do. ``schedcpd.bus.errors`` gives each class its D-Bus name: ``org.schedcp.Daemon1.Error.`` and
the class name.
"""

from __future__ import annotations

from schedcpd.model import ExitRecord


class SchedcpError(Exception):
    """The root of the tree; never raised itself."""


class ConfigError(SchedcpError):
    """A configuration file is refused: ``path``, ``line`` (0 when unknown) and the reason."""

    def __init__(self, path: str, line: int, reason: str) -> None:
        self.path = path
        self.line = line
        self.reason = reason
        place = f"{path}:{line}" if line else path
        super().__init__(f"{place}: {reason}")


class CardError(SchedcpError):
    """A policy card is refused: ``path`` and the reason, with the name of the bad field."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}")


class TokenRefused(SchedcpError):
    """The policy may not be loaded: which policy, and the reason."""

    def __init__(self, policy: str, reason: str) -> None:
        self.policy = policy
        self.reason = reason
        super().__init__(f"{policy} may not be loaded: {reason}")


class NoSchedExt(SchedcpError):
    """This kernel has no sched_ext, or something (``reason``) keeps it from being used."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"sched_ext cannot be used here: {reason}")


class ForeignScheduler(SchedcpError):
    """A scheduler that schedcp did not start is attached; ``name`` is the kernel's word for it."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"the scheduler {name!r} was attached by somebody else; stop it first, "
            "schedcp does not touch what it did not start"
        )


class LimitsSet(SchedcpError):
    """The policy would silently ignore CPU limits: ``limits`` are sentences, one a cgroup."""

    def __init__(self, policy: str, limits: tuple[str, ...]) -> None:
        self.policy = policy
        self.limits = limits
        shown = "; ".join(limits[:3])
        more = f" and {len(limits) - 3} more" if len(limits) > 3 else ""
        super().__init__(f"{policy} would ignore CPU limits set on this machine: {shown}{more}")


class Quarantined(SchedcpError):
    """The policy did harm here before: ``policy`` and the reason."""

    def __init__(self, policy: str, reason: str) -> None:
        self.policy = policy
        self.reason = reason
        super().__init__(
            f"{policy} is in quarantine: {reason}; 'schedctl release {policy}' lets it out"
        )


class Held(SchedcpError):
    """Somebody holds the scheduler as it is: the reason that they gave."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the scheduler is held: {reason}")


class NotVerified(SchedcpError):
    """The policy did not pass its verification: ``policy`` and the reason."""

    def __init__(self, policy: str, reason: str) -> None:
        self.policy = policy
        self.reason = reason
        super().__init__(f"{policy} was not verified: {reason}")


class VerifierLost(SchedcpError):
    """The verifier cannot be reached, or it did not do what was asked of it: the reason."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the verifier failed: {reason}")


class NotEnrolled(SchedcpError):
    """The policy came with the package, and only an enrolled one can be withdrawn."""

    def __init__(self, policy: str) -> None:
        self.policy = policy
        super().__init__(
            f"{policy} came with the package and cannot be withdrawn; "
            f"'schedctl revoke {policy}' keeps it from being loaded"
        )


class LedgerDamaged(SchedcpError):
    """The ledger cannot be read or written: its ``path`` and the reason."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}")


class RepositoryDamaged(SchedcpError):
    """What was noted and decided cannot be read or written: the ``path`` and the reason."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}")


class BundleRefused(SchedcpError):
    """A part of the repository of another machine is not taken: the reason."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the bundle is refused: {reason}")


class NotSuited(SchedcpError):
    """The card of ``policy`` names no work that it fits, so that it is never chosen."""

    def __init__(self, policy: str) -> None:
        self.policy = policy
        super().__init__(
            f"the card of {policy} has no [fit]: it names no work that the policy would be chosen "
            "for"
        )


class KernelRejected(SchedcpError):
    """The kernel refused ``policy`` at ``stage`` (open to settle); ``log`` has its words."""

    def __init__(self, policy: str, stage: str, reason: str, log: str = "") -> None:
        self.policy = policy
        self.stage = stage
        self.reason = reason
        self.log = log
        super().__init__(f"the kernel refused {policy} at {stage}: {reason}")


class Ejected(SchedcpError):
    """The kernel threw ``policy`` out; ``kind``: the sched_ext exit kind, ``message``: its words.

    ``record`` is the whole exit record where there is one.
    """

    def __init__(
        self, policy: str, kind: int, message: str, record: ExitRecord | None = None
    ) -> None:
        self.policy = policy
        self.kind = kind
        self.message = message
        self.record = record
        super().__init__(f"the kernel ejected {policy} (exit kind {kind}): {message}")


class LoaderLost(SchedcpError):
    """The loader process of ``policy`` died or stopped answering; the kernel default is back."""

    def __init__(self, policy: str, reason: str) -> None:
        self.policy = policy
        self.reason = reason
        super().__init__(f"the loader of {policy} was lost: {reason}")


class DigestRefused(SchedcpError):
    """The program of the foreign ``policy`` may not be run, or not like that: the reason."""

    def __init__(self, policy: str, reason: str) -> None:
        self.policy = policy
        self.reason = reason
        super().__init__(f"{policy} may not be run: {reason}")


class ProgramFailed(SchedcpError):
    """The program of the foreign policy did not attach its scheduler: ``policy`` and the reason."""

    def __init__(self, policy: str, reason: str) -> None:
        self.policy = policy
        self.reason = reason
        super().__init__(
            f"{policy} did not start: {reason}; "
            "what it said is in: journalctl -u 'schedcp-foreign@*'"
        )


class ForeignPolicy(SchedcpError):
    """The ``policy`` is one that root has enrolled by the digest of its program."""

    def __init__(self, policy: str) -> None:
        self.policy = policy
        super().__init__(
            f"{policy} is a foreign scheduler: it is not verified, its card is all that lets it be "
            f"attached; to withdraw it: sudo rm /etc/schedcp/foreign.d/{policy}.toml"
        )


class MapRefused(SchedcpError):
    """An entry of a live map was not taken: the ``policy``, the name of the map, the reason."""

    def __init__(self, policy: str, name: str, reason: str) -> None:
        self.policy = policy
        self.name = name
        self.reason = reason
        super().__init__(f"the map {name!r} of {policy} was not changed: {reason}")


class NoClasses(SchedcpError):
    """The policy gives no classes to workloads."""

    def __init__(self, policy: str) -> None:
        self.policy = policy
        super().__init__(f"{policy} has no classes; attach it without one")


class BadParameter(SchedcpError):
    """A parameter of ``policy`` cannot be set so: the reason, with its range."""

    def __init__(self, policy: str, reason: str) -> None:
        self.policy = policy
        self.reason = reason
        super().__init__(f"{policy} cannot be attached so: {reason}")


class ProposalRefused(SchedcpError):
    """A plan of an agent is not carried out: which ``policy``, and the reason."""

    def __init__(self, policy: str, reason: str) -> None:
        self.policy = policy
        self.reason = reason
        super().__init__(f"{policy} was proposed and is not attached: {reason}")


class FileRefused(SchedcpError):
    """A file of a workload is not read: its ``path`` as it was asked for, and the reason."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path!r} is not read: {reason}")


class NotApplied(SchedcpError):
    """Nothing is attached for the workload of that name, so nothing can be taken off."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"no policy is attached for the workload {name!r}; 'schedctl status' shows which is"
        )


class WorkloadGone(SchedcpError):
    """The cgroup of a workload vanished while it was read."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"the workload {name!r} has ended")


class ProbeFailed(SchedcpError):
    """The workload probe did not run: which ``workload``, and the reason."""

    def __init__(self, workload: str, reason: str) -> None:
        self.workload = workload
        self.reason = reason
        super().__init__(f"{workload!r} was not probed: {reason}")


class Busy(SchedcpError):
    """Another change is under way, or another policy is attached."""


class KernelText(SchedcpError):
    """A kernel file does not read as it should: which kind of ``file``, and the reason."""

    def __init__(self, file: str, reason: str) -> None:
        self.file = file
        self.reason = reason
        super().__init__(f"the kernel's {file} was not understood: {reason}")


class NoPressure(SchedcpError):
    """The kernel does not tell its CPU pressure (PSI) or takes no trigger for it."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"CPU pressure cannot be watched: {reason}; boot with psi=1 to have it")


class NoSuchWorkload(SchedcpError):
    """No workload of that name is known."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"there is no workload {name!r}; 'schedctl list' shows those there are")


class NoSuchPolicy(SchedcpError):
    """No policy of that name is installed."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"there is no policy {name!r}; 'schedctl policies' shows those there are")


class NoSuchDeployment(SchedcpError):
    """No deployment of that number is known."""

    def __init__(self, deployment: int) -> None:
        self.deployment = deployment
        super().__init__(
            f"there is no deployment {deployment}; 'schedctl history' shows those there are"
        )


class NoSuchEntry(SchedcpError):
    """The repository has nothing of that ``kind`` and ``name``."""

    def __init__(self, kind: str, name: str) -> None:
        self.kind = kind
        self.name = name
        super().__init__(
            f"the repository has no {kind or 'entry'} {name!r}; 'schedctl search' finds what it has"
        )


class NoSuchJob(SchedcpError):
    """No job of that number is known."""

    def __init__(self, job: int) -> None:
        self.job = job
        super().__init__(f"there is no job {job}")


class NoSuchHold(SchedcpError):
    """No hold of the caller has that cookie."""

    def __init__(self, cookie: int) -> None:
        self.cookie = cookie
        super().__init__(f"there is no hold {cookie} of yours")


class AgentIdle(SchedcpError):
    """The agent cannot work: the reason, and what to do."""


class NoSuchRun(SchedcpError):
    """The agent has no run of that number, or none that goes on."""

    def __init__(self, run: int) -> None:
        self.run = run
        super().__init__(f"there is no run {run}; 'schedctl agent history' shows those there are")


class ModelLost(SchedcpError):
    """The server of the language model cannot be used: the reason.

    ``refused``: it will not be otherwise until somebody changes the key, the model or the account.
    ``begun``: an answer had begun, and may cost something.
    """

    def __init__(self, reason: str, refused: bool = False, begun: bool = False) -> None:
        self.reason = reason
        self.refused = refused
        self.begun = begun
        super().__init__(f"the language model cannot be used: {reason}")


class BudgetSpent(SchedcpError):
    """The next call could cost more than is left of a budget."""


class RunStopped(SchedcpError):
    """A run of the agent cannot go on: the reason."""


class NotAuthorized(SchedcpError):
    """The caller may not do that: the polkit ``action`` that was asked for, and the reason."""

    def __init__(self, action: str, reason: str) -> None:
        self.action = action
        self.reason = reason
        super().__init__(f"not authorised for {action}: {reason}")


class BusUnavailable(SchedcpError):
    """The system bus cannot be reached, or somebody else has our name."""
