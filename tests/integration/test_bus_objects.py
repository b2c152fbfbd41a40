# SPDX-License-Identifier: GPL-2.0-or-later
"""The objects on the bus: what they show, and how they follow the core."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from dbus_next.errors import DBusError

from integration import samples
from integration.bus_daemon import DBUS_POLICY
from integration.client import PROPERTIES, Client
from integration.fake_core import FakeCore
from schedcpd.bus import names
from schedcpd.model import DeploymentState, Mode, WorkloadState

WORKLOAD = names.workload_path(77)
DEPLOYMENT = names.deployment_path(1)
INTERFACES = {
    names.MANAGER: names.ROOT_PATH,
    names.WORKLOAD: WORKLOAD,
    names.POLICY: names.policy_path("scx_batch"),
    names.DEPLOYMENT: DEPLOYMENT,
    names.JOB: names.job_path(1),
    names.REPOSITORY: names.ROOT_PATH,
}


async def test_shows_the_machine(caller: Client) -> None:
    shown = await caller.call("GetAll", "s", names.MANAGER, interface=PROPERTIES)
    assert shown == {
        "Version": "0.1.0",
        "KernelRelease": "7.3.4-cloud-amd64",
        "Mode": "auto",
        "Safe": "",
        "SchedExtState": "enabled",
        "KernelPolicy": "scx_batch",
        "Owner": "schedcp",
        "Unusable": "",
        "EnableSeq": 3,
        "ActiveDeployment": DEPLOYMENT,
        "LastDeployment": "/",
        "Workloads": {"managed": 2},
        "Cpus": os.cpu_count(),
        "Classes": [],
        "Holds": [],
    }


async def test_shows_every_object(caller: Client) -> None:
    objects = await caller.everything()
    assert set(objects) == {
        WORKLOAD,
        names.workload_path(78),
        names.policy_path("scx_batch"),
        names.policy_path("scx_fair"),
        DEPLOYMENT,
    }
    workload = objects[WORKLOAD][names.WORKLOAD]
    assert workload["Id"] == "/system.slice/batch.service"
    assert workload["Profile"]["programs"] == [["xz", 39], ["make", 1]]
    assert workload["Advice"] == "scx_batch"
    policy = objects[names.policy_path("scx_batch")][names.POLICY]
    assert policy["Tunables"][0][3:6] == [0, 0, 2**64 - 1]
    assert objects[DEPLOYMENT][names.DEPLOYMENT]["Workload"] == WORKLOAD
    assert objects[DEPLOYMENT][names.DEPLOYMENT]["Counters"] == {"nr_batch": 12345}


async def test_shows_the_objects_of_one_folder(caller: Client) -> None:
    assert set(await caller.everything(f"{names.ROOT_PATH}/deployment")) == {DEPLOYMENT}


@pytest.mark.parametrize("interface", INTERFACES)
async def test_committed_introspection_is_that_of_the_live_object(
    interface: str, caller: Client
) -> None:
    await caller.call("Verify", "sss", "scx_batch", "", "")
    live = await caller.call(
        "Introspect", path=INTERFACES[interface], interface="org.freedesktop.DBus.Introspectable"
    )
    committed = (DBUS_POLICY / "interfaces" / f"{interface}.xml").read_text()
    assert members_of(committed, interface) == members_of(live, interface)


def test_every_interface_is_committed() -> None:
    files = Path(DBUS_POLICY / "interfaces").glob("org.schedcp.Daemon1.*")  # the agent has its own
    assert {file.name for file in files} == {f"{interface}.xml" for interface in INTERFACES}


def members_of(xml: str, interface: str) -> list[tuple[object, ...]]:
    """The members of an interface in a form that two writers of XML agree on."""
    root = ET.fromstring(xml)
    (found,) = (one for one in root if one.get("name") == interface)
    direction = {"method": "in", "signal": "out"}
    members: list[tuple[object, ...]] = []
    for member in found:
        arguments = [
            (
                argument.get("name"),
                argument.get("type"),
                argument.get("direction", direction[member.tag]),
            )
            for argument in member
        ]
        members.append(
            (member.tag, member.get("name"), member.get("type"), member.get("access"), arguments)
        )
    return sorted(members, key=str)


async def test_the_kernel_is_read_at_each_request(core: FakeCore, caller: Client) -> None:
    core.kernel_state = replace(samples.ENABLED, policy="lavd_1.0.5")
    assert await caller.get("KernelPolicy") == "lavd_1.0.5"
    assert await caller.get("Owner") == "foreign"
    core.kernel_state = samples.DISABLED
    assert await caller.get("Owner") == "kernel-default"
    assert await caller.get("SchedExtState") == "disabled"


async def test_a_failing_read_gives_a_sentence_without_a_traceback(
    core: FakeCore, caller: Client
) -> None:
    core.kernel_state = RuntimeError("/secret/path")
    with pytest.raises(DBusError) as failure:
        await caller.get("KernelPolicy")
    assert failure.value.type == "org.schedcp.Daemon1.Error.Internal"
    assert "secret" not in failure.value.text
    assert "Traceback" not in failure.value.text
    with pytest.raises(DBusError, match="journal"):
        await caller.call("GetAll", "s", names.MANAGER, interface=PROPERTIES)
    core.kernel_state = samples.DISABLED
    assert await caller.get("KernelPolicy") == ""


async def test_properties_cannot_be_set(caller: Client) -> None:
    from dbus_next.signature import Variant

    with pytest.raises(DBusError) as failure:
        await caller.call(
            "Set", "ssv", names.MANAGER, "Mode", Variant("s", "paused"), interface=PROPERTIES
        )
    assert failure.value.type == "org.freedesktop.DBus.Error.PropertyReadOnly"


async def test_tells_what_changed_and_nothing_else(core: FakeCore, caller: Client) -> None:
    await caller.listen()
    core.mode = Mode.ADVISE
    core.state_changed.emit(None)
    core.state_changed.emit(None)
    core.put(core.workloads["/system.slice/batch.service"])
    assert await caller.heard() == [
        (names.ROOT_PATH, "PropertiesChanged", [names.MANAGER, {"Mode": "advise"}, []])
    ]


async def test_tells_of_a_changed_workload(core: FakeCore, caller: Client) -> None:
    await caller.listen()
    record = core.workloads["/system.slice/batch.service"]
    core.put(replace(record, state=WorkloadState.HELD))
    assert await caller.heard() == [
        (WORKLOAD, "PropertiesChanged", [names.WORKLOAD, {"State": "held"}, []])
    ]


async def test_a_new_workload_is_announced_where_clients_listen(
    core: FakeCore, caller: Client
) -> None:
    await caller.listen()
    core.put(samples.record("/user.slice/new.scope", 99))
    ((path, member, body),) = await caller.heard()
    assert (path, member) == (names.ROOT_PATH, "InterfacesAdded")
    assert body[0] == names.workload_path(99)
    assert body[1][names.WORKLOAD]["Unit"] == "new.scope"


async def test_a_workload_that_ends_leaves_the_bus_and_its_deployment(
    core: FakeCore, caller: Client
) -> None:
    await caller.listen()
    core.remove("/system.slice/batch.service")
    assert await caller.heard() == [
        (DEPLOYMENT, "PropertiesChanged", [names.DEPLOYMENT, {"Workload": "/"}, []]),
        (names.ROOT_PATH, "InterfacesRemoved", [WORKLOAD, [names.WORKLOAD]]),
    ]
    with pytest.raises(DBusError, match="no interfaces at path"):
        await caller.get("Id", WORKLOAD, names.WORKLOAD)


async def test_a_cgroup_made_anew_under_the_same_name_is_another_object(
    core: FakeCore, caller: Client
) -> None:
    core.put(samples.record(cgroup_id=177))
    objects = await caller.everything()
    assert WORKLOAD not in objects
    assert objects[names.workload_path(177)][names.WORKLOAD]["CgroupId"] == 177
    assert objects[DEPLOYMENT][names.DEPLOYMENT]["Workload"] == "/"


async def test_tells_of_an_ejection(core: FakeCore, caller: Client) -> None:
    await caller.listen()
    core.end(core.deployments[1], DeploymentState.EJECTED, samples.STALLED)
    changes = {
        body[0]: body[1]
        for _, member, body in await caller.heard()
        if member == "PropertiesChanged"
    }
    assert changes[names.MANAGER] == {
        "SchedExtState": "disabled",
        "KernelPolicy": "",
        "Owner": "kernel-default",
        "ActiveDeployment": "/",
        "LastDeployment": DEPLOYMENT,
    }
    assert changes[names.DEPLOYMENT] == {
        "State": "ejected",
        "EndedAt": samples.NOW - 3,
        "ExitKind": 1026,
        "ExitReason": "runnable task stall",
        "ExitMessage": "xz[4242] failed to run for 3.001s",
        "ExitCause": "fault",
        "Error": "xz[4242] failed to run for 3.001s",
    }


async def test_tells_what_a_canary_shows_and_how_it_ended(core: FakeCore, caller: Client) -> None:
    await caller.listen()
    trying = replace(core.deployments[1], state=DeploymentState.CANARY, canary=samples.CANARY)
    core.change(trying)
    core.change(replace(trying, state=DeploymentState.TRIPPED, reason="others waited", revert_ms=7))
    shown = [body[1] for path, _, body in await caller.heard() if path == DEPLOYMENT]
    assert shown == [
        {
            "State": "canary",
            "Canary": {
                "metric": "completions",
                "pairs": 6,
                "effect": 0.31,
                "low": 0.22,
                "high": 0.4,
                "decision": "promote",
                "reason": "31 % more done in six pairs",
            },
        },
        {"State": "tripped", "Reason": "others waited", "RevertMs": 7.0},
    ]


async def test_what_is_on_trial_is_ours(core: FakeCore, caller: Client) -> None:
    core.change(replace(core.deployments[1], state=DeploymentState.CANARY))
    assert await caller.get("Owner") == "schedcp"


async def test_policies_come_change_and_go(core: FakeCore, caller: Client) -> None:
    await caller.listen()
    core.install(samples.policy("scx_fair"), samples.policy("scx_layers"))
    heard = {(path, member): body for path, member, body in await caller.heard()}
    assert heard == {
        (names.ROOT_PATH, "InterfacesRemoved"): [names.policy_path("scx_batch"), [names.POLICY]],
        (names.ROOT_PATH, "InterfacesAdded"): heard[(names.ROOT_PATH, "InterfacesAdded")],
        (names.policy_path("scx_fair"), "PropertiesChanged"): [
            names.POLICY,
            {"Admissible": True, "Token": "valid until 2026-01-01"},
            [],
        ],
    }


async def test_counters_are_those_read_last(core: FakeCore, caller: Client) -> None:
    core.deployments[1] = replace(core.deployments[1], counters={"nr_batch": 2**64 - 1})
    assert await caller.get("Counters", DEPLOYMENT, names.DEPLOYMENT) == {"nr_batch": 2**64 - 1}


async def test_old_deployments_leave_the_bus(core: FakeCore, caller: Client) -> None:
    del core.deployments[1]
    core.deployment_removed.emit(1)
    assert await caller.everything(f"{names.ROOT_PATH}/deployment") == {}


async def test_events_are_listed_and_told(core: FakeCore, caller: Client) -> None:
    await caller.listen()
    core.log("eject", "/system.slice/batch.service", "the kernel ejected scx_batch")
    told = [samples.NOW, "eject", "/system.slice/batch.service", "the kernel ejected scx_batch"]
    assert await caller.heard() == [(names.ROOT_PATH, "EventLogged", told)]
    assert await caller.call("Events", "u", 1) == [told]
    assert len(await caller.call("Events", "u", 2**32 - 1)) == 2
    assert await caller.call("Events", "u", 0) == []


@pytest.mark.parametrize("name", ["/a\udcff\udc80b.service", "/nul\0.scope", "/$(reboot).scope"])
async def test_hostile_names_do_not_cost_the_connection(
    name: str, core: FakeCore, caller: Client
) -> None:
    await caller.listen()
    core.put(samples.record(name, 99))
    core.log("workload", name, name)
    ((path, _, body), (_, _, event)) = await caller.heard()
    clean = name.replace("\0", "\ufffd").replace("\udcff", "\ufffd").replace("\udc80", "\ufffd")
    assert body[0] == names.workload_path(99)
    assert body[1][names.WORKLOAD]["Id"] == clean
    assert event[2:] == [clean, clean]
    core.remove(name)
    assert path == names.ROOT_PATH
    assert names.workload_path(99) not in await caller.everything()


async def test_a_policy_with_an_impossible_name_is_left_out(core: FakeCore, caller: Client) -> None:
    core.install(samples.policy("../../etc"), samples.policy("scx_batch"))
    assert set(await caller.everything(f"{names.ROOT_PATH}/policy")) == {
        names.policy_path("scx_batch")
    }


async def test_a_burst_of_news_does_not_cost_the_connection(core: FakeCore, caller: Client) -> None:
    await caller.listen()
    for number in range(2000):
        core.log("workload", "", f"{number} " + "x" * 500)
    messages = [body[3] for _, member, body in await caller.heard() if member == "EventLogged"]
    assert messages == [f"{number} " + "x" * 500 for number in range(2000)]
