# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's kernels by series: which exist, and one unpacked, bootable folder for each.

build/lab/kernels/SERIES/ holds vmlinuz, config, initramfs and lib/modules/VERSION. Up to 6.18 one
package has it all; from 6.19 the kernel is in linux-binary-* and its modules in linux-modules-*,
which the archive drops when a newer kernel comes: those kernels get no modules, and their disk is
an NVMe one, whose driver is built in.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lab import initramfs, recipes, roots
from lab.apt import PrivateApt
from lab.errors import BuildFailed
from lab.place import Lab, digest, locked, need_tool, step

PACKAGE = re.compile(r"^linux-(?:image|binary)-((\d+\.\d+)\.\d+\+deb\d+(?:\.\d+)?-cloud-amd64)$")
KINDS = ("image", "binary", "modules", "base")
DEFAULT_SERIES = recipes.KERNEL_SERIES[-1]


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel ready to boot; `version` is what `uname -r` says."""

    series: str
    version: str
    dir: Path

    @property
    def vmlinuz(self) -> Path:
        """The bootable image."""
        return self.dir / "vmlinuz"

    @property
    def initramfs(self) -> Path:
        """The archive that mounts /dev/vda."""
        return self.dir / "initramfs"

    @property
    def modules(self) -> Path:
        """The folder that is /lib/modules/VERSION in a system."""
        return self.dir / "lib" / "modules" / self.version

    @property
    def has_modules(self) -> bool:
        """Whether the archive still had its modules."""
        return (self.modules / "modules.builtin").exists()

    @property
    def key(self) -> str:
        """A hash of everything that decides how it boots."""
        return digest(
            self.version, initramfs.INIT_SCRIPT, str(self.has_modules), *recipes.BOOT_MODULES
        )


def version_key(version: str) -> tuple[int, ...]:
    """Sort key of a version such as 7.2.12+deb13-cloud-amd64: its numbers."""
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("-")[0]))


def newest_by_series(names: Iterable[str]) -> dict[str, str]:
    """{series: newest version} of the kernels among the package names, in series order."""
    found: dict[str, str] = {}
    for name in names:
        match = PACKAGE.match(name)
        if match and version_key(match[1]) > version_key(found.get(match[2], "")):
            found[match[2]] = match[1]
    return dict(sorted(found.items(), key=lambda item: version_key(item[0])))


def packages_of(version: str, names: Iterable[str]) -> list[str]:
    """The packages in the archive that together make up one kernel version."""
    present = set(names)
    return [name for kind in KINDS if (name := f"linux-{kind}-{version}") in present]


def available(lab: Lab, *, refresh: bool = False) -> dict[str, str]:
    """{series: newest version} in the archive, for the series the project supports."""
    found = newest_by_series(PrivateApt.prepare(lab, refresh=refresh).names("linux-"))
    return {series: version for series, version in found.items() if series in recipes.KERNEL_SERIES}


def fetched(lab: Lab) -> dict[str, Kernel]:
    """{series: Kernel} of those already unpacked."""
    found = {}
    for info in sorted((lab.dir / "kernels").glob("*/info.json")):
        about = json.loads(info.read_text())
        found[about["series"]] = Kernel(about["series"], about["version"], info.parent)
    return found


def get(lab: Lab, series: str = DEFAULT_SERIES, *, refresh: bool = False) -> Kernel:
    """The kernel of a series, downloaded and unpacked if it is not there or its recipe changed."""
    with locked(lab.dir / "kernels" / "lock", "another kernel download"):
        kernel = fetched(lab).get(series)
        if kernel and not refresh:
            stamp = kernel.dir / "initramfs.key"
            if not stamp.exists() or stamp.read_text() != kernel.key:
                make_initramfs(lab, kernel)
            return kernel
        versions = available(lab, refresh=refresh)
        if series not in versions:
            raise BuildFailed(f"no kernel {series} in the archive; it has: {' '.join(versions)}")
        if kernel and kernel.version == versions[series]:
            return kernel
        return fetch(lab, series, versions[series])


def fetch(lab: Lab, series: str, version: str) -> Kernel:
    """Download one kernel's packages and unpack what a boot needs."""
    final = lab.dir / "kernels" / series
    work = final.with_name(f".{series}.partial")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    apt = PrivateApt.prepare(lab)
    with step(f"downloading kernel {version}"):
        apt.download(packages_of(version, apt.names("linux-")), work)
    with step(f"unpacking kernel {version}"):
        for deb in sorted(work.glob("*.deb")):
            subprocess.run(
                [need_tool("dpkg-deb", "dpkg"), "-x", str(deb), str(work / "tree")], check=True
            )
            deb.unlink()
        arrange(work, version)
        kernel = Kernel(series, version, work)
        if kernel.has_modules:
            depmod(lab, work, version)
        make_initramfs(lab, kernel)
    (work / "info.json").write_text(json.dumps({"series": series, "version": version}) + "\n")
    shutil.rmtree(final, ignore_errors=True)
    work.rename(final)
    return Kernel(series, version, final)


def depmod(lab: Lab, work: Path, version: str) -> None:
    """Write modules.dep and its companions."""
    line = ["depmod", "-b", "/kernel", version]
    done = roots.run_in_root(line, lab=lab, binds={work: "/kernel"}, capture=True)
    if done.returncode != 0:
        raise BuildFailed(f"depmod failed: {done.stderr}")


def arrange(work: Path, version: str) -> None:
    """Move vmlinuz, config and modules from the packages' tree to their places."""
    tree = work / "tree"
    places = [tree / base / "modules" / version for base in ("usr/lib", "lib")]
    modules = next((place for place in places if place.is_dir()), None)
    for name in ("vmlinuz", "config"):
        candidates = [tree / "boot" / f"{name}-{version}", *([modules / name] if modules else [])]
        source = next(
            (path for path in candidates if path.is_file() and not path.is_symlink()), None
        )
        if source is not None:
            shutil.copyfile(source, work / name)
    if not (work / "vmlinuz").exists():
        raise BuildFailed(f"the packages of {version} hold no vmlinuz")
    target = work / "lib" / "modules" / version
    target.parent.mkdir(parents=True)
    if modules is None:
        target.mkdir()
    else:
        for extra in ("vmlinuz", "build", "source"):
            (modules / extra).unlink(missing_ok=True)
        modules.rename(target)
    shutil.rmtree(tree)


def make_initramfs(lab: Lab, kernel: Kernel) -> None:
    """Write the kernel's initramfs and the hash of its recipe."""
    busybox = roots.build_root(lab) / "usr" / "bin" / "busybox"
    kernel.initramfs.write_bytes(initramfs.build(kernel.modules, busybox, recipes.BOOT_MODULES))
    (kernel.dir / "initramfs.key").write_text(kernel.key)
