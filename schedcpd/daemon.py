# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon as a whole: one place that knows every stage and wires them to the supervisor."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random

from schedcpd import __version__, reader
from schedcpd.automation import Stages
from schedcpd.bus import service
from schedcpd.bus.service import BusService
from schedcpd.config import Config, load
from schedcpd.deploy.attaching import Kernel
from schedcpd.deploy.conduct import Instruments, Score
from schedcpd.deploy.deployer import Deployer
from schedcpd.deploy.limits import find_limits
from schedcpd.deploy.loader import Checker, Loader, LoaderSettings
from schedcpd.deploy.meter import Meter
from schedcpd.deploy.probe.probe import NoProbe, Probe, ProbeSettings, start_probe
from schedcpd.deploy.record import Record, open_record
from schedcpd.deploy.scores import make_score
from schedcpd.errors import (
    CardError,
    ConfigError,
    LoaderLost,
    NoPressure,
    NoSuchPolicy,
    TokenRefused,
)
from schedcpd.hinting import Hinting
from schedcpd.jobs import Jobs
from schedcpd.kernel import cgroupfs, sched_ext
from schedcpd.kernel.topology import read_topology
from schedcpd.learn.outcomes import Outcomes
from schedcpd.model import (
    DeploymentState,
    KernelState,
    Objective,
    Plan,
    Policy,
    PolicyKind,
    Rule,
    Workload,
    WorkloadClass,
    WorkloadProfile,
)
from schedcpd.plan import planner, rules
from schedcpd.plan.planner import Situation
from schedcpd.profile.probes import ChildSettings, Prober
from schedcpd.profile.profiler import Profiler
from schedcpd.reader import Reader
from schedcpd.repository.bundles import Keys
from schedcpd.repository.foreign import CARDS, PROGRAMS, ForeignStore
from schedcpd.repository.memory import Memory
from schedcpd.repository.policies import PolicyStore
from schedcpd.repository.repository import Repository, Sources
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
BURST_S = 0.3  # the verifier signs one token after the other
UNCHECKED = "it is being checked; ask again in a moment"
LOADER = LoaderSettings(
    schedulers=Path("/usr/lib/schedcp/schedulers"),
    enrolled=VERIFIED / "enrolled",
    tokens=VERIFIED / "tokens",
    public_key=VERIFIED / "public.key",
)
SHARED = Path("/usr/lib/schedcp")


