# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent without its bus: one run at a time, when a person asks or when there is occasion."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from schedclient.daemon import Daemon
from schedclient.errors import ClientError
from schedclient.objects import Workload
from schedclient.tools.find import workload_named
from schedclient.tools.tool import ToolError
from schedcpd.agent.account import Account
from schedcpd.agent.analysis import Analysis, Ended, first_parts
from schedcpd.agent.configuration import AgentMode, Configuration, ModelSettings, load
from schedcpd.agent.conversation import Model, Request
from schedcpd.agent.dialogue import opening_request
from schedcpd.agent.fence import Fence, Markers
from schedcpd.agent.money import Price, estimated_tokens
from schedcpd.agent.purse import Limit, Purse
from schedcpd.agent.redaction import Redaction
from schedcpd.agent.roles import OBSERVATION
from schedcpd.agent.store import Exchange, Run, RunState, Store
from schedcpd.agent.toolbox import Subject, Toolbox
from schedcpd.errors import (
    AgentIdle,
    BudgetSpent,
    Busy,
    ConfigError,
    LedgerDamaged,
    ModelLost,
    NoSuchRun,
    NoSuchWorkload,
    SchedcpError,
)
from schedcpd.signals import Signal

log = logging.getLogger(__name__)

CREDENTIAL = "anthropic-api-key"
LONGEST_KEY = 1000
NO_KEY = "there is no key: put it into /etc/credstore/anthropic-api-key, readable by root only"


class ModelConnection(Model, Protocol):
    """A model that is to be let go of."""

    async def close(self) -> None:
        """Leave the server."""


Connect = Callable[[], AbstractAsyncContextManager[Daemon]]
Open = Callable[[ModelSettings, str], ModelConnection]  # settings and key


@dataclass(frozen=True, slots=True)
class Places:
    """Where the agent's files are."""

    configuration: Path = Path("/etc/schedcp/agent.toml")
    credentials: Path | None = None  # a folder
    state: Path = Path("/var/lib/schedcp-agent")


