# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon's names on the bus, from ``dbus-policy/interfaces``."""

BUS_NAME = "org.schedcp.Daemon1"
ERROR_PREFIX = f"{BUS_NAME}.Error."
MANAGER = f"{BUS_NAME}.Manager"
WORKLOAD = f"{BUS_NAME}.Workload"
POLICY = f"{BUS_NAME}.Policy"
DEPLOYMENT = f"{BUS_NAME}.Deployment"
JOB = f"{BUS_NAME}.Job"
ROOT_PATH = "/org/schedcp/Daemon1"
NO_OBJECT = "/"


def workload_path(cgroup_id: int) -> str:
    """The path of a workload's object."""
    return f"{ROOT_PATH}/workload/{cgroup_id}"