@dataclass(frozen=True, slots=True)
class ForeignPlaces:
    """Where the cards of foreign policies are, their programs, and who runs them."""

    cards: Path = CARDS
    programs: tuple[Path, ...] = PROGRAMS
    socket: Path = Path("/run/schedcp-foreign.sock")

    def settings(self, loader: LoaderSettings) -> LoaderSettings:
        """How to reach who runs them; a program takes longer to be started again, and to end."""
        return replace(loader, socket=self.socket, switch_timeout_s=55.0, detach_timeout_s=5.0)


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything is; the integration tests put a simulated machine in its place."""

    config: Path = CONFIG
    cgroup: Path = Path("/sys/fs/cgroup")
    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    loader: LoaderSettings = LOADER
    foreign: ForeignPlaces = field(default_factory=ForeignPlaces)
    ledger: Path = LEDGER
    verifier: Path = SOCKET
    reader: Path = reader.SOCKET
    probe: ProbeSettings = field(default_factory=ProbeSettings)
    measure: ChildSettings = field(default_factory=ChildSettings)
    primitives: Path = SHARED / "primitives"
    headers: Path = SHARED / "include"
    trusted_keys: Path = Path("/etc/schedcp/trusted-keys.d")

    @property
    def sched_ext(self) -> Path:
        """The kernel's folder of sched_ext."""
        return self.sys / "kernel/sched_ext"

    @property
    def runtimes(self) -> Path:
        """What commands took before."""
        return self.ledger.with_name("runtimes.db")

    @property
    def repository(self) -> Path:
        """What the repository remembers."""
        return self.ledger.with_name("repository.db")

    @property
    def bundle_key(self) -> Path:
        """The folder of the key that signs what other machines get of the repository."""
        return self.ledger.with_name("bundle-key")

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
        self._foreign = ForeignStore(places.foreign.cards, places.foreign.programs)
        self._ranking = PressureRanking(places.cgroup, time.monotonic)
        prober = Prober(places.measure, self._unprobed)
        self._profiler = Profiler(
            places.cgroup,
            places.proc,
            prober=prober,
            expected=self._expected,
        )
        self._cgroups = CgroupWatcher(places.cgroup)
        self._pressure = PressureWatcher(places.proc / "pressure/cpu")
        self._uevents = SchedExtWatcher()
        self._tokens = TokenWatcher(places.loader.tokens)
        self._cards = TokenWatcher(places.foreign.cards, edited=True)
        self._bus: BusService | None = None
        self._checking: asyncio.Task[None] | None = None
        self._stale = False  # a token has come since the policies were checked
        self._checked = asyncio.Event()  # for the first time
        self._refused: dict[str, str] = {}  # policies whose card cannot be read, and why
        self._probing: asyncio.Task[None] | None = None
        self._probe: Probe | None = None
        self.supervisor = self._make_supervisor()
        self._hinting = Hinting(self.supervisor, self._deployer)

    def _make_supervisor(self) -> Supervisor:
        places, release = self._places, os.uname().release
        record = open_record(places.ledger)
        topology = read_topology(places.sys).kind
        self._outcomes = Outcomes(record, release, topology, time.time, os.uname().nodename)
        library = self._make_library(record)
        verifier = VerifierClient(places.verifier, changed=self._policies_checked)
        meter = Meter(
            cgroup=places.cgroup,
            pressure=places.proc / "pressure/cpu",
            latencies=lambda: self._probe.read() if self._probe else None,
            workloads=lambda: self.supervisor.workloads,
            monotonic=time.monotonic,
            clock=time.time,
            yielding=lambda: self.supervisor.yielding,
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
            examine=self._profiler.profile,
            still_fits=self._still_fits,
            learn=self._outcomes.learn,
            forgive=self._outcomes.forgive,
            kernel=self._kernel_state,
            unusable=self._unusable,
            unwanted=library.objection,
            exit_cause=sched_ext.exit_cause,
            clock=time.time,
            sleep=asyncio.sleep,
        )
        self._deployer = Deployer(kernel, record)
        return Supervisor(
            version=__version__,
            kernel_release=release,
            mode=self._config.daemon.mode,
            stages=stages,
            deployer=self._deployer,
            dwell_s=self._config.deploy.dwell_s,
            jobs=Jobs(verifier, time.time),
            registry=verifier,
            rules=read_rules,
            files=Reader(places.reader, places.cgroup),
            library=library,
        )

    def _make_library(self, record: Record) -> Repository:
        places = self._places
        sources = Sources(
            policies=self._store,
            primitives=places.primitives,
            headers=places.headers,
            outcomes=self._outcomes.every,
            quarantines=record.quarantines,
            installed=lambda: self.supervisor.policies,
        )
        keys = Keys(places.bundle_key, places.trusted_keys)
        memory = Memory(places.repository)
        return Repository(memory, sources, keys, os.uname().nodename, time.time)

    async def start(self, bus_address: str | None = None) -> None:
        """Take the name on the bus, then watch; raises BusUnavailable or OSError.

        The policies are checked meanwhile; until that is done nothing is planned.
        """
        self._connect()
        self.supervisor.begin(self._boot_id())
        self._tokens.start()  # first: a token that is signed meanwhile has them checked again
        self.supervisor.set_policies(await self._find_policies(self._read_policy))
        self._check_policies_again()
        self._bus = await service.serve(self.supervisor, bus_address)
        self._cgroups.start()
        self._uevents.start()
        self._cards.start()
        try:
            self._pressure.start()
        except NoPressure as error:
            self.supervisor.note("kernel", "", f"workloads are looked at only once: {error}")
        self._tell_state()
        if not self.supervisor.unusable():
            self._probing = asyncio.create_task(self._start_probes())

    async def lost(self) -> str:
        """Wait until the bus is gone; a sentence that says so."""
        return await self._bus.disconnected if self._bus else "the daemon was not started"

    async def close(self) -> None:
        """Stop watching, go back to the kernel default, leave the bus."""
        for watcher in (self._pressure, self._tokens, self._cards, self._uevents, self._cgroups):
            watcher.stop()
        tasks = [task for task in (self._checking, self._probing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._hinting.close()
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
        for watcher in (self._tokens, self._cards):
            watcher.published.connect(lambda _: self._check_policies_again())
        hinting = self._hinting
        supervisor.workload_changed.connect(hinting.workload_changed)
        supervisor.workload_removed.connect(hinting.workload_removed)
        supervisor.deployment_changed.connect(lambda _: hinting.policy_changed())

    def _tell_state(self) -> None:
        reason, state = self.supervisor.unusable(), self.supervisor.kernel()
        if reason:
            self.supervisor.note("kernel", "", f"advice only: {reason}")
        elif state.policy:
            self.supervisor.note("kernel", "", f"{state.policy!r} schedules, attached by others")

    def _check_policies_again(self) -> None:
        self._stale = True
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._check_while_stale())

    async def _policies_checked(self) -> None:
        """Have the policies checked once more, and wait until that is done."""
        self._check_policies_again()
        if self._checking is not None:
            await asyncio.shield(self._checking)

    async def _check_while_stale(self) -> None:
        """Check the policies, and again when a token came meanwhile; a burst counts once."""
        while self._stale:
            await asyncio.sleep(BURST_S)
            self._stale = False
            await self._check_policies()

    async def _check_policies(self) -> None:
        async with Checker(self._places.loader) as checker:
            found = await self._find_policies(partial(self._check_policy, checker))
        self.supervisor.set_policies(found)
        self._checked.set()

    async def _find_policies(self, find: Callable[[str], Awaitable[Policy]]) -> list[Policy]:
        """Our policies, as ``find`` has them, and the foreign; a bad card is told of once."""
        found, refused, ours = [], {}, self._store.names()
        foreign = [name for name in self._foreign.names() if name not in ours]
        for name in (*ours, *foreign):
            try:
                found.append(await (find if name in ours else self._find_foreign)(name))
            except CardError as error:
                refused[name] = str(error)
            except NoSuchPolicy:
                continue  # it was removed a moment ago
        for name, reason in refused.items():
            if self._refused.get(name) != reason:
                self.supervisor.note("refuse", name, reason)
        self._refused = refused
        return found

    async def _read_policy(self, name: str) -> Policy:
        """The policy before it is checked; CardError, NoSuchPolicy."""
        card, digest = self._store.card(name), self._store.object_sha256(name)
        enrolled = name not in self._packaged.names()
        return Policy(card, digest, admissible=False, token=UNCHECKED, enrolled=enrolled)

    async def _check_policy(self, checker: Checker, name: str) -> Policy:
        """The policy as the loader sees it; CardError, NoSuchPolicy."""
        policy = await self._read_policy(name)
        try:
            return replace(policy, admissible=True, token=await checker.check(name))
        except (TokenRefused, LoaderLost) as error:
            return replace(policy, token=error.reason)

    async def _find_foreign(self, name: str) -> Policy:
        """The foreign policy as it is now; CardError, NoSuchPolicy."""
        return await asyncio.to_thread(self._foreign.policy, name)  # programs can be large

    async def _start_probes(self) -> None:
        places = self._places
        try:
            self._probe = await start_probe(places.probe)
        except NoProbe as error:
            told = f"how long tasks wait for a CPU is not measured: {error.reason}"
            self.supervisor.note("kernel", "", told)
        try:
            await self._hinting.start(places.probe, places.runtimes, places.cgroup, places.proc)
        except NoProbe as error:
            told = f"how long processes take is not learnt: {error.reason}"
            self.supervisor.note("kernel", "", told)

    def _boot_id(self) -> str:
        try:
            return self._places.boot_id.read_text(encoding="ascii").strip()
        except OSError:
            return ""  # no boot is like another then

    def _expected(self, workload: Workload) -> Sequence[int]:
        return self._hinting.expected(workload)

    def _unprobed(self) -> str:
        """Why no workload may be probed now, as part of a sentence, or an empty string."""
        deployments = self.supervisor.deployments.values()
        on_trial = any(one.state is DeploymentState.CANARY for one in deployments)
        return "a policy is on trial, which it would disturb" if on_trial else ""

    def _score(
        self, policy: Policy, objective: Objective, canary: bool, incumbent: float | None
    ) -> Score:
        return make_score(self._config, policy.card, objective, canary, incumbent)

    def _kernel_state(self) -> KernelState:
        return sched_ext.read_state(self._places.sched_ext)

    def _unusable(self) -> str:
        places = self._places
        return sched_ext.unusable_reason(places.sched_ext, places.sys, places.proc / "cmdline")

    async def _profile(self, workload: Workload) -> WorkloadProfile:
        """What a workload is and does, once it is known what can be planned with; WorkloadGone."""
        await self._checked.wait()
        return await self._profiler.profile(workload)

    async def _attach(self, policy: str, sha256: str, parameters: Mapping[str, int]) -> Loader:
        settings = replace(self._places.loader, settle_s=self._config.deploy.settle_s)
        if self.supervisor.policies[policy].card.kind is PolicyKind.FOREIGN:
            settings = self._places.foreign.settings(settings)
        return await Loader.attach(settings, policy, parameters, sha256)

    def _identify(self, path: str) -> Workload | None:
        cgroup_id = cgroupfs.read_id(cgroupfs.directory(self._places.cgroup, path))
        if cgroup_id is None:
            return None
        return identify(path, cgroup_id, time.time(), self._config.watch.ignore)

    def _plan(
        self, workload: Workload, profile: WorkloadProfile, barred: Mapping[str, str]
    ) -> Plan:
        # Nobody but a person chooses a policy that was not verified.
        verified = {
            name: one
            for name, one in self.supervisor.policies.items()
            if one.card.kind is PolicyKind.BPF
        }
        situation = Situation(
            workload=workload.identity or workload.id,
            profile=profile,
            cpus=os.cpu_count() or 1,
            policies=verified,
            outcomes=self._outcomes.recall(),
            barred=barred,
            kernel_release="" if self._unusable() else os.uname().release,
            thresholds=self._config.plan,
        )
        return planner.plan(situation)

    def _still_fits(self, profile: WorkloadProfile, plan: Plan | None) -> bool:
        work = plan.work if plan else WorkloadClass.UNKNOWN
        return rules.still_fits(profile, os.cpu_count() or 1, self._config.plan, work)
