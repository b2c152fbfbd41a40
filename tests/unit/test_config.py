# SPDX-License-Identifier: GPL-2.0-or-later
"""The configuration, and how precisely a bad one is refused."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schedcpd.config import Config, load
from schedcpd.errors import ConfigError
from schedcpd.model import Mode
from schedcpd.settings import SIZE_LIMIT

SHIPPED = Path(__file__).parents[2] / "etc/schedcpd.toml"


def write(tmp_path: Path, text: str | bytes, name: str = "schedcpd.toml") -> Path:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(path: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value).isprintable()
    return caught.value


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    assert load(tmp_path / "schedcpd.toml") == Config()
    assert load(write(tmp_path, "")) == Config()
    assert Config().daemon.mode is Mode.AUTO


def test_every_setting(tmp_path: Path) -> None:
    config = load(
        write(
            tmp_path,
            """
            [daemon]
            mode = "advise"
            [watch]
            ignore = ["*.scope", "/x/y"]
            [plan]
            margin = 0.1
            runnable_per_cpu = 4      # whole numbers are numbers
            min_runnable = 10
            max_threads = 2
            max_age_s = 60.5
            min_share = 0
            min_pressure = 1
            min_cpu_share = 0.25
            release_per_cpu = 0.5
            release_age_s = 7200
            [deploy]
            settle_s = 0.5
            dwell_s = 0
            [canary]
            window_s = 5
            settle_s = 1
            min_pairs = 3
            max_pairs = 9
            batch_pairs = 4
            margin = 0.1
            batch_margin = 0.2
            confidence = 0.9
            [breaker]
            window_s = 2
            baseline_s = 1
            windows = 5
            others_wait_ratio = 3
            others_wait_ms = 20
            own_wait_ratio = 5
            own_wait_ms = 200
            """,
        )
    )
    assert config.daemon.mode is Mode.ADVISE
    assert config.watch.ignore == ("*.scope", "/x/y")
    assert dataclasses.astuple(config.plan) == (0.1, 4.0, 10, 2, 60.5, 0.0, 1.0, 0.25, 0.5, 7200.0)
    assert isinstance(config.plan.runnable_per_cpu, float)
    assert dataclasses.astuple(config.deploy) == (0.5, 0.0)
    assert dataclasses.astuple(config.canary) == (5.0, 1.0, 3, 9, 4, 0.1, 0.2, 0.9)
    assert dataclasses.astuple(config.breaker) == (2.0, 1.0, 5, 3.0, 20.0, 5.0, 200.0)


def test_the_shipped_file_shows_the_defaults(tmp_path: Path) -> None:
    text = SHIPPED.read_text()
    assert load(write(tmp_path, text)) == Config()
    shown = re.sub(r"^#(?=\w+ = )", "", text, flags=re.MULTILINE)
    assert load(write(tmp_path, shown)) == Config()
    uncommented = {line.split(" = ")[0] for line in shown.splitlines() if " = " in line[:25]}
    tables = [getattr(Config(), table.name) for table in dataclasses.fields(Config)]
    keys = {key.name for table in tables for key in dataclasses.fields(table)}
    assert keys <= uncommented


def test_drop_ins_win_in_the_order_of_their_names(tmp_path: Path) -> None:
    path = write(tmp_path, '[daemon]\nmode = "advise"\n[plan]\nmin_runnable = 8\n')
    write(tmp_path, "[plan]\nmin_runnable = 20\nmax_threads = 1\n", "schedcpd.toml.d/20-b.toml")
    write(tmp_path, "[plan]\nmin_runnable = 30\n", "schedcpd.toml.d/10-a.toml")
    write(tmp_path, "[plan]\nmin_runnable = 40\n", "schedcpd.toml.d/.30-hidden.toml")
    write(tmp_path, "not TOML", "schedcpd.toml.d/README")
    config = load(path)
    assert config.daemon.mode is Mode.ADVISE
    assert (config.plan.min_runnable, config.plan.max_threads) == (20, 1)


def test_a_drop_in_needs_no_base_file(tmp_path: Path) -> None:
    write(tmp_path, "[deploy]\ndwell_s = 1\n", "schedcpd.toml.d/a.toml")
    assert load(tmp_path / "schedcpd.toml").deploy.dwell_s == 1.0


def test_a_bad_drop_in_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    bad = write(tmp_path, "# fine\n\n[deploy]\nsettle_s = 99\n", "schedcpd.toml.d/a.toml")
    error = refused(path)
    assert (error.path, error.line) == (str(bad), 4)


REFUSED = {
    "unknown table": ("[daemon]\n\n[plann]\nx = 1\n", 3, "plann", "did you mean 'plan'?"),
    "unlike any table": ("[x]\n", 1, "x is not", "there are daemon, watch, plan, deploy"),
    "key outside of a table": ('\nmode = "auto"\n', 2, "mode is not a table", "daemon"),
    "unknown key": (
        "[plan]\nmin_runnable = 6\n\n# a comment\nmin_runable = 7\n",
        5,
        "plan.min_runable is not a key",
        "did you mean 'min_runnable'?",
    ),
    "no table": ("plan = 3\n", 1, "plan must be a table", "not 3"),
    "wrong mode": ('[daemon]\nmode = "paused"\n', 2, "daemon.mode", 'not "paused"'),
    "mode of a wrong type": ("[daemon]\nmode = 1\n", 2, "daemon.mode", "not 1"),
    "text for a number": ('[plan]\nmax_age_s = "5"\n', 2, "plan.max_age_s", 'not "5"'),
    "truth for a number": ("[plan]\nmin_runnable = true\n", 2, "min_runnable", "not true"),
    "a part for a whole": ("[plan]\nmin_runnable = 6.0\n", 2, "whole number", "not 6.0"),
    "too large": ("[deploy]\nsettle_s = 11\n", 2, "from 0.05 to 10", "not 11"),
    "too small": ("[plan]\nrunnable_per_cpu = 1.99\n", 2, "from 2 to 1000", "not 1.99"),
    "not a number": ("[plan]\nmin_share = nan\n", 2, "from 0 to 1", "not nan"),
    "infinite": ("[deploy]\ndwell_s = inf\n", 2, "from 0 to 3600", "not inf"),
    "a date": ("[deploy]\ndwell_s = 2026-01-01\n", 2, "deploy.dwell_s", "not 2026-01-01"),
    "globs as text": ('[watch]\nignore = "*"\n', 2, "list of strings", 'not "*"'),
    "globs as numbers": ("[watch]\nignore = [1]\n", 2, "list of strings", "not a list"),
    "an empty glob": ('[watch]\nignore = ["a", ""]\n', 2, "printable", 'not ""'),
    "a glob with an escape": ('[watch]\nignore = ["\\u001b[2J"]\n', 2, "printable", "[2J"),
    "not TOML": ("[plan]\nmin_runnable = \n", 2, "not valid TOML", "Invalid value"),
    "a key twice": ("[plan]\nmax_threads = 1\nmax_threads = 2\n", 3, "not valid TOML", ""),
    # The same in other spellings of TOML: the line must be right in all of them.
    "dotted": ("plan.max_threads = 1\nplan.min_runable = 1\n", 2, "plan.min_runable", ""),
    "quoted": ('[plan]\n"min_runable" = 1\n', 2, "plan.min_runable", ""),
    "inline": ("\n\nplan = {max_threads = 1, min_runable = 1}\n", 3, "plan.min_runable", ""),
    "several lines": (
        '[watch]\n\nignore = [\n  "a",\n  "b",\n  3,\n]\n\n[plan]\n',
        3,
        "watch.ignore",
        "",
    ),
    "after text that looks like it": (
        '[watch]\nignore = ["""\n[plan]\nmin_runable = 1\n""".x]\n',
        5,
        "not valid TOML",
        "",
    ),
    "in text that looks like it": (
        "[watch]\nignore = ['''[plan]\nmin_share = 3''']\n[plan]\nmin_share = 3\n",
        2,
        "watch.ignore",
        "printable",
    ),
    "windows": ("[plan]\r\n\r\nmin_share = 3\r\n", 3, "plan.min_share", ""),
    "no newline at the end": ("[plan]\nmin_share = 3", 2, "plan.min_share", ""),
}


@pytest.mark.parametrize(("text", "line", "words", "more"), REFUSED.values(), ids=REFUSED)
def test_bad_settings_are_refused(
    tmp_path: Path, text: str, line: int, words: str, more: str
) -> None:
    path = write(tmp_path, text)
    error = refused(path)
    assert (error.path, error.line) == (str(path), line)
    assert words in error.reason
    assert more in error.reason
    assert str(error).startswith(f"{path}:{line}: ")


def test_the_line_is_found_in_a_long_file(tmp_path: Path) -> None:
    text = "[plan]\n" + "# a comment\n" * 3000 + "min_share = 2\n" + "# more\n" * 500
    assert refused(write(tmp_path, text)).line == 3002


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    error = refused(write(tmp_path, b"#" * (SIZE_LIMIT + 1)))
    assert error.line == 0
    assert "larger than" in error.reason


def test_a_list_that_is_too_long(tmp_path: Path) -> None:
    entries = ", ".join(f'"{number}"' for number in range(257))
    assert "at most 256" in refused(write(tmp_path, f"[watch]\nignore = [{entries}]\n")).reason


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    error = refused(write(tmp_path, b'# fine\n[daemon]\nmode = "\xff"\n'))
    assert (error.line, error.reason) == (3, "is not UTF-8 text")


def test_a_file_nested_too_deeply(tmp_path: Path) -> None:
    error = refused(write(tmp_path, "x = " + "[" * 20_000 + "]" * 20_000))
    assert "nested" in error.reason


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "schedcpd.toml").mkdir()
    error = refused(tmp_path / "schedcpd.toml")
    assert error.reason == "cannot be read: Is a directory"


def test_drop_ins_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", deny)
    error = refused(tmp_path / "schedcpd.toml")
    assert error.reason == "cannot be read: Permission denied"


def test_a_hostile_file_name_is_made_printable(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    write(tmp_path, "[x]\n", "schedcpd.toml.d/esc\x1b[2J.toml")
    assert "\x1b" not in str(refused(path))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    text=st.binary(max_size=60)
    | st.text(st.sampled_from('[plan]\nmin_share=01.,"{} #\r'), max_size=60).map(str.encode)
)
def test_any_file_is_read_or_refused(tmp_path: Path, text: bytes) -> None:
    try:
        assert isinstance(load(write(tmp_path, text)), Config)
    except ConfigError as error:
        assert 0 <= error.line <= text.count(b"\n") + 1, error  # noqa: PT017 - both are right
