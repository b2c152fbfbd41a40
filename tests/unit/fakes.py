# SPDX-License-Identifier: GPL-2.0-or-later
"""A simulated kernel for tests of the core: policies attach and leave at the test's word."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random
from typing import cast

from schedcpd.deploy.attaching import Kernel
from schedcpd.deploy.breaker import GuardSample, limits_for
from schedcpd.deploy.canary import CanarySettings
from schedcpd.deploy.conduct import Instruments, Score
from schedcpd.deploy.deployer import Deployer
from schedcpd.deploy.ledger import KnownGood, Ledger
from schedcpd.deploy.loader import Attached
from schedcpd.deploy.messages import LoaderStatus
from schedcpd.deploy.meter import Sample
from schedcpd.deploy.record import Record
from schedcpd.deploy.states import MachineState
from schedcpd.errors import Ejected, LedgerDamaged, SchedcpError
from schedcpd.model import (
    Canary,
    Card,
    Deployment,
    ExitRecord,
    Fit,
    KernelState,
    MapRole,
    Objective,
    Policy,
    Quarantine,
    Transition,
    Tunable,
    Workload,
    WorkloadClass,
    WorkloadKind,
)

FIT = Fit(0.22, Objective.MAKESPAN, "40 files compressed at once took 0.78 times as long")
UNREGISTERED = ExitRecord(64, 0, "unregistered from user space", "")


def make_card(name: str = "scx_batch", targeted: bool = True) -> Card:
    roles = (("batch_cgid", "target-id"), ("batch_level", "target-level")) if targeted else ()
    return Card(
        name=name,
        version="1",
        title=name,
        summary="",
        suits=(),
        fails=(),
        min_kernel="6.16",
        requires_kfuncs=(),
        honours=("nice",),
        ignores=("cpu.max",),
        timeout_ms=30000,
        tunables=tuple(
            Tunable(tunable, "u64", "", 0, 0, 2**64 - 1, "", role) for tunable, role in roles
        ),
        counters={},
        fits={WorkloadClass.BATCH: FIT} if name == "scx_batch" else {},
    )


def make_policy(name: str = "scx_batch", admissible: bool = True) -> Policy:
    return Policy(
        make_card(name),
        (name.encode().hex() + "0" * 64)[:64],
        admissible,
        "valid" if admissible else "no token",
    )


def make_policy_with_maps(name: str = "scx_layers") -> Policy:
    """A policy for the whole machine that has classes and takes hints."""
    maps = {"layers": MapRole.CLASSES, "hints": MapRole.HINTS}
    policy = make_policy(name)
    card = replace(policy.card, maps=maps, tunables=(), ignores=())
    return replace(policy, card=card)


def make_workload(path: str = "/system.slice/batch.service", cgroup_id: int = 77) -> Workload:
    return Workload(path, cgroup_id, path.rsplit("/", 1)[-1], WorkloadKind.SERVICE, 1000.0)


class FakeLedger:
    """A ledger in memory; ``full`` makes it refuse to be written to."""

    damage = ""
    rebooted = False

    def __init__(self) -> None:
        self.full = False
        self.clean = True
        self.closed = False
        self.steps: list[Transition] = []
        self.saved: dict[int, Deployment] = {}
        self.entries: list[Quarantine] = []
        self.good: dict[tuple[str, str], KnownGood] = {}

    def _write(self) -> None:
        if self.full:
            raise LedgerDamaged("/ledger.db", "the disk is full")

    def open_run(self, boot_id: str) -> bool:
        self._write()
        for ident, one in self.saved.items():
            self.saved[ident] = replace(one, ended_at=one.ended_at or 1.0)
        clean, self.clean = self.clean, False
        return clean

    def close_run(self) -> None:
        self._write()
        self.clean = True

    def close(self) -> None:
        self.closed = True

    def record_transition(self, transition: Transition) -> None:
        self._write()
        self.steps.append(transition)

    def transitions(self, limit: int = 100) -> tuple[Transition, ...]:
        return tuple(self.steps[-limit:])

    def next_deployment_id(self) -> int:
        self._write()
        return max(self.saved, default=0) + 1

    def save_deployment(self, deployment: Deployment) -> None:
        self._write()
        self.saved[deployment.id] = deployment

    def deployments(
        self, limit: int = 100, workload_id: str | None = None
    ) -> tuple[Deployment, ...]:
        found = [one for one in self.saved.values() if workload_id in (None, one.workload_id)]
        return tuple(found[-limit:])

    def quarantine(self, entry: Quarantine) -> None:
        self._write()
        self.entries.append(entry)

    def quarantined(
        self, object_sha256: str, kernel_release: str, workload_id: str
    ) -> Quarantine | None:
        for one in self.entries:
            what = (one.object_sha256, one.kernel_release)
            if what == (object_sha256, kernel_release) and one.workload_id in ("", workload_id):
                return one
        return None

    def quarantines(self) -> tuple[Quarantine, ...]:
        return tuple(self.entries)

    def release(self, policy: str) -> int:
        self._write()
        before = len(self.entries)
        self.entries = [one for one in self.entries if one.policy != policy]
        return before - len(self.entries)

    def promote(
        self,
        workload_id: str,
        kernel_release: str,
        object_sha256: str,
        policy: str,
        canary: Canary | None,
        parameters: Mapping[str, int],
    ) -> None:
        self._write()
        what = (workload_id, kernel_release, object_sha256, policy)
        good = KnownGood(*what, 1.0, canary, dict(parameters))
        self.good[workload_id, kernel_release] = good

    def known_good(self, workload_id: str, kernel_release: str) -> KnownGood | None:
        return self.good.get((workload_id, kernel_release))


class FakeHolder:
    """An attached policy; ``end`` plays the kernel's or the loader's part."""

    def __init__(self, kernel: FakeKernel, policy: str, parameters: Mapping[str, int]) -> None:
        self.attached = Attached(policy, 1, 300.0, 5.0)
        self.policy = policy
        self.parameters = dict(parameters)
        self.object_sha256 = ""
        self.detached = False
        self.maps: dict[str, dict[bytes, bytes]] = {}  # live maps, by name
        self.updates = 0
        self.map_refusal: SchedcpError | None = None  # of updates
        self.refusal: SchedcpError | None = None  # of the next suspend or resume
        self.gate = asyncio.Event()  # both wait for it
        self.gate.set()
        self.leaves_with = UNREGISTERED
        self._kernel = kernel
        self._ended: asyncio.Future[LoaderStatus] = asyncio.get_running_loop().create_future()

    async def status(self) -> LoaderStatus:
        return LoaderStatus(None, {"nr_enqueued": 3})

    async def update_map(
        self, name: str, updates: Mapping[bytes, bytes], deletions: Collection[bytes] = ()
    ) -> None:
        await asyncio.sleep(0)
        if self.map_refusal is not None:
            raise self.map_refusal
        self.updates += 1
        entries = self.maps.setdefault(name, {})
        for key in deletions:
            entries.pop(key, None)
        entries.update(updates)

    async def suspend(self) -> LoaderStatus:
        await self._switch("")
        return LoaderStatus(None, {"nr_enqueued": 4})

    async def resume(self) -> Attached:
        await self._switch(self.policy)
        return self.attached

    async def _switch(self, policy: str) -> None:
        await self.gate.wait()
        if self.refusal is not None:
            self.end(self.refusal.record if isinstance(self.refusal, Ejected) else None)
            raise self.refusal
        self._kernel.policy = policy
        self._kernel.switches += 1

    async def detach(self) -> LoaderStatus:
        self.detached = True
        self._kernel.detaching()
        self._kernel.policy = ""
        if self._ended.done():
            return self._ended.result()
        return LoaderStatus(self.leaves_with)

    async def ended(self) -> LoaderStatus:
        return await asyncio.shield(self._ended)

    def end(self, record: ExitRecord | None) -> None:
        self._kernel.policy = ""
        self._ended.set_result(LoaderStatus(record))


GOOD = GuardSample(1.0, 1.0, others_wait_p99_ns=1_000_000, others_waits=500, throughput=2.0)
# Others wait so long that one window is enough.
HARM = replace(GOOD, others_wait_p99_ns=2_000_000_000)


class FakeMeter:
    """Says what the test wants, by whether a policy is in the kernel.

    ``classed`` has what a workload gets while it has a class, ``harmful`` those whose class is
    harm to others, both by cgroup id.
    """

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel
        self.candidate = self.default = GOOD
        self.classed: dict[int, GuardSample] = {}
        self.harmful: set[int] = set()
        self.windows: list[str] = []

    def sample(self, workload: Workload, counters: Mapping[str, int] | None = None) -> Sample:
        return Sample(self._kernel.now, own=frozenset({workload.cgroup_id}))

    def named(self, cgroup: int) -> str:
        return f"workload {cgroup}"

    def window(self, before: Sample, after: Sample) -> GuardSample:
        self.windows.append(self._kernel.policy)
        if not self._kernel.policy:
            return self.default
        classified = self._classified()
        if self.harmful & classified:
            return HARM
        own = next((self.classed[one] for one in after.own & classified & set(self.classed)), None)
        return own or self.candidate

    def _classified(self) -> frozenset[int]:
        maps = self._kernel.holders[-1].maps
        return frozenset(struct.unpack("=Q", key)[0] for key in maps.get("layers", ()))


class FakeKernel:
    """What the deployer sees; attributes are set by the test."""

    def __init__(self) -> None:
        self.policy = ""
        self.changing = ""  # enabling or disabling
        self.lingers = 0  # looks at which a policy that was let go is still there
        self.unusable = ""
        self.limits: tuple[str, ...] = ()
        self.limit_looks: list[str] = []  # at which cgroups
        self.refusal: SchedcpError | None = None
        self.gate = asyncio.Event()  # attaching waits for it
        self.gate.set()
        self.now = 1000.0
        self.holders: list[FakeHolder] = []
        self.switches = 0
        self.ledger = FakeLedger()
        self.meter = FakeMeter(self)
        self.detaching: Callable[[], None] = lambda: None
        self._windows = asyncio.Semaphore(0)

    def state(self) -> KernelState:
        if self.lingers and not self.policy:
            self.lingers -= 1
            return KernelState(True, "disabling", self.holders[-1].policy, 1, 0, 0)
        state = self.changing or ("enabled" if self.policy else "disabled")
        return KernelState(True, state, self.policy, len(self.holders), 0, 0)

    def look_at_limits(self, path: str) -> tuple[str, ...]:
        self.limit_looks.append(path)
        return self.limits

    async def attach(self, policy: str, sha256: str, parameters: Mapping[str, int]) -> FakeHolder:
        await self.gate.wait()
        if self.refusal is not None:
            raise self.refusal
        self.policy = policy
        self.holders.append(FakeHolder(self, policy, parameters))
        self.holders[-1].object_sha256 = sha256
        return self.holders[-1]

    async def sleep(self, seconds: float) -> None:
        if seconds:
            await self._windows.acquire()
            self.now += seconds

    async def pass_windows(self, number: int = 1) -> None:
        """Let windows of the canary or the breaker pass."""
        for _ in range(number):
            self.let_pass()
            await settle()

    def let_pass(self) -> None:
        """Let a window pass, soon."""
        self._windows.release()

    def score(
        self, policy: Policy, objective: Objective, canary: bool, incumbent: float | None
    ) -> Score:
        turns = CanarySettings(
            *("throughput", 1.0, 0.0),
            min_pairs=2,
            max_pairs=2,
            margin=0.1,
            non_inferiority=incumbent is None,
            incumbent=incumbent,
        )
        limits = limits_for(Objective.MAKESPAN)
        return Score(limits, 1.0, 0.0, turns if canary else None, Objective.MAKESPAN)

    def deployer(self, record: Record | None = None) -> Deployer:
        return Deployer(
            Kernel(
                attach=self.attach,
                state=self.state,
                unusable=lambda: self.unusable,
                limits=self.look_at_limits,
                clock=lambda: self.now,
                release="7.3",
                instruments=Instruments(self.meter, self.sleep, lambda: self.now, Random(7)),
                score=self.score,
                baseline_s=lambda: 0.0,
            ),
            record or Record(cast(Ledger, self.ledger)),
        )


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(40):
        await asyncio.sleep(0)


async def cancel_all() -> None:
    """End every task but the test's own."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def deployer_that_reverts(kernel: FakeKernel) -> AsyncIterator[Deployer]:
    """A deployer; when the test is over it must give the machine back to the kernel default."""
    deployer = kernel.deployer()
    yield deployer
    await deployer.revert("the test is over")
    assert kernel.policy == ""
    assert deployer.state is MachineState.DEFAULT
    await cancel_all()
