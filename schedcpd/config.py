# SPDX-License-Identifier: GPL-2.0-or-later
"""The configuration: a TOML file and its drop-ins; a bad one is refused with line and reason."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tomli

from schedcpd.errors import ConfigError
from schedcpd.kernel.text import printable
from schedcpd.model import Mode

SIZE_LIMIT = 64 * 1024
_GLOBS_LIMIT = 256
_GLOB_LENGTH = 255
_STATEMENT_LINES = 300  # bounds the search for a line; a list has at most _GLOBS_LIMIT entries


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
    """Table [plan]: when a workload counts as a batch, and when no longer."""

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


class _Refused(ValueError):
    """What is wrong with one value."""


Check = Callable[[object], object]


def _mode(value: object) -> object:
    if value not in (Mode.AUTO, Mode.ADVISE):
        raise _Refused(f'must be "auto" or "advise", not {_shown(value)}')
    return Mode(str(value))


def _globs(value: object) -> object:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise _Refused(f"must be a list of strings, not {_shown(value)}")
    if len(value) > _GLOBS_LIMIT:
        raise _Refused(f"must have at most {_GLOBS_LIMIT} entries, not {len(value)}")
    for glob in value:
        if not glob or len(glob) > _GLOB_LENGTH or not glob.isprintable():
            raise _Refused(
                f"must have entries of 1 to {_GLOB_LENGTH} printable characters, not {_shown(glob)}"
            )
    return tuple(value)


def _whole(low: int, high: int) -> Check:
    def check(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise _Refused(f"must be a whole number from {low} to {high}, not {_shown(value)}")
        return value

    return check


def _number(low: float, high: float) -> Check:
    def check(value: object) -> object:
        # The comparison refuses nan as well.
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not low <= value <= high
        ):
            raise _Refused(f"must be a number from {low:g} to {high:g}, not {_shown(value)}")
        return float(value)

    return check


# The ranges of the canary's pairs do not overlap either, but for the one number that suits both.
# The entry and release ranges of runnable threads do not overlap, so they cannot contradict.
_CHECKS: Mapping[str, Mapping[str, Check]] = {
    "daemon": {"mode": _mode},
    "watch": {"ignore": _globs},
    "plan": {
        "runnable_per_cpu": _number(2, 1000),
        "min_runnable": _whole(2, 10_000),
        "max_threads": _whole(1, 1000),
        "max_age_s": _number(1, 86_400),
        "min_share": _number(0, 1),
        "min_pressure": _number(0, 1),
        "min_cpu_share": _number(0, 1),
        "release_per_cpu": _number(0, 1.9),
        "release_age_s": _number(1, 604_800),
    },
    "deploy": {"settle_s": _number(0.05, 10), "dwell_s": _number(0, 3600)},
    "canary": {
        "window_s": _number(0.5, 60),
        "settle_s": _number(0, 10),
        "min_pairs": _whole(2, 8),
        "max_pairs": _whole(8, 100),
        "batch_pairs": _whole(2, 20),
        "margin": _number(0, 0.5),
        "batch_margin": _number(0, 0.5),
        "confidence": _number(0.8, 0.999),
    },
    "breaker": {
        "window_s": _number(0.2, 60),
        "baseline_s": _number(0.1, 10),
        "windows": _whole(1, 20),
        "others_wait_ratio": _number(1.5, 1000),
        "others_wait_ms": _number(1, 10_000),
        "own_wait_ratio": _number(1.5, 1000),
        "own_wait_ms": _number(1, 10_000),
    },
}


def load(path: Path) -> Config:
    """The configuration of ``path`` and the files ``path``.d/*.toml in name order.

    A later file wins key by key; a missing file is an empty one. Raises ConfigError.
    """
    config = Config()
    for file in (path, *_drop_ins(path.with_name(f"{path.name}.d"))):
        text = _read(file)
        if text is not None:
            config = _merge(config, file, text)
    return config


def _drop_ins(directory: Path) -> list[Path]:
    try:
        found = [one for one in directory.iterdir() if one.name.endswith(".toml")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as exc:
        raise ConfigError(_name(directory), 0, f"cannot be read: {exc.strerror}") from exc
    # Editors leave hidden copies behind.
    return sorted(one for one in found if not one.name.startswith("."))


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            raw = file.read(SIZE_LIMIT + 1)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise ConfigError(_name(path), 0, f"cannot be read: {exc.strerror}") from exc
    if len(raw) > SIZE_LIMIT:
        raise ConfigError(_name(path), 0, f"is larger than {SIZE_LIMIT} bytes")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as exc:
        line = raw.count(b"\n", 0, exc.start) + 1
        raise ConfigError(_name(path), line, "is not UTF-8 text") from exc


def _merge(config: Config, path: Path, text: str) -> Config:
    try:
        document = tomli.loads(text)
    except tomli.TOMLDecodeError as exc:
        raise ConfigError(_name(path), exc.lineno, f"is not valid TOML: {_clean(exc.msg)}") from exc
    except RecursionError as exc:
        raise ConfigError(_name(path), 0, "is nested too deeply") from exc
    place: list[str] = []
    try:
        changes = {}
        for table, values in document.items():
            place[:] = [table]
            changes[table] = replace(
                getattr(config, _known(table, _CHECKS, "table")), **_table(place, values)
            )
        return replace(config, **changes)
    except _Refused as exc:
        line = _line_of(text, tuple(place))
        raise ConfigError(_name(path), line, f"{_clean('.'.join(place))} {exc}") from exc


def _table(place: list[str], values: object) -> dict[str, Any]:
    """The checked values of one table; ``place`` follows what is being checked."""
    if not isinstance(values, dict):
        raise _Refused(f"must be a table, not {_shown(values)}")
    checks = _CHECKS[place[0]]
    checked: dict[str, Any] = {}
    for key, value in values.items():
        place[1:] = [key]
        checked[key] = checks[_known(key, checks, "key")](value)
    return checked


def _known(name: str, known: Mapping[str, object], what: str) -> str:
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
    raise _Refused(f"is not a {what} that schedcp knows{hint}")


def _line_of(text: str, place: tuple[str, ...]) -> int:
    """The line on which the table or key ``place`` is set; 0 when it cannot be found.

    TOML has too many spellings of a key to search for one, so tomli itself is asked, by halves: the
    key is set by the first line after which the statement it belongs to gives the document the key.
    """
    lines = text.split("\n")
    low, high = 1, len(lines)
    while low < high:
        middle = (low + high) // 2
        found = _has(lines, middle, place)
        if found is None:
            return 0
        if found:
            high = middle
        else:
            low = middle + 1
    return low


def _has(lines: list[str], number: int, place: tuple[str, ...]) -> bool | None:
    """Whether the key is there after the statement that has line ``number``; None if unknown."""
    for end in range(number, min(number + _STATEMENT_LINES, len(lines)) + 1):
        try:
            node: object = tomli.loads("\n".join(lines[:end]) + "\n")
        except tomli.TOMLDecodeError:
            continue  # in the middle of a statement
        for part in place:
            if not isinstance(node, dict) or part not in node:
                return False
            node = node[part]
        return True
    return None


def _shown(value: object) -> str:
    """A value as it would be written in TOML, as near as a message needs it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{_clean(value)}"'
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a table"
    return _clean(str(value))


def _clean(text: str) -> str:
    return printable(text, 120)


def _name(path: Path) -> str:
    return printable(str(path), 255)
