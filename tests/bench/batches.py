# SPDX-License-Identifier: GPL-2.0-or-later
"""The long-tail batches: eight kinds of real work, in four variants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.experiment import DEFAULT, FIRST, LEARNED, Figures, Load, Round, Service, script
from bench.figures import Job, lower_bound, recovered
from bench.targets import Target

CPUS = 2
KINDS = {
    "compress": "file compression (xz)",
    "video": "video transcoding (ffmpeg, libx264)",
    "tests": "a test suite (modules of CPython's own)",
    "git": "git add of different trees",
    "checksum": "file checksums (sha256sum)",
    "aggregate": "skewed aggregation (Python, CSV)",
    "logs": "log analysis (awk)",
    "join": "an analytics join (SQLite)",
}
VARIANTS = {
    "first": "the long one first",
    "last": "the long one last",
    "several": "four long ones",
    "waves": "arriving in four waves",
}
CONDITIONS = (DEFAULT, FIRST, LEARNED)
LEARNED_SHARE, FIRST_SHARE = 0.85, 0.60


def figures(answers: Mapping[str, Any]) -> Figures:
    """Makespan, CPU time and lower bound of one run, in seconds."""
    found = answers["batch"]
    jobs = [Job(job["cpu_s"], job["arrived_s"]) for job in found["jobs"]]
    return {
        "makespan_s": found["makespan_s"],
        "cpu_s": sum(job.cpu_s for job in jobs) + found["own_cpu_s"],
        "longest_s": max(job.cpu_s for job in jobs),
        "bound_s": lower_bound(jobs, CPUS),
    }


def load(kind: str, variant: str) -> Load:
    """One batch."""
    where = (kind, variant, f"/var/tmp/{kind}-{variant}")
    return Load(
        name=f"batch-{kind}-{variant}",
        services=(Service("batch", script("batch", "run", *where)),),
        figures=figures,
        merit="makespan_s",
        prepare=(script("batch", "prepare", *where),),
    )


def shares(rounds: list[Round], condition: str) -> list[float]:
    """What was recovered of the gap in each round; the bound is the smallest of its runs.

    The speed of a shared machine is another in each round: what belongs together is compared.
    """
    return [
        recovered(
            one[DEFAULT].figures["makespan_s"],
            one[condition].figures["makespan_s"],
            min(run.figures["bound_s"] for run in one.values()),
        )
        for one in rounds
    ]


TARGETS = (
    Target(
        "gap to the lower bound recovered, from the second run on",
        lambda rounds: shares(rounds, LEARNED),
        at_least=LEARNED_SHARE,
        condition=LEARNED,
    ),
    Target(
        "gap to the lower bound recovered, at first sight",
        lambda rounds: shares(rounds, FIRST),
        at_least=FIRST_SHARE,
        condition=FIRST,
    ),
)
