# SPDX-License-Identifier: GPL-2.0-or-later
"""Stage 1: compiles a stranger's source where nothing of this machine can be seen or harmed.

bubblewrap gives the compiler an empty world: no network, no processes but its own, and of the file
system only the compiler, its libraries and the headers for policies. The source goes in and the
object comes out through file descriptors. The object names the paths that the package's own build
names, so that the same source gives the same bytes, and the verdict on them is already known.
"""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from schedcpd.kernel.objects import SIZE_LIMIT as OBJECT_LIMIT
from schedcpd.model import Finding, Severity
from schedcpd.reports import FINDING_LIMIT, LINE_MAX, printable
from schedcpd.repository.policies import SOURCE_LIMIT
from schedcpd.verify.isolation import isolated

RULE = "COMPILE"
# An emulated machine takes some ten seconds for what takes half a second elsewhere.
TIMEOUT_S = 60.0
CPU_S = 30
MEMORY = 1 << 30
PROCESSES = 64
WORK_BYTES = 64 << 20
DIAGNOSTICS_LIMIT = 256 * 1024
CHUNK = 1 << 16
LOADER = Path("/lib64/ld-linux-x86-64.so.2")
# Places inside.
INSIDE = Path("/policies")
TOOLS = Path("/tools/bin")
LIBRARIES = Path("/lib")
SHELL = Path("/bin/dash")
CAT = Path("/bin/cat")
LIBRARY = re.compile(rb"(/\S+) \(0x")
DIAGNOSTIC = re.compile(
    r"(?P<file>[^:\s][^:]*):(?P<line>[0-9]{1,20}):[0-9]{1,20}: "
    r"(?P<kind>fatal error|error|warning): (?P<text>.*)"
)
GENERAL = re.compile(r"(?:[\w.-]+: )?(?P<kind>fatal error|error): (?P<text>.*)")
OPTION = re.compile(r" \[-W[^\]]*\]$")
# The status that a shell gives to a program that one of our limits ended.
LIMITS = {
    128 + signal.SIGXCPU: f"it takes longer than {CPU_S} s to compile",
    128 + signal.SIGKILL: f"it takes longer than {CPU_S} s to compile",
    128 + signal.SIGXFSZ: f"its object is larger than {OBJECT_LIMIT >> 20} MiB",
    128 + signal.SIGABRT: f"the compiler crashed, or wanted more than {MEMORY >> 20} MiB",
}
STARTED = "in the sandbox\n"
# $1 is the policy's name. Only the last word is for standard output: the assembler's ".print"
# writes there as well, and a source could put an object of its own making before ours.
SCRIPT = (
    f"set -e; echo {STARTED.strip()} >&2; "
    '/tools/bin/clang @include/bpf.flags -isystem system -ffile-prefix-map="$PWD"=/schedulers'
    " --no-default-config -fno-color-diagnostics -fno-caret-diagnostics -fno-crash-diagnostics"
    ' -ferror-limit=50 -c "$1/$1.bpf.c" -o /work/full.o >&2; '
    "/tools/bin/bpftool gen object /work/policy.o /work/full.o >&2; /tools/bin/cat /work/policy.o"
)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Where the compiler and the headers are; the same paths mean nothing inside."""

    headers: Path = Path("/usr/lib/schedcp/include")
    vmlinux: Path = Path("/usr/lib/schedcp/include/system/vmlinux.h")
    libbpf: Path = Path("/usr/lib/schedcp/include/system/bpf")
    bwrap: Path = Path("/usr/bin/bwrap")
    clang: Path = Path("/usr/bin/clang")
    bpftool: Path = Path("/usr/sbin/bpftool")

    def missing(self) -> tuple[Path, ...]:
        """What is not there."""
        needed = (self.bwrap, self.clang, self.bpftool, self.headers, self.vmlinux, self.libbpf)
        return tuple(path for path in needed if not path.exists())


@dataclass(frozen=True, slots=True)
class Compiled:
    """What came of a source: ``data`` is None when it did not compile, and findings say why."""

    data: bytes | None
    findings: tuple[Finding, ...]
    seconds: float


class CompilerMissing(Exception):
    """The compiler cannot be used on this machine; the message says what to install."""


@dataclass(frozen=True, slots=True)
class _Ended:
    """A command that has ended; ``trouble`` says which of our limits ended it."""

    code: int
    output: bytes
    diagnostics: bytes
    trouble: str = ""


def compile_policy(name: str, source: bytes, sandbox: Sandbox) -> Compiled:
    """Compile the source of the policy ``name``, whose form the caller has checked.

    CompilerMissing when this machine cannot compile at all.
    """
    if missing := sandbox.missing():
        raise CompilerMissing(
            f"{', '.join(map(str, missing))} missing: install bubblewrap, clang and bpftool"
        )
    if len(source) > SOURCE_LIMIT:
        return Compiled(None, (_complaint(f"it is larger than {SOURCE_LIMIT} bytes"),), 0.0)
    started = time.monotonic()
    with tempfile.TemporaryFile() as file:
        file.write(source)
        file.seek(0)
        ended = _run(_command(name, file.fileno(), sandbox), file.fileno())
    text = ended.diagnostics.decode("utf-8", "replace")
    if not text.startswith(STARTED):
        raise CompilerMissing(f"the compiler's sandbox cannot be made: {printable(text)}")
    findings = parse_diagnostics(text.removeprefix(STARTED))
    if why := _failure(ended, findings):
        findings = (*findings[: FINDING_LIMIT - 1], _complaint(why))
    passed = ended.code == 0 and not any(one.severity is Severity.REJECT for one in findings)
    return Compiled(ended.output if passed else None, findings, time.monotonic() - started)


def _failure(ended: _Ended, findings: tuple[Finding, ...]) -> str:
    """Why there is no object, where no finding says it."""
    if ended.trouble:
        return ended.trouble
    if ended.code in LIMITS:
        return LIMITS[ended.code]
    if ended.code == 0:
        return "" if ended.output else "the compiler wrote no object"
    if any(one.severity is Severity.REJECT for one in findings):
        return ""
    return f"the compiler ended with status {ended.code}"


def _command(name: str, source_fd: int, sandbox: Sandbox) -> list[str]:
    clang = sandbox.clang.resolve()
    programs = (clang, sandbox.bpftool, SHELL, CAT)
    mounts = [(path, TOOLS / path.name) for path in programs]
    mounts += [(path, LIBRARIES / path.name) for path in _libraries(programs)]
    mounts += [
        (LOADER, LOADER),
        (clang.parent.parent / "lib/clang", TOOLS.parent / "lib/clang"),
        (sandbox.headers, INSIDE / "include"),
        (sandbox.vmlinux, INSIDE / "system/vmlinux.h"),
        (sandbox.libbpf, INSIDE / "system/bpf"),
    ]
    binds = (("--ro-bind", str(path.resolve()), str(inside)) for path, inside in mounts)
    return [
        *("prlimit", f"--cpu={CPU_S}:{CPU_S + 1}", f"--as={MEMORY}", f"--fsize={OBJECT_LIMIT}"),
        *(f"--nproc={PROCESSES}", "--core=0", "--"),
        *isolated(sandbox.bwrap),
        # Without /proc a program does not find the libraries that lie beside it.
        *("--setenv", "LD_LIBRARY_PATH", str(LIBRARIES)),
        *(word for bind in binds for word in bind),
        *("--ro-bind-data", str(source_fd), f"{INSIDE}/{name}/{name}.bpf.c"),
        *("--size", str(WORK_BYTES), "--tmpfs", "/work", "--remount-ro", "/"),
        *("--chdir", str(INSIDE), "--"),
        *(str(TOOLS / SHELL.name), "-c", SCRIPT, "compile", name),
    ]


def _libraries(programs: Iterable[Path]) -> list[Path]:
    """The shared libraries of the programs."""
    found: set[Path] = set()
    for program in programs:
        argv = [str(LOADER), "--list", str(program)]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        found.update(Path(match[1].decode()) for match in LIBRARY.finditer(done.stdout))
    return sorted(found - {LOADER})


def _run(argv: list[str], fd: int) -> _Ended:
    """Run a command that inherits ``fd``; it is killed when it takes too long or says too much."""
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=(fd,),
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
    )
    if process.stdout is None or process.stderr is None:
        raise AssertionError("asked for pipes")
    output, diagnostics = bytearray(), bytearray()
    limits = {
        process.stdout.fileno(): (output, OBJECT_LIMIT, "the object is too large"),
        process.stderr.fileno(): (diagnostics, DIAGNOSTICS_LIMIT, "the compiler says too much"),
    }
    with process:
        trouble = _drain(limits)
        if trouble:
            process.kill()
    return _Ended(process.returncode, bytes(output), bytes(diagnostics), trouble)


def _drain(limits: dict[int, tuple[bytearray, int, str]]) -> str:
    """Read all pipes to their ends; what went wrong, or nothing."""
    deadline = time.monotonic() + TIMEOUT_S
    with selectors.DefaultSelector() as waiting:
        for fd in limits:
            waiting.register(fd, selectors.EVENT_READ)
        while waiting.get_map():
            ready = waiting.select(max(deadline - time.monotonic(), 0.0))
            if not ready:
                return f"it takes longer than {TIMEOUT_S:.0f} s to compile"
            for key, _ in ready:
                kept, limit, trouble = limits[key.fd]
                data = os.read(key.fd, CHUNK)
                if not data:
                    waiting.unregister(key.fd)
                kept += data
                if len(kept) > limit:
                    return trouble
    return ""


def parse_diagnostics(text: str) -> tuple[Finding, ...]:
    """The compiler's complaints as findings; errors first where there are too many."""
    found = []
    for line in text.splitlines():
        if match := DIAGNOSTIC.fullmatch(line):
            found.append(_finding(match["kind"], match["text"], match["file"], int(match["line"])))
        elif match := GENERAL.fullmatch(line):
            found.append(_finding(match["kind"], match["text"]))
    found.sort(key=lambda one: one.severity is not Severity.REJECT)
    return tuple(found[:FINDING_LIMIT])


def _finding(kind: str, text: str, file: str = "", line: int = 0) -> Finding:
    severity = Severity.WARNING if kind == "warning" else Severity.REJECT
    message = printable(OPTION.sub("", text))
    return Finding(RULE, severity, message, file=printable(file), line=min(line, LINE_MAX))


def _complaint(text: str) -> Finding:
    return Finding(RULE, Severity.REJECT, text)
