# SPDX-License-Identifier: GPL-2.0-or-later
"""What is made of the shares and waits that a guest has measured."""

from __future__ import annotations

import pytest

from bench import promises

SHARES = {"weight 300": {"default": [150.0, 149.0, 151.0], "scx_layers": [150.0, 140.0, 160.0]}}


def test_the_figures_of_a_share() -> None:
    figures = promises.summary({"cpu.weight": SHARES})["cpu.weight"]["weight 300"]
    assert figures["default"] == {"median": 150.0, "low": 149.0, "high": 151.0}
    assert figures["scx_layers"] == {
        "median": 150.0, "low": 140.0, "high": 160.0, "off": 0.0, "kept": True
    }  # fmt: skip


@pytest.mark.parametrize(("share", "kept"), [(109.0, True), (111.0, False), (89.0, False)])
def test_a_share_may_be_ten_per_cent_off(share: float, *, kept: bool) -> None:
    one = promises.judged("nice", "nice 0", {"default": [100.0], "scx_layers": [share]})
    assert one["scx_layers"]["kept"] is kept


@pytest.mark.parametrize(("wait", "kept"), [(0.1, True), (4.0, True), (4.1, False)])
def test_a_wait_may_be_twice_as_long(wait: float, *, kept: bool) -> None:
    values = {"default": [2.0], "scx_layers": [wait]}
    one = promises.judged(promises.WAITS, promises.WAIT, values)
    assert one["scx_layers"]["kept"] is kept


def test_a_promise_that_is_not_kept_is_said_so() -> None:
    values = {"nice 0": {"default": [100.0], "scx_fair": [150.0]}}
    lines = promises.table(promises.summary({"nice": values}))
    assert lines[0] == "nice"
    assert "NOT KEPT" not in lines[1]
    assert lines[2].endswith("+50.0 %   NOT KEPT")


def test_nothing_measured_is_nothing_off() -> None:
    one = promises.judged("nice", "nice 0", {"default": [0.0], "scx_fair": [0.0]})
    assert one["scx_fair"]["off"] == 0
