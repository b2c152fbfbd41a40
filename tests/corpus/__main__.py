# SPDX-License-Identifier: GPL-2.0-or-later
"""Verifies every policy of the corpus and compares the verdicts: `make verify-corpus`.

Runs in the lab's build root, where the compiler and QEMU are: `python3 -m corpus`. Exit codes: 0
when every policy came out as it must, 1 when one did not, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from corpus.entries import Entry, read_corpus
from corpus.matrix import Result, Verdict, matrix_lines, read_report
from lab import kernels
from lab.kernels import DEFAULT_SERIES, Kernel
from lab.place import REPO, Lab
from lab.vmlinux import write_sys
from schedcpd.kernel.btf import Btf
from schedcpd.model import Card, VerifyStage
from schedcpd.verify.analysis import analyse
from schedcpd.verify.compile import Sandbox, compile_policy
from schedcpd.verify.host import Host, Places, read_host
from schedcpd.verify.pipeline import OnCheck, Tools, Unready, Verifier, open_verifier

POLICIES = REPO / "tests" / "policies"
TRIAL = REPO / "build" / "trial" / "schedcp-trial"
OUT = REPO / "build" / "verify-corpus.json"
SANDBOX = Sandbox(
    headers=REPO / "schedulers" / "include",
    vmlinux=Path("/usr/include/x86_64-linux-gnu/linux/bpf/vmlinux.h"),
    libbpf=Path("/usr/include/bpf"),
)


def places_for(kernel: Kernel, trial: Path, folder: Path) -> Places:
    """Where everything is for a machine that runs ``kernel``; ``folder`` is for its /sys."""
    cmdline = folder / "cmdline"
    cmdline.touch()
    return Places(
        state=folder / "state",
        trial=trial,
        sandbox=SANDBOX,
        sys=write_sys(kernel.vmlinuz, folder / "sys"),
        cmdline=cmdline,
        kernel=kernel.vmlinuz,
    )


def static_verifier(host: Host) -> Verifier:
    """A verifier whose last stages are never begun."""
    kernel = Btf(host.btf)

    def refuse(_data: bytes, _card: Card, _on_check: OnCheck) -> NoReturn:
        raise Unready("only the static stages were asked for")

    tools = Tools(
        compile=lambda name, source: compile_policy(name, source, SANDBOX),
        analyse=lambda data, card: analyse(data, card, kernel),
        try_out=refuse,
    )
    return Verifier(host, tools, None, "")


def examine(verifier: Verifier, entry: Entry, last: VerifyStage) -> Result:
    """Verify one policy; once more when the verifier itself failed, as that says nothing of it."""
    for _ in range(2):
        started = time.monotonic()
        report = verifier.verify(entry.name, entry.card, entry.source, None)
        result = read_report(report, entry.expected, round(time.monotonic() - started, 2), last)
        if result.verdict is not Verdict.BROKEN:
            break
    return result


def run(verifier: Verifier, entries: Sequence[Entry], last: VerifyStage, jobs: int) -> list[Result]:
    """Verify all of them and print a line for each."""
    results = []
    with ThreadPoolExecutor(jobs) as pool:
        examined: Iterator[Result] = pool.map(lambda entry: examine(verifier, entry, last), entries)
        for number, result in enumerate(examined, 1):
            results.append(result)
            print(progress_line(result, f"{number}/{len(entries)}"), flush=True)
    return results


def progress_line(result: Result, count: str) -> str:
    """What became of one policy, and why where that is not what had to."""
    mark = "ok  " if result.correct else "FAIL"
    actual = f"{result.stage} {' '.join(result.rules)}" if result.stage else str(result.verdict)
    line = f"{mark} {count:>7} {result.policy:16} {result.seconds:6.1f} s  {actual}"
    if not result.correct:
        line += f"\n     must be: {result.expected}; the reason given: {result.reason or 'none'}"
    return line


def encode(result: Result) -> dict[str, object]:
    """A result as build/verify-corpus.json has it."""
    return {
        **asdict(result),
        "expected": {"stage": result.expected.stage, "rule": result.expected.rule},
        "actual": {"stage": result.stage, "rules": result.rules},
        "correct": result.correct,
    }


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python3 -m corpus", description=__doc__)
    parser.add_argument("--static-only", action="store_true", help="no micro-VM")
    parser.add_argument("--only", action="append", metavar="NAME", help="just this policy")
    parser.add_argument("--jobs", type=int, default=1, help="how many at once")
    parser.add_argument("--kernel", default=DEFAULT_SERIES, help="the series of the lab's kernel")
    parser.add_argument("--trial", type=Path, default=TRIAL, help="the program of the trial run")
    parser.add_argument("--out", type=Path, default=OUT, help="the file for the results")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Verify, print the confusion matrix and write the results."""
    options = parse(argv)
    entries = read_corpus(POLICIES)
    if options.only:
        entries = tuple(one for one in entries if one.name in options.only)
    kernel = kernels.fetched(Lab.from_env()).get(options.kernel)
    if not entries or not kernel:
        sys.stderr.write("corpus: there is no such policy, or no such kernel in the lab\n")
        return 2
    last = VerifyStage.STATIC if options.static_only else VerifyStage.DYNAMIC
    with tempfile.TemporaryDirectory() as folder:
        places = places_for(kernel, options.trial, Path(folder))
        host = read_host(places, kernel.version)
        verifier = (
            static_verifier(host)
            if options.static_only
            else open_verifier(places, host, remember=False)
        )
        results = run(verifier, entries, last, options.jobs)
    print("\n".join(matrix_lines(results)))
    summary = {"kernel": kernel.version, "policies": [encode(one) for one in results]}
    options.out.write_text(json.dumps(summary, indent=2) + "\n")
    return 0 if all(one.correct for one in results) else 1


if __name__ == "__main__":
    sys.exit(main())
