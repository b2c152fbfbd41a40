# SPDX-License-Identifier: GPL-2.0-or-later
"""The names of daemon and agent on the bus, from ``dbus-policy/interfaces``."""

BUS_NAME = "org.schedcp.Daemon1"
ERROR_PREFIX = f"{BUS_NAME}.Error."
MANAGER = f"{BUS_NAME}.Manager"
WORKLOAD = f"{BUS_NAME}.Workload"
POLICY = f"{BUS_NAME}.Policy"
DEPLOYMENT = f"{BUS_NAME}.Deployment"
JOB = f"{BUS_NAME}.Job"
REPOSITORY = f"{BUS_NAME}.Repository"
ROOT_PATH = "/org/schedcp/Daemon1"
NO_OBJECT = "/"

AGENT_NAME = "org.schedcp.Agent1"
AGENT_PATH = "/org/schedcp/Agent1"
AGENT = f"{AGENT_NAME}.Agent"


def workload_path(cgroup_id: int) -> str:
    """The path of a workload's object."""
    return f"{ROOT_PATH}/workload/{cgroup_id}"
