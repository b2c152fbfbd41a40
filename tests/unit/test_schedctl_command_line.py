# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands as data: each can be parsed, loaded, completed and read about."""

from __future__ import annotations

import importlib
import inspect
import io
import subprocess
import sys
from pathlib import Path

import pytest

from schedclient.errors import ClientError, from_dbus
from schedclient.exit import ExitCode
from schedclient.objects import Machine, from_properties
from schedctl.__main__ import run
from schedctl.context import Context
from schedctl.parser.build import build, parse
from schedctl.parser.commands import COMMANDS, Command
from schedctl.report import Report

CLIENT = Path(__file__).parents[2] / "client"
MAN = (CLIENT / "man/schedctl.1").read_text()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_each_command_has_its_function(command: Command) -> None:
    module, _, name = command.function.partition(":")
    action = getattr(importlib.import_module(f"schedctl.actions.{module}"), name)
    assert inspect.iscoroutinefunction(action)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_each_command_has_help(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leave:
        build().parse_args([command.name, "--help"])
    assert leave.value.code == 0
    assert command.help[1:] in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_man_page_and_the_completion_have_each_command(command: Command) -> None:
    described = [line for line in MAN.splitlines() if line.startswith(f".It Cm {command.name}")]
    assert described
    completion = (CLIENT / "completion/schedctl").read_text()
    offered = next(line for line in completion.splitlines() if "local commands=" in line)
    assert command.name in offered


@pytest.mark.parametrize("code", ExitCode)
def test_the_man_page_has_each_exit_status(code: ExitCode) -> None:
    assert f"\n.It {int(code)}\n" in MAN.partition(".Sh EXIT STATUS")[2]


@pytest.mark.parametrize("arguments", [["--json", "status"], ["status", "--json"]])
def test_json_may_stand_before_or_after(arguments: list[str]) -> None:
    assert build().parse_args(arguments).json is True


def test_start_up_is_light() -> None:
    """What --help needs; the bus is loaded only by what uses it."""
    code = (
        "import sys, schedctl.__main__, schedctl.parser.build\n"
        "schedctl.parser.build.build()\n"
        "heavy = {'asyncio', 'ctypes', 'dbus_next', 'gi', 'shutil', 'ssl'}\n"
        "print(sorted(name for name in heavy if sys.modules.get(name)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": f"{CLIENT}:{CLIENT.parent}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "[]\n"


async def test_an_error_is_one_harmless_line() -> None:
    out, err = io.StringIO(), io.StringIO()
    context = Context(
        report=Report(out, 80, colour=False),
        errors=Report(err, None, colour=False),
        bus_address="unix:path=/nonexistent\n/bus",
    )
    assert await run(context, build().parse_args(["list"])) is ExitCode.NOT_RUNNING
    assert out.getvalue() == ""
    assert err.getvalue().startswith("schedctl: the system bus cannot be reached")
    assert err.getvalue().count("\n") == 1


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("org.freedesktop.DBus.Error.ServiceUnknown", 3, "systemctl start schedcpd"),
        ("org.freedesktop.DBus.Error.NameHasNoOwner", 3, "systemctl start schedcpd"),
        ("org.freedesktop.DBus.Error.NoReply", 3, "journalctl -u schedcpd"),
        ("org.freedesktop.DBus.Error.AccessDenied", 4, "org.schedcp.Daemon1.conf"),
        ("org.freedesktop.DBus.Error.UnknownMethod", 1, "systemctl restart schedcpd"),
        ("org.schedcp.Daemon1.Error.SomethingNew", 1, "the message"),
        ("org.example.Error", 1, "org.example.Error"),
    ],
)
def test_errors_of_the_bus(name: str, code: int, words: str) -> None:
    error = from_dbus(name, "the message")
    assert error.code == code
    assert words in error.sentence


@pytest.mark.parametrize("wrong", [{}, {"Version": 3}, {"Version": None}])
def test_another_version_of_the_daemon_is_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ClientError, match=r"Machine\.Version is not what this schedctl expects"):
        from_properties(Machine, wrong)


def test_the_command_line_of_another_program_takes_no_argument_of_ours() -> None:
    assert parse(["enroll-foreign", "/usr/bin/scx_lavd"]).program == "/usr/bin/scx_lavd"
    held = parse(["hold", "--reason", "a build", "--", "make", "--jobs"])
    assert held.command_line == ["make", "--jobs"]
