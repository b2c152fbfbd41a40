# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon's end of the loader: starts a child for a policy, or to check many; speaks with it."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from schedcpd.deploy import messages
from schedcpd.deploy.livemaps import ENTRIES_AT_ONCE
from schedcpd.deploy.messages import (
    Command,
    EventName,
    Failure,
    LoaderStatus,
    MapUpdate,
    Request,
)
from schedcpd.errors import (
    CardError,
    Ejected,
    LoaderLost,
    MapRefused,
    NoSuchPolicy,
    SchedcpError,
    TokenRefused,
)
from schedcpd.fields import BadField, Fields
from schedcpd.kernel import child
from schedcpd.kernel.sched_ext import ROOT

# Real-time, so that it can still let go under a policy that starves everybody else, and without
# a capability but the two that it takes to load, attach and detach a policy.
CHILD_ARGV = (
    *("/usr/bin/chrt", "--reset-on-fork", "--fifo", "1"),
    *("/usr/bin/setpriv", "--no-new-privs", "--inh-caps=-all", "--ambient-caps=-all"),
    *("--bounding-set=-all,+bpf,+perfmon",),
    *("/usr/bin/python3", "-I", "-m", "schedcpd.deploy.load"),
)
REFUSALS = (TokenRefused, CardError, NoSuchPolicy)  # what a check may come to


@dataclass(frozen=True, slots=True)
class LoaderSettings:
    """Where everything is, and how long to wait for the child."""

    schedulers: Path
    enrolled: Path
    tokens: Path
    public_key: Path
    settle_s: float = 0.3
    argv: tuple[str, ...] = CHILD_ARGV
    socket: Path | None = None  # where systemd starts the child instead
    sched_ext: Path = ROOT
    attach_timeout_s: float = 60.0
    status_timeout_s: float = 5.0
    switch_timeout_s: float = 5.0
    detach_timeout_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Attached:
    """What the child says once its policy has settled."""

    ops: str
    enable_seq: int
    load_ms: float
    attach_ms: float


class Child(child.Running, Protocol):
    """A process that holds a policy; ``asyncio.subprocess.Process`` is one of our own."""

    stdin: StreamWriter | None
    stdout: StreamReader | None


class Served:
    """A process that systemd has started for our connection to a socket, and that ends with it."""

    returncode: int | None = None  # nobody tells us

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.stdout: StreamReader | None = reader
        self.stdin: StreamWriter | None = writer
        self._writer = writer

    def kill(self) -> None:
        """Hang up."""
        self._writer.transport.abort()

    async def wait(self) -> int:
        """Hang up, for it has; that its policy is gone is for the kernel to tell."""
        self.kill()
        with suppress(OSError):  # it was faster
            await self._writer.wait_closed()
        return 0


