# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon as a whole: one place that knows every stage and wires them to the supervisor."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random

from schedcpd import __version__
from schedcpd.automation import Stages
from schedcpd.bus import service
from schedcpd.bus.service import BusService
from schedcpd.config import Config, load
from schedcpd.deploy import loader
from schedcpd.deploy.conduct import Instruments, Score
from schedcpd.deploy.deployer import Deployer, Kernel
from schedcpd.deploy.limits import find_limits
from schedcpd.deploy.loader import Loader, LoaderSettings
from schedcpd.deploy.meter import Meter
from schedcpd.deploy.probe.probe import NoProbe, Probe, ProbeSettings, start_probe
from schedcpd.deploy.record import open_record
from schedcpd.deploy.scores import make_score
from schedcpd.errors import (
    CardError,
    ConfigError,
    LoaderLost,
    NoPressure,
    NoSuchPolicy,
    TokenRefused,
)
from schedcpd.jobs import Jobs
from schedcpd.kernel import cgroupfs, sched_ext
from schedcpd.model import KernelState, Objective, Plan, Policy, Rule, Workload, WorkloadProfile
from schedcpd.plan import rules
from schedcpd.profile.summary import summarise
from schedcpd.repository.policies import PolicyStore
from schedcpd.supervisor import Supervisor
from schedcpd.verifier import SOCKET, VerifierClient
from schedcpd.watch.cgroups import CgroupWatcher
from schedcpd.watch.pressure import PressureRanking, PressureWatcher
from schedcpd.watch.tokens import TokenWatcher
from schedcpd.watch.udev import SchedExtWatcher
from schedcpd.watch.workloads import identify

CONFIG = Path("/etc/schedcp/schedcpd.toml")
VERIFIED = Path("/var/lib/schedcp-verify")
LEDGER = Path("/var/lib/schedcp/ledger.db")
LOADER = LoaderSettings(
    schedulers=Path("/usr/lib/schedcp/schedulers"),
    enrolled=VERIFIED / "enrolled",
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
    ledger: Path = LEDGER
    verifier: Path = SOCKET
    probe: ProbeSettings = field(default_factory=ProbeSettings)

    @property
    def sched_ext(self) -> Path:
        """The kernel's folder of sched_ext."""
        return self.sys / "kernel/sched_ext"

    @property
    def boot_id(self) -> Path:
        """What tells this boot of the machine from every other."""
        return self.proc / "sys/kernel/random/boot_id"


def read_rules() -> Sequence[Rule]:
    """The catalogue of the static analysis, which is large and hardly ever asked for."""
    from schedcpd.verify.analysis.rules import RULES

    return RULES


class Daemon:
    """Everything that runs; ``start`` it, await ``lost`` or a signal, and ``close`` it."""

    def __init__(self, places: Places, config: Config) -> None:
        self._places = places
        self._config = config
        self._store = PolicyStore(places.loader.schedulers, places.loader.enrolled)
        self._packaged = PolicyStore(places.loader.schedulers)
        self._ranking = PressureRanking(places.cgroup, time.monotonic)
        self._cgroups = CgroupWatcher(places.cgroup)
        self._pressure = PressureWatcher(places.proc / "pressure/cpu")
        self._uevents = SchedExtWatcher()
        self._tokens = TokenWatcher(places.loader.tokens)
        self._bus: BusService | None = None
        self._checking: asyncio.Task[None] | None = None
        self._probing: asyncio.Task[None] | None = None
        self._probe: Probe | None = None
        self.supervisor = self._make_supervisor()

    def _make_supervisor(self) -> Supervisor:
        places, release = self._places, os.uname().release
        verifier = VerifierClient(places.verifier, changed=self._check_policies)
        meter = Meter(
            cgroup=places.cgroup,
            pressure=places.proc / "pressure/cpu",
            latencies=lambda: self._probe.read() if self._probe else None,
            workloads=lambda: self.supervisor.workloads,
            monotonic=time.monotonic,
            clock=time.time,
        )
        kernel = Kernel(
            attach=self._attach,
            state=self._kernel_state,
            unusable=self._unusable,
            limits=partial(find_limits, places.cgroup),
            clock=time.time,
            release=release,
            instruments=Instruments(meter, asyncio.sleep, time.monotonic, Random()),
            score=self._score,
            baseline_s=lambda: self._config.breaker.baseline_s,
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
        return Supervisor(
            version=__version__,
            kernel_release=release,
            mode=self._config.daemon.mode,
            stages=stages,
            deployer=Deployer(kernel, open_record(places.ledger)),
            dwell_s=self._config.deploy.dwell_s,
            jobs=Jobs(verifier, time.time),
            registry=verifier,
            rules=read_rules,
        )

    async def start(self, bus_address: str | None = None) -> None:
        """Take the name on the bus, then watch; raises BusUnavailable or OSError."""
        self._connect()
        self.supervisor.begin(self._boot_id())
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
        if not self.supervisor.unusable():
            self._probing = asyncio.create_task(self._start_probe())

    async def lost(self) -> str:
        """Wait until the bus is gone; a sentence that says so."""
        return await self._bus.disconnected if self._bus else "the daemon was not started"

    async def close(self) -> None:
        """Stop watching, go back to the kernel default, leave the bus."""
        for watcher in (self._pressure, self._tokens, self._uevents, self._cgroups):
            watcher.stop()
        tasks = [task for task in (self._checking, self._probing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.supervisor.stop()
        if self._probe is not None:
            self._probe.close()
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
        self._cgroups.limits_changed.connect(supervisor.limits_changed)
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
        except NoSuchPolicy:
            return None  # it was removed a moment ago
        except (TokenRefused, LoaderLost) as error:
            admissible, token = False, error.reason
        return Policy(card, digest, admissible, token, name not in self._packaged.names())

    async def _start_probe(self) -> None:
        try:
            self._probe = await start_probe(self._places.probe)
        except NoProbe as error:
            told = f"how long tasks wait for a CPU is not measured: {error.reason}"
            self.supervisor.note("kernel", "", told)

    def _boot_id(self) -> str:
        try:
            return self._places.boot_id.read_text(encoding="ascii").strip()
        except OSError:
            return ""  # no boot is like another then

    def _score(self, policy: Policy, objective: Objective, canary: bool) -> Score:
        return make_score(self._config, policy.card, objective, canary)

    def _kernel_state(self) -> KernelState:
        return sched_ext.read_state(self._places.sched_ext)

    def _unusable(self) -> str:
        places = self._places
        return sched_ext.unusable_reason(places.sched_ext, places.sys, places.proc / "cmdline")

    async def _attach(self, policy: str, sha256: str, parameters: Mapping[str, int]) -> Loader:
        settings = replace(self._places.loader, settle_s=self._config.deploy.settle_s)
        return await Loader.attach(settings, policy, parameters, sha256)

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
