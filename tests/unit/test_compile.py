# SPDX-License-Identifier: GPL-2.0-or-later
"""The compiler's sandbox: what it says, and what a hostile source gets out of the real one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from schedcpd.model import Severity
from schedcpd.reports import FINDING_LIMIT, LINE_MAX
from schedcpd.repository.policies import SOURCE_LIMIT
from schedcpd.verify import compile as stage
from schedcpd.verify.compile import (
    Compiled,
    CompilerMissing,
    Sandbox,
    compile_policy,
    parse_diagnostics,
)

REPO = Path(__file__).parents[2]
SANDBOX = Sandbox(
    headers=REPO / "schedulers/include",
    vmlinux=Path("/usr/include/x86_64-linux-gnu/linux/bpf/vmlinux.h"),
    libbpf=Path("/usr/include/bpf"),
)
# The host may have no compiler; Debian 13's root, where these tests run as well, has all of it.
real = pytest.mark.skipif(not SANDBOX.clang.exists(), reason="there is no clang here")
HEAD = (
    '#include <vmlinux.h>\n#include <bpf/bpf_helpers.h>\nchar _license[] SEC("license") = "GPL";\n'
)


def test_diagnostics() -> None:
    found = parse_diagnostics(
        "In file included from scx_a/scx_a.bpf.c:1:\n"
        "scx_a/scx_a.bpf.c:3:7: warning: unused variable 'x' [-Wunused-variable]\n"
        "scx_a/scx_a.bpf.c:4:1: error: expected identifier or '('\n"
        "include/scx_compat.bpf.h:9:2: fatal error: 'no.h' file not found\n"
        "clang: error: linker command failed\n"
        "1 warning and 2 errors generated.\n"
    )
    assert [(one.severity, one.file, one.line, one.message) for one in found] == [
        (Severity.REJECT, "scx_a/scx_a.bpf.c", 4, "expected identifier or '('"),
        (Severity.REJECT, "include/scx_compat.bpf.h", 9, "'no.h' file not found"),
        (Severity.REJECT, "", 0, "linker command failed"),
        (Severity.WARNING, "scx_a/scx_a.bpf.c", 3, "unused variable 'x'"),
    ]
    assert {one.rule for one in found} == {"COMPILE"}


def test_a_number_beyond_reason_is_no_line() -> None:
    assert parse_diagnostics(f"a:{'9' * 5000}:1: error: x\n") == ()


def test_diagnostics_of_strangers_are_bounded() -> None:
    line = f"{'a' * 5000}:99999999999:1: error: \x1b[31m{'b' * 5000}\n"
    found = parse_diagnostics(line * 1000)
    assert len(found) == FINDING_LIMIT
    assert len(found[0].file) <= 1000
    assert len(found[0].message) <= 1000
    assert found[0].message.isprintable()
    assert found[0].line == LINE_MAX


def test_a_machine_without_a_compiler(tmp_path: Path) -> None:
    sandbox = Sandbox(bwrap=tmp_path / "bwrap")
    with pytest.raises(CompilerMissing, match=r"bwrap.* missing: install bubblewrap"):
        compile_policy("scx_a", b"", sandbox)


def test_a_sandbox_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sandbox, "missing", lambda self: ())
    monkeypatch.setattr(stage, "_command", lambda *_: ["sh", "-c", "echo bwrap: no >&2; exit 1"])
    with pytest.raises(CompilerMissing, match="cannot be made: bwrap: no"):
        compile_policy("scx_a", b"", Sandbox())


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("kill -XCPU $$", "longer than 30 s"),
        ("kill -KILL $$", "ended with status -9"),
        ("exit 152", "longer than 30 s"),
        ("exit 137", "longer than 30 s"),
        ("exit 153", "larger than 8 MiB"),
        ("exit 134", "crashed, or wanted more than 1024 MiB"),
        ("exit 7", "ended with status 7"),
        ("exit 0", "wrote no object"),
        ("yes >&2", "says too much"),
        ("yes", "the object is too large"),
        ("sleep 60", "longer than 0 s to compile"),
    ],
)
def test_limits(script: str, complaint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sandbox, "missing", lambda self: ())
    if script == "sleep 60":
        monkeypatch.setattr(stage, "TIMEOUT_S", 0.2)
    told = f"echo in the sandbox >&2; {script}"
    # As bubblewrap does, the outer shell tells a signal by its status.
    line = ["sh", "-c", f"sh -c '{told}'; exit $?"] if "XCPU" in script else ["sh", "-c", told]
    monkeypatch.setattr(stage, "_command", lambda *_: line)
    compiled = compile_policy("scx_a", b"", Sandbox())
    assert compiled.data is None
    assert any(complaint in one.message for one in compiled.findings), compiled.findings


def compiled(source: str | bytes) -> Compiled:
    data = source if isinstance(source, bytes) else source.encode()
    return compile_policy("scx_evil", data, SANDBOX)


@real
@pytest.mark.parametrize("name", ["scx_fair", "scx_batch"])
def test_the_same_source_gives_the_packaged_bytes(name: str, tmp_path: Path) -> None:
    subprocess.run(
        ["make", "-C", REPO / "schedulers", f"OUT={tmp_path}", tmp_path / f"{name}.bpf.o"],
        check=True,
        capture_output=True,
    )
    source = (REPO / f"schedulers/{name}/{name}.bpf.c").read_bytes()
    found = compile_policy(name, source, SANDBOX)
    assert found.findings == ()
    assert found.data == (tmp_path / f"{name}.bpf.o").read_bytes()


@real
@pytest.mark.parametrize(
    "text",
    [
        '#include "/etc/passwd"',
        '#include "../../../../../etc/passwd"',
        '#include "/usr/lib/os-release"',
        '#include "/proc/self/environ"',
        '#include "/dev/stdin"',
        '#include "/work/../etc/passwd"',
        '__asm__(".incbin \\"/etc/passwd\\"");',
        '__asm__(".section .x\\n.incbin \\"/etc/hostname\\"");',
        '__asm__(".include \\"/etc/passwd\\"");',
        'static const char x[] = {\n#embed "/etc/passwd"\n};',
        '__asm__(".incbin \\"/usr/bin/python3\\"");',
        '__asm__(".incbin \\"/usr/lib/x86_64-linux-gnu/libc.so.6\\"");',
    ],
)
def test_no_file_of_the_host(text: str) -> None:
    found = compiled(f"{HEAD}{text}\n")
    assert found.data is None
    assert any("ile" in one.message for one in found.findings)
    assert "root:" not in str(found.findings)


def test_only_the_last_command_writes_the_object() -> None:
    *before, last = stage.SCRIPT.split("; ")
    assert last == "/tools/bin/cat /work/policy.o"
    assert all(one == "set -e" or one.endswith(">&2") for one in before)


@real
def test_a_source_puts_no_bytes_before_the_object() -> None:
    found = compiled(f'{HEAD}__asm__(".print \\"\\177ELF\\000\\377\\"");\nint x = 1;\n')
    assert found.data == compiled(f"{HEAD}\nint x = 1;\n").data


@real
def test_errors_have_a_place() -> None:
    (finding,) = compiled(f"{HEAD}int x = ;\n").findings
    assert (finding.file, finding.line) == ("scx_evil/scx_evil.bpf.c", 4)
    assert finding.message == "expected expression"


@real
@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ('#include "scx_evil.bpf.c"\n', "nested too deeply"),
        (f"{HEAD}char big[1 << 30] = {{1}}; int f(void) {{ return big[3]; }}", "8 MiB"),
        (f'{HEAD}__asm__(".fill 100000000, 8, 1");', "1024 MiB"),
        ('#pragma message "{}"\n'.format("x" * 300) * 2000, "says too much"),
        ("#error " + "x" * 2000 + "\n", "xxx"),
        ("int x = " + "(" * 200_000, "nesting level"),
        (b"int x;\0\xff\n", "UTF-8"),
        ("x" * (SOURCE_LIMIT + 1), "it is larger than"),
        ('#line 1 "bwrap: no"\nint x = ;\n', "status 1"),
        ("#pragma clang __debug crash\n", "failed"),
    ],
    ids="self giant-data giant-fill chatty long-line deep bytes long liar crash".split(),
)
def test_hostile_sources(source: str | bytes, complaint: str) -> None:
    found = compiled(source)
    assert found.data is None
    assert any(complaint in one.message for one in found.findings), found.findings[-1]


@real
def test_a_bomb_is_put_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "CPU_S", 2)
    macros = "".join(f"#define A{n} {','.join([f'A{n - 1}'] * 8)}\n" for n in range(1, 14))
    found = compiled(f"#define A0 1\n{macros}int x[] = {{A13}};\n")
    assert found.data is None
    assert found.seconds < stage.TIMEOUT_S
