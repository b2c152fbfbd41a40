# SPDX-License-Identifier: GPL-2.0-or-later
"""Finding what a person means."""

from __future__ import annotations

import pytest

from schedclient.choose import MOST_SHOWN, find_policy, find_workload
from schedclient.errors import ClientError
from schedclient.exit import ExitCode
from schedclient.objects import Workload


def workload(path: str, cgroup_id: int) -> Workload:
    return Workload(
        id=path,
        cgroup_id=cgroup_id,
        unit=path.rpartition("/")[2],
        kind="service",
        state="new",
        appeared_at=0.0,
        sentence="",
        profile={},
        advice="",
        objective="",
        reason="",
    )


WORKLOADS = (
    workload("/system.slice/build.service", 11),
    workload("/system.slice/build.service.d/build.scope", 12),
    workload("/user.slice/user-1.slice/app.scope", 13),
    workload("/user.slice/user-2.slice/app.scope", 14),
    workload("/system.slice/11", 15),
)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("/system.slice/build.service", 11),
        ("build.service", 11),
        ("11", 11),
        ("build.scope", 12),
        ("13", 13),
        ("user-2", 14),
        ("/system.slice/11", 15),
    ],
)
def test_the_most_exact_match_wins(wanted: str, found: int) -> None:
    assert find_workload(WORKLOADS, wanted).cgroup_id == found


@pytest.mark.parametrize("wanted", ["app.scope", "slice", "build"])
def test_an_ambiguous_name_lists_what_it_could_be(wanted: str) -> None:
    with pytest.raises(ClientError, match="give the number of one") as failure:
        find_workload(WORKLOADS, wanted)
    assert failure.value.code is ExitCode.NOT_FOUND
    assert "13 (/user.slice" in failure.value.sentence or wanted == "build"


def test_a_long_list_is_cut() -> None:
    many = [workload(f"/system.slice/job-{number}.service", number) for number in range(30)]
    with pytest.raises(ClientError, match=f"and {30 - MOST_SHOWN} more$"):
        find_workload(many, "job")


@pytest.mark.parametrize("wanted", ["", "nothing", "99", "\udcff"])
def test_nothing_found(wanted: str) -> None:
    with pytest.raises(ClientError, match="'schedctl list' shows"):
        find_workload(WORKLOADS, wanted)


def test_no_policies_at_all() -> None:
    with pytest.raises(ClientError, match="none is installed"):
        find_policy((), "scx_batch")
