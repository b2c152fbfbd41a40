# SPDX-License-Identifier: GPL-2.0-or-later
"""From what a model names to the daemon's objects, and back."""

from __future__ import annotations

from schedclient.choose import Found, find, find_workload
from schedclient.daemon import Daemon
from schedclient.errors import ClientError, ObjectGoneError
from schedclient.exit import ExitCode
from schedclient.names import NO_OBJECT, workload_path
from schedclient.objects import Workload
from schedclient.tools.tool import ToolError

MOST_DIGITS = 19


async def workload_named(daemon: Daemon, wanted: str) -> Workload:
    """The workload that is meant; raises ToolError."""
    if _is_number(wanted):  # no need to get them all
        try:
            return await daemon.workload(workload_path(int(wanted)))
        except ObjectGoneError as error:
            raise _gone(wanted) from error
    try:
        return find_workload(await daemon.workloads(), wanted)
    except ClientError as error:
        raise _not_found(wanted, error) from error


async def workload_named_or_ended(daemon: Daemon, wanted: str) -> Found:
    """The workload that is meant, which may have ended; raises ToolError."""
    if _is_number(wanted):
        workload = await workload_named(daemon, wanted)
        return Found(workload.id, workload_path(workload.cgroup_id), workload)
    try:
        return await find(daemon, wanted)
    except ClientError as error:
        raise _not_found(wanted, error) from error


def number_in(path: str) -> int:
    """The number at the end of an object's path; 0 for no object."""
    return 0 if path == NO_OBJECT else int(path.rpartition("/")[2])


def _is_number(wanted: str) -> bool:
    return wanted.isascii() and wanted.isdecimal() and len(wanted) <= MOST_DIGITS


def _gone(wanted: str) -> ToolError:
    return ToolError(
        f"there is no workload {wanted}, or not any more: call list_workloads for the numbers of "
        "those there are; explain finds an ended one by its id"
    )


def _not_found(wanted: str, error: ClientError) -> ClientError | ToolError:
    if error.code is ExitCode.NOT_FOUND and "could be any" not in error.sentence:
        return ToolError(f"there is no workload {wanted!r}: call list_workloads for their numbers")
    return error
