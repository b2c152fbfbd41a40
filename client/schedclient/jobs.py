# SPDX-License-Identifier: GPL-2.0-or-later
"""What a verification found, from the JSON texts of its job."""

from __future__ import annotations

import json

from schedclient.errors import ClientError
from schedclient.objects import Job
from schedcpd.fields import Fields
from schedcpd.model import Report, StageReport
from schedcpd.reports import decode_report, decode_stage

_MOST_STAGES = 16


def stages_of(job: Job) -> tuple[StageReport, ...]:
    """The stages that are done; raises ClientError."""
    try:
        found = Fields({"stages": json.loads(job.stages)})
        return tuple(decode_stage(one) for one in found.tables("stages", _MOST_STAGES))
    except ValueError as error:  # no JSON, or a bad field
        raise _not_understood(error) from error


def report_of(job: Job) -> Report | None:
    """The report, if there is one; raises ClientError."""
    if not job.report:
        return None
    try:
        return decode_report(Fields(json.loads(job.report)))
    except ValueError as error:
        raise _not_understood(error) from error


def _not_understood(error: ValueError) -> ClientError:
    return ClientError(
        f"schedcpd's report is not what this schedctl expects ({error}); "
        "after an upgrade: sudo systemctl restart schedcpd"
    )
