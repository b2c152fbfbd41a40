# SPDX-License-Identifier: GPL-2.0-or-later
"""apt on the host with a state of its own: nothing it does touches the host's lists or packages."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.errors import BuildFailed
from lab.place import Lab, need_tool, step
from lab.roots import KEYRING, sources


@dataclass(frozen=True, slots=True)
class PrivateApt:
    """apt-get and apt-cache reading only the trixie suites, with their state under `dir`."""

    dir: Path

    @classmethod
    def prepare(cls, lab: Lab, *, refresh: bool = False) -> PrivateApt:
        """Set up the state; read the package lists if there are none or `refresh` is asked."""
        self = cls(lab.dir / "apt")
        for name in ("lists/partial", "cache/archives/partial", "etc"):
            (self.dir / name).mkdir(parents=True, exist_ok=True)
        lines = [
            line.replace("deb ", f"deb [arch=amd64 signed-by={KEYRING}] ", 1)
            for line in sources(lab)
        ]
        (self.dir / "status").touch()
        (self.dir / "sources.list").write_text("\n".join(lines) + "\n")
        if refresh or not list((self.dir / "lists").glob("*_InRelease")):
            with step("reading Debian's package lists"):
                self.call("apt-get", "-q", "update", timeout_s=300)
        return self

    def options(self) -> list[str]:
        """The -o settings that make apt private."""
        settings = {
            "Dir::Etc::sourcelist": self.dir / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State": self.dir,
            "Dir::State::lists": self.dir / "lists",
            "Dir::State::status": self.dir / "status",
            "Dir::Cache": self.dir / "cache",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "APT::Sandbox::User": "root",
        }
        return [f"-o{name}={value}" for name, value in settings.items()]

    def call(self, tool: str, *argv: str, cwd: Path | None = None, timeout_s: float = 600) -> str:
        """Run apt-get or apt-cache and return its output; raises BuildFailed."""
        line = [need_tool(tool, "apt"), *self.options(), *argv]
        done = subprocess.run(
            line, cwd=cwd, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if done.returncode != 0:
            raise BuildFailed(
                f"{tool} {' '.join(argv)} failed: {done.stderr.strip() or done.stdout.strip()}"
            )
        return done.stdout

    def names(self, prefix: str) -> list[str]:
        """All package names in the archive that start with the prefix."""
        return self.call("apt-cache", "pkgnames", prefix).split()

    def download(self, packages: list[str], into: Path) -> None:
        """Fetch the newest .deb of each package into a folder."""
        self.call("apt-get", "-q", "download", *packages, cwd=into, timeout_s=1200)
