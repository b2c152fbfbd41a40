# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds out whether a task wakes up at regular times, from how often it had slept so far."""

from __future__ import annotations

from collections.abc import Sequence

LEAST_SLEEPS = 9
SHORTEST_S, LONGEST_S = 0.001, 0.1
# How far the counts may be from a straight line, in sleeps. Counting whole sleeps costs up to one
# half. Those of a task that wakes up at random stray by a share of the root of their number: with
# these bounds one in a thousand looks regular.
_LEAST_STRAY, _STRAY_OF_ROOT = 0.6, 0.165


def clear_period_s(counts: Sequence[tuple[float, int]]) -> float:
    """The period behind (time in seconds, sleeps so far) in rising order; 0 when none is clear."""
    if len(counts) < LEAST_SLEEPS:
        return 0.0
    sleeps = counts[-1][1] - counts[0][1]
    if sleeps < LEAST_SLEEPS:
        return 0.0
    origin = counts[0]
    points = [(at - origin[0], count - origin[1]) for at, count in counts]
    rate, offset = _line(points)
    if not rate or not SHORTEST_S <= 1 / rate <= LONGEST_S:
        return 0.0
    allowed = max(_LEAST_STRAY, _STRAY_OF_ROOT * sleeps**0.5)
    stray = max(abs(count - (rate * at + offset)) for at, count in points)
    return 1 / rate if stray <= allowed else 0.0


def _line(points: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """Slope and offset of the line through the points by least squares; slope 0 when none is."""
    number = len(points)
    mean_x = sum(x for x, _ in points) / number
    mean_y = sum(y for _, y in points) / number
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if not spread:
        return 0.0, mean_y
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    return max(0.0, slope), mean_y - slope * mean_x
