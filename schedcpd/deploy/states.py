# SPDX-License-Identifier: GPL-2.0-or-later
"""The state machine of the machine's scheduler: every change goes through one table.

The settled states say what is in the kernel: a policy of ours in CANARY_ON and ATTACHED, none in
DEFAULT, CANARY_OFF and SAFE. Only in ATTACHING and DETACHING is it one or the other.

::

    DEFAULT ── deploy ──▶ ATTACHING ── settled ────────────▶ ATTACHED
                          ATTACHING ── canary ─────────────▶ CANARY_ON ── promote ──▶ ATTACHED
    CANARY_ON ─ suspend ▶ DETACHING ── suspended ─▶ CANARY_OFF ── resume ──▶ ATTACHING
    any with a policy ─── revert, trip ──▶ DETACHING ── detached ──▶ DEFAULT
    any with a policy ─── gone ──▶ DEFAULT       (ejected, or its loader died)
    DEFAULT ── unclean ─▶ SAFE ── confirm ──▶ DEFAULT
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType

from schedcpd.errors import LedgerDamaged
from schedcpd.model import Transition

log = logging.getLogger(__name__)


class MachineState(StrEnum):
    """What schedules the machine, as far as schedcp changed it."""

    DEFAULT = "default"  # the kernel default, and nothing is under way
    ATTACHING = "attaching"  # a policy is on its way in
    CANARY_ON = "canary-on"  # attached for a window of the canary
    CANARY_OFF = "canary-off"  # loaded, not attached: a window of the kernel default
    ATTACHED = "attached"  # attached until somebody says otherwise
    DETACHING = "detaching"  # a policy is on its way out
    SAFE = "safe"  # the kernel default, until a person says go on


class Trigger(StrEnum):
    """What moves the machine from one state to another."""

    DEPLOY = "deploy"  # somebody wants a policy: loading and attaching follow
    SETTLED = "settled"  # it is in and stays: no canary, or promoted in a window of the default
    CANARY = "canary"  # it is in, and a window of the candidate begins
    SUSPEND = "suspend"  # a window of the kernel default is next: letting go of the link follows
    SUSPENDED = "suspended"  # it is out, its object is kept loaded
    RESUME = "resume"  # a window of the candidate is next, or it is promoted: attaching follows
    PROMOTE = "promote"  # the canary was won while it is attached
    REVERT = "revert"  # somebody wants the kernel default: detaching follows
    TRIP = "trip"  # the circuit breaker wants the kernel default: detaching follows
    DETACHED = "detached"  # it is out, the loader is done
    FAILED = "failed"  # it never got in
    GONE = "gone"  # it is out without our doing: ejected, or its loader died
    UNCLEAN = "unclean"  # the last run ended in the middle of something
    CONFIRM = "confirm"  # a person says go on


_S, _T = MachineState, Trigger

TRANSITIONS: Mapping[tuple[MachineState, Trigger], MachineState] = MappingProxyType(
    {
        (_S.DEFAULT, _T.DEPLOY): _S.ATTACHING,
        (_S.DEFAULT, _T.UNCLEAN): _S.SAFE,
        # Safe mode stops automation, not a person who knows what they ask for.
        (_S.SAFE, _T.DEPLOY): _S.ATTACHING,
        (_S.SAFE, _T.CONFIRM): _S.DEFAULT,
        (_S.ATTACHING, _T.SETTLED): _S.ATTACHED,
        (_S.ATTACHING, _T.CANARY): _S.CANARY_ON,
        (_S.ATTACHING, _T.FAILED): _S.DEFAULT,
        (_S.ATTACHING, _T.GONE): _S.DEFAULT,
        (_S.ATTACHING, _T.REVERT): _S.DETACHING,
        (_S.ATTACHING, _T.TRIP): _S.DETACHING,
        (_S.CANARY_ON, _T.SUSPEND): _S.DETACHING,
        (_S.CANARY_ON, _T.PROMOTE): _S.ATTACHED,
        (_S.CANARY_ON, _T.GONE): _S.DEFAULT,
        (_S.CANARY_ON, _T.REVERT): _S.DETACHING,
        (_S.CANARY_ON, _T.TRIP): _S.DETACHING,
        (_S.CANARY_OFF, _T.RESUME): _S.ATTACHING,
        (_S.CANARY_OFF, _T.GONE): _S.DEFAULT,
        (_S.CANARY_OFF, _T.REVERT): _S.DETACHING,
        (_S.CANARY_OFF, _T.TRIP): _S.DETACHING,
        (_S.ATTACHED, _T.GONE): _S.DEFAULT,
        (_S.ATTACHED, _T.REVERT): _S.DETACHING,
        (_S.ATTACHED, _T.TRIP): _S.DETACHING,
        (_S.DETACHING, _T.SUSPENDED): _S.CANARY_OFF,
        (_S.DETACHING, _T.DETACHED): _S.DEFAULT,
        (_S.DETACHING, _T.GONE): _S.DEFAULT,
        # Somebody wants the kernel default while a window ends: it is on its way out already.
        (_S.DETACHING, _T.REVERT): _S.DETACHING,
        (_S.DETACHING, _T.TRIP): _S.DETACHING,
    }
)

AT_REST = frozenset({MachineState.DEFAULT, MachineState.SAFE})
IN_KERNEL = frozenset({MachineState.CANARY_ON, MachineState.ATTACHED})
FORWARD = frozenset({MachineState.ATTACHING, MachineState.CANARY_ON, MachineState.ATTACHED})


class InvalidTransition(Exception):
    """The trigger has no meaning in this state, or it is for another deployment."""

    def __init__(self, state: MachineState, trigger: Trigger, deployment: int) -> None:
        self.state = state
        self.trigger = trigger
        self.deployment = deployment
        super().__init__(f"{trigger} of deployment {deployment} in state {state}")


class SchedulerMachine:
    """The one state of the machine's scheduler, written down before each change is made.

    ``record`` makes a transition durable and raises LedgerDamaged when it cannot; ``clock`` gives
    seconds since the epoch.
    """

    def __init__(self, record: Callable[[Transition], None], clock: Callable[[], float]) -> None:
        self._record = record
        self._clock = clock
        self._state = MachineState.DEFAULT
        self._deployment = 0
        self._unrecorded = ""

    @property
    def state(self) -> MachineState:
        """The state at this moment."""
        return self._state

    @property
    def deployment(self) -> int:
        """The deployment that is under way, 0 at rest."""
        return self._deployment

    @property
    def unrecorded(self) -> str:
        """Why the last transition could not be written down, or an empty string."""
        return self._unrecorded

    def may(self, trigger: Trigger) -> bool:
        """Whether ``trigger`` has a meaning in this state."""
        return (self._state, trigger) in TRANSITIONS

    def fire(self, trigger: Trigger, deployment: int = 0, reason: str = "") -> MachineState:
        """Write the transition down, make it, and return the new state; act only then.

        ``deployment`` is that which is under way; deploy names a new one. Raises
        InvalidTransition. Towards a policy it raises LedgerDamaged when the transition cannot be
        written down, and the state stays; towards the kernel default it is made all the same,
        because a full disk must not keep a harmful policy in the kernel.
        """
        after = TRANSITIONS.get((self._state, trigger))
        ours = self._state in AT_REST or deployment == self._deployment
        named = deployment > 0 if trigger is Trigger.DEPLOY else True
        if after is None or not ours or not named:
            raise InvalidTransition(self._state, trigger, deployment)
        step = Transition(self._clock(), deployment, self._state, after, reason)
        try:
            self._record(step)
        except LedgerDamaged as error:
            self._unrecorded = str(error)
            if after in FORWARD:
                raise
            log.error("not written down: %s → %s: %s", self._state, after, error)
        else:
            self._unrecorded = ""
        self._state = after
        self._deployment = 0 if after in AT_REST else deployment
        return after


def was_interrupted(clean: bool, last: Transition | None, damaged: bool = False) -> bool:
    """Whether a start has to go into safe mode: ``last`` is the newest transition on record.

    A run that was not closed is harmless when nothing was under way; safe mode itself lasts over
    a clean restart, until a person confirms. After a ``damaged`` ledger nobody knows what was.
    """
    if last is None or damaged:
        return damaged
    if last.after == MachineState.SAFE:
        return True
    return not clean and last.after != MachineState.DEFAULT
