# SPDX-License-Identifier: GPL-2.0-or-later
"""Eight kinds of real work for a batch: how to make one job's input, and the command that does it.

The amount of work is counted in units of the kind's own (bytes, frames, lines ...), so that the
batch can make a job of as many CPU seconds as it wants on the machine at hand. Standard library
only; runs in the lab.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = ("/usr/lib/python3", "/usr/lib/x86_64-linux-gnu", "/usr/bin")
SEED = 7
PIECE_BYTES = 20_000  # a file of a source tree
CORPUS_BYTES = 64_000_000  # as much as is kept in memory: a machine of the lab has 2 GB
BLOCK_BYTES = 1 << 21
BLOCKS = 16
LINES = 1000
CUSTOMERS = 5000
QUERY = """
SELECT region, segment, count(*), sum(amount), avg(amount), max(placed)
FROM orders JOIN customers ON customers.name = orders.customer
WHERE placed % 7 != 3 GROUP BY region, segment ORDER BY sum(amount) DESC;
"""
# Quick ones, without a network, children or files of their own.
TEST_MODULES = tuple(
    """
    test_abc test_base64 test_binascii test_bisect test_bool test_cmath test_colorsys test_complex
    test_copy test_csv test_fnmatch test_format test_fractions test_functools test_generators
    test_getopt test_grammar test_graphlib test_heapq test_html test_ipaddress test_keyword
    test_list test_numeric_tower test_operator test_pprint test_reprlib test_slice test_string
    test_struct test_textwrap
    """.split()
)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of work.

    ``write`` makes the input of ``units`` units at a place that does not exist yet; ``command`` is
    the argv of the job; ``ready`` undoes what an earlier run of the job left.
    """

    needs: tuple[str, ...]  # programs
    sample: int  # units of the smaller of the two jobs that the speed is taken from
    write: Callable[[Path, int], None]
    command: Callable[[Path], tuple[str, ...]]
    ready: Callable[[Path], None] = lambda _: None
    whole: bool = False  # a unit is a short job, whatever it takes


def real_files() -> Iterator[bytes]:
    """The contents of what is installed here, always in the same order; never ends."""
    while True:
        for source in SOURCES:
            for path in sorted(Path(source).rglob("*")):
                if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK):
                    yield path.read_bytes()


@cache
def corpus(size: int) -> bytes:
    """``size`` bytes of real files."""
    parts: list[bytes] = []
    have = 0
    for part in real_files():
        parts.append(part)
        have += len(part)
        if have >= size:
            break
    return b"".join(parts)[:size]


def seed_of(place: Path) -> random.Random:
    """A source of randomness that is the same for the same job of every run."""
    return random.Random(f"{SEED} {place.name}")


def write_piece(place: Path, units: int) -> None:
    """``units`` kilobytes of real files, from another place for each job, round and round."""
    left, whole = units * 1000, corpus(CORPUS_BYTES)
    start = seed_of(place).randrange(len(whole))
    with place.open("wb") as file:
        while left > 0:
            left -= file.write(whole[start : start + left])
            start = 0


def compress(place: Path) -> tuple[str, ...]:
    return ("/usr/bin/xz", "--format=xz", "-1", "--threads=1", "--stdout", str(place))


def write_clip(place: Path, units: int) -> None:
    """A clip of ``units`` frames of a moving picture, as a camera would store it."""
    grain = f"noise=all_strength=8:all_seed={seed_of(place).randrange(999)}"
    picture = f"testsrc2=size=320x180:rate=25,{grain}"
    line = ["ffmpeg", "-nostdin", "-v", "error", "-f", "lavfi", "-i", picture]
    line += ["-frames:v", str(units), "-c:v", "mjpeg", "-q:v", "4", "-f", "avi", str(place)]
    subprocess.run(line, check=True)


def transcode(place: Path) -> tuple[str, ...]:
    line = "ffmpeg -nostdin -v error -filter_threads 1 -threads 1 -i".split()
    coded = "-c:v libx264 -preset veryfast -threads 1 -f mpegts -y /dev/null".split()
    return ("/usr/bin/" + line[0], *line[1:], str(place), *coded)


def write_modules(place: Path, units: int) -> None:
    """The names of ``units`` modules of Python's own test suite, from the job's number on."""
    first = int(place.name[-2:]) % len(TEST_MODULES)
    names = (TEST_MODULES * 2)[first : first + min(units, len(TEST_MODULES))]
    place.write_text("\n".join(names))


def run_tests(place: Path) -> tuple[str, ...]:
    names = (f"test.{name}" for name in place.read_text().split())
    return ("/usr/bin/python3", "-m", "unittest", "--quiet", *names)


