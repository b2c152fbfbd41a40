# SPDX-License-Identifier: GPL-2.0-or-later
"""The primitives: described, compiled on their own, and not a second copy of anything."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from schedcpd.repository.primitives import BadPrimitive, read_primitive, read_primitives
from unit.repository.samples import HEADERS, PRIMITIVES, SCHEDULERS

PROGRAMS = sorted(PRIMITIVES.glob("*.bpf.c"))
VMLINUX = Path("/usr/include/x86_64-linux-gnu/linux/bpf/vmlinux.h")
# The host may have no compiler; Debian 13's root, where these tests run as well, has all of it.
real = pytest.mark.skipif(
    shutil.which("clang") is None or not VMLINUX.exists(), reason="there is no clang here"
)
BODY = re.compile(r"^\{\n(?:.*\n){4,}?\}", re.MULTILINE)  # of a function, if it is not trivial
DEFINED = re.compile(r"^(?:static|__noinline|s32|void).*?(\w+)[(,]", re.MULTILINE)
DESCRIBED = """// SPDX
/*
 * A title.
 *
 * What it does,
 * in two lines.
 *
 * Use: here.
 *
 * Needs: that.
 *
 * Not for: this.
 */
#include "scx_perf.bpf.h"
"""


def test_there_are_enough_of_them() -> None:
    found = read_primitives(PRIMITIVES, HEADERS)
    assert [one.name for one in found] == [path.name.removesuffix(".bpf.c") for path in PROGRAMS]
    assert len(found) >= 10


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_each_says_what_it_does_when_to_use_it_and_what_it_needs(path: Path) -> None:
    one = read_primitive(path, HEADERS)
    assert len(one.title) <= 80
    assert 100 <= len(one.summary) <= 1000
    assert min(len(one.use), len(one.needs), len(one.not_for)) >= 20
    assert one.header.startswith("// SPDX-License-Identifier: GPL-2.0\n")


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_each_shows_functions_of_its_header_and_copies_none(path: Path) -> None:
    one = read_primitive(path, HEADERS)
    headers = "".join(header.read_text() for header in HEADERS.glob("*.h"))
    assert not set(BODY.findall(one.example)) & set(BODY.findall(headers))
    names = set(
        re.findall(r"^(?:static|__noinline|s32|void).*?(\w+)[(,]", one.header, re.MULTILINE)
    )
    assert {name for name in re.findall(r"\w+", one.example) if name in names}


@real
@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_each_compiles_on_its_own(path: Path, tmp_path: Path) -> None:
    subprocess.run(
        [
            *("clang", "@include/bpf.flags", "-isystem", str(VMLINUX.parent), "-Werror"),
            # It shows some of the functions of its header, not all of them.
            *("-Wno-unused-function", "-c", str(path), "-o", str(tmp_path / "out.o")),
        ],
        cwd=SCHEDULERS,
        check=True,
    )
    assert (tmp_path / "out.o").read_bytes().startswith(b"\x7fELF")


def test_a_description_is_read_by_its_paragraphs(tmp_path: Path) -> None:
    path = tmp_path / "thing.bpf.c"
    path.write_text(DESCRIBED)
    one = read_primitive(path, HEADERS)
    assert (one.name, one.title, one.summary) == ("thing", "A title", "What it does, in two lines.")
    assert (one.use, one.needs, one.not_for) == ("here.", "that.", "this.")
    assert "PERF_ONE" in one.header


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("thing", " * Needs: that.\n", ""),
        ("thing", "What it does,", "Use:"),
        ("thing", "#include", "// include"),
        ("Thing", "", ""),
        ("thing", "/*\n", ""),
    ],
)
def test_a_program_that_does_not_describe_itself_is_none(
    name: str, before: str, after: str, tmp_path: Path
) -> None:
    path = tmp_path / f"{name}.bpf.c"
    text = DESCRIBED.replace(before, after) if before else DESCRIBED
    if after == "Use:":
        text = DESCRIBED.replace(" * What it does,\n * in two lines.\n", "")
    path.write_text(text)
    with pytest.raises(BadPrimitive):
        read_primitive(path, HEADERS)
