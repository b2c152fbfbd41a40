# SPDX-License-Identifier: GPL-2.0-or-later
"""The statistics of the bench: medians with exact intervals, bounds, what was recovered."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A median and two of the values that enclose the true one with the probability ``coverage``.

    Few values cannot enclose it with 95 %: then the interval is all of them, and ``coverage`` says
    what that is worth.
    """

    median: float
    low: float
    high: float
    coverage: float
    count: int


def estimate(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """The median and its interval by the sign test, which assumes nothing; ValueError if empty."""
    ordered = sorted(values)
    count = len(ordered)
    if not count:
        raise ValueError("no values")
    rank = 0  # values left out at each end
    while 2 * (rank + 1) < count and coverage_of(count, rank + 1) >= confidence:
        rank += 1
    found = coverage_of(count, rank)
    return Estimate(statistics.median(ordered), ordered[rank], ordered[-1 - rank], found, count)


def coverage_of(count: int, rank: int) -> float:
    """How likely the median of all lies between values of a sample, ``rank`` left out each side."""
    outside: float = sum(math.comb(count, k) for k in range(rank + 1)) / 2**count
    return max(1 - 2 * outside, 0.0)


@dataclass(frozen=True, slots=True)
class Job:
    """One job of a batch: its CPU time, and when it arrived, in seconds."""

    cpu_s: float
    arrived_s: float = 0.0


def lower_bound(jobs: Sequence[Job], cpus: int) -> float:
    """No schedule is shorter: max(longest job, all work / CPUs), from each arrival on."""
    bounds = [job.arrived_s + job.cpu_s for job in jobs]
    for start in {job.arrived_s for job in jobs}:
        work = sum(job.cpu_s for job in jobs if job.arrived_s >= start)
        bounds.append(start + work / cpus)
    return max(bounds, default=0.0)


def recovered(default: float, ours: float, bound: float) -> float:
    """The share of the gap between the kernel default and the bound that was won; NaN without one.

    The gap is one when the default is more than 1 % above the bound: below that it is noise.
    """
    if default <= bound * 1.01:
        return math.nan
    return (default - ours) / (default - bound)
