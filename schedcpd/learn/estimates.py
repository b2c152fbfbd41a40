# SPDX-License-Identifier: GPL-2.0-or-later
"""How much CPU time a process will use, guessed from what others used and from what it reads.

Every figure is bounded and an outlier moves none of them far: a command that once failed at once,
or that once met a sparse file, must not turn the order of a batch upside down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

NS_PER_S = 1_000_000_000
LEAST_NS = 1_000_000
MOST_NS = 7 * 24 * 3600 * NS_PER_S
RECENT = 5  # runs of the very same command that count
LEAST_BYTES = 4096  # what is smaller says nothing about a rate
# Nothing is known: only the order of the estimates counts then, not what they are.
ASSUMED_NS_PER_BYTE = 20.0
MANY, ASSUMED_NS_PER_OPERAND = 4, NS_PER_S
RATES = (0.01, 1e6)  # ns per byte: faster than memory, slower than anything worth a guess
WIDE = 8.0  # quartiles that far apart: sizes do not tell
SIMILAR = 1.25  # sizes that differ by less are the same
HEAVY = 4.0  # how much the largest input counts, against the median one


class Basis(StrEnum):
    """Where an estimate comes from, best first."""

    REPEAT = "repeat"  # the same command, run before
    RATE = "rate"  # commands of the same shape, and the sizes of its input
    KIND = "kind"  # commands of the same shape, whatever their input
    SIZE = "size"  # the size of its input alone
    COUNT = "count"  # the number of its arguments


@dataclass(frozen=True, slots=True)
class Sample:
    """One process that has ended: its CPU time, and the bytes in the files that it was given."""

    cpu_ns: int
    size: int


@dataclass(frozen=True, slots=True)
class Rate:
    """CPU time per byte of input, in ns: the weighted median and the quartiles."""

    middle: float
    low: float
    high: float

    @property
    def tells(self) -> bool:
        """Whether the runs agree well enough for a size to say anything."""
        return self.high <= WIDE * self.low


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of a command, oldest first: of the very same, and of its shape."""

    repeats: Sequence[Sample] = ()
    alike: Sequence[Sample] = ()


@dataclass(frozen=True, slots=True)
class Estimate:
    """The CPU time that a process is expected to use in all."""

    cpu_ns: int
    basis: Basis


def estimate(known: Known, size: int, whole: bool, operands: int = 0) -> Estimate | None:
    """What to expect of a process with ``size`` bytes of input; None when nobody knows.

    ``whole`` says that there will be no more input than that; ``operands`` are its arguments that
    are no options: where no input has come to light, many of them are more to do than few.
    """
    if known.repeats:
        return Estimate(_bounded(_repeat(known.repeats[-RECENT:], size, whole)), Basis.REPEAT)
    rate = rate_of(known.alike)
    if rate is not None and not rate.tells:
        middle = median(sample.cpu_ns for sample in known.alike)
        return Estimate(_bounded(middle), Basis.KIND)
    if size < LEAST_BYTES:
        if operands < MANY:
            return None
        return Estimate(_bounded(operands * ASSUMED_NS_PER_OPERAND), Basis.COUNT)
    if rate is not None:
        return Estimate(_bounded(rate.middle * size), Basis.RATE)
    return Estimate(_bounded(ASSUMED_NS_PER_BYTE * size), Basis.SIZE)


def _repeat(samples: Sequence[Sample], size: int, whole: bool) -> float:
    """The median, scaled where the input has clearly become another one."""
    cpu_ns = median(sample.cpu_ns for sample in samples)
    before = median(sample.size for sample in samples)
    if min(before, size) < LEAST_BYTES:
        return cpu_ns
    ratio = size / before
    if ratio > SIMILAR or (whole and ratio < 1 / SIMILAR):
        return cpu_ns * ratio
    return cpu_ns


def rate_of(samples: Sequence[Sample]) -> Rate | None:
    """CPU time per byte over the samples that have an input; None when none has.

    The larger an input, the more it counts, as what a program costs to start is the smaller part
    of it: but not without bound, or a single one would decide.
    """
    sized = [one for one in samples if one.size >= LEAST_BYTES]
    if not sized:
        return None
    most = HEAVY * median(one.size for one in sized)
    rates = sorted((_rate(one), min(one.size, most)) for one in sized)
    return Rate(_quantile(rates, 0.5), _quantile(rates, 0.25), _quantile(rates, 0.75))


def _rate(sample: Sample) -> float:
    low, high = RATES
    return min(max(sample.cpu_ns / sample.size, low), high)


def _quantile(weighted: Sequence[tuple[float, float]], share: float) -> float:
    """The smallest value below which, or at which, that share of the weight lies."""
    left = share * sum(weight for _, weight in weighted)
    for value, weight in weighted:
        left -= weight
        if left <= 0:
            return value
    return weighted[-1][0]


def _bounded(cpu_ns: float) -> int:
    return int(min(max(cpu_ns, LEAST_NS), MOST_NS))
