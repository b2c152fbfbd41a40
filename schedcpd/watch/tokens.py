# SPDX-License-Identifier: GPL-2.0-or-later
"""Tells when the verifier has published tokens, or root cards, to check the policies again."""

from __future__ import annotations

import asyncio
from pathlib import Path

from schedcpd.kernel.inotify import Inotify, Mask
from schedcpd.signals import Signal

_MASK = Mask.CREATE | Mask.DELETE | Mask.MOVED_TO | Mask.ONLYDIR


class TokenWatcher:
    """``published`` after any change in a folder of tokens or cards, which may appear later.

    ``edited``: people change the files in it; else they are only ever put in place as a whole.
    """

    def __init__(self, folder: Path, *, edited: bool = False) -> None:
        self.published: Signal[None] = Signal()
        self._folder = folder
        self._mask = _MASK | Mask.CLOSE_WRITE if edited else _MASK
        self._inotify: Inotify | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin to watch, in the running event loop."""
        self._inotify = Inotify()
        self._loop = asyncio.get_running_loop()
        self._watch_folders()
        self._loop.add_reader(self._inotify.fileno(), self._ready)

    def stop(self) -> None:
        """Stop watching."""
        if self._inotify is not None and self._loop is not None:
            self._loop.remove_reader(self._inotify.fileno())
            self._inotify.close()
        self._inotify = self._loop = None

    def _watch_folders(self) -> None:
        if self._inotify is not None:
            for folder in (self._folder.parent, self._folder):
                self._inotify.add(str(folder), self._mask)

    def _ready(self) -> None:
        if self._inotify is not None and self._inotify.read():
            self._watch_folders()
            self.published.emit(None)
