# SPDX-License-Identifier: GPL-2.0-or-later
"""What is in the packages that were built, and what they ask of Debian."""

from __future__ import annotations

import ast
import io
import os
import re
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lab.image import built_with
from schedcpd.agent.configuration import AgentMode, load

REPO = Path(__file__).parents[2]
WHEELS = REPO / "build/wheels"
PYTHON = "usr/lib/python3/dist-packages"
BROUGHT = "usr/lib/schedcp-agent"
# Where Debian's name is not python3- and the one on PyPI.
DEBIAN_NAMES = {"attrs": "python3-attr", "pyjwt": "python3-jwt"}
EXTRAS = {"crypto": "python3-cryptography"}
# What the environment markers of the wheels ask.
DEBIAN_13 = {"python_version": "3.13", "python_full_version": "3.13.5", "sys_platform": "linux"}


def asked(*words: str) -> bytes:
    """What dpkg-deb says."""
    return subprocess.run(["dpkg-deb", *words], capture_output=True, check=True).stdout


class Package:
    """One .deb: its files with their contents, and its control fields."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.modes: dict[str, int] = {}
        self.files: dict[str, bytes] = {}
        with tarfile.open(fileobj=io.BytesIO(asked("--fsys-tarfile", str(path)))) as tar:
            for member in tar:
                if member.isfile():
                    name = member.name.removeprefix("./")
                    self.modes[name] = member.mode
                    self.files[name] = tar.extractfile(member).read()  # type: ignore[union-attr]

    def field(self, name: str) -> str:
        """A field of the control file."""
        return asked("--field", str(self.path), name).decode().strip()

    def needs(self) -> set[str]:
        """The names of the packages that it depends on."""
        return set(re.findall(r"(?:^|[,|]) *([a-z0-9.+-]+)", self.field("Depends")))

    def conffiles(self) -> list[str]:
        """The settings that dpkg leaves to the administrator."""
        return asked("--info", str(self.path), "conffiles").decode().split()


@pytest.fixture(scope="module")
def packages() -> tuple[Package, Package]:
    """The two packages; `make check-deb` names the first."""
    name = os.environ.get("SCHEDCP_DEB")
    if not name:
        pytest.fail("SCHEDCP_DEB does not name the package to test; run: make check-deb")
    daemon, agent = built_with(Path(name))
    return Package(daemon), Package(agent)


@pytest.fixture
def daemon(packages: tuple[Package, Package]) -> Package:
    return packages[0]


@pytest.fixture
def agent(packages: tuple[Package, Package]) -> Package:
    return packages[1]


def imported(source: bytes) -> Iterator[str]:
    """The top-level packages that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def distributions(package: Package) -> dict[str, tuple[str, list[Requirement]]]:
    """What it brings along: name → version and requirements, from the metadata of the wheels."""
    found: dict[str, tuple[str, list[Requirement]]] = {}
    for name, content in package.files.items():
        if name.startswith(BROUGHT) and name.endswith(".dist-info/METADATA"):
            fields = Parser().parsestr(content.decode())
            needed = [Requirement(text) for text in fields.get_all("Requires-Dist") or []]
            found[canonicalize_name(str(fields["Name"]))] = (str(fields["Version"]), needed)
    return found


def test_no_file_is_in_both(daemon: Package, agent: Package) -> None:
    assert daemon.files.keys().isdisjoint(agent.files)


def test_the_daemons_package_knows_nothing_of_the_agents(daemon: Package) -> None:
    modules = [name for name in daemon.files if name.endswith(".py")]
    assert f"{PYTHON}/schedcpd/__main__.py" in modules
    assert f"{PYTHON}/schedclient/daemon.py" in modules
    foreign = {"anthropic", "mcp", "pydantic", "schedcp_mcp"}
    for name in modules:
        assert foreign.isdisjoint(imported(daemon.files[name])), name
    assert not [name for name in daemon.files if "schedcpd/agent/" in name or BROUGHT in name]
    assert "schedcp-agent" not in daemon.needs()


def test_the_agents_package_is_complete(agent: Package) -> None:
    for name in (
        f"{PYTHON}/schedcpd/agent/__init__.py",
        f"{PYTHON}/schedcpd/agent/__main__.py",
        f"{PYTHON}/schedcp_mcp/__main__.py",
        "usr/lib/systemd/system/schedcp-agent.service",
        "usr/lib/sysusers.d/schedcp-agent.conf",
        "usr/share/dbus-1/interfaces/org.schedcp.Agent1.Agent.xml",
        "usr/share/dbus-1/system-services/org.schedcp.Agent1.service",
        "usr/share/dbus-1/system.d/org.schedcp.Agent1.conf",
        "usr/share/man/man1/schedcp-mcp.1.gz",
        "usr/share/polkit-1/actions/org.schedcp.agent1.policy",
        "usr/share/polkit-1/rules.d/50-schedcp-agent.rules",
    ):
        assert name in agent.files
    assert agent.modes["usr/bin/schedcp-mcp"] == 0o755
    shipped = {path.name for path in (REPO / "schedcpd/agent/prompts").glob("*.md")}
    prefix = f"{PYTHON}/schedcpd/agent/prompts/"
    assert {name.removeprefix(prefix) for name in agent.files if name.startswith(prefix)} == shipped
    assert len(shipped) >= 4


def test_the_agent_is_off_until_somebody_switches_it_on(agent: Package, tmp_path: Path) -> None:
    settings = tmp_path / "agent.toml"
    settings.write_bytes(agent.files["etc/schedcp/agent.toml"])
    assert load(settings).agent.mode is AgentMode.OFF
    assert agent.conffiles() == ["/etc/schedcp/agent.toml"]


def test_what_is_brought_along_is_what_the_wheels_held(agent: Package) -> None:
    administered = ("/INSTALLER", "/RECORD")  # dh_python3 writes the one and removes the other
    held: dict[str, bytes] = {}
    for path in WHEELS.glob("*.whl"):
        with zipfile.ZipFile(path) as wheel:
            held |= {f"{BROUGHT}/{name}": wheel.read(name) for name in wheel.namelist()}
    brought = [name for name in agent.files if name.startswith(f"{BROUGHT}/")]
    found = {name for name in brought if not name.endswith(administered)}
    assert found == {name for name in held if not name.endswith(administered)}
    for name in found:
        assert agent.files[name] == held[name] or name.endswith(".so"), name  # those are stripped


def test_compiled_modules_are_for_the_python_that_it_depends_on(agent: Package) -> None:
    compiled = [name for name in agent.files if name.endswith(".so")]
    assert compiled
    assert all(name.endswith(".cpython-313-x86_64-linux-gnu.so") for name in compiled)
    assert "python3 (<< 3.14)" in agent.field("Depends")
    assert "python3 (>= 3.13~)" in agent.field("Depends")
    assert agent.field("Architecture") == "amd64"
    version = agent.field("Version")
    assert f"schedcp (= {version})" in agent.field("Depends")


def test_everything_that_they_need_is_there(agent: Package) -> None:
    brought, debian = distributions(agent), agent.needs()
    assert {"anthropic", "mcp"} <= brought.keys()
    for name, (_, needed) in brought.items():
        for one in needed:
            if one.marker is not None and not one.marker.evaluate({**DEBIAN_13, "extra": ""}):
                continue
            wanted = canonicalize_name(one.name)
            if wanted in brought:
                assert one.specifier.contains(brought[wanted][0]), f"{name} needs {one}"
            else:
                assert DEBIAN_NAMES.get(wanted, f"python3-{wanted}") in debian, f"{name}: {one}"
            assert {EXTRAS[extra] for extra in one.extras} <= debian
