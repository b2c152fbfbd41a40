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
    ├── KernelRejected         the kernel refused to load or to attach the policy
    ├── Ejected                the kernel threw the policy out after it was attached
    ├── LoaderLost             the loader died or stopped answering
    ├── WorkloadGone           a workload ended while it was looked at
    ├── Busy                   another change is under way, or another policy is attached
    ├── KernelText             a kernel file does not read as it should
    ├── NoPressure             the kernel does not tell its CPU pressure (PSI)
    ├── NoSuchWorkload         no workload of that name
    ├── NoSuchPolicy           no policy of that name
    ├── NoSuchJob              no job of that number
    ├── NoSuchHold             no hold with that cookie
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


class WorkloadGone(SchedcpError):
    """The cgroup of a workload vanished while it was read."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"the workload {name!r} has ended")


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


class NotAuthorized(SchedcpError):
    """The caller may not do that: the polkit ``action`` that was asked for, and the reason."""

    def __init__(self, action: str, reason: str) -> None:
        self.action = action
        self.reason = reason
        super().__init__(f"not authorised for {action}: {reason}")


class BusUnavailable(SchedcpError):
    """The system bus cannot be reached, or somebody else has our name."""
