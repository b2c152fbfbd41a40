# SPDX-License-Identifier: GPL-2.0-or-later
"""What the deployer remembers, and what becomes of it when the ledger cannot be used.

Nothing is attached that cannot be written down first. On the way back to the kernel default it is
the other way round: a full disk keeps no policy in the kernel.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from schedcpd.deploy.ledger import KnownGood, Ledger
from schedcpd.deploy.states import MachineState, was_interrupted
from schedcpd.errors import LedgerDamaged
from schedcpd.model import Canary, Deployment, Outcome, Quarantine, Transition

log = logging.getLogger(__name__)

Value = TypeVar("Value")


def open_record(path: Path) -> Record:
    """The record that is kept in the ledger at ``path``, or one that says why there is none."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Record(Ledger(path, time.time))
    except (LedgerDamaged, OSError) as error:
        return Record(None, str(error))


class Record:
    """The ledger, or, when it could not be opened, the reason why there is none.

    A quarantine that cannot be written down is kept in memory until the daemon ends.
    """

    def __init__(self, ledger: Ledger | None, unusable: str = "") -> None:
        self._ledger = ledger
        self._unusable = unusable
        self._unwritten: list[Quarantine] = []

    @property
    def unusable(self) -> str:
        """Why nothing can be written down, and so nothing attached; empty when all is well."""
        return self._unusable

    def check(self) -> str:
        """The same, after another try where there was a failure: a disk is not full for ever."""
        if self._unusable and self._ledger is not None:
            try:
                self._ledger.next_deployment_id()
            except LedgerDamaged as error:
                self._fail(error)
            else:
                self._unusable = ""
        return self._unusable

    def begin(self, boot_id: str) -> str:
        """Begin a run; why it has to be in safe mode, or an empty string."""
        if self._ledger is None:
            return ""
        try:
            last = (self._ledger.transitions(1) or (None,))[-1]
            under_way = [one for one in self._ledger.deployments(10) if not one.ended_at]
            clean = self._ledger.open_run(boot_id)
            rebooted = self._ledger.rebooted
        except LedgerDamaged as error:
            self._fail(error)
            return f"nobody knows what was under way: {error}"
        if self._ledger.damage:
            return f"nobody knows what was under way: {self._ledger.damage}"
        if last is None or not was_interrupted(clean, last):
            return ""
        if last.after == MachineState.SAFE:
            return last.reason
        what = under_way[-1].policy if under_way else "a policy"
        when = "the machine went down" if rebooted else "the daemon was killed"
        return f"{what} was {last.after} when {when}"

    def end(self) -> None:
        """End the run in order, and close the ledger."""
        if self._ledger is None:
            return
        for close in (self._ledger.close_run, self._ledger.close):
            try:
                close()
            except LedgerDamaged as error:
                self._fail(error)

    def transition(self, step: Transition) -> None:
        """Write down a step of the state machine; raises LedgerDamaged."""
        try:
            self._opened().record_transition(step)
        except LedgerDamaged as error:
            self._fail(error)
            raise
        self._unusable = ""

    def next_id(self) -> int:
        """The number of a new deployment; raises LedgerDamaged."""
        return self._opened().next_deployment_id()

    def deployment(self, deployment: Deployment) -> None:
        """Write down what became of a deployment."""
        self._try(lambda ledger: ledger.save_deployment(deployment))

    def quarantine(self, entry: Quarantine) -> None:
        """Keep a policy from being attached again."""
        if not self._try(lambda ledger: ledger.quarantine(entry)):
            self._unwritten.append(entry)

    def quarantined(self, object_sha256: str, release: str, workload_id: str) -> Quarantine | None:
        """Why an object must not be attached for a workload, or None; raises LedgerDamaged."""
        for entry in self._unwritten:
            here = entry.workload_id in ("", workload_id) and entry.kernel_release == release
            if here and entry.object_sha256 == object_sha256:
                return entry
        return self._opened().quarantined(object_sha256, release, workload_id)

    def quarantines(self) -> tuple[Quarantine, ...]:
        """All that is in quarantine, oldest first."""
        nothing: tuple[Quarantine, ...] = ()
        return (*self._ask(lambda ledger: ledger.quarantines(), nothing), *self._unwritten)

    def release(self, policy: str) -> int:
        """Let a policy out of quarantine; how many entries there were; raises LedgerDamaged."""
        released = self._opened().release(policy)
        unwritten = [one for one in self._unwritten if one.policy == policy]
        self._unwritten = [one for one in self._unwritten if one.policy != policy]
        return released + len(unwritten)

    def promote(self, deployment: Deployment, release: str, canary: Canary | None) -> None:
        """Remember that the policy of a deployment won its canary."""
        one = deployment
        what = (one.workload_id, release, one.object_sha256, one.policy, canary, one.parameters)
        self._try(lambda ledger: ledger.promote(*what))

    def known_good(self, workload_id: str, release: str) -> KnownGood | None:
        """The policy that won last for a workload on this kernel, or None."""
        return self._ask(lambda ledger: ledger.known_good(workload_id, release), None)

    def save_outcome(self, outcome: Outcome) -> None:
        """Write down what a deployment has taught."""
        self._try(lambda ledger: ledger.save_outcome(outcome))

    def forget_outcome(self, deployment: int) -> None:
        """Forget what a deployment has taught."""
        self._try(lambda ledger: ledger.forget_outcome(deployment))

    def outcomes(self) -> tuple[Outcome, ...]:
        """All that deployments have taught, oldest first."""
        return self._ask(lambda ledger: ledger.outcomes(), ())

    def deployments(self, limit: int, workload_id: str | None = None) -> tuple[Deployment, ...]:
        """The newest deployments, oldest first."""
        return self._ask(lambda ledger: ledger.deployments(limit, workload_id), ())

    def transitions(self, limit: int) -> tuple[Transition, ...]:
        """The newest transitions, oldest first."""
        return self._ask(lambda ledger: ledger.transitions(limit), ())

    def _opened(self) -> Ledger:
        if self._ledger is None:
            raise LedgerDamaged("the ledger", self._unusable)
        return self._ledger

    def _try(self, write: Callable[[Ledger], None]) -> bool:
        """Write what has happened already, whether or not it can be written; whether it was."""
        try:
            write(self._opened())
        except LedgerDamaged as error:
            self._fail(error)
            return False
        return True

    def _ask(self, read: Callable[[Ledger], Value], otherwise: Value) -> Value:
        try:
            return read(self._opened())
        except LedgerDamaged as error:
            self._fail(error)
            return otherwise

    def _fail(self, error: LedgerDamaged) -> None:
        if self._ledger is not None and self._unusable != str(error):
            log.error("the ledger fails: %s", error)
            self._unusable = str(error)
