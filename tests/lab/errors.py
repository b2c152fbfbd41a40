# SPDX-License-Identifier: GPL-2.0-or-later
"""Errors of the lab.

LabError
├── ToolMissing       a host tool is not installed
├── BuildFailed       a root, kernel or image could not be built
├── VmLost            the machine itself is gone or unusable
│   └── InfraFailure  the emulator broke, not the code under test: rerun
├── CommandFailed     a command in the guest exited non-zero
└── CommandTimeout    a command in the guest outlived its deadline
"""

from __future__ import annotations

from pathlib import Path


class LabError(Exception):
    """Base of every error the lab raises on purpose."""


class ToolMissing(LabError):
    """A host tool is missing; `package` is the Debian package that has it."""

    def __init__(self, tool: str, package: str) -> None:
        super().__init__(f"{tool} is not installed on this host; run: apt install {package}")
        self.tool = tool
        self.package = package


class BuildFailed(LabError):
    """A build step failed; `log` holds its output if it was kept."""

    def __init__(self, what: str, log: Path | None = None) -> None:
        hint = f"; see {log}" if log else ""
        super().__init__(f"{what}{hint}")
        self.log = log


class VmLost(LabError):
    """QEMU died, the agent fell silent, or the guest kernel reported a crash."""

    def __init__(self, reason: str, console_log: Path, tail: str) -> None:
        super().__init__(f"{reason}\nconsole log: {console_log}\nits last lines:\n{tail}")
        self.reason = reason
        self.console_log = console_log


class InfraFailure(VmLost):
    """The emulator corrupted the guest (`Oops: int3`): no verdict on the code under test, rerun."""


class CommandFailed(LabError):
    """A guest command exited non-zero under `check=True`."""

    def __init__(self, command: str, exit_code: int, stdout: str, stderr: str) -> None:
        super().__init__(f"exit code {exit_code}: {command}\n{stdout}{stderr}".rstrip())
        self.command = command
        self.exit_code = exit_code
        self.stdout = stdout
        self.stderr = stderr


class CommandTimeout(LabError):
    """A guest command did not end within `timeout_s` seconds; it was sent SIGKILL."""

    def __init__(self, command: str, timeout_s: float) -> None:
        super().__init__(f"no end within {timeout_s:g} s: {command}")
        self.command = command
        self.timeout_s = timeout_s
