# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.learn.commands import KEY_BYTES, Command, extension_of, make_command, shape_of


def command(*words: bytes, identity: str = "batch", stdin: bytes = b"") -> Command:
    return make_command(identity, words[0][:15], b"\0".join(words) + b"\0", True, stdin)


@pytest.mark.parametrize(
    ("words", "shape"),
    [
        (b"xz -1 --threads=4 a.log b.log", b"-1 --threads=# *.log"),
        (b"sha256sum /srv/data/one /srv/data/two", b"*"),
        (b"python3 -O scripts/run.py in.CSV out.csv", b"-O run.py *.csv"),
        (b"python3 other.py in.csv", b"other.py *.csv"),
        (b"ffmpeg -i film.mkv -crf 23 -c:v libx264 out.mp4", b"-i *.mkv -crf # -c:v * *.mp4"),
        (b"git add .", b"add *"),
        (b"dd if=/dev/x of=a.img bs=4M", b"* *.img *"),
        (b"bash -c", b"-c"),
        (b"sh", b""),
    ],
)
def test_shape(words: bytes, shape: bytes) -> None:
    assert b" ".join(shape_of(words.split())) == shape


@pytest.mark.parametrize(
    ("name", "extension"),
    [
        (b"a.log", b".log"),
        (b"A.LOG", b".log"),
        (b".bashrc", b""),
        (b"a.tar.gz", b".gz"),
        (b"a.", b""),
        (b"a.b c", b""),
        (b"a.123", b""),
        (b"a.toolongone", b""),
        (b"", b""),
    ],
)
def test_extension(name: bytes, extension: bytes) -> None:
    assert extension_of(name) == extension


def test_only_the_very_same_command_is_the_same() -> None:
    one = command(b"xz", b"a.log")
    assert command(b"xz", b"a.log") == one
    others = (
        command(b"xz", b"b.log"),
        command(b"xz", b"a.log", identity="another"),
        command(b"xz", b"a.log", stdin=b"c"),
        command(b"gz", b"a.log"),
    )
    assert len({one.exact, *(other.exact for other in others)}) == 5
    assert [other.shape == one.shape for other in others] == [True, False, True, False]


def test_words_do_not_run_together() -> None:
    assert command(b"a", b"b", b"c").exact != command(b"a", b"bc").exact
    assert make_command("ab", b"c", b"", True).exact != make_command("a", b"bc", b"", True).exact


def test_a_cut_command_line_has_no_exact_key() -> None:
    whole = command(b"cc", b"-c", b"a.c")
    cut = make_command("batch", b"cc", b"cc\0-c\0a.c\0", whole=False)
    assert (cut.exact, cut.shape) == (b"", whole.shape)


def test_names_that_a_file_may_have() -> None:
    names = command(b"p", b"/srv/a.bin", b"if=b/c", b"--in=d", b"-o", b"e/", b"x" * 90).names
    assert {b"a.bin", b"c", b"d", b"e", b"x" * 63} <= set(names)
    assert not {b"p", b"-o", b"--in=d"} & set(names)


def test_what_differs_in_nothing_but_the_name_is_alike() -> None:
    made = command(b"sum", b"-b", b"/a/1.log", b"/a/2.LOG", b"/a/3.txt", b"/b/4.log", b"5")
    assert [made.alike[made.names[name]] for name in (b"1.log", b"2.LOG")] == [2, 2]
    assert [made.alike[made.names[name]] for name in (b"3.txt", b"4.log", b"5")] == [1, 1, 1]


@pytest.mark.parametrize(
    ("words", "operands"),
    [(b"xz -1 a b", 2), (b"python3 -m unittest -q a b c", 3), (b"sh", 0), (b"git add .", 2)],
)
def test_operands(words: bytes, operands: int) -> None:
    assert command(*words.split()).operands == operands


@given(st.text(), st.binary(max_size=2000), st.binary(max_size=80), st.booleans())
def test_whatever_it_is(identity: str, arguments: bytes, stdin: bytes, whole: bool) -> None:
    made = make_command(identity, b"comm", arguments, whole, stdin)
    assert len(made.shape) == KEY_BYTES
    assert len(made.exact) == (KEY_BYTES if whole else 0)
    assert all(0 < len(name) <= 63 and b"/" not in name for name in made.names)
