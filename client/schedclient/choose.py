# SPDX-License-Identifier: GPL-2.0-or-later
"""Finding the workload or the policy that a person means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schedclient.errors import ClientError
from schedclient.exit import ExitCode
from schedclient.names import workload_path
from schedclient.objects import Policy, Workload

if TYPE_CHECKING:
    from schedclient.daemon import Daemon

MOST_SHOWN = 10
MOST_PAST = 1000


def find_workload(workloads: Sequence[Workload], wanted: str) -> Workload:
    """The workload with that id, cgroup number, unit, or part of an id; raises ClientError."""
    tests: tuple[Callable[[Workload], bool], ...] = (
        lambda one: one.id == wanted,
        lambda one: str(one.cgroup_id) == wanted,
        lambda one: one.unit == wanted,
        lambda one: bool(wanted) and wanted in one.id,
    )
    for test in tests:
        matching = [one for one in workloads if test(one)]
        if len(matching) == 1:
            return matching[0]
        if matching:
            raise ClientError(_ambiguous(wanted, matching), ExitCode.NOT_FOUND)
    raise ClientError(
        f"there is no workload {wanted!r}; 'schedctl list' shows those there are",
        ExitCode.NOT_FOUND,
    )


def _ambiguous(wanted: str, matching: Sequence[Workload]) -> str:
    shown = ", ".join(f"{one.cgroup_id} ({one.id})" for one in matching[:MOST_SHOWN])
    more = f" and {len(matching) - MOST_SHOWN} more" if len(matching) > MOST_SHOWN else ""
    return (
        f"{wanted!r} could be any of {len(matching)} workloads; give the number of one: "
        f"{shown}{more}"
    )


def find_policy(policies: Sequence[Policy], wanted: str) -> Policy:
    """The policy of that name; raises ClientError."""
    for policy in policies:
        if policy.name == wanted:
            return policy
    there_are = ", ".join(policy.name for policy in policies) or "none is installed"
    raise ClientError(f"there is no policy {wanted!r}; there are: {there_are}", ExitCode.NOT_FOUND)


@dataclass(frozen=True, slots=True)
class Found:
    """A workload that a person means.

    ``key`` is what the daemon knows it by: an id that is no text can be shown, but not sent back.
    """

    id: str
    key: str
    workload: Workload | None = None  # None when it has ended


async def find(daemon: Daemon, wanted: str) -> Found:
    """The workload that a person means, which may have ended; raises ClientError."""
    try:
        workload = find_workload(await daemon.workloads(), wanted)
        return Found(workload.id, workload_path(workload.cgroup_id), workload)
    except ClientError:
        past = await daemon.history("", MOST_PAST)
        ended = {one.workload_id for one in past if one.workload_id}
        matching = [one for one in ended if wanted in (one, one.rpartition("/")[2])]
        if len(matching) != 1:
            raise
        return Found(matching[0], matching[0])
