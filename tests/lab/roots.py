# SPDX-License-Identifier: GPL-2.0-or-later
"""Build unpacked Debian roots with mmdebstrap, and run commands in the build root."""

from __future__ import annotations

import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab import recipes, sandbox
from lab.errors import BuildFailed
from lab.place import Lab, digest, locked, need_tool, proxies, step

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SUITES = ("trixie", "trixie-updates", "trixie-backports")
NO_DOCS = ("--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/locale/*")


def reachable(url: str, timeout_s: float = 10.0) -> bool:
    """Whether a GET of the URL's first byte succeeds."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer:
            return bool(answer.read(1))
    except (urllib.error.URLError, TimeoutError):
        return False


def sources(lab: Lab) -> list[str]:
    """The apt lines of trixie, updates, backports and, where the mirror has it, security."""
    lines = [f"deb {lab.mirror} {suite} main" for suite in SUITES]
    if reachable(f"{lab.security_mirror}/dists/trixie-security/InRelease"):
        lines.append(f"deb {lab.security_mirror} trixie-security main")
    return lines


def bootstrap(lab: Lab, target: Path, packages: Sequence[str], options: Sequence[str] = ()) -> None:
    """Fill `target` with a trixie root holding the packages; a failure leaves no half root."""
    partial = target.with_name(target.name + ".partial")
    log = target.with_name(target.name + ".log")
    discard(partial)
    argv = [
        need_tool("mmdebstrap", "mmdebstrap"),
        "--mode=root",
        "--variant=minbase",
        "--format=directory",
        f"--keyring={KEYRING}",
        '--aptopt=APT::Install-Recommends "false"',
        '--aptopt=Acquire::Languages "none"',
        '--aptopt=Acquire::Retries "3"',
        f"--include={','.join(packages)}",
        *options,
        "trixie",
        str(partial),
        *sources(lab),
    ]
    line = sandbox.namespace_argv(argv, as_root=os.geteuid() == 0)
    environment = {**sandbox.ROOT_ENV, **proxies()}
    with log.open("wb") as output:
        done = subprocess.run(line, stdout=output, stderr=output, env=environment, check=False)
    if done.returncode != 0:
        discard(partial)
        raise BuildFailed(
            f"mmdebstrap exited with {done.returncode}; check the mirror {lab.mirror}", log
        )
    partial.rename(target)


def discard(tree: Path) -> None:
    """Remove a tree that may hold files of mapped user ids."""
    if not tree.exists():
        return
    line = ["rm", "-rf", "--one-file-system", str(tree)]
    subprocess.run(sandbox.namespace_argv(line, as_root=os.geteuid() == 0), check=True)


def build_root_key() -> str:
    """The hash naming the build root."""
    return digest("build-root", *recipes.BUILD_ROOT_PACKAGES, *SUITES, *NO_DOCS)


def build_root(lab: Lab) -> Path:
    """The build root, made on first use in some two minutes; `root` is a symlink to it."""
    target = lab.dir / f"root-{build_root_key()}"
    if not target.exists():
        with locked(lab.dir / "root.lock", "another build of the root"):
            if not target.exists():
                with step("building the build root with mmdebstrap"):
                    bootstrap(lab, target, recipes.BUILD_ROOT_PACKAGES, NO_DOCS)
    link(lab.dir / "root", target)
    return target


def link(name: Path, target: Path) -> None:
    """Point the symlink `name` at its sibling `target`, atomically."""
    if name.is_symlink() and str(name.readlink()) == target.name:
        return
    fresh = name.with_name(f".{name.name}.{os.getpid()}")
    fresh.symlink_to(target.name)
    fresh.replace(name)


def run_in_root(
    argv: Sequence[str],
    *,
    lab: Lab | None = None,
    binds: Mapping[str | Path, str] | None = None,
    cwd: str = "/",
    env: Mapping[str, str] | None = None,
    user: str = "root",
    capture: bool = False,
    timeout_s: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run argv in the build root, building that first if needed; see `sandbox.run_in`."""
    root = build_root(lab or Lab.from_env())
    return sandbox.run_in(
        root, argv, binds=binds, cwd=cwd, env=env, user=user, capture=capture, timeout_s=timeout_s
    )
