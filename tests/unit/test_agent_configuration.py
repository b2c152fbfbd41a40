# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent's settings, and how precisely bad ones are refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from schedcpd.agent.configuration import PRICES, AgentMode, Configuration, load
from schedcpd.agent.money import Price
from schedcpd.errors import ConfigError

SHIPPED = Path(__file__).parents[2] / "etc/agent.toml"


def test_what_is_shipped_says_the_defaults(tmp_path: Path) -> None:
    assert load(SHIPPED) == Configuration()
    uncommented = re.sub(r"(?m)^#(?=[\w-]+ = )", "", SHIPPED.read_text())
    (tmp_path / "agent.toml").write_text(uncommented)
    assert load(tmp_path / "agent.toml") == Configuration()


def test_a_missing_file_leaves_it_off(tmp_path: Path) -> None:
    settings = load(tmp_path / "agent.toml")
    assert settings.agent.mode is AgentMode.OFF
    assert settings.price == PRICES["claude-sonnet-5-5"]


def test_prices_are_added_to_those_that_are_known(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text(
        '[model]\nname = "mine/7b"\nbase_url = "http://[::1]:8080"\n'
        '[prices]\n"mine/7b" = { input = 0, output = 0.5, cache_read = 0, cache_write = 0 }\n'
    )
    settings = load(tmp_path / "agent.toml")
    assert settings.price == Price(0, 0.5, 0, 0)
    assert settings.prices.keys() == {*PRICES, "mine/7b"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[agent]\nmode = "on"', ':2: agent.mode must be "off", "ask" or "auto", not "on"'),
        ("[agent]\ndeploy = 1", ":2: agent.deploy must be true or false"),
        ('[agent]\nredact = ["("]', ":2: agent.redact has"),
        ('[agent]\nredact = ["x*"]', "found everywhere"),
        ("[agent]\nrounds = 9", "from 0 to 5"),
        ('[model]\nname = "a b"', "the name of a model"),
        ('[model]\nbase_url = "http://api.example.org"', "must be an https:// address"),
        ('[model]\nbase_url = "https://me:pw@example.org"', "without a user"),
        ('[model]\nbase_url = "https://[x"', "must be an https:// address"),
        ('[model]\neffort = "much"', '"low", "medium" or "high"'),
        ("[prices]\nx = 5", ":2: prices.x must be a table of input, output"),
        ("[prices]\nx = { input = 1 }", "must be a table of input, output"),
        ("[budgets]\nday_dollars = 1", "did you mean 'budget'?"),
    ],
)
def test_bad_settings_are_refused_with_their_place(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text(text)
    with pytest.raises(ConfigError) as refused:
        load(tmp_path / "agent.toml")
    assert said in str(refused.value)
