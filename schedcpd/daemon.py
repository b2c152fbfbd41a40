# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon as a whole: one place that knows every stage and wires them to the supervisor."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from schedcpd import __version__
from schedcpd.bus import service
from schedcpd.bus.service import BusService
from schedcpd.config import Config, load
from schedcpd.deploy import loader
from schedcpd.deploy.deployer import Deployer, Kernel
from schedcpd.deploy.limits import find_limits
from schedcpd.deploy.loader import Loader, LoaderSettings
from schedcpd.errors import CardError, ConfigError, LoaderLost, NoPressure, TokenRefused
from schedcpd.kernel import cgroupfs, sched_ext
from schedcpd.model import KernelState, Plan, Policy, Workload, WorkloadProfile
from schedcpd.plan import rules
from schedcpd.profile.summary import summarise
from schedcpd.repository.policies import PolicyStore
from schedcpd.supervisor import Stages, Supervisor
from schedcpd.watch.cgroups import CgroupWatcher
from schedcpd.watch.pressure import PressureRanking, PressureWatcher
from schedcpd.watch.tokens import TokenWatcher
from schedcpd.watch.udev import SchedExtWatcher
from schedcpd.watch.workloads import identify

CONFIG = Path("/etc/schedcp/schedcpd.toml")
VERIFIED = Path("/var/lib/schedcp-verify")
LOADER = LoaderSettings(
    schedulers=Path("/usr/lib/schedcp/schedulers"),
    tokens=VERIFIED / "tokens",
    public_key=VERIFIED / "public.key",
)


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything is; the integration tests put a simulated machine in its place."""

    config: Path = CONFIG
    cgroup: Path = Path("/sys/fs/cgroup")
    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    loader: LoaderSettings = LOADER

    @property
    def sched_ext(self) -> Path:
        """The kernel's folder of sched_ext."""
        return self.sys / "kernel/sched_ext"


