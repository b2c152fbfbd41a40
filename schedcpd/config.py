# SPDX-License-Identifier: GPL-2.0-or-later
"""The configuration: a TOML file and its drop-ins; a bad one is refused with line and reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from schedcpd import settings
from schedcpd.model import Mode
from schedcpd.settings import Checks, Refused, number, shown, whole

_GLOBS_LIMIT = 256
_GLOB_LENGTH = 255


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """Table [daemon]."""

    mode: Mode = Mode.AUTO  # AUTO or ADVISE


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """Table [watch]."""

    ignore: tuple[str, ...] = ()  # globs for units or cgroup paths that are never workloads


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Table [plan]: what is worth a policy, and when a workload is a batch, or no longer."""

    margin: float = 0.05  # what a policy has to be expected to gain
    runnable_per_cpu: float = 3.0  # runnable threads for each CPU
    min_runnable: int = 6  # runnable threads, and processes that have them, at least
    max_threads: int = 4  # threads of each working process; a pool of one a CPU is allowed too
    max_age_s: float = 300.0  # half of the working processes are younger
    min_share: float = 0.5  # share of the time that a working process is runnable
    min_pressure: float = 0.5  # share of the time that some thread waits for a CPU
    min_cpu_share: float = 0.1  # share of the machine's CPUs that it gets
    release_per_cpu: float = 1.0  # a batch with as few runnable threads for each CPU has run dry
    release_age_s: float = 3600.0  # a batch whose processes get older than this is none


@dataclass(frozen=True, slots=True)
class DeploySettings:
    """Table [deploy]."""

    settle_s: float = 0.3  # a policy must survive this long in the kernel to count as attached
    dwell_s: float = 10.0  # after a policy was let go, its workload rests this long


@dataclass(frozen=True, slots=True)
class CanarySettings:
    """Table [canary]: how a policy proves itself before it is attached for good."""

    window_s: float = 1.5  # of each turn
    settle_s: float = 0.3  # not measured after each change of turns
    min_pairs: int = 5
    max_pairs: int = 12
    batch_pairs: int = 2  # for a batch, which shows at its end only what it gained
    margin: float = 0.03  # what it has to gain at least
    batch_margin: float = 0.1  # what it may lose at most while its gain cannot be seen yet
    confidence: float = 0.95


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """Table [breaker]: when an attached policy has to go."""

    window_s: float = 1.0
    baseline_s: float = 0.5  # how long the kernel default is measured before a policy is attached
    windows: int = 3  # bad ones in a row
    others_wait_ratio: float = 4.0  # times what other workloads waited under the kernel default,
    others_wait_ms: float = 30.0  # and more than this (99th percentile)
    own_wait_ratio: float = 8.0  # the same for the workload itself, unless it is a batch
    own_wait_ms: float = 100.0


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration; the defaults are those of a missing file."""

    daemon: DaemonSettings = field(default_factory=DaemonSettings)
    watch: WatchSettings = field(default_factory=WatchSettings)
    plan: Thresholds = field(default_factory=Thresholds)
    deploy: DeploySettings = field(default_factory=DeploySettings)
    canary: CanarySettings = field(default_factory=CanarySettings)
    breaker: BreakerSettings = field(default_factory=BreakerSettings)


def _mode(value: object) -> object:
    if value not in (Mode.AUTO, Mode.ADVISE):
        raise Refused(f'must be "auto" or "advise", not {shown(value)}')
    return Mode(str(value))


def _globs(value: object) -> object:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise Refused(f"must be a list of strings, not {shown(value)}")
    if len(value) > _GLOBS_LIMIT:
        raise Refused(f"must have at most {_GLOBS_LIMIT} entries, not {len(value)}")
    for glob in value:
        if not glob or len(glob) > _GLOB_LENGTH or not glob.isprintable():
            raise Refused(
                f"must have entries of 1 to {_GLOB_LENGTH} printable characters, not {shown(glob)}"
            )
    return tuple(value)


# The ranges of the canary's pairs do not overlap either, but for the one number that suits both.
# The entry and release ranges of runnable threads do not overlap, so they cannot contradict.
_CHECKS: Checks = {
    "daemon": {"mode": _mode},
    "watch": {"ignore": _globs},
    "plan": {
        "margin": number(0.01, 1),
        "runnable_per_cpu": number(2, 1000),
        "min_runnable": whole(2, 10_000),
        "max_threads": whole(1, 1000),
        "max_age_s": number(1, 86_400),
        "min_share": number(0, 1),
        "min_pressure": number(0, 1),
        "min_cpu_share": number(0, 1),
        "release_per_cpu": number(0, 1.9),
        "release_age_s": number(1, 604_800),
    },
    "deploy": {"settle_s": number(0.05, 10), "dwell_s": number(0, 3600)},
    "canary": {
        "window_s": number(0.5, 60),
        "settle_s": number(0, 10),
        "min_pairs": whole(2, 8),
        "max_pairs": whole(8, 100),
        "batch_pairs": whole(2, 20),
        "margin": number(0, 0.5),
        "batch_margin": number(0, 0.5),
        "confidence": number(0.8, 0.999),
    },
    "breaker": {
        "window_s": number(0.2, 60),
        "baseline_s": number(0.1, 10),
        "windows": whole(1, 20),
        "others_wait_ratio": number(1.5, 1000),
        "others_wait_ms": number(1, 10_000),
        "own_wait_ratio": number(1.5, 1000),
        "own_wait_ms": number(1, 10_000),
    },
}


def load(path: Path) -> Config:
    """The configuration of ``path`` and the files ``path``.d/*.toml; raises ConfigError."""
    return settings.load(path, Config(), _CHECKS)
