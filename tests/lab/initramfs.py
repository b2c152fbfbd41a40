# SPDX-License-Identifier: GPL-2.0-or-later
"""The small initramfs that mounts the disk and starts its init, with a payload in /run/payload."""

from __future__ import annotations

import lzma
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab import cpio
from lab.errors import BuildFailed
from lab.place import SCRIPTS

PAYLOAD_DIR = "payload"

INIT_SCRIPT = (SCRIPTS / "initramfs-init.sh").read_text()


def parse_modules_dep(text: str) -> dict[str, tuple[str, list[str]]]:
    """modules.dep as {module name: (file, files it needs)}; names have underscores."""
    table = {}
    for line in text.splitlines():
        file, _, needs = line.partition(":")
        table[module_name(file)] = (file, needs.split())
    return table


def module_name(file: str) -> str:
    """The name of the module in a file such as kernel/fs/ext4/ext4.ko.xz."""
    return file.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def load_order(
    table: Mapping[str, tuple[str, list[str]]], wanted: Sequence[str], builtin: frozenset[str]
) -> list[str]:
    """The files to insert, dependencies first; raises BuildFailed for a module that is nowhere."""
    order: list[str] = []

    def visit(name: str) -> None:
        if name in builtin:
            return
        if name not in table:
            raise BuildFailed(f"the kernel has no module {name}")
        file, needs = table[name]
        for need in reversed(needs):
            visit(module_name(need))
        if file not in order:
            order.append(file)

    for name in wanted:
        visit(name)
    return order


def module_files(tree: Path, wanted: Sequence[str]) -> dict[str, bytes]:
    """The initramfs members for the wanted modules of /lib/modules/VERSION at `tree`.

    They are decompressed; a tree without an index has none.
    """
    if not (tree / "modules.builtin").exists():
        return {"modules/order": b""}
    builtin = frozenset(map(module_name, (tree / "modules.builtin").read_text().split()))
    order = load_order(parse_modules_dep((tree / "modules.dep").read_text()), wanted, builtin)
    files = {f"modules/{module_name(file)}.ko": read_module(tree / file) for file in order}
    files["modules/order"] = "".join(f"{module_name(file)}.ko\n" for file in order).encode()
    return files


def read_module(path: Path) -> bytes:
    """A module's ELF image, from a plain or an xz file."""
    raw = path.read_bytes()
    return lzma.decompress(raw) if path.suffix == ".xz" else raw


def build(tree: Path, busybox: Path, wanted: Sequence[str]) -> bytes:
    """The initramfs for the modules at `tree`."""
    files = {
        "init": INIT_SCRIPT.encode(),
        "bin/busybox": busybox.read_bytes(),
        **module_files(tree, wanted),
    }
    return cpio.archive(files)


def payload(files: Mapping[str, bytes]) -> bytes:
    """An archive to append, whose files appear below /run/payload in the guest."""
    return cpio.archive({f"{PAYLOAD_DIR}/{name.lstrip('/')}": data for name, data in files.items()})
