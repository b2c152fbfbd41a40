# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab image: a bootable Debian trixie disk, if wanted with the schedcp packages on top.

The base tree is made once by mmdebstrap. An image is an overlay over it, filled by apt and written
by mke2fs, so a new .deb costs seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def built_with(deb: Path) -> tuple[Path, ...]:
    """The schedcp package and, where it lies beside that, schedcp-agent of the same version."""
    agent = deb.with_name(deb.name.replace("schedcp_", "schedcp-agent_", 1))
    return (deb, agent) if agent != deb and agent.is_file() else (deb,)


def image_key(deb_digests: Sequence[str], kernel_version: str, more: Sequence[str] = ()) -> str:
    """The hash naming an image: base, packages and the kernel whose modules it holds."""
    script = (SCRIPTS / "assemble.sh").read_text()
    parts = (base_key(), digest(*deb_digests), kernel_version, script, str(SIZE_GIB))
    return digest(*parts, verdicts.sources_key(), *more)


def build(lab: Lab, deb: Path | None = None, more: Sequence[str] = ()) -> Image:
    """The lab image with `deb` and what was built with it installed, or the bare system if None.

    With `deb` also the Debian packages `more`; such an image does not become the current one.
    """
    if deb is not None and not deb.is_file():
        raise BuildFailed(f"no package {deb}; build it first (make deb)")
    kernel = kernels.get(lab)
    debs = built_with(deb) if deb else ()
    key = image_key([file_digest(one) for one in debs], kernel.version, more)
    path = lab.dir / "images" / f"{key}.img"
    with locked(lab.dir / "images" / "lock", "another image build"):
        if not path.exists():
            base = base_tree(lab)
            with step(f"writing image {key}"):
                assemble(lab, base, kernel, path, debs, more)
        if not more:
            roots.link(lab.dir / "images" / "current", path)
    return Image(path, key, lab)


def current(lab: Lab) -> Image:
    """The image built last, or the bare system if there is none yet."""
    link = lab.dir / "images" / "current"
    if not link.exists():
        return build(lab)
    path = link.resolve()
    return Image(path, path.stem, lab)


def assemble(
    lab: Lab,
    base: Path,
    kernel: kernels.Kernel,
    path: Path,
    debs: Sequence[Path],
    more: Sequence[str] = (),
) -> None:
    """Install the packages over the base tree in an overlay and write the result to `path`.

    Of `debs`, schedcp itself is the first; there may be none.
    """
    binds: dict[str | Path, str] = {base: "/base", kernel.dir: "/modules", path.parent: "/images"}
    binds[SCRIPTS] = "/tmp/scripts"
    if debs:
        binds |= {deb.absolute(): f"/tmp/debs/{deb.name}" for deb in debs}
        binds["/etc/resolv.conf"] = "/tmp/resolv.conf"
        binds[verdicts.get(lab, debs[0], kernel)] = "/verdicts"
    partial = path.with_suffix(".partial")
    argv = ["sh", "/tmp/scripts/assemble.sh", partial.name, f"{SIZE_GIB}G", kernel.version, *more]
    done = roots.run_in_root(argv, lab=lab, binds=binds, env=proxies(), capture=True)
    if done.returncode != 0:
        partial.unlink(missing_ok=True)
        log = path.with_suffix(".log")
        log.write_text(done.stdout + done.stderr)
        raise BuildFailed("the image could not be assembled", log)
    partial.rename(path)
