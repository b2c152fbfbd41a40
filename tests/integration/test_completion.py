# SPDX-License-Identifier: GPL-2.0-or-later
"""Bash completion, in a real bash with the real schedctl."""

from __future__ import annotations

import asyncio
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from integration import client, samples
from integration.fake_core import FakeCore

SCRIPT = client.REPOSITORY / "client/completion/schedctl"


async def complete(address: str, folder: Path, *words: str) -> list[str]:
    """What bash would offer for the last of ``words``."""
    (folder / "schedctl").write_text(f'#!/bin/sh\nexec {sys.executable} -m schedctl "$@"\n')
    (folder / "schedctl").chmod(0o755)
    line = " ".join(shlex.quote(word) for word in ("schedctl", *words))
    program = (
        f"source {SCRIPT}; COMP_WORDS=({line}); COMP_CWORD={len(words)}; _schedctl; "
        "printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    environment = client.environment(address)
    process = await asyncio.create_subprocess_exec(
        *("bash", "--norc", "-c", program),
        env={**environment, "PATH": f"{folder}:{environment['PATH']}"},
        stdout=subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), client.PATIENCE_S)
    return [line for line in out.decode().splitlines() if line]


@pytest.fixture(autouse=True)
def quarantined(core: FakeCore) -> None:
    core.quarantines = (samples.QUARANTINE,)


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("st",), ["status"]),
        (
            ("--json", "re"),
            ["read-file", "revert", "resume", "revoke", "read", "retire", "release"],
        ),
        (("search", "--kind", "p"), ["policy", "primitive"]),
        (("search", "--k"), ["--kind"]),
        (("read", "pr"), ["primitive"]),
        (("read", "policy", "scx_batch", "s"), ["source"]),
        (("note", "--o"), ["--on"]),
        (("retire", "scx_f"), ["scx_fair"]),
        (("retire", "--r"), ["--reason"]),
        (("--v",), ["--version"]),
        (("log", "--f"), ["--follow"]),
        (("agent", "p"), ["preview"]),
        (("agent", "analyse", "/system.slice/n"), ["/system.slice/nginx.service"]),
        (("agent", "show", ""), []),
        (("show", "/system.slice/n"), ["/system.slice/nginx.service"]),
        (("apply", "/system.slice/nginx.service", "scx_b"), ["scx_batch"]),
        (("policies", ""), ["scx_batch", "scx_fair"]),
        (("status", ""), []),
        (("why", "/system.slice/n"), ["/system.slice/nginx.service"]),
        (("hold", "--reason", "match", "/system.slice/n"), ["/system.slice/nginx.service"]),
        (("hold", "--reason", ""), []),
        (("history", "-n", "5", "/system.slice/n"), ["/system.slice/nginx.service"]),
        (("release", ""), ["scx_fair"]),
        (("verify", "scx_f"), ["scx_fair"]),
        (("verify", "--r"), ["--rules"]),
        (("revoke", "scx_f"), ["scx_fair"]),
        (("revoke", "--undo", "scx_f"), ["scx_fair"]),
        (("revoke", "--u"), ["--undo"]),
        (("withdraw", "scx_f"), ["scx_fair"]),
        (("quarantine", "--n"), ["--names"]),
        (("apply", "a", "b", ""), []),
        (("apply", "--c"), ["--class"]),
        (("apply", "--set", ""), []),
        (("apply", "--set", "slice_ns=5", "/system.slice/n"), ["/system.slice/nginx.service"]),
        (
            ("enroll-foreign", f"{client.REPOSITORY}/schedulers/scx_fai"),
            [f"{client.REPOSITORY}/schedulers/scx_fair"],
        ),
        (("optimize", "/system.slice/n"), ["/system.slice/nginx.service"]),
        (("propose", "/system.slice/nginx.service", "scx_b"), ["scx_batch"]),
        (("propose", "--objective", "l"), ["latency"]),
        (("show", "--tier", ""), ["summary", "scheduling", "probes"]),
        (("read-file", "--j"), ["--json"]),
        (("read-file", "/system.slice/n"), ["/system.slice/nginx.service"]),
        (("apply", "--class", "l"), ["longest", "latency"]),
        (("apply", "--class", "batch", "/system.slice/n"), ["/system.slice/nginx.service"]),
        (("apply", "--weight", ""), []),
        (("revert", "/system.slice/n"), ["/system.slice/nginx.service"]),
    ],
)
async def test_offers_what_fits(
    words: tuple[str, ...], offered: list[str], bus_address: str, tmp_path: Path
) -> None:
    assert await complete(bus_address, tmp_path, *words) == offered


@pytest.mark.usefixtures("service")
async def test_a_hostile_name_is_quoted_and_not_run(
    bus_address: str, core: FakeCore, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    name = f"/h$(touch {marker})`touch {marker}`;touch {marker} *.scope"
    core.put(samples.record(name, 99))
    (offered,) = await complete(bus_address, tmp_path, "show", "/h")
    assert shlex.split(offered) == [name]
    assert not marker.exists()


@pytest.mark.usefixtures("service")
async def test_offers_sources_cards_and_folders(bus_address: str, tmp_path: Path) -> None:
    files = tmp_path / "files"
    (files / "sub").mkdir(parents=True)
    for name in ("scx_a b.bpf.c", "scx_a.toml", "notes.txt"):
        (files / name).touch()
    begin = f"{files}/s"
    sources = [f"{files}/scx_a b.bpf.c", f"{files}/sub"]
    assert sorted(await complete(bus_address, tmp_path, "verify", begin)) == sources
    assert sorted(await complete(bus_address, tmp_path, "enroll", begin)) == sources
    cards = await complete(bus_address, tmp_path, "verify", "x.bpf.c", "--card", begin)
    assert sorted(cards) == [f"{files}/scx_a.toml", f"{files}/sub"]


async def test_offers_nothing_without_the_daemon(bus_address: str, tmp_path: Path) -> None:
    assert await complete(bus_address, tmp_path, "show", "") == []
