# SPDX-License-Identifier: GPL-2.0-or-later
"""A simulated kernel for tests of the core: policies attach and leave at the test's word."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from schedcpd.deploy.deployer import Deployer, Kernel
from schedcpd.deploy.loader import Attached
from schedcpd.deploy.messages import LoaderStatus
from schedcpd.errors import SchedcpError
from schedcpd.model import (
    Card,
    ExitRecord,
    KernelState,
    Policy,
    Tunable,
    Workload,
    WorkloadKind,
)

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
    )


def make_policy(name: str = "scx_batch", admissible: bool = True) -> Policy:
    return Policy(make_card(name), "0" * 64, admissible, "valid" if admissible else "no token")


def make_workload(path: str = "/system.slice/batch.service", cgroup_id: int = 77) -> Workload:
    return Workload(path, cgroup_id, path.rsplit("/", 1)[-1], WorkloadKind.SERVICE, 1000.0)


class FakeHolder:
    """An attached policy; ``end`` plays the kernel's or the loader's part."""

    def __init__(self, kernel: FakeKernel, policy: str, parameters: Mapping[str, int]) -> None:
        self.attached = Attached(policy, 1, 300.0, 5.0)
        self.policy = policy
        self.parameters = dict(parameters)
        self.detached = False
        self._kernel = kernel
        self._ended: asyncio.Future[LoaderStatus] = asyncio.get_running_loop().create_future()

    async def status(self) -> LoaderStatus:
        return LoaderStatus(None, {"nr_enqueued": 3})

    async def detach(self) -> LoaderStatus:
        self.detached = True
        self._kernel.policy = ""
        return LoaderStatus(UNREGISTERED)

    async def ended(self) -> LoaderStatus:
        return await asyncio.shield(self._ended)

    def end(self, record: ExitRecord | None) -> None:
        self._kernel.policy = ""
        self._ended.set_result(LoaderStatus(record))


class FakeKernel:
    """What the deployer sees; attributes are set by the test."""

    def __init__(self) -> None:
        self.policy = ""
        self.unusable = ""
        self.limits: tuple[str, ...] = ()
        self.refusal: SchedcpError | None = None
        self.gate = asyncio.Event()  # attaching waits for it
        self.gate.set()
        self.now = 1000.0
        self.holders: list[FakeHolder] = []

    def state(self) -> KernelState:
        state = "enabled" if self.policy else "disabled"
        return KernelState(True, state, self.policy, len(self.holders), 0, 0)

    async def attach(self, policy: str, parameters: Mapping[str, int]) -> FakeHolder:
        await self.gate.wait()
        if self.refusal is not None:
            raise self.refusal
        self.policy = policy
        self.holders.append(FakeHolder(self, policy, parameters))
        return self.holders[-1]

    def deployer(self) -> Deployer:
        return Deployer(
            Kernel(
                attach=self.attach,
                state=self.state,
                unusable=lambda: self.unusable,
                limits=lambda: self.limits,
                clock=lambda: self.now,
            )
        )
