# SPDX-License-Identifier: GPL-2.0-or-later
"""Say what the lab has cached and remove what is no longer needed."""

from __future__ import annotations

import subprocess
from pathlib import Path

from lab import image, roots, snapshot
from lab.place import Lab, locked, say


def size_mib(path: Path) -> int:
    """The disk space of a file or tree, in MiB; 0 if it is not there."""
    if not path.exists():
        return 0
    return int(
        subprocess.run(
            ["du", "-sm", str(path)], capture_output=True, text=True, check=True
        ).stdout.split()[0]
    )


def artefacts(lab: Lab) -> list[Path]:
    """Everything worth naming, oldest first within a kind."""
    groups = (
        "root-*[0-9a-f]",
        "image-base-*[0-9a-f]",
        "images/*.img",
        "snapshots/*/",
        "kernels/[0-9]*",
    )
    found = [path for pattern in groups for path in sorted(lab.dir.glob(pattern))]
    return [
        path
        for path in found
        if not path.name.startswith(".") and path.suffix not in {".log", ".partial"}
    ]


def report(lab: Lab) -> str:
    """A table of the cache, and the accelerator if that has been probed."""
    probed = lab.dir / "accelerator"
    lines = [f"place        {lab.dir}", f"mirror       {lab.mirror}"]
    lines.append(
        f"accelerator  {probed.read_text().split()[1] if probed.exists() else 'not probed yet'}"
    )
    lines += [f"{size_mib(path):6} MiB   {path.relative_to(lab.dir)}" for path in artefacts(lab)]
    return "\n".join(lines)


def in_use(lab: Lab) -> set[str]:
    """The names of the artefacts that the present recipes and the image built last need."""
    current = (lab.dir / "images" / "current").resolve().name
    return {f"root-{roots.build_root_key()}", f"image-base-{image.base_key()}", current}


def clean(lab: Lab, *, everything: bool) -> None:
    """Remove artefacts of older recipes and packages, or with `everything` the whole cache."""
    with locked(lab.dir / "vm.lock", "the virtual machine another process runs"):
        keep = set() if everything else in_use(lab)
        for path in artefacts(lab):
            unused = path.parent.name not in {"kernels", "snapshots"} and path.name not in keep
            stale = path.parent.name == "snapshots" and not snapshot.is_for(path, keep)
            if everything or unused or stale:
                say(f"removing {path.relative_to(lab.dir)}")
                roots.discard(path)
        for partial in (
            *lab.dir.glob("*.partial"),
            *lab.dir.glob("*/*.partial"),
            lab.dir / "logs",
            lab.dir / "run",
        ):
            roots.discard(partial)
        if everything:
            for name in ("apt", "sources"):
                roots.discard(lab.dir / name)
            for link in (lab.dir / "root", lab.dir / "images" / "current"):
                link.unlink(missing_ok=True)
