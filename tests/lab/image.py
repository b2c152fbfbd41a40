# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab image: a bootable Debian trixie disk, if wanted with the schedcp package on top.

The base tree is made once by mmdebstrap. An image is an overlay over it, filled by apt and written
by mke2fs, so a new .deb costs seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lab import kernels, recipes, roots, verdicts
from lab.errors import BuildFailed
from lab.place import SCRIPTS, Lab, digest, file_digest, locked, proxies, step

SIZE_GIB = 6


@dataclass(frozen=True, slots=True)
class Image:
    """A finished disk image; `key` is the hash of all it is made of."""

    path: Path
    key: str
    lab: Lab


def base_key() -> str:
    """The hash naming the base tree."""
    script = (SCRIPTS / "customize.sh").read_text()
    return digest(
        "image-base",
        *recipes.IMAGE_PACKAGES,
        *recipes.MASKED_UNITS,
        *roots.SUITES,
        *roots.NO_DOCS,
        script,
    )


def base_tree(lab: Lab) -> Path:
    """The tree every image starts from, made on first use."""
    target = lab.dir / f"image-base-{base_key()}"
    if not target.exists():
        hook = f'--customize-hook=sh "{SCRIPTS}/customize.sh" "$1" {" ".join(recipes.MASKED_UNITS)}'
        with step("building the lab image's base with mmdebstrap"):
            roots.bootstrap(lab, target, recipes.IMAGE_PACKAGES, (*roots.NO_DOCS, hook))
    return target


def image_key(deb_digest: str, kernel_version: str) -> str:
    """The hash naming an image: base, package and the kernel whose modules it holds."""
    script = (SCRIPTS / "assemble.sh").read_text()
    parts = (base_key(), deb_digest, kernel_version, script, str(SIZE_GIB))
    return digest(*parts, verdicts.sources_key())


def build(lab: Lab, deb: Path | None = None) -> Image:
    """The lab image with `deb` and its dependencies installed, or the bare system if it is None."""
    if deb is not None and not deb.is_file():
        raise BuildFailed(f"no package {deb}; build it first (make deb)")
    kernel = kernels.get(lab)
    key = image_key(file_digest(deb) if deb else "no package", kernel.version)
    path = lab.dir / "images" / f"{key}.img"
    with locked(lab.dir / "images" / "lock", "another image build"):
        if not path.exists():
            base = base_tree(lab)
            with step(f"writing image {key}"):
                assemble(lab, base, kernel, deb, path)
        roots.link(lab.dir / "images" / "current", path)
    return Image(path, key, lab)


def current(lab: Lab) -> Image:
    """The image built last, or the bare system if there is none yet."""
    link = lab.dir / "images" / "current"
    if not link.exists():
        return build(lab)
    path = link.resolve()
    return Image(path, path.stem, lab)


def assemble(lab: Lab, base: Path, kernel: kernels.Kernel, deb: Path | None, path: Path) -> None:
    """Install the package over the base tree in an overlay and write the result to `path`."""
    binds: dict[str | Path, str] = {base: "/base", kernel.dir: "/modules", path.parent: "/images"}
    binds[SCRIPTS] = "/tmp/scripts"
    if deb is not None:
        binds |= {deb.absolute(): "/tmp/deb", "/etc/resolv.conf": "/tmp/resolv.conf"}
        binds[verdicts.get(lab, deb, kernel)] = "/verdicts"
    partial = path.with_suffix(".partial")
    argv = ["sh", "/tmp/scripts/assemble.sh", partial.name, f"{SIZE_GIB}G", kernel.version]
    done = roots.run_in_root(argv, lab=lab, binds=binds, env=proxies(), capture=True)
    if done.returncode != 0:
        partial.unlink(missing_ok=True)
        log = path.with_suffix(".log")
        log.write_text(done.stdout + done.stderr)
        raise BuildFailed("the image could not be assembled", log)
    partial.rename(path)
