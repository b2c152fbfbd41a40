# SPDX-License-Identifier: GPL-2.0-or-later
"""How the interfaces declare their methods and properties."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import dbus_next.service
from dbus_next.constants import PropertyAccess
from dbus_next.errors import DBusError

from schedcpd.bus.authorisation import Authority
from schedcpd.bus.connection import Caller, ObjectInterface, current_caller
from schedcpd.bus.conversion import Values
from schedcpd.bus.errors import SHUTTING_DOWN, to_dbus
from schedcpd.errors import Busy

MOST_CALLS = 100  # the bus allows a connection 512 match rules, and each call takes one
MOST_CALLS_OF_ONE = 8


class Gate:
    """What every verb passes: it can ask who may, and knows the calls under way and by whom."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.under_way: dict[asyncio.Task[Any], Caller] = {}
        self.closing = False

    def admit(self, task: asyncio.Task[Any], caller: Caller) -> None:
        """Let a call in; raises Busy for one too many: each may wait minutes for a password."""
        if self.closing:
            raise DBusError(SHUTTING_DOWN, "schedcpd is shutting down")
        of_caller = sum(other.sender == caller.sender for other in self.under_way.values())
        if len(self.under_way) >= MOST_CALLS or of_caller >= MOST_CALLS_OF_ONE:
            raise Busy("too many requests wait for an answer")
        self.under_way[task] = caller

    def leave(self, task: asyncio.Task[Any]) -> None:
        """A call is answered."""
        self.under_way.pop(task, None)

    async def close(self) -> None:
        """Let nobody in any longer, and answer the calls that wait."""
        self.closing = True
        waiting = tuple(self.under_way)
        for task in waiting:
            task.cancel()
        if waiting:
            await asyncio.wait(waiting)


class Gated(Protocol):
    """An interface with verbs."""

    gate: Gate


Interface = TypeVar("Interface", bound=Gated)
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Emitter = TypeVar("Emitter", bound=Callable[..., Any])
Method = Callable[Concatenate[Interface, Arguments], Awaitable[Result]]


def method(
    name: str, *, action: StrEnum | None
) -> Callable[[Method[Interface, Arguments, Result]], Method[Interface, Arguments, Result]]:
    """Export a method under ``name``; its body runs once polkit has allowed ``action``.

    ``action`` is None for a method that changes nothing. Whatever is raised reaches the caller as a
    D-Bus error of one sentence.
    """

    def decorate(
        function: Method[Interface, Arguments, Result],
    ) -> Method[Interface, Arguments, Result]:
        @functools.wraps(function)
        async def guarded(
            self: Interface, /, *arguments: Arguments.args, **named: Arguments.kwargs
        ) -> Result:
            caller = current_caller()
            task = asyncio.current_task()
            assert task is not None  # a coroutine runs in one
            try:
                if action is not None:
                    self.gate.admit(task, caller)
                    await self.gate.authority.require(action, caller)
                return await function(self, *arguments, **named)
            except asyncio.CancelledError:
                raise DBusError(SHUTTING_DOWN, "schedcpd is shutting down") from None
            except Exception as error:  # the edge to the bus
                raise to_dbus(error, name) from error
            finally:
                self.gate.leave(task)

        guarded.polkit_action = action  # type: ignore[attr-defined]
        exported: Method[Interface, Arguments, Result] = dbus_next.service.method(name)(guarded)
        return exported

    return decorate


def signal(name: str) -> Callable[[Emitter], Emitter]:
    """Export a function as a signal ``name``; calling it sends what it returns."""

    def decorate(function: Emitter) -> Emitter:
        emitter: Emitter = dbus_next.service.signal(name)(function)
        return emitter

    return decorate


class ValuesInterface(ObjectInterface):
    """An interface whose properties are shown from a dictionary, replaced as a whole."""

    def __init__(self, interface: str, path: str, values: Values) -> None:
        self._values = values
        super().__init__(interface, path)

    def read(self, name: str) -> Any:
        """The value of a property now."""
        return self._values[name]

    def update(self, values: Values) -> None:
        """Take the new values and tell the bus of those that differ."""
        changed = {name: value for name, value in values.items() if self._values[name] != value}
        self._values = values
        if changed:
            self.emit_properties_changed(changed)


def shown(name: str, signature: str) -> Any:
    """A read-only property of a ValuesInterface; to be assigned to a class attribute ``name``."""

    def read(self: ValuesInterface) -> Any:
        try:
            return self.read(name)
        except Exception as error:  # the edge to the bus
            raise to_dbus(error, f"reading {name}") from error

    read.__name__ = name  # dbus-next finds the getter by this name
    read.__annotations__ = {"return": signature}
    return dbus_next.service.dbus_property(PropertyAccess.READ, name=name)(read)
