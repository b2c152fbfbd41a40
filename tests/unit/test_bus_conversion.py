# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever the core holds becomes something that D-Bus takes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from dbus_next._private.marshaller import Marshaller
from dbus_next.constants import PropertyAccess
from dbus_next.service import ServiceInterface
from hypothesis import given
from hypothesis import strategies as st

from integration import samples
from schedcpd.bus import conversion, names
from schedcpd.bus.deployment_interface import DeploymentInterface
from schedcpd.bus.policy_interface import PolicyInterface
from schedcpd.bus.workload_interface import WorkloadInterface
from schedcpd.model import (
    Candidate,
    Deployment,
    DeploymentState,
    Event,
    ExitCause,
    ExitRecord,
    Histogram,
    KernelState,
    ProbesProfile,
    Program,
    SchedulingProfile,
    SleepReason,
    SystemCall,
    Waker,
    WakerKind,
    WorkloadClass,
)

any_text = st.text(st.characters(exclude_categories=()), max_size=50)
any_number = st.integers(-(2**70), 2**70)
any_real = st.floats()


def marshalled(interface: type[ServiceInterface], values: conversion.Values) -> None:
    """Put every value on the wire; raises when one does not fit or is missing."""
    signatures = {
        member.name: member.signature
        for member in vars(interface).values()
        if isinstance(getattr(member, "access", None), PropertyAccess)
    }
    assert set(signatures) == set(values)
    for name, signature in signatures.items():
        Marshaller(signature, [values[name]]).marshall()


@given(any_text)
def test_text_can_be_sent(text: str) -> None:
    sent = conversion.text(text).encode("utf-8")
    assert b"\0" not in sent


@pytest.mark.parametrize("kept", ["", "plain", "naïve/日本.service", "tab\tand\nline", "\x1b[2J"])
def test_text_that_can_be_sent_is_left_alone(kept: str) -> None:
    assert conversion.text(kept) == kept


def test_long_text_is_cut() -> None:
    assert len(conversion.text("x" * 1_000_000)) == conversion.LONGEST_TEXT


@pytest.mark.parametrize(("value", "sent"), [(1.5, 1.5), (math.nan, 0.0), (math.inf, 0.0)])
def test_real_numbers_are_finite(value: float, sent: float) -> None:
    assert conversion.real(value) == sent


def probes(text: str, number: int, real: float) -> ProbesProfile:
    histogram = Histogram((number, 0), real, real)
    return replace(
        samples.PROBES,
        window_s=real,
        tasks=number,
        queue=histogram,
        off_cpu={SleepReason.LOCK: histogram},
        wakers=(Waker(WakerKind.OUTSIDE, text, text, number),),
        calls=(SystemCall(text, number),),
        migrations=number,
        sentence=text,
    )


@given(any_text, any_number, any_real)
def test_any_workload_can_be_sent(text: str, number: int, real: float) -> None:
    record = samples.batch_record()
    assert record.plan is not None
    workload = replace(
        record.workload, id=text, unit=text, cgroup_id=number, appeared_at=real, identity=text
    )
    profile = samples.profile(
        processes=number,
        runnable=real,
        programs=(Program(text, number),),
        arguments=(text,),
        sentence=text,
        command=text,
        work=WorkloadClass.BUILD,
        scheduling=SchedulingProfile(real, number, *(real,) * 14),
        probes=probes(text, number, real),
    )
    candidates = (Candidate(text, real, text, text),)
    plan = replace(record.plan, reason=text, candidates=candidates)
    hostile = replace(record, workload=workload, profile=profile, plan=plan)
    marshalled(WorkloadInterface, conversion.workload_values(hostile))


def test_a_new_workload_can_be_sent() -> None:
    marshalled(WorkloadInterface, conversion.workload_values(samples.record()))


@given(any_text, any_number)
def test_any_policy_can_be_sent(text: str, number: int) -> None:
    policy = samples.policy()
    tunables = tuple(
        replace(one, default=number, minimum=number, maximum=number, unit=text)
        for one in (*policy.card.tunables, replace(policy.card.tunables[0], type="u128"))
    )
    card = replace(
        policy.card, tunables=tunables, title=text, counters={text: text}, timeout_ms=number
    )
    marshalled(PolicyInterface, conversion.policy_values(replace(policy, card=card)))


@given(any_text, any_number, any_real, st.sampled_from([None, *ExitCause]))
def test_any_deployment_can_be_sent(
    text: str, number: int, real: float, cause: ExitCause | None
) -> None:
    deployment = replace(
        samples.deployment(),
        id=number,
        workload_id=text,
        started_at=real,
        exit=ExitRecord(number, number, text, text),
        counters={text: number},
    )
    values = conversion.deployment_values(deployment, "/", cause)
    marshalled(DeploymentInterface, values)


@given(any_text, any_real)
def test_any_event_can_be_sent(text: str, real: float) -> None:
    body = conversion.event_line(Event(real, text, text, text))
    Marshaller("dsss", body).marshall()


def test_a_tunable_keeps_the_type_of_its_constant() -> None:
    structs = [conversion.tunable_struct(one) for one in samples.card().tunables]
    assert [one[3].signature for one in structs] == ["t", "u", "i", "b"]
    assert [one[5].value for one in structs] == [2**64 - 1, 2**32 - 1, 19, True]


@pytest.mark.parametrize(
    ("kernel", "deployments", "owner"),
    [
        (samples.ABSENT, (), "kernel-default"),
        (samples.DISABLED, (), "kernel-default"),
        (samples.DISABLED, (samples.deployment(),), "kernel-default"),
        (samples.ENABLED, (samples.deployment(),), "schedcp"),
        (samples.ENABLED, (samples.deployment(1, DeploymentState.ATTACHING),), "schedcp"),
        (samples.ENABLED, (samples.deployment(1, DeploymentState.REVERTED),), "foreign"),
        (samples.ENABLED, (), "foreign"),
        (replace(samples.ENABLED, policy="lavd"), (samples.deployment(),), "foreign"),
    ],
)
def test_whose_scheduler_runs(
    kernel: KernelState, deployments: tuple[Deployment, ...], owner: str
) -> None:
    assert conversion.owner(kernel, deployments) == owner


@pytest.mark.parametrize("name", ["scx_batch", "scx_a", "scx_01234567890"])
def test_paths_of_policies(name: str) -> None:
    assert names.policy_path(name) == f"/org/schedcp/Daemon1/policy/{name}"


@pytest.mark.parametrize(
    "name", ["", "scx_", "batch", "scx_../x", "scx_é", "scx_a\n", "scx_A", "scx_012345678901"]
)
def test_impossible_policies_have_no_path(name: str) -> None:
    with pytest.raises(ValueError, match="not the name of a policy"):
        names.policy_path(name)
