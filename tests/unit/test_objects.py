# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import random
from contextlib import suppress

import pytest

from schedcpd.kernel.objects import SIZE_LIMIT, ObjectError, Variable, read_object
from schedcpd.repository.cards import parse_card
from unit.made_objects import CARD, DEFAULT_SYMBOLS, Symbol, make_object, ops_btf

CARD_OF_IT = parse_card(CARD.encode(), "card")


def test_what_an_object_says_of_itself() -> None:
    about = read_object(make_object())
    assert about.variables["slice_ns"] == Variable(".rodata", 8, 8)
    assert about.constant("batch_level", "u32").offset == 16
    assert about.counter("nr_enqueued").section == ".bss"
    assert about.strong_kfuncs == frozenset()
    assert about.sections[".data.sxexit"] == 608
    assert about.btf == ops_btf()
    about.check(CARD_OF_IT)


def test_the_maps_of_the_card_have_to_be_there() -> None:
    card = parse_card(f'{CARD}[maps.layers]\nrole = "classes"\n'.encode(), "card")
    layers = Symbol("layers", ".maps", 0, 32)
    read_object(make_object({".maps": bytes(32)}, [*DEFAULT_SYMBOLS, layers])).check(card)
    for symbols in (DEFAULT_SYMBOLS, [*DEFAULT_SYMBOLS, Symbol("layers", ".bss", 16, 8)]):
        with pytest.raises(ObjectError, match="it has no map layers"):
            read_object(make_object(symbols=symbols)).check(card)


def test_strong_externs_are_needed_by_their_name_in_the_kernel() -> None:
    names = ("scx_bpf_now", "scx_bpf_x___s", "scx_bpf_y___v2___s", "CONFIG_HZ", "LINUX_HAS_X")
    about = read_object(make_object(symbols=[*DEFAULT_SYMBOLS, *map(Symbol, names)]))
    assert about.strong_kfuncs == {"scx_bpf_now", "scx_bpf_x", "scx_bpf_y___v2"}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"license": b"Proprietary\0"}, "licence is 'Proprietary'"),
        ({"license": b""}, "licence is ''"),
        ({".struct_ops.link": b""}, "nothing could hold it"),
        ({".data.sxexit": bytes(600)}, "no exit record"),
        ({".data.sxdump": b""}, "no exit record"),
    ],
)
def test_what_our_loader_cannot_do_without(sections: dict[str, bytes], message: str) -> None:
    with pytest.raises(ObjectError, match=message):
        read_object(make_object(sections)).check(CARD_OF_IT)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Symbol("slice_ns", ".rodata", 8, 4), "no u64 constant slice_ns"),
        (Symbol("slice_ns", ".bss", 8, 8), "no u64 constant slice_ns"),
        (Symbol("nr_enqueued", ".rodata", 8, 8), "no counter nr_enqueued"),
        (Symbol("nr_enqueued", ".bss", 8, 16), "no counter nr_enqueued"),
        (None, "no u64 constant slice_ns"),
    ],
)
def test_the_card_must_tell_the_truth(wrong: Symbol | None, message: str) -> None:
    names = {wrong.name} if wrong else {"slice_ns"}
    symbols = [symbol for symbol in DEFAULT_SYMBOLS if symbol.name not in names]
    about = read_object(make_object(symbols=[*symbols, *([wrong] if wrong else [])]))
    with pytest.raises(ObjectError, match=message):
        about.check(CARD_OF_IT)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a little-endian 64-bit ELF file"),
        (b"#!/bin/sh\n" * 20, "not a little-endian 64-bit ELF file"),
        (make_object(machine=62), "not a relocatable BPF object"),
        (make_object()[:100], "section headers are damaged"),
        (make_object()[:64], "section headers are damaged"),
        (bytes(SIZE_LIMIT + 1), "larger than 8 MiB"),
    ],
)
def test_other_files(data: bytes, message: str) -> None:
    with pytest.raises(ObjectError, match=message):
        read_object(data)


def test_damage_never_ends_in_anything_else() -> None:
    chance = random.Random(1)
    for _ in range(300):
        data = bytearray(make_object({".data.sxdump": b"x"}))
        for _ in range(3):
            # Headers are where damage tells: the first 64 bytes, and those of sections at the end.
            data[chance.choice([chance.randrange(64), -1 - chance.randrange(900)])] ^= 0xFF
        with suppress(ObjectError):
            read_object(bytes(data)).check(CARD_OF_IT)
