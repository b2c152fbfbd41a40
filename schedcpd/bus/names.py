# SPDX-License-Identifier: GPL-2.0-or-later
"""Names on the bus: the well-known name, the interfaces, and the paths of the objects."""

from __future__ import annotations

import re

BUS_NAME = "org.schedcp.Daemon1"
ERROR_PREFIX = f"{BUS_NAME}.Error."
MANAGER = f"{BUS_NAME}.Manager"
WORKLOAD = f"{BUS_NAME}.Workload"
POLICY = f"{BUS_NAME}.Policy"
DEPLOYMENT = f"{BUS_NAME}.Deployment"
JOB = f"{BUS_NAME}.Job"
REPOSITORY = f"{BUS_NAME}.Repository"

ROOT_PATH = "/org/schedcp/Daemon1"
NO_OBJECT = "/"  # D-Bus has no null path

_POLICY_NAME = re.compile(r"scx_[a-z0-9_]{1,11}")


def workload_path(cgroup_id: int) -> str:
    """The path of a workload; made of the cgroup's number, for its name is anybody's text."""
    return f"{ROOT_PATH}/workload/{cgroup_id:d}"


def policy_path(name: str) -> str:
    """The path of a policy; raises ValueError for a name that no policy can have."""
    if not _POLICY_NAME.fullmatch(name):
        raise ValueError(f"not the name of a policy: {name!r}")
    return f"{ROOT_PATH}/policy/{name}"


def deployment_path(deployment_id: int) -> str:
    """The path of a deployment."""
    return f"{ROOT_PATH}/deployment/{deployment_id:d}"


def job_path(job_id: int) -> str:
    """The path of a job."""
    return f"{ROOT_PATH}/job/{job_id:d}"