class Daemon:
    """Everything that runs; ``start`` it, await ``lost`` or a signal, and ``close`` it."""

    def __init__(self, places: Places, config: Config) -> None:
        self._places = places
        self._config = config
        self._store = PolicyStore(places.loader.schedulers)
        self._ranking = PressureRanking(places.cgroup, time.monotonic)
        self._cgroups = CgroupWatcher(places.cgroup)
        self._pressure = PressureWatcher(places.proc / "pressure/cpu")
        self._uevents = SchedExtWatcher()
        self._tokens = TokenWatcher(places.loader.tokens)
        self._bus: BusService | None = None
        self._checking: asyncio.Task[None] | None = None
        self.supervisor = self._make_supervisor()

    def _make_supervisor(self) -> Supervisor:
        kernel = Kernel(
            attach=self._attach,
            state=self._kernel_state,
            unusable=self._unusable,
            limits=lambda: find_limits(self._places.cgroup),
            clock=time.time,
        )
        stages = Stages(
            identify=self._identify,
            pressed=self._ranking.most_pressed,
            profile=self._profile,
            plan=self._plan,
            still_fits=self._still_fits,
            kernel=self._kernel_state,
            unusable=self._unusable,
            exit_cause=sched_ext.exit_cause,
            clock=time.time,
            sleep=asyncio.sleep,
        )
        mode, dwell_s = self._config.daemon.mode, self._config.deploy.dwell_s
        release = os.uname().release
        return Supervisor(__version__, release, mode, stages, Deployer(kernel), dwell_s)

    async def start(self, bus_address: str | None = None) -> None:
        """Take the name on the bus, then watch; raises BusUnavailable or OSError."""
        self._connect()
        await self._check_policies()
        self._bus = await service.serve(self.supervisor, bus_address)
        self._cgroups.start()
        self._uevents.start()
        self._tokens.start()
        try:
            self._pressure.start()
        except NoPressure as error:
            self.supervisor.note("kernel", "", f"workloads are looked at only once: {error}")
        self._tell_state()

    async def lost(self) -> str:
        """Wait until the bus is gone; a sentence that says so."""
        return await self._bus.disconnected if self._bus else "the daemon was not started"

    async def close(self) -> None:
        """Stop watching, go back to the kernel default, leave the bus."""
        for watcher in (self._pressure, self._tokens, self._uevents, self._cgroups):
            watcher.stop()
        if self._checking is not None:
            self._checking.cancel()
        await self.supervisor.stop()
        if self._bus is not None:
            await self._bus.close()

    def reload(self) -> None:
        """Read the configuration again; a refused one is told and changes nothing."""
        try:
            self._config = load(self._places.config)
        except ConfigError as error:
            self.supervisor.note("config", "", f"the settings stay as they were: {error}")
            return
        self.supervisor.note("config", "", "the settings were read again")
        self.supervisor.configure(self._config.daemon.mode, self._config.deploy.dwell_s)

    def _connect(self) -> None:
        supervisor = self.supervisor
        self._cgroups.populated.connect(lambda told: supervisor.populated(*told))
        self._cgroups.vanished.connect(supervisor.vanished)
        self._cgroups.limits_changed.connect(lambda _: supervisor.limits_changed())
        self._pressure.pressed.connect(lambda _: supervisor.pressed())
        self._uevents.sched_ext_changed.connect(lambda _: supervisor.kernel_changed())
        self._tokens.published.connect(lambda _: self._check_policies_again())

    def _tell_state(self) -> None:
        reason, state = self.supervisor.unusable(), self.supervisor.kernel()
        if reason:
            self.supervisor.note("kernel", "", f"advice only: {reason}")
        elif state.policy:
            self.supervisor.note("kernel", "", f"{state.policy!r} schedules, attached by others")

    def _check_policies_again(self) -> None:
        if self._checking is not None:
            self._checking.cancel()
        self._checking = asyncio.create_task(self._check_policies())

    async def _check_policies(self) -> None:
        found = [await self._check_policy(name) for name in self._store.names()]
        self.supervisor.set_policies(policy for policy in found if policy is not None)

    async def _check_policy(self, name: str) -> Policy | None:
        """The policy as the loader sees it; None when its card cannot be read."""
        try:
            card, digest = self._store.card(name), self._store.object_sha256(name)
            admissible, token = True, await loader.check(self._places.loader, name)
        except CardError as error:
            self.supervisor.note("refuse", name, str(error))
            return None
        except (TokenRefused, LoaderLost) as error:
            admissible, token = False, error.reason
        return Policy(card, digest, admissible, token)

    def _kernel_state(self) -> KernelState:
        return sched_ext.read_state(self._places.sched_ext)

    def _unusable(self) -> str:
        places = self._places
        return sched_ext.unusable_reason(places.sched_ext, places.sys, places.proc / "cmdline")

    async def _attach(self, policy: str, parameters: Mapping[str, int]) -> Loader:
        settings = replace(self._places.loader, settle_s=self._config.deploy.settle_s)
        return await Loader.attach(settings, policy, parameters)

    def _identify(self, path: str) -> Workload | None:
        cgroup_id = cgroupfs.read_id(cgroupfs.directory(self._places.cgroup, path))
        if cgroup_id is None:
            return None
        return identify(path, cgroup_id, time.time(), self._config.watch.ignore)

    async def _profile(self, workload: Workload) -> WorkloadProfile:
        return await summarise(self._places.cgroup, self._places.proc, workload)

    def _plan(self, profile: WorkloadProfile) -> Plan:
        cards = {name: one.card for name, one in self.supervisor.policies.items()}
        return rules.plan(profile, os.cpu_count() or 1, cards, self._config.plan)

    def _still_fits(self, profile: WorkloadProfile) -> bool:
        return rules.still_fits(profile, os.cpu_count() or 1, self._config.plan)
