# SPDX-License-Identifier: GPL-2.0-or-later
"""A repository over the shipped policies and what ``memory.toml`` says of a machine's past."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from schedcpd.model import (
    Antipattern,
    Harm,
    Note,
    Objective,
    Outcome,
    OutcomeKind,
    Policy,
    Quarantine,
    WorkloadClass,
)
from schedcpd.repository.bundles import Keys
from schedcpd.repository.memory import Memory
from schedcpd.repository.policies import PolicyStore
from schedcpd.repository.repository import Repository, Sources

SCHEDULERS = Path(__file__).parents[3] / "schedulers"
PRIMITIVES = SCHEDULERS / "primitives"
HEADERS = SCHEDULERS / "include"
NOW = 1_760_000_000.0
KERNEL = "7.3.4-cloud-amd64"


def outcome(**values: Any) -> Outcome:
    """An outcome with some fields of its own."""
    given = {
        "deployment": 1,
        "at": NOW,
        "workload": "xz of user 1000",
        "work": "batch",
        "objective": "makespan",
        "policy": "scx_batch",
        "object_sha256": "ab" * 32,
        "kernel_release": KERNEL,
        "topology": "cpus 2, llc 1",
        "kind": "effect",
        "pairs": 6,
        "host": "bench",
        **values,
    }
    given["work"] = WorkloadClass(given["work"])
    given["objective"] = Objective(given["objective"])
    given["kind"] = OutcomeKind(given["kind"])
    return Outcome(**given)


def refusal(**values: Any) -> Antipattern:
    """A refusal by the verifier."""
    values["words"] = tuple(values.get("words", ()))
    return Antipattern(Harm.VERIFIER, NOW, kernel_release=KERNEL, workload="", **values)


def quarantine(policy: str, object_sha256: str, workload: str, reason: str) -> Quarantine:
    """A quarantine."""
    return Quarantine(object_sha256, policy, KERNEL, workload, NOW, reason)


def install(folder: Path) -> PolicyStore:
    """The shipped policies, as if they were compiled."""
    for source in SCHEDULERS.glob("scx_*"):
        shutil.copytree(source, folder / source.name)
        (folder / source.name / f"{source.name}.bpf.o").write_bytes(b"object")
    return PolicyStore(folder)


def sources(folder: Path, **changes: Any) -> Sources:
    """Where the entries live, of which there are none but those that are given."""
    values: dict[str, Any] = {
        "policies": PolicyStore(folder / "schedulers"),
        "primitives": PRIMITIVES,
        "headers": HEADERS,
        "outcomes": tuple,
        "quarantines": tuple,
        "installed": dict,
        **changes,
    }
    return Sources(**values)


@contextmanager
def opened(folder: Path, **changes: Any) -> Iterator[Repository]:
    """A repository below ``folder``; changes are those of its sources."""
    made = Repository(
        Memory(folder / "repository.db"),
        sources(folder, **changes),
        Keys(folder / "bundle", folder / "trusted-keys.d"),
        "bench",
        lambda: NOW,
    )
    try:
        yield made
    finally:
        made.close()


@contextmanager
def remembered(folder: Path) -> Iterator[Repository]:
    """A repository with the whole past of ``memory.toml``."""
    past = tomllib.loads(Path(__file__).with_name("memory.toml").read_text())
    outcomes = tuple(outcome(**one) for one in past["outcome"])
    harm = tuple(quarantine(**one) for one in past["quarantine"])
    memory = Memory(folder / "repository.db")
    for one in past["refusal"]:
        memory.add_refusal(refusal(**one))
    for one in past["note"]:
        memory.add_note(Note(0, NOW, 1000, one["kind"], one["name"], one["text"]))
    memory.close()
    store = install(folder / "schedulers")
    given: Mapping[str, Any] = {
        "policies": store,
        "outcomes": lambda: outcomes,
        "quarantines": lambda: harm,
    }
    with opened(folder, **given) as repository:
        yield repository


def installed(store: PolicyStore, *enrolled: str) -> dict[str, Policy]:
    """The policies of a store as the supervisor knows them."""
    return {
        name: Policy(store.card(name), store.object_sha256(name), True, "", name in enrolled)
        for name in store.names()
    }
