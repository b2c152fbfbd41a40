# SPDX-License-Identifier: GPL-2.0-or-later
"""The ledger: what was done to the machine's scheduler, kept over crashes, in SQLite.

A file that is not what was written is moved aside and a new one begun (``records``), because half a
memory of what did harm is worse than knowing that there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from schedcpd.deploy import entries
from schedcpd.deploy.entries import Entry, KnownGood, Run
from schedcpd.errors import LedgerDamaged
from schedcpd.model import Canary, Deployment, DeploymentState, Outcome, Quarantine, Transition
from schedcpd.parameters import NONE
from schedcpd.records import Records, Shape, key_of

__all__ = ["KnownGood", "Ledger"]

VERSION = 1
INTERRUPTED = "the daemon or the machine stopped while it was under way"

Value = TypeVar("Value")


class Kind(StrEnum):
    """What a row is."""

    TRANSITION = "transition"
    DEPLOYMENT = "deployment"
    QUARANTINE = "quarantine"
    KNOWN_GOOD = "known-good"
    OUTCOME = "outcome"
    RUN = "run"
    COUNTER = "counter"


KEPT: Mapping[Kind, int] = {
    Kind.TRANSITION: 2000,
    Kind.DEPLOYMENT: 200,
    Kind.QUARANTINE: 1000,
    Kind.KNOWN_GOOD: 1000,
    Kind.OUTCOME: 1000,
    Kind.RUN: 1,
    Kind.COUNTER: 1,
}
READERS: Mapping[Kind, Callable[[str], object]] = {
    Kind.TRANSITION: entries.read_transition,
    Kind.DEPLOYMENT: entries.read_deployment,
    Kind.QUARANTINE: entries.read_quarantine,
    Kind.KNOWN_GOOD: entries.read_known_good,
    Kind.OUTCOME: entries.read_outcome,
    Kind.RUN: entries.read_run,
    Kind.COUNTER: int,
}
SHAPE = Shape(VERSION, KEPT, READERS)


class Ledger:
    """Every method that writes is one transaction: durable when it returns, or not done at all.

    All methods raise LedgerDamaged when the file cannot be read or written, and nothing else.
    ``clock`` gives seconds since the epoch. Not for use from several threads.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        """Open or create the ledger; a damaged one is moved aside to ``.damaged-N``."""
        self._clock = clock
        self._rebooted = False
        self._records = Records(path, SHAPE, LedgerDamaged)

    @property
    def damage(self) -> str:
        """What was found wrong at opening, and where the old file is now; empty when sound."""
        return self._records.damage

    @property
    def rebooted(self) -> bool:
        """Whether the machine was booted since the run before; known after ``open_run``."""
        return self._rebooted

    def close(self) -> None:
        """Close the file; the run stays open (``close_run`` ends it)."""
        self._records.close()

    def probe(self) -> None:
        """Raise LedgerDamaged unless something can be written now."""
        self._records.probe()

    # Runs

    def open_run(self, boot_id: str) -> bool:
        """Begin a run of the daemon; whether the one before was closed (or there was none).

        False as well when the ledger was damaged: then nobody knows. Deployments that were under
        way in a run that was not closed are ended in the record, and are not known to be good any
        more: they may be why it was not closed.
        """
        last = next(iter(self._newest(Kind.RUN, entries.read_run, 1)), None)
        abandoned = [one for one in self.deployments(KEPT[Kind.DEPLOYMENT]) if not one.ended_at]
        now = self._clock()
        with self._records.transaction():
            for deployment in abandoned:
                ended = replace(
                    deployment, state=DeploymentState.EJECTED, ended_at=now, error=INTERRUPTED
                )
                self._put(Kind.DEPLOYMENT, str(ended.id), ended)
                self._forget_good(deployment.object_sha256, deployment.workload_id)
            self._put(Kind.RUN, "", Run(boot_id, now, closed=False))
        self._rebooted = last is not None and last.boot_id != boot_id
        return not self.damage and (last is None or last.closed)

    def close_run(self) -> None:
        """The daemon ends in order."""
        with self._records.transaction():
            for run in self._newest(Kind.RUN, entries.read_run, 1):
                self._put(Kind.RUN, "", replace(run, closed=True))

    # Transitions and deployments

    def record_transition(self, transition: Transition) -> None:
        """Write down one step of the state machine."""
        with self._records.transaction():
            self._records.append(Kind.TRANSITION, entries.encode(transition))

    def transitions(self, limit: int = 100) -> tuple[Transition, ...]:
        """The newest ``limit`` transitions, oldest first."""
        return self._newest(Kind.TRANSITION, entries.read_transition, limit)

    def next_deployment_id(self) -> int:
        """A number that no deployment had before, from 1."""
        with self._records.transaction():
            number = 1 + max(self._newest(Kind.COUNTER, int, 1), default=0)
            self._records.store(Kind.COUNTER, "", str(number))
        return number

    def save_deployment(self, deployment: Deployment) -> None:
        """Write a deployment down, in place of what was known of it."""
        with self._records.transaction():
            self._put(Kind.DEPLOYMENT, str(deployment.id), deployment)

    def deployments(
        self, limit: int = 100, workload_id: str | None = None
    ) -> tuple[Deployment, ...]:
        """The newest ``limit`` deployments (of one workload), oldest first."""
        if workload_id is None:
            return self._newest(Kind.DEPLOYMENT, entries.read_deployment, limit)
        everything = self._records.every(Kind.DEPLOYMENT, entries.read_deployment)
        found = [one for one in everything if one.workload_id == workload_id]
        return tuple(found[-limit:]) if limit > 0 else ()

    # What did harm, and what did good

    def quarantine(self, entry: Quarantine) -> None:
        """Put a policy into quarantine; it is no longer known to be good."""
        with self._records.transaction():
            key = key_of(entry.object_sha256, entry.kernel_release, entry.workload_id)
            self._put(Kind.QUARANTINE, key, entry)
            self._forget_good(entry.object_sha256, entry.workload_id)

    def quarantined(
        self, object_sha256: str, kernel_release: str, workload_id: str
    ) -> Quarantine | None:
        """Why this object must not be attached on this kernel for this workload, or None."""
        for scope in ("", workload_id):
            key = key_of(object_sha256, kernel_release, scope)
            entry = self._records.find(Kind.QUARANTINE, key, entries.read_quarantine)
            if entry is not None:
                return entry
        return None

    def quarantines(self) -> tuple[Quarantine, ...]:
        """All of them, oldest first."""
        return self._records.every(Kind.QUARANTINE, entries.read_quarantine)

    def release(self, policy: str) -> int:
        """Let a policy out of quarantine everywhere; how many entries there were."""
        with self._records.transaction():
            released = [entry for entry in self.quarantines() if entry.policy == policy]
            for entry in released:
                key = key_of(entry.object_sha256, entry.kernel_release, entry.workload_id)
                self._records.drop(Kind.QUARANTINE, key)
        return len(released)

    def promote(
        self,
        workload_id: str,
        kernel_release: str,
        object_sha256: str,
        policy: str,
        canary: Canary | None,
        parameters: Mapping[str, int] = NONE,
    ) -> None:
        """Remember that a policy won its canary, with these parameters."""
        good = KnownGood(
            workload_id,
            kernel_release,
            object_sha256,
            policy,
            self._clock(),
            canary,
            dict(parameters),
        )
        with self._records.transaction():
            self._put(Kind.KNOWN_GOOD, key_of(workload_id, kernel_release), good)

    def known_good(self, workload_id: str, kernel_release: str) -> KnownGood | None:
        """The policy that won last for this workload on this kernel, or None."""
        key = key_of(workload_id, kernel_release)
        return self._records.find(Kind.KNOWN_GOOD, key, entries.read_known_good)

    def save_outcome(self, outcome: Outcome) -> None:
        """Write down what a deployment has taught, in place of what it had before."""
        with self._records.transaction():
            self._put(Kind.OUTCOME, str(outcome.deployment), outcome)

    def forget_outcome(self, deployment: int) -> None:
        """Forget what a deployment has taught."""
        with self._records.transaction():
            self._records.drop(Kind.OUTCOME, str(deployment))

    def outcomes(self) -> tuple[Outcome, ...]:
        """All that deployments have taught, oldest first."""
        return self._records.every(Kind.OUTCOME, entries.read_outcome)

    def _forget_good(self, object_sha256: str, workload_id: str) -> None:
        """Forget that an object is good for a workload, or for any; on whatever kernel."""
        everything = self._records.every(Kind.KNOWN_GOOD, entries.read_known_good)
        for good in everything:
            if good.object_sha256 == object_sha256 and workload_id in ("", good.workload_id):
                self._records.drop(Kind.KNOWN_GOOD, key_of(good.workload_id, good.kernel_release))

    def _newest(self, kind: Kind, read: Callable[[str], Value], limit: int) -> tuple[Value, ...]:
        return self._records.newest(kind, read, limit)

    def _put(self, kind: Kind, key: str, entry: Entry) -> None:
        self._records.store(kind, key, entries.encode(entry))
