# SPDX-License-Identifier: GPL-2.0-or-later
"""A repository of two entries, whose verbs are only noted."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from integration import samples
from schedcpd.errors import NoSuchEntry
from schedcpd.model import Hit, Outcome

LONG = "a line of the card\n" * 2000


class FakeLibrary:
    """Has the shape of ``schedcpd.bus.core.Library``; ``verb`` gets each call that changes."""

    def __init__(self, verb: Callable[..., None]) -> None:
        self._verb = verb
        self.asked: list[tuple[str, str, int]] = []
        self.taught: tuple[Outcome, ...] = ()
        self.hits: tuple[Hit, ...] = (
            Hit("policy", "scx_batch", 4.25, "One cgroup run to completion", "Tasks of \x1b one"),
            Hit("note", "3", 1.5, "a slice of 5 ms is too long", ""),
        )
        self.source = samples.SOURCE
        self.lines = ["key signature {1}", "key signature {2}"]
        self.taken: list[str] = []

    def search(self, query: str, kind: str, limit: int) -> tuple[Hit, ...]:
        self.asked.append((query, kind, limit))
        return tuple(one for one in self.hits if kind in ("", one.kind))[:limit]

    def read(self, kind: str, name: str, part: str) -> str:
        if (kind, name) != ("policy", "scx_batch"):
            raise NoSuchEntry(kind, name)
        return self.source if part == "source" else LONG

    def outcomes(self, workload: str, policy: str, count: int) -> tuple[Outcome, ...]:
        return self.taught[:count]

    def annotate(self, kind: str, name: str, text: str, uid: int) -> int:
        self._verb("annotate", kind, name, text, str(uid))
        return 7

    def promote(self, name: str, uid: int) -> None:
        self._verb("promote", name, str(uid))

    def retire(self, name: str, reason: str, uid: int) -> None:
        self._verb("retire", name, reason, str(uid))

    def export(self, place: int) -> tuple[str, int]:
        self._verb("export", str(place))
        following = place + 1
        return self.lines[place], following if following < len(self.lines) else 0

    def take(self, line: str) -> Mapping[str, int]:
        self._verb("import", line)
        self.taken.append(line)
        return {"note": 2, "policy": 1}