class Loader:
    """One attached policy, which lives as long as its child does."""

    def __init__(
        self, settings: LoaderSettings, policy: str, process: Child, attached: Attached
    ) -> None:
        self.attached = attached
        self._settings = settings
        self._policy = policy
        self._process = process
        self._last = LoaderStatus(None)
        self._failure: Failure | None = None  # why it could not be resumed
        # The answer that is waited for, and the number of the update that it is to.
        self._wanted: tuple[str, int] = ("", 0)
        self._answer: asyncio.Future[Fields] | None = None
        self._asking = asyncio.Lock()
        self._updates = 0  # of live maps so far
        self._listener = asyncio.create_task(self._listen(), name=f"loader of {policy}")

    @classmethod
    async def attach(
        cls,
        settings: LoaderSettings,
        policy: str,
        parameters: Mapping[str, int],
        object_sha256: str = "",
    ) -> Self:
        """Attach a policy and return when it has settled; any error of the tree for it if not.

        With ``object_sha256`` that very object is meant, and none that was installed since.
        """
        process = await _start(settings, policy)
        async with _kept(process, policy):
            request = _request(settings, policy, parameters, object_sha256)
            fields = await _answer(settings, process, request)
            if failure := _failure(fields):
                raise failure.to_error(policy)
            attached = _attached(fields, EventName.ATTACHED)
        return cls(settings, policy, process, attached)

    async def status(self) -> LoaderStatus:
        """The counters now, and the exit record if the policy is out; LoaderLost on silence."""
        fields = await self._ask(Command.STATUS, EventName.STATUS, self._settings.status_timeout_s)
        return self._final() if fields is None else messages.decode_status(fields)

    async def suspend(self) -> LoaderStatus:
        """Let the kernel default have a turn, with the policy kept loaded; Ejected, LoaderLost."""
        wait_s = self._settings.switch_timeout_s
        fields = await self._ask(Command.SUSPEND, EventName.SUSPENDED, wait_s)
        if fields is None:
            raise self._ended_error()
        return messages.decode_status(fields)

    async def resume(self) -> Attached:
        """Attach the loaded policy again; raises what attaching does."""
        wait_s = self._settings.switch_timeout_s
        fields = await self._ask(Command.RESUME, EventName.RESUMED, wait_s)
        if fields is None:
            raise self._ended_error()
        async with _kept(self._process, self._policy):
            return _attached(fields, EventName.RESUMED)

    async def update_map(
        self, name: str, updates: Mapping[bytes, bytes], deletions: Collection[bytes] = ()
    ) -> None:
        """Change entries of a map that the card declares, at most 4096 at once; keys deleted first.

        The map keeps them while the policy is suspended. Raises MapRefused, and what ``suspend``
        does when the policy is out.
        """
        if len(updates) + len(deletions) > ENTRIES_AT_ONCE:
            raise MapRefused(self._policy, name, f"more than {ENTRIES_AT_ONCE} entries at once")
        self._updates += 1
        line = messages.encode_update(MapUpdate(name, updates, deletions, self._updates))
        if len(line) > messages.REQUEST_LIMIT:
            raise MapRefused(self._policy, name, "the entries are too large")
        wait_s = self._settings.status_timeout_s
        fields = await self._ask(line, EventName.UPDATED, wait_s, self._updates)
        if fields is None:
            raise self._ended_error()
        if refused := fields.text("refused"):
            raise MapRefused(self._policy, name, refused)

    async def _ask(
        self, command: Command | bytes, wanted: EventName, wait_s: float, number: int = 0
    ) -> Fields | None:
        """The answer to a command, None when the child ended instead; LoaderLost on silence."""
        async with self._asking:
            if self._listener.done():
                return None
            self._answer = asyncio.get_running_loop().create_future()
            self._wanted = wanted, number
            self._send(command)
            await asyncio.wait(
                (self._answer, self._listener), timeout=wait_s, return_when=asyncio.FIRST_COMPLETED
            )
            if self._answer.done():
                return self._answer.result()
            if not self._listener.done():
                await _kill(self._process)
                raise LoaderLost(self._policy, "it stopped answering and was killed")
            return None

    def _final(self) -> LoaderStatus:
        if self._last.exit is None:
            raise self._ended_error()
        return self._last

    def _ended_error(self) -> SchedcpError:
        """Why there is nothing to speak with any more."""
        if self._failure is not None:
            return self._failure.to_error(self._policy)
        if self._last.exit is not None:
            record = self._last.exit
            return Ejected(self._policy, record.kind, record.message or record.reason, record)
        status = self._process.returncode
        how = "it hung up" if status is None else f"it died with status {status}"
        return LoaderLost(self._policy, how)

    async def detach(self) -> LoaderStatus:
        """Take the policy out, by killing the child if it has to be; the last status there was."""
        self._send(Command.DETACH)
        await asyncio.wait((self._listener,), timeout=self._settings.detach_timeout_s)
        await _kill(self._process)
        return await asyncio.shield(self._listener)

    async def ended(self) -> LoaderStatus:
        """Wait until the child is gone; ``exit`` is None when it died without a word."""
        return await asyncio.shield(self._listener)

    def _send(self, command: Command | bytes) -> None:
        line = command if isinstance(command, bytes) else messages.encode({"command": command})
        if self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(line)

    async def _listen(self) -> LoaderStatus:
        """Take in events until the child is gone; then the last status."""
        try:
            while (fields := await _next_event(self._process)) is not None:
                self._take(fields)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.detach_timeout_s):
                    await self._process.wait()
        except BadField:
            # Whatever it is, it is not our child any more: the policy leaves with it.
            pass
        await _kill(self._process)
        return self._last

    def _take(self, fields: Fields) -> None:
        event, number = fields.text("event"), 0
        match event:
            case EventName.STATUS | EventName.SUSPENDED | EventName.EJECTED | EventName.DETACHED:
                self._last = messages.decode_status(fields)
            case EventName.FAILED:
                self._failure = messages.decode_failure(fields)
                self._last = LoaderStatus(self._failure.exit, self._last.counters)
            case EventName.RESUMED:
                pass
            case EventName.UPDATED:
                fields.text("refused")
                number = fields.integer("number", 0)
            case _:
                raise BadField(f"unexpected event {event[:40]!r}")
        if (event, number) == self._wanted and self._answer is not None and not self._answer.done():
            self._answer.set_result(fields)