class Agent:
    """Runs analyses; ``changed`` is emitted when what ``sentence`` says may be another."""

    def __init__(
        self, places: Places, connect: Connect, open_model: Open, clock: Callable[[], float]
    ) -> None:
        self.changed: Signal[None] = Signal()
        self.configuration = Configuration()
        self._places = places
        self._connect = connect
        self._open_model = open_model
        self._clock = clock
        self._markers = Markers()
        self._refused = ""  # why the settings were
        self._unusable = ""  # why the store is
        self._store: Store | None = None
        self._run: Run | None = None
        self._task: asyncio.Task[None] | None = None
        self._doing = ""
        self.trouble = ""  # why the model could not be used the last time

    def start(self) -> None:
        """Read the settings and open the store; what is wrong is said, and nothing is done."""
        self.reload()
        try:
            self._store = Store(self._places.state / "agent.db")
        except LedgerDamaged as error:
            self._unusable = str(error)
            log.error("%s", error)
            return
        if self._store.damage:
            log.error("the record of the agent was damaged: %s", self._store.damage)

    def reload(self) -> None:
        """Read the settings anew; bad ones are refused, and the last good ones stay."""
        try:
            self.configuration = load(self._places.configuration)
            self._refused = ""
        except ConfigError as error:
            self._refused = str(error)
            log.error("settings refused: %s", error)
        self.trouble = ""
        self.changed.emit(None)

    async def close(self) -> None:
        """End what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        if self._store is not None:
            self._store.close()

    # How it stands

    def obstacle(self) -> str:
        """Why it cannot work, and what to do; empty when it can."""
        if self._refused:
            return f"the settings are refused: {self._refused}"
        if self.configuration.agent.mode is AgentMode.OFF:
            return f"it is off: set mode in {self._places.configuration}"
        if self._unusable:
            return self._unusable
        if not self._key():
            return NO_KEY
        if self.configuration.price is None:
            name = self.configuration.model.name
            return f"there is no price for {name} in the settings: add it to [prices]"
        return ""

    @property
    def running(self) -> int:
        """The number of the run that goes on; 0 for none."""
        return self._run.id if self._run is not None else 0

    def sentence(self) -> str:
        """What it does now, or why nothing."""
        if self._run is not None:
            return f"run {self._run.id}: {self._doing}"
        return self.obstacle() or self.trouble or "idle"

    # What it can be asked for

    async def analyse(self, wanted: str, origin: str) -> int:
        """Begin a run for a workload; raises AgentIdle, Busy, NoSuchWorkload."""
        store, price = self._ready()
        if self._task is not None:
            raise Busy(f"run {self.running} is not over yet; 'schedctl agent status' shows it")
        workload = await self._workload(wanted)
        if self._task is not None:
            raise Busy("another run has just begun")
        run = store.begin(workload.identity or workload.id, origin, self._clock())
        self._run, self._doing = run, "beginning"
        self._task = asyncio.create_task(self._live(run, subject_of(workload), store, price))
        self.changed.emit(None)
        await asyncio.sleep(0)  # a task that has not begun would leave nothing behind if cancelled
        return run.id

    def cancel(self, number: int) -> None:
        """End a run before its time; raises NoSuchRun."""
        if self._task is None or number != self.running:
            raise NoSuchRun(number)
        self._task.cancel()

    async def preview(self, wanted: str) -> str:
        """The first request of a run for a workload, as it would be sent, and its size; JSON."""
        store = self._opened()
        workload = await self._workload(wanted)
        fence = self._fence(store.next_run())
        try:
            async with self._connect() as daemon:
                tools = Toolbox(daemon, subject_of(workload), lambda _: None)
                request = self._first_request(fence, await first_parts(tools))
        except (ClientError, ToolError) as error:
            raise AgentIdle(error.sentence) from error
        sent = request.encoded()
        model = self.configuration.model
        return json.dumps(
            {
                "server": model.base_url,
                "tokens_at_most": estimated_tokens(sent),
                "bytes": len(sent),
                "request": sent.decode(),
            }
        )

    def history(self, count: int) -> Sequence[Run]:
        """The newest runs, newest first."""
        return self._opened().runs(count)

    def transcript(self, number: int) -> Sequence[Exchange]:
        """What was said in a run, oldest first; raises NoSuchRun."""
        store = self._opened()
        return store.exchanges(store.run(number).id)

    def budget(self) -> Sequence[Limit]:
        """The budgets and what was spent of them in the last 24 hours."""
        price = self.configuration.price or Price(0, 0, 0, 0)
        store = self._opened()
        purse = Purse(store, self.configuration.budget, price, self._clock)
        return purse.limits(self._run or Run(0, "", "", 0.0))

    def rested(self, workload: Workload) -> bool:
        """Whether the last analysis of a workload is long enough ago."""
        since = self._opened().last_run_of(workload.identity or workload.id)
        return self._clock() - since >= self.configuration.agent.dwell_s

    # A run

    async def _live(self, run: Run, subject: Subject, store: Store, price: Price) -> None:
        """A run from its beginning to the record of its end."""
        settings = self.configuration
        purse = Purse(store, settings.budget, price, self._clock)
        account = Account(run, store, purse, self._clock)
        try:
            ended = await self._outcome(subject, account, settings)
            self._record_end(account.run, ended, store, settings)
            log.info("run %d for %s: %s: %s", run.id, subject.name, ended.state, ended.sentence)
        except LedgerDamaged as error:
            self._unusable = str(error)
            log.error("%s", error)
        finally:
            self._run = self._task = None
            self.changed.emit(None)

    def _record_end(self, run: Run, ended: Ended, store: Store, settings: Configuration) -> None:
        now = self._clock()
        spent = store.spent_on_run(run.id)
        over = replace(run, ended=now, state=ended.state, sentence=ended.sentence)
        store.save(replace(over, dollars=spent.dollars))
        store.tidy(settings.transcripts, now)

    async def _outcome(self, subject: Subject, account: Account, settings: Configuration) -> Ended:
        """How a run ends, whatever goes wrong in it."""
        self.trouble = ""
        try:
            async with self._model(settings.model) as model, self._connect() as daemon:
                tools = Toolbox(daemon, subject, self._tell)
                fence, ask = self._fence(account.run.id), partial(account.ask, model)
                return await Analysis(settings, fence, tools, ask, self._tell).run()
        except asyncio.CancelledError:
            return Ended(RunState.CANCELLED, "it was cancelled")
        except BudgetSpent as error:
            return Ended(RunState.STOPPED, f"{error}; the built-in planner goes on")
        except ModelLost as error:
            self.trouble = str(error)
            return Ended(RunState.FAILED, f"{error}; the built-in planner goes on")
        except SchedcpError as error:
            return Ended(RunState.FAILED, str(error))
        except (ClientError, ToolError) as error:
            return Ended(RunState.FAILED, error.sentence)
        except Exception:
            log.exception("run %d failed", account.run.id)
            return Ended(RunState.FAILED, "an error in the agent; its journal has the details")

    @contextlib.asynccontextmanager
    async def _model(self, settings: ModelSettings) -> AsyncIterator[Model]:
        """A connection to the model; the first loads the library, which takes seconds."""
        model = await asyncio.to_thread(self._open_model, settings, self._key())
        try:
            yield model
        finally:
            await model.close()

    def _tell(self, what: str) -> None:
        self._doing = what
        self.changed.emit(None)

    def _first_request(self, fence: Fence, parts: dict[str, Any]) -> Request:
        model = self.configuration.model
        return opening_request(
            OBSERVATION, model.name, model.max_tokens, model.effort, fence, parts
        )

    def _fence(self, run: int) -> Fence:
        redaction = Redaction(self.configuration.agent.redact, (self._key(),))
        return Fence(self._markers.of(run), redaction)

    def _key(self) -> str:
        """The key of the server; empty without one."""
        if self._places.credentials is None:
            return ""
        try:
            with (self._places.credentials / CREDENTIAL).open(encoding="ascii") as file:
                key = file.read(LONGEST_KEY).strip()
        except (OSError, UnicodeDecodeError):
            return ""
        return key if key.isprintable() and " " not in key else ""

    def _ready(self) -> tuple[Store, Price]:
        obstacle, price = self.obstacle(), self.configuration.price
        if obstacle or self._store is None or price is None:
            raise AgentIdle(f"the agent cannot work: {obstacle}")
        return self._store, price

    def _opened(self) -> Store:
        if self._store is None:
            raise AgentIdle(f"the agent has no record: {self._unusable}")
        return self._store

    async def _workload(self, wanted: str) -> Workload:
        """The workload that is meant; raises NoSuchWorkload, AgentIdle."""
        try:
            async with self._connect() as daemon:
                return await workload_named(daemon, wanted)
        except ToolError as error:
            raise NoSuchWorkload(wanted) from error
        except ClientError as error:
            raise AgentIdle(error.sentence) from error


def subject_of(workload: Workload) -> Subject:
    """A workload as a run has it."""
    name = workload.unit or workload.id
    return Subject(str(workload.cgroup_id), workload.identity or workload.id, name)
