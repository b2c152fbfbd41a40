# SPDX-License-Identifier: GPL-2.0-or-later
"""The repository over the bus: on a fake one, and through the whole daemon."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dbus_next.errors import DBusError

import schedclient.daemon
from integration import mock_polkit, samples
from integration.client import REPOSITORY, Client, connected, schedctl
from integration.fake_core import FakeCore
from integration.fake_library import LONG
from integration.test_daemon import BATCH, Machine, batch_profile, eventually, machine
from schedclient.exit import ExitCode
from schedcpd.bus import names
from schedcpd.bus.wire import LARGEST_TEXTS
from schedcpd.config import load
from schedcpd.daemon import Daemon
from schedcpd.errors import BundleRefused, NotSuited, RepositoryDamaged
from schedcpd.model import (
    Deployment,
    DeploymentState,
    Objective,
    Origin,
    Outcome,
    OutcomeKind,
    Plan,
    WorkloadClass,
)

__all__ = ["machine"]
INVALID = "org.freedesktop.DBus.Error.InvalidArgs"
TOO_LARGE = "org.freedesktop.DBus.Error.LimitsExceeded"
UID = str(os.getuid())


async def ask(client: Client, member: str, signature: str, *arguments: Any) -> Any:
    return await client.call(member, signature, *arguments, interface=names.REPOSITORY)


@pytest.mark.parametrize(
    ("member", "signature", "arguments", "error"),
    [
        ("Search", "ssu", ("x" * 401, "", 5), TOO_LARGE),
        ("Search", "ssu", ("xz", "secret", 5), INVALID),
        ("Read", "sssu", ("policy", "x" * 5000, "", 0), TOO_LARGE),
        ("Read", "sssu", ("policy", "scx_no", "", 0), f"{names.ERROR_PREFIX}NoSuchEntry"),
        ("Outcomes", "ssu", ("x" * 5000, "", 1), TOO_LARGE),
        ("Annotate", "sss", ("", "", " \n"), INVALID),
        ("Annotate", "sss", ("policy", "", "text"), INVALID),
        ("Annotate", "sss", ("", "scx_batch", "text"), INVALID),
        ("Annotate", "sss", ("host", "a", "text"), INVALID),
        ("Annotate", "sss", ("", "", "x" * 4001), TOO_LARGE),
        ("Promote", "s", ("x" * 5000,), TOO_LARGE),
        ("Retire", "ss", ("scx_batch", ""), INVALID),
        ("Retire", "ss", ("scx_batch", "two\nlines"), INVALID),
        ("Retire", "ss", ("scx_batch", "x" * 201), TOO_LARGE),
        pytest.param("Import", "s", ("x" * (LARGEST_TEXTS + 1),), TOO_LARGE, id="huge"),
        ("Import", "ss", ("a", "b"), "org.freedesktop.DBus.Error.UnknownMethod"),
    ],
)
async def test_bad_arguments_are_refused(
    member: str,
    signature: str,
    arguments: tuple[Any, ...],
    error: str,
    caller: Client,
    core: FakeCore,
) -> None:
    with pytest.raises(DBusError) as refusal:
        await ask(caller, member, signature, *arguments)
    assert refusal.value.type == error
    assert core.calls == []


async def test_no_search_finds_more_than_the_bus_has_room_for(
    caller: Client, core: FakeCore
) -> None:
    await ask(caller, "Search", "ssu", "xz", "", 2**32 - 1)
    assert core.library.asked == [("xz", "", 50)]
    core.library.taught = tuple(Outcome(*OUTCOME) for _ in range(200))
    assert len(await ask(caller, "Outcomes", "ssu", "", "", 2**32 - 1)) == 100


OUTCOME = (
    *(5, samples.NOW, "xz of user 1000", WorkloadClass.BATCH, Objective.MAKESPAN, "scx_batch"),
    *(
        "ab" * 32,
        "7.3.4",
        "cpus 2, llc 1",
        OutcomeKind.EFFECT,
        "jobs",
        0.5,
        0.25,
        0.75,
        6,
        "better",
    ),
    *("bench", {"slice_ns": 5_000_000}),
)


async def test_outcomes_are_told_in_full(caller: Client, core: FakeCore) -> None:
    core.library.taught = (Outcome(*OUTCOME),)
    (told,) = await ask(caller, "Outcomes", "ssu", "", "", 5)
    assert told == {
        "deployment": 5,
        "at": samples.NOW,
        "workload": "xz of user 1000",
        "class": "batch",
        "objective": "makespan",
        "policy": "scx_batch",
        "sha256": "ab" * 32,
        "kernel": "7.3.4",
        "host": "bench",
        "topology": "cpus 2, llc 1",
        "parameters": {"slice_ns": 5_000_000},
        "kind": "effect",
        "metric": "jobs",
        "effect": 0.5,
        "low": 0.25,
        "high": 0.75,
        "pairs": 6,
        "reason": "better",
    }


async def test_a_long_line_of_a_bundle_comes_through(caller: Client, core: FakeCore) -> None:
    line = "x" * 300_000
    assert await ask(caller, "Import", "s", line) == {"note": 2, "policy": 1}
    assert core.library.taken == [line]


@pytest.mark.usefixtures("service")
async def test_search_shows_a_table(bus_address: str, core: FakeCore) -> None:
    ran = await schedctl(bus_address, "search", "many", "xz jobs", "-n", "7")
    assert ran.out.splitlines()[0].split() == ["KIND", "NAME", "TITLE"]
    assert ran.out.splitlines()[2].split()[:2] == ["note", "3"]
    ran = await schedctl(bus_address, "search", "--kind", "note", "--json")
    assert json.loads(ran.out) == [
        {
            "kind": "note",
            "name": "3",
            "score": 1.5,
            "title": "a slice of 5 ms is too long",
            "excerpt": "",
        }
    ]
    ran = await schedctl(bus_address, "search", "--kind", "outcome", "x")
    assert ran.out == "Nothing in the repository fits.\n"
    assert core.library.asked == [("many xz jobs", "", 7), ("", "note", 10), ("x", "outcome", 10)]
    ran = await schedctl(bus_address, "search", "--kind", "secret")
    assert ran.code == ExitCode.USAGE


@pytest.mark.usefixtures("service")
async def test_a_text_is_told_in_pieces(bus_address: str) -> None:
    async with schedclient.daemon.connected(bus_address) as reader:
        where = ("policy", "scx_batch", "")
        assert await reader.read(*where, 0) == (LONG[:16_000], len(LONG))
        assert await reader.read(*where, 37_000) == (LONG[37_000:], len(LONG))
        assert await reader.read(*where, 2**32 - 1) == ("", len(LONG))


@pytest.mark.usefixtures("service")
async def test_a_long_text_is_read_piece_by_piece(bus_address: str) -> None:
    ran = await schedctl(bus_address, "read", "policy", "scx_batch")
    assert ran.out == f"{LONG}\n"
    ran = await schedctl(bus_address, "--json", "read", "policy", "scx_batch", "source")
    assert json.loads(ran.out)["text"] == samples.SOURCE
    ran = await schedctl(bus_address, "read", "policy", "scx_none")
    assert ran.code == ExitCode.NOT_FOUND
    assert "'schedctl search' finds what it has" in ran.err


@pytest.mark.usefixtures("service")
async def test_notes_are_written(bus_address: str, core: FakeCore) -> None:
    ran = await schedctl(bus_address, "note", "hot in summer")
    assert ran.out == "Kept as note 7.\n"
    ran = await schedctl(bus_address, "note", "x", "--on", "workload//system.slice/a.b", "--json")
    assert json.loads(ran.out) == {"note": 7}
    assert core.calls == [
        ("annotate", "", "", "hot in summer", UID),
        ("annotate", "workload", "/system.slice/a.b", "x", UID),
    ]
    ran = await schedctl(bus_address, "note", "x", "--on", "scx_batch")
    assert ran.code == ExitCode.USAGE


@pytest.mark.usefixtures("service")
async def test_policies_are_promoted_and_retired(bus_address: str, core: FakeCore) -> None:
    ran = await schedctl(bus_address, "promote", "scx_mine")
    assert ran.out == "scx_mine may be chosen for the work that its card names.\n"
    ran = await schedctl(bus_address, "retire", "scx_batch", "--reason", "jobs spin")
    assert ran.out == "scx_batch is chosen no more; 'schedctl promote scx_batch' takes that back.\n"
    assert core.calls == [("promote", "scx_mine", UID), ("retire", "scx_batch", "jobs spin", UID)]
    core.refusal = NotSuited("scx_mine")
    ran = await schedctl(bus_address, "promote", "scx_mine", "--json")
    assert (ran.code, ran.out) == (ExitCode.REFUSED, "")
    core.refusal = RepositoryDamaged("/var/lib/schedcp/repository.db", "disk full")
    ran = await schedctl(bus_address, "retire", "scx_mine", "--reason", "x")
    assert ran.code == ExitCode.ERROR
    assert "is the disk full?" in ran.err


@pytest.mark.usefixtures("service")
async def test_a_bundle_goes_through_a_file(
    bus_address: str, core: FakeCore, tmp_path: Path
) -> None:
    file = tmp_path / "here.bundle"
    ran = await schedctl(bus_address, "export", str(file))
    assert "2 lines written" in ran.out
    assert "trusted-keys.d/NAME.pub: key" in " ".join(ran.out.split())
    assert file.read_text() == "key signature {1}\nkey signature {2}\n"
    ran = await schedctl(bus_address, "export", "-")
    assert ran.out == file.read_text()
    ran = await schedctl(bus_address, "import", str(file))
    assert ran.out == "Taken over: 4 note, 2 policy.\n"
    assert core.library.taken == ["key signature {1}", "key signature {2}"]
    core.refusal = BundleRefused("bad signature: it was changed on its way")
    ran = await schedctl(bus_address, "import", str(file), "--json")
    assert (ran.code, ran.out) == (ExitCode.REFUSED, "")
    assert "bad signature" in ran.err


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"x" * 400_000, "a line that is too long", id="long"),
        pytest.param(b"\xff\n", "not ASCII", id="binary"),
        pytest.param(None, "cannot be read", id="missing"),
    ],
)
async def test_what_is_no_bundle_is_not_sent(
    content: bytes | None, words: str, bus_address: str, core: FakeCore, tmp_path: Path
) -> None:
    file = tmp_path / "bad.bundle"
    if content is not None:
        file.write_bytes(content)
    ran = await schedctl(bus_address, "import", str(file))
    assert ran.code == ExitCode.ERROR
    assert words in ran.err
    assert core.calls == []


@pytest.mark.usefixtures("service")
async def test_a_file_that_cannot_be_written_is_told(bus_address: str, tmp_path: Path) -> None:
    ran = await schedctl(bus_address, "export", str(tmp_path / "none/here"))
    assert ran.code == ExitCode.ERROR
    assert "cannot be written" in ran.err


# The whole daemon


def sources(machine: Machine) -> Machine:
    """The machine with the sources and the primitives that the package brings."""
    places = machine.places
    for name in ("scx_fair", "scx_batch"):
        source = REPOSITORY / "schedulers" / name / f"{name}.bpf.c"
        (places.loader.schedulers / name / source.name).write_bytes(source.read_bytes())
    return Machine(
        replace(
            places,
            primitives=REPOSITORY / "schedulers/primitives",
            headers=REPOSITORY / "schedulers/include",
            trusted_keys=places.config.with_name("trusted-keys.d"),
        )
    )


async def started(machine: Machine, bus_address: str) -> Daemon:
    running = Daemon(machine.places, load(machine.places.config))
    await running.start(bus_address)
    await running._checked.wait()
    return running


async def test_what_is_learnt_is_found_and_stays(
    machine: Machine, bus_address: str, polkit: mock_polkit.MockPolkit
) -> None:
    machine = sources(machine)
    daemon = await started(machine, bus_address)
    async with connected(bus_address) as client:
        hits = await ask(client, "Search", "ssu", "many compression jobs in a batch", "", 3)
        assert hits[0][:2] == ["policy", "scx_batch"]
        assert await ask(client, "Annotate", "sss", "policy", "scx_batch", "zebra") == 1
        machine.make_cgroup(BATCH)
        await eventually(lambda: BATCH in daemon.supervisor.workloads)
        workload = daemon.supervisor.workloads[BATCH].workload
        tripped = Deployment(
            *(1, BATCH, "scx_batch", Origin.AUTOMATIC, DeploymentState.TRIPPED, 1.0),
            object_sha256=daemon.supervisor.policies["scx_batch"].object_sha256,
            reason="other cgroups waited 40 ms",
            parameters={"slice_ns": 7},
        )
        daemon._outcomes.learn(tripped, workload, Plan("scx_batch", Objective.MAKESPAN, ""))
        daemon.supervisor.state_changed.emit(None)
        (outcome,) = await ask(client, "Outcomes", "ssu", "", "scx_batch", 5)
        assert (outcome["parameters"], outcome["host"]) == ({"slice_ns": 7}, os.uname().nodename)
        await ask(client, "Retire", "ss", "scx_batch", "it did harm")
        assert [event.kind for event in daemon.supervisor.events(1)] == ["repository"]
    await daemon.close()
    daemon = await started(machine, bus_address)
    async with connected(bus_address) as client:
        assert [one[1] for one in await ask(client, "Search", "ssu", "zebra", "note", 5)] == ["1"]
        hits = await ask(client, "Search", "ssu", "cgroups waited", "antipattern", 5)
        assert [one[1] for one in hits] == ["failure-1"]
    async with schedclient.daemon.connected(bus_address) as reader:
        source = await reader.read_whole("policy", "scx_batch", "source")
    assert source == (REPOSITORY / "schedulers/scx_batch/scx_batch.bpf.c").read_text()
    workload = daemon.supervisor.workloads[BATCH].workload
    plan, barred = daemon.supervisor._plan(workload, batch_profile())
    assert barred["scx_batch"] == "scx_batch was retired: it did harm"
    assert plan.policy is None
    daemon.supervisor.library.promote("scx_batch", 0)
    assert "scx_batch" not in daemon.supervisor._plan(workload, batch_profile())[1]
    await daemon.close()


async def test_an_enrolled_policy_waits_to_be_promoted(
    machine: Machine, bus_address: str, polkit: mock_polkit.MockPolkit
) -> None:
    enrolled = machine.places.loader.enrolled
    enrolled.mkdir(parents=True)
    (machine.places.loader.schedulers / "scx_batch").rename(enrolled / "scx_batch")
    machine.make_cgroup(BATCH)
    daemon = await started(machine, bus_address)
    await eventually(lambda: BATCH in daemon.supervisor.workloads)
    workload = daemon.supervisor.workloads[BATCH].workload
    plan, barred = daemon.supervisor._plan(workload, batch_profile())
    assert plan.policy is None
    assert "'schedctl promote scx_batch' lets it be chosen" in barred["scx_batch"]
    async with connected(bus_address) as client:
        await ask(client, "Promote", "s", "scx_batch")
        # People do as they like all the while.
        path = names.workload_path(workload.cgroup_id)
        await client.call("Apply", "osa{sx}", path, "scx_batch", {})
        await client.call("Revert")
    assert daemon.supervisor._plan(workload, batch_profile())[0].policy == "scx_batch"
    await daemon.close()


async def test_one_machine_learns_from_another(
    machine: Machine, bus_address: str, polkit: mock_polkit.MockPolkit, tmp_path: Path
) -> None:
    places = sources(machine).places
    other = Machine(replace(places, ledger=tmp_path / "other/ledger.db"))
    file = tmp_path / "a.bundle"
    daemon = await started(other, bus_address)
    daemon.supervisor.library.annotate("", "", "zebra", 0)
    assert (await schedctl(bus_address, "export", str(file))).code == ExitCode.OK
    await daemon.close()
    here = Machine(places)
    daemon = await started(here, bus_address)
    ran = await schedctl(bus_address, "import", str(file))
    assert ran.code == ExitCode.REFUSED
    assert "is not trusted here" in ran.err
    places.trusted_keys.mkdir()
    key = (tmp_path / "other/bundle-key/public.key").read_bytes()
    (places.trusted_keys / "a.pub").write_bytes(key)
    ran = await schedctl(bus_address, "import", str(file))
    assert ran.out == "Taken over: 1 note.\n"
    ran = await schedctl(bus_address, "import", str(file))
    assert ran.out == "Taken over: nothing new.\n"
    ran = await schedctl(bus_address, "search", "--json", "zebra")
    assert [one["name"] for one in json.loads(ran.out)] == ["1@a"]
    await daemon.close()
