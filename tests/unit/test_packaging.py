# SPDX-License-Identifier: GPL-2.0-or-later
"""What schedcp-agent brings along: pinned, licensed, and the same that the tests ran with."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

REPO = Path(__file__).parents[2]
PIN = re.compile(r"([a-z0-9-]+)==([0-9.]+) \\\n    --hash=sha256:[0-9a-f]{64}\n")


def pins() -> dict[str, str]:
    """Name → version in debian/requirements.txt."""
    text = (REPO / "debian/requirements.txt").read_text()
    lines = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
    assert PIN.sub("", lines) == "", "not a version and one hash"
    return dict(PIN.findall(lines))


def test_every_wheel_has_its_copyright() -> None:
    text = (REPO / "debian/copyright").read_text()
    named = re.findall(r"^Files: debian/wheels/(\w+)-\*\.whl$", text, re.MULTILINE)
    assert sorted(named) == sorted(name.replace("-", "_") for name in pins())
    used = " and ".join(re.findall(r"^License: (.+)$", text, re.MULTILINE))
    for licence in set(used.split(" and ")):
        assert re.search(rf"^License: {re.escape(licence)}\n ", text, re.MULTILINE), licence


def test_the_tests_run_with_what_is_shipped() -> None:
    groups = tomllib.loads((REPO / "pyproject.toml").read_text())["dependency-groups"]
    listed = [one for group in groups.values() for one in group if isinstance(one, str)]
    tested = dict(one.lower().split("==") for one in listed)
    assert {"anthropic", "mcp"} <= tested.keys()
    shipped = pins()
    for name in tested.keys() & shipped.keys():
        assert tested[name] == shipped[name], name
