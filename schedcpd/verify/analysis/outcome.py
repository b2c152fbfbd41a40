# SPDX-License-Identifier: GPL-2.0-or-later
"""What the walk through a callback has met: the notes that the rules are checked on."""

from __future__ import annotations

from dataclasses import dataclass, field

from schedcpd.verify.analysis.api import Act
from schedcpd.verify.analysis.state import Events, Path
from schedcpd.verify.analysis.values import Range

MAP = "map:"  # how pointers to maps say which
CODE = "code:"  # ... and those to functions
STORE = "store"  # name of a site that is no call but a store to a task
MISSING = "missing"  # ... that is an instruction which this kernel has nothing for


@dataclass(frozen=True, slots=True)
class Site:
    """A call, or a store to the kernel's memory, as it was met on a path."""

    place: int
    name: str  # without flavour
    act: Act
    callback: str
    chain: tuple[int, ...]  # where the functions around it were called, plus one
    bounds: tuple[Range, ...] = ()  # of the arguments: for inserts task, queue, slice
    values: tuple[int, ...] = ()
    points_to: tuple[str, ...] = ()
    is_own: bool = False  # it is about the task that the callback was called for
    is_kfunc: bool = True
    as_written: str = ""
    path: Path = None
    is_guarded: bool = False  # args->fork has been looked at and is zero
    unsure: bool = False


@dataclass(frozen=True, slots=True)
class Ending:
    """How one path left the callback."""

    place: int
    result: int
    bounds: Range
    events: Events
    path: Path
    unsure: bool


@dataclass(slots=True)
class Outcome:
    """All that was seen in one callback."""

    callback: str
    endings: list[Ending] = field(default_factory=list)
    sites: dict[tuple[object, ...], Site] = field(default_factory=dict)
    complete: bool = True  # False: there were more paths than were walked
    steps: int = 0


def map_of(site: Site) -> str:
    """The map that a call is about, empty when it is not known."""
    pointed = site.points_to[0] if site.points_to else ""
    return pointed.removeprefix(MAP) if pointed.startswith(MAP) else ""


def entry_of(site: Site) -> int:
    """The function of the policy that a call makes the kernel call, -1 when there is none."""
    at = 2 if site.act == Act.PUSH else 1
    pointed = site.points_to[at] if len(site.points_to) > at else ""
    return int(pointed.removeprefix(CODE)) if pointed.startswith(CODE) else -1
