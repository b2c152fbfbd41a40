# SPDX-License-Identifier: GPL-2.0-or-later
"""Asking polkit whether the caller of a method may have it done."""

from __future__ import annotations

import asyncio
import itertools
import logging
from enum import StrEnum
from typing import Any, Protocol

from dbus_next.errors import DBusError
from dbus_next.message import Message
from dbus_next.signature import Variant

from schedcpd.bus.connection import Caller, Connection
from schedcpd.bus.wire import no_reply, result_of
from schedcpd.errors import NotAuthorized

log = logging.getLogger(__name__)

POLKIT = "org.freedesktop.PolicyKit1"
POLKIT_PATH = "/org/freedesktop/PolicyKit1/Authority"
AUTHORITY = "org.freedesktop.PolicyKit1.Authority"
ALLOW_USER_INTERACTION = 1

ANSWER_S = 20.0  # polkit reads files and rules before it answers
DIALOGUE_S = 300.0  # a person types a password


class Action(StrEnum):
    """The polkit actions, as declared in ``org.schedcp.daemon1.policy``."""

    APPLY = "org.schedcp.daemon1.apply"
    OPTIMIZE = "org.schedcp.daemon1.optimize"
    PROFILE = "org.schedcp.daemon1.profile"
    READ_FILES = "org.schedcp.daemon1.read-files"
    REVERT = "org.schedcp.daemon1.revert"
    PAUSE = "org.schedcp.daemon1.pause"
    HOLD = "org.schedcp.daemon1.hold"
    VERIFY = "org.schedcp.daemon1.verify"
    ENROLL = "org.schedcp.daemon1.enroll"
    ANNOTATE = "org.schedcp.daemon1.annotate"
    CONFIGURE = "org.schedcp.daemon1.configure"


class Authority(Protocol):
    """Decides who may do what."""

    async def require(self, action: StrEnum, caller: Caller) -> None:
        """Return when ``caller`` may do ``action``; raises NotAuthorized otherwise."""


class Polkit:
    """The authority of the system: polkit, and root where polkit cannot be asked."""

    def __init__(
        self, connection: Connection, answer_s: float = ANSWER_S, dialogue_s: float = DIALOGUE_S
    ) -> None:
        self._connection = connection
        self._answer_s = answer_s
        self._dialogue_s = dialogue_s
        self._numbers = itertools.count(1)

    async def require(self, action: StrEnum, caller: Caller) -> None:
        """Ask polkit; raises NotAuthorized, also when the caller leaves before the answer."""
        try:
            await self._require(action, caller)
        except (EOFError, OSError) as error:
            raise NotAuthorized(action, "the connection to the bus was lost") from error

    async def _require(self, action: StrEnum, caller: Caller) -> None:
        async with self._connection.vanishing(caller.sender) as gone:
            try:
                allowed, challenge = await self._check(action, caller, gone)
            except DBusError as error:
                if await self._is_root(caller):
                    log.warning("polkit cannot be asked (%s); the caller is root", error.text)
                    return
                reason = f"polkit cannot be asked ({error.text}); root may do it without"
                raise NotAuthorized(action, reason) from error
        if not allowed:
            raise NotAuthorized(action, refusal(challenge, caller))

    async def _check(
        self, action: StrEnum, caller: Caller, gone: asyncio.Future[None]
    ) -> tuple[bool, bool]:
        """Whether polkit allows it, and whether a password would change its mind."""
        cancellation = f"schedcpd-{next(self._numbers)}"
        subject = ["system-bus-name", {"name": Variant("s", caller.sender)}]
        flags = ALLOW_USER_INTERACTION if caller.interactive else 0
        call = Message(
            destination=POLKIT,
            path=POLKIT_PATH,
            interface=AUTHORITY,
            member="CheckAuthorization",
            signature="(sa{sv})sa{ss}us",
            body=[subject, str(action), {}, flags, cancellation],
        )
        answer = asyncio.ensure_future(self._connection.call(call))
        limit_s = self._dialogue_s if caller.interactive else self._answer_s
        try:
            await asyncio.wait((answer, gone), timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                raise NotAuthorized(action, "the caller left the bus before polkit answered")
            if answer.done():
                allowed, challenge, _ = result_of(answer.result())
                return bool(allowed), bool(challenge)
        finally:
            if not answer.done():
                answer.cancel()
                self._cancel(cancellation)
        raise DBusError("org.freedesktop.DBus.Error.NoReply", f"no answer within {limit_s:g} s")

    def _cancel(self, cancellation: str) -> None:
        """Take back a question, so that a password dialogue does not stay on a screen."""
        if self._connection.connected:
            body: list[Any] = [cancellation]
            self._connection.send(
                no_reply(POLKIT, POLKIT_PATH, AUTHORITY, "CancelCheckAuthorization", "s", body)
            )

    async def _is_root(self, caller: Caller) -> bool:
        try:
            uid = await self._connection.call_driver("GetConnectionUnixUser", "s", caller.sender)
        except DBusError:  # left the bus in between
            return False
        return bool(uid == 0)


def refusal(challenge: bool, caller: Caller) -> str:
    """Why polkit said no, and what would help."""
    if not challenge:
        return "polkit does not allow it to this user"
    if caller.interactive:
        return "the password dialogue was dismissed, or no agent is there to show one"
    return "it takes an administrator's password, and the caller did not let polkit ask for one"
