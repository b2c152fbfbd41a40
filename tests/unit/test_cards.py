# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest

from schedcpd.errors import CardError
from schedcpd.model import Fit, MapRole, Objective, Tunable, WorkloadClass
from schedcpd.repository.cards import SIZE_LIMIT, parse_card
from unit.made_objects import CARD


def test_a_card() -> None:
    card = parse_card(CARD.encode(), "scx_batch.toml")
    assert (card.name, card.version, card.min_kernel) == ("scx_batch", "1.0", "6.16")
    assert card.requires_kfuncs == ("scx_bpf_create_dsq",)
    assert card.ignores == ("cpu.max",)
    assert card.tunables[0] == Tunable(
        name="slice_ns",
        type="u64",
        unit="ns",
        default=5_000_000,
        minimum=100_000,
        maximum=100_000_000,
        description="how long a task runs before another gets its turn",
    )
    assert card.tunables[1].role == "target-level"
    assert card.targeted
    assert card.counters == {"nr_enqueued": "tasks queued"}


def test_a_card_without_tunables_and_counters() -> None:
    card = parse_card(CARD.partition("[tunables")[0].encode(), "card")
    assert (card.tunables, dict(card.counters), card.targeted) == ((), {}, False)


FIT = """
[fit.latency]
gain = 2
objective = "throughput"
evidence = "schbench -m 2 -t 4"

[fit.batch]
gain = -0.25
objective = "makespan"
evidence = "8 long-tail batches"
"""


def test_what_a_policy_is_for_and_how_much_it_gains() -> None:
    assert parse_card((CARD + FIT).encode(), "card").fits == {
        WorkloadClass.LATENCY: Fit(2.0, Objective.THROUGHPUT, "schbench -m 2 -t 4"),
        WorkloadClass.BATCH: Fit(-0.25, Objective.MAKESPAN, "8 long-tail batches"),
    }
    assert not parse_card(CARD.encode(), "card").fits


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("fit.batch", "fit.batches", "'fit.batches' is not one of build, batch"),
        ("fit.batch", "fit.unknown", "'fit.unknown' is not one of"),
        ("gain = 2", "gain = 21", "fit.latency.gain is 21, not from -1.0 to 20.0"),
        ("gain = 2", "gain = nan", "fit.latency.gain is nan"),
        ("gain = 2", "", "fit.latency.gain is missing"),
        ('"throughput"', '"none"', "fit.latency.objective must be one of makespan"),
        ('"8 long-tail batches"', '"\\n8"', "fit.batch.evidence has characters that cannot be"),
        ("gain = 2", "gain = 2\nwhere = 1", "unknown field 'fit.latency.where'"),
        ("[fit.batch]", "[fit.batch.more]", "unknown field 'fit.batch.more'"),
    ],
)
def test_a_refused_promise_says_which_field(old: str, new: str, message: str) -> None:
    assert old in FIT
    with pytest.raises(CardError, match=message):
        parse_card((CARD + FIT.replace(old, new, 1)).encode(), "card")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "scx_batch"', "", "name is missing"),
        ('"scx_batch"', '"batch"', "name does not match"),
        ('"scx_batch"', '"scx_much_too_long"', "name does not match"),
        ('"scx_batch"', '"scx_../etc"', "name does not match"),
        ('title = "Run', 'title = "\\u001b[31mRun', "title has characters that cannot be printed"),
        ('"batches of', '"\\nbatches of', "suits has characters that cannot be printed"),
        ('fails = ["anything interactive"]', "fails = 3", "fails is not a list of texts"),
        ('"standalone"', '"Any class"', "class does not match"),
        ('"6.16"', '"six"', "min_kernel does not match"),
        ('"scx_bpf_create_dsq"', '"scx bpf"', "requires_kfuncs: 'scx bpf' is not the name"),
        ("timeout_ms = 5000", "timeout_ms = 30001", "timeout_ms is 30001, not from 1 to 30000"),
        ("timeout_ms = 5000", "timeout_ms = 0", "timeout_ms is 0"),
        ("timeout_ms = 5000", "timeout_ms = true", "timeout_ms is not a whole number"),
        ("timeout_ms = 5000", "colour = 1\ntimeout_ms = 5000", "unknown field 'colour'"),
        ('type = "u64"', 'type = "u8"', "tunables.slice_ns.type must be one of"),
        ("default = 5000000", "default = 1", "tunables.slice_ns.default is 1, not from 100000"),
        ("min = 100000\n", "min = -1\n", "tunables.slice_ns.min is -1"),
        ("max = 255", f"max = {2**32}", "tunables.batch_level.max is 4294967296"),
        ("max = 255", "", "tunables.batch_level.max is missing"),
        ('role = "target-level"', 'role = "boss"', "tunables.batch_level.role must be one of"),
        ('unit = "ns"', 'unit = "ns"\nstep = 1', r"unknown field 'tunables.slice_ns.step'"),
        ("[tunables.slice_ns]", '[tunables."slice ns"]', "'tunables.slice ns' is not the name"),
        ("[counters.nr_enqueued]", '[counters."a.b"]', "'counters.a.b' is not the name"),
        ('description = "tasks queued"', "", "counters.nr_enqueued.description is missing"),
        ("[counters.nr_enqueued]", "[counters.nr_enqueued", "line 31"),
    ],
)
def test_a_refused_card_says_which_field(old: str, new: str, message: str) -> None:
    assert old in CARD
    with pytest.raises(CardError, match=message) as caught:
        parse_card(CARD.replace(old, new, 1).encode(), "/x/scx_batch.toml")
    assert str(caught.value).startswith("/x/scx_batch.toml: ")


