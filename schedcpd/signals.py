# SPDX-License-Identifier: GPL-2.0-or-later
"""Plain in-process signals: how the core tells adapters of a change without knowing them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Signal(Generic[Value]):
    """Calls every connected function, in order of connection, with the value emitted."""

    def __init__(self) -> None:
        self._functions: list[Callable[[Value], None]] = []

    def connect(self, function: Callable[[Value], None]) -> None:
        """Call ``function`` at every later emission."""
        self._functions.append(function)

    def emit(self, value: Value) -> None:
        """Call every connected function; what one raises reaches the emitter."""
        for function in self._functions:
            function(value)