class Checker:
    """Asks one child whether the loader would take this policy, and that one, while it lives.

    Nothing is attached on the strength of an answer: what attaches a policy checks it again, in a
    child that has seen no other.
    """

    def __init__(self, settings: LoaderSettings) -> None:
        self._settings = settings
        self._process: Child | None = None  # which has answered every question so far

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None:
            await _kill(self._process)

    async def check(self, policy: str) -> str:
        """Until when the loader would take a policy, as ``valid until …``; raises one of REFUSALS.

        A child may have been lost through a policy that it checked before: only one that has
        checked no other is believed to be lost through this one, and LoaderLost raised.
        """
        if self._process is not None:
            with suppress(LoaderLost):
                return await self._ask(policy)
        return await self._ask(policy)

    async def _ask(self, policy: str) -> str:
        process, self._process = self._process, None
        process = process or await _start(self._settings, policy)
        async with _kept(process, policy):
            request = _request(self._settings, policy, {}, check_only=True)
            fields = await _answer(self._settings, process, request)
            verdict = _verdict(fields, policy)
        self._process = process
        if isinstance(verdict, SchedcpError):
            raise verdict
        return verdict


@asynccontextmanager
async def _kept(process: Child, policy: str) -> AsyncIterator[None]:
    """Kill the child if what is done with it fails; LoaderLost when it made no sense."""
    try:
        yield
    except BadField as exc:
        await _kill(process)
        raise LoaderLost(policy, f"it said nonsense: {exc}") from exc
    except BaseException:
        # Also when the caller is cancelled: nobody would hold the child any more.
        await _kill(process)
        raise


def _request(
    settings: LoaderSettings,
    policy: str,
    parameters: Mapping[str, int],
    object_sha256: str = "",
    *,
    check_only: bool = False,
) -> Request:
    return Request(
        policy=policy,
        schedulers=settings.schedulers,
        enrolled=settings.enrolled,
        tokens=settings.tokens,
        public_key=settings.public_key,
        parameters=parameters,
        settle_s=settings.settle_s,
        check_only=check_only,
        sched_ext=settings.sched_ext,
        object_sha256=object_sha256,
    )


async def _start(settings: LoaderSettings, policy: str) -> Child:
    try:
        return await _child(settings)
    except OSError as exc:
        place = f"{settings.socket}: " if settings.socket is not None else ""
        raise LoaderLost(policy, f"it could not be started: {place}{exc}") from exc


async def _child(settings: LoaderSettings) -> Child:
    limit = messages.LINE_LIMIT
    if settings.socket is not None:
        return Served(*await asyncio.open_unix_connection(str(settings.socket), limit=limit))
    return await asyncio.create_subprocess_exec(
        *settings.argv, stdin=PIPE, stdout=PIPE, env=child.ENVIRONMENT, limit=limit
    )


async def _answer(settings: LoaderSettings, process: Child, request: Request) -> Fields:
    """What came of a request: ``admissible``, ``attached`` or ``failed``; LoaderLost, BadField."""
    policy = request.policy
    if process.stdin is not None:
        process.stdin.write(messages.encode_request(request))
    try:
        async with asyncio.timeout(settings.attach_timeout_s):
            fields = await _next_event(process)
            code = await process.wait() if fields is None else 0
    except TimeoutError as exc:
        raise LoaderLost(policy, f"it said nothing in {settings.attach_timeout_s:g} s") from exc
    if fields is None:
        status = f" with status {code}" if code else ""
        done = "checked" if request.check_only else "attached"
        raise LoaderLost(policy, f"it ended{status} before the policy was {done}")
    return fields


def _failure(fields: Fields) -> Failure | None:
    """Why the child could not do what it was asked to, if that is what it says."""
    failed = fields.text("event") == EventName.FAILED
    return messages.decode_failure(fields) if failed else None


def _verdict(fields: Fields, policy: str) -> str | SchedcpError:
    """What a check came to: until when the policy would be taken, or why it would not; BadField."""
    if failure := _failure(fields):
        error = failure.to_error(policy)
        if not isinstance(error, REFUSALS):
            raise BadField(f"no check fails with {failure.error[:40]!r}")
        return error
    if fields.text("event") != EventName.ADMISSIBLE:
        raise BadField("it did not say whether the policy is admissible")
    return fields.text("token", 200)


async def _next_event(process: Child) -> Fields | None:
    """The next event, or None when the child has closed its end; BadField when it is none."""
    if process.stdout is None:
        return None
    try:
        line = await process.stdout.readline()
    except ConnectionError:
        return None
    except ValueError as exc:
        raise BadField(f"a line is longer than {messages.LINE_LIMIT} bytes") from exc
    return messages.decode(line) if line else None


def _attached(fields: Fields, event: EventName) -> Attached:
    if fields.text("event") != event:
        raise BadField("it did not say that the policy is attached")
    return Attached(
        ops=fields.text("ops", 128),
        enable_seq=fields.integer("enable_seq", 0),
        load_ms=fields.number("load_ms"),
        attach_ms=fields.number("attach_ms"),
    )


async def _kill(process: Child) -> None:
    """Kill the child if it still lives, and wait until it is gone, and its policy with it."""
    await child.kill(process)
    if process.stdin is not None:
        process.stdin.close()