def test_live_maps() -> None:
    maps = '[maps.layers]\nrole = "classes"\n[maps.hints]\nrole = "hints"\ndescription = "x"\n'
    card = parse_card((CARD + maps).encode(), "card")
    assert card.maps == {"layers": MapRole.CLASSES, "hints": MapRole.HINTS}
    assert [card.live_map(role) for role in MapRole] == ["layers", "hints"]
    assert parse_card(CARD.encode(), "card").live_map(MapRole.HINTS) == ""


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ("[maps.layers]\n", "maps.layers.role is missing"),
        ('[maps.layers]\nrole = "keys"\n', "maps.layers.role must be one of classes, hints"),
        ('[maps.layers]\nrole = "hints"\nsize = 8\n', "unknown field 'maps.layers.size'"),
        ('[maps."a b"]\nrole = "hints"\n', "'maps.a b' is not the name"),
        ('[maps.a]\nrole = "hints"\n[maps.b]\nrole = "hints"\n', "maps.b.role: another map"),
        ('[maps.a]\nrole = "hints"\ndescription = "\\u001b"\n', "description has characters"),
    ],
)
def test_live_maps_that_are_refused(maps: str, message: str) -> None:
    with pytest.raises(CardError, match=message):
        parse_card((CARD + maps).encode(), "card")


def test_other_files() -> None:
    with pytest.raises(CardError, match="utf-8"):
        parse_card(b"\xff\xfe", "card")
    with pytest.raises(CardError, match="larger than"):
        parse_card(b"#" * (SIZE_LIMIT + 1), "card")
    deep = CARD.partition("[tunables")[0] + "deep = " + "[" * 5000
    with pytest.raises(CardError):
        parse_card(deep.encode(), "card")


def test_the_longest_wait_is_bounded() -> None:
    longest = CARD.replace("timeout_ms = 5000", "timeout_ms = 30000\nmax_wait_ms = 5000")
    assert parse_card(longest.encode(), "card").max_wait_ms == 5000
    with pytest.raises(CardError, match="max_wait_ms is 5001, not from 1 to 5000"):
        parse_card(longest.replace("_wait_ms = 5000", "_wait_ms = 5001").encode(), "card")


def test_counts_are_bounded() -> None:
    head = CARD.partition("[tunables")[0]
    one = '[tunables.t{}]\ntype="u32"\nunit=""\ndefault=0\nmin=0\nmax=1\ndescription=""\n'
    with pytest.raises(CardError, match="tunables: more than 64"):
        parse_card((head + "".join(one.format(n) for n in range(65))).encode(), "card")
    counters = "".join(f'[counters.c{n}]\ndescription=""\n' for n in range(65))
    with pytest.raises(CardError, match="counters: more than 64"):
        parse_card((head + counters).encode(), "card")
