# SPDX-License-Identifier: GPL-2.0-or-later
"""``org.schedcp.Daemon1.Workload``: a cgroup with processes that belong together."""

from schedcpd.bus import names
from schedcpd.bus.conversion import workload_values
from schedcpd.bus.members import ValuesInterface, shown
from schedcpd.model import WorkloadRecord


class WorkloadInterface(ValuesInterface):
    """One workload, as the daemon saw it last."""

    def __init__(self, record: WorkloadRecord) -> None:
        self.workload_id = record.workload.id
        path = names.workload_path(record.workload.cgroup_id)
        super().__init__(names.WORKLOAD, path, workload_values(record))

    Id = shown("Id", "s")
    CgroupId = shown("CgroupId", "t")
    Identity = shown("Identity", "s")
    Unit = shown("Unit", "s")
    Kind = shown("Kind", "s")
    State = shown("State", "s")
    AppearedAt = shown("AppearedAt", "d")
    Sentence = shown("Sentence", "s")
    Profile = shown("Profile", "a{sv}")
    Advice = shown("Advice", "s")
    Objective = shown("Objective", "s")
    Reason = shown("Reason", "s")
    Layer = shown("Layer", "a{sv}")
    Candidates = shown("Candidates", "a(sdss)")