def write_tree(place: Path, units: int) -> None:
    """A source tree of ``units`` files, a hundred in a folder."""
    whole = corpus(CORPUS_BYTES)
    source = seed_of(place)
    for number in range(units):
        path = place / "tree" / f"{number // 100:03d}" / f"{number % 100:02d}"
        path.parent.mkdir(parents=True, exist_ok=True)
        start = source.randrange(len(whole) - PIECE_BYTES)
        path.write_bytes(whole[start : start + PIECE_BYTES])


def add_to_git(place: Path) -> tuple[str, ...]:
    there = (f"--git-dir={place / 'git'}", f"--work-tree={place / 'tree'}")
    return ("/usr/bin/git", *there, "add", "--all")


def fresh_repository(place: Path) -> None:
    shutil.rmtree(place / "git", ignore_errors=True)
    subprocess.run(["git", f"--git-dir={place / 'git'}", "init", "--quiet"], check=True)


def write_files(place: Path, units: int) -> None:
    """A folder of ``units`` files, as in a backup: many names, fewer contents (hard links)."""
    store = place.parent / "blocks"
    if not store.exists():
        store.mkdir()
        whole = corpus(BLOCK_BYTES * BLOCKS)
        for number in range(BLOCKS):
            start = number * BLOCK_BYTES
            (store / str(number)).write_bytes(whole[start : start + BLOCK_BYTES])
    place.mkdir()
    first = seed_of(place).randrange(BLOCKS)
    for number in range(units):
        (place / f"{number:04d}").hardlink_to(store / str((first + number) % BLOCKS))


def checksum(place: Path) -> tuple[str, ...]:
    return ("/usr/bin/sha256sum", *(str(path) for path in sorted(place.iterdir())))


def write_repeated(place: Path, units: int, line: Callable[[random.Random], str]) -> None:
    """A text of ``units`` thousand lines: some thousands of different ones, over and over."""
    source = seed_of(place)
    texts = ["".join(line(source) for _ in range(LINES)) for _ in range(4)]
    with place.open("w") as stream:
        for number in range(units):
            stream.write(texts[number % len(texts)])


def sale(source: random.Random) -> str:
    return f"shop{int(source.paretovariate(1.1)) % 5000},{source.random() * 100:.2f}\n"


def request(source: random.Random) -> str:
    host = f"10.{source.randrange(8)}.{source.randrange(256)}.{source.randrange(256)}"
    path = f"/page/{int(source.paretovariate(1)) % 3000}"
    status = source.choice((200, 200, 200, 200, 304, 404, 500))
    hour = source.randrange(24)
    when = f"12/Mar/2026:{hour:02d}:{source.randrange(60):02d}:07 +0000"
    return f'{host} - - [{when}] "GET {path} HTTP/1.1" {status} {source.randrange(90000)}\n'


def aggregate(place: Path) -> tuple[str, ...]:
    return ("/usr/bin/python3", str(HERE / "aggregate.py"), str(place))


def analyse(place: Path) -> tuple[str, ...]:
    return ("/usr/bin/awk", "-f", str(HERE / "logs.awk"), str(place))


def write_database(place: Path, units: int) -> None:
    """A database with ``units`` thousand orders of some thousand customers."""
    with closing(sqlite3.connect(place)) as base, base:
        base.executescript("CREATE TABLE customers (name, region, segment);"
                           "CREATE TABLE orders (customer, amount, placed);")  # fmt: skip
        base.executemany(
            "INSERT INTO customers VALUES (?, ?, ?)",
            ((f"customer {one}", one % 17, one % 5) for one in range(CUSTOMERS)),
        )
        base.execute(
            "WITH RECURSIVE n(i) AS (SELECT ? UNION ALL SELECT i + 1 FROM n LIMIT ?)"
            "INSERT INTO orders SELECT 'customer ' || (i * 7919 % ?), i * 31 % 1009, i FROM n",
            (seed_of(place).randrange(10**6), units * LINES, CUSTOMERS),
        )


def join(place: Path) -> tuple[str, ...]:
    return ("/usr/bin/sqlite3", "-readonly", str(place), QUERY)


KINDS = {
    "compress": Kind(("xz",), 500, write_piece, compress),
    "video": Kind(("ffmpeg",), 10, write_clip, transcode),
    "tests": Kind(("python3",), 1, write_modules, run_tests, whole=True),
    "git": Kind(("git",), 25, write_tree, add_to_git, fresh_repository),
    "checksum": Kind(("sha256sum",), 4, write_files, checksum),
    "aggregate": Kind(
        ("python3",), 10, lambda place, units: write_repeated(place, units, sale), aggregate
    ),
    "logs": Kind(("awk",), 10, lambda place, units: write_repeated(place, units, request), analyse),
    "join": Kind(("sqlite3",), 10, write_database, join),
}


def missing(kind: Kind) -> list[str]:
    """The programs that the kind needs and this machine lacks."""
    return [program for program in kind.needs if shutil.which(program) is None]
