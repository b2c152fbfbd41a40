# SPDX-License-Identifier: GPL-2.0-or-later
"""The cards of the shipped policies against their sources, without a compiler."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from schedcpd.model import Card, MapRole, WorkloadProfile
from schedcpd.plan.layers import layer_for
from schedcpd.repository.cards import parse_card

SCHEDULERS = Path(__file__).parents[2] / "schedulers"
NAMES = sorted(path.name for path in SCHEDULERS.glob("scx_*"))
INCLUDE = re.compile(r'^#include "([\w.]+)"', re.MULTILINE)
TUNABLE = re.compile(r"^const volatile (\w+) (\w+) = (\w+);", re.MULTILINE)
COUNTER = re.compile(r"^u64 (nr_\w+);", re.MULTILINE)
# What a header defines unless the policy has; not the guards of headers, which are SCX_….
UNLESS = re.compile(r"^#ifndef (?!SCX_)(\w+)\n.*?^#endif", re.MULTILINE | re.DOTALL)
HINTS = """\
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, HINT_MAX);
	__type(key, u32);
	__type(value, u64);
} hints SEC(".maps");
"""


def card_of(name: str) -> Card:
    path = SCHEDULERS / name / f"{name}.toml"
    return parse_card(path.read_bytes(), str(path))


def source_of(name: str) -> str:
    """The policy's source and every header that it includes, each once, as it counts for it."""
    main = SCHEDULERS / name / f"{name}.bpf.c"
    waiting = [main]
    texts: dict[Path, str] = {}
    while waiting:
        path = waiting.pop()
        if path not in texts and path.name != "vmlinux.h":
            texts[path] = path.read_text()
            waiting += [SCHEDULERS / "include" / one for one in INCLUDE.findall(texts[path])]
    own = set(re.findall(r"^#define (\w+)", texts[main], re.MULTILINE))
    whole = "".join(texts.values())
    return UNLESS.sub(lambda found: "" if found[1] in own else found[0], whole)


@pytest.mark.parametrize("name", NAMES)
def test_card_and_source_have_the_same_tunables(name: str) -> None:
    declared = {one.name: (one.type, one.default) for one in card_of(name).tunables}
    defined = {
        variable: (kind, int(value, 0))
        for kind, variable, value in TUNABLE.findall(source_of(name))
    }
    assert declared == defined


@pytest.mark.parametrize("name", NAMES)
def test_card_and_source_have_the_same_counters(name: str) -> None:
    assert set(card_of(name).counters) == set(COUNTER.findall(source_of(name)))


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_for_one_workload_asks_for_its_cgroup_once(name: str) -> None:
    roles = sorted(one.role for one in card_of(name).tunables if one.role)
    assert roles in ([], ["target-id", "target-level"])


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_what_becomes_of_promises(name: str) -> None:
    card = card_of(name)
    assert not set(card.honours) & set(card.ignores)
    assert {"nice", "affinity", "cpu.weight", "cpu.max", "cpu.idle"} <= (
        set(card.honours) | set(card.ignores)
    )
    assert card.suits
    assert card.fails


def test_hints_have_the_layout_that_the_loader_writes() -> None:
    assert card_of("scx_longest").live_map(MapRole.HINTS) == "hints"
    assert HINTS in source_of("scx_longest")


def test_every_class_of_work_that_scx_layers_promises_something_has_a_class_in_it() -> None:
    card = card_of("scx_layers")
    profile = WorkloadProfile(0.0, 0.3, 1, 1, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0)
    assert card.fits
    assert all(layer_for(work, card, profile) for work in card.fits)


def test_alone_a_workload_gets_the_policy_that_is_for_one() -> None:
    shared = card_of("scx_layers").fits
    for name in NAMES:
        for work, fit in card_of(name).fits.items():
            if name != "scx_layers" and work in shared:
                assert fit.gain > shared[work].gain, f"{name} for {work}"
