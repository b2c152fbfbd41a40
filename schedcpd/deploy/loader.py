# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon's end of the loader: starts a child for one policy and speaks with it."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from schedcpd.deploy import messages
from schedcpd.deploy.messages import Command, EventName, Failure, LoaderStatus, Request
from schedcpd.errors import Ejected, LoaderLost, SchedcpError
from schedcpd.fields import BadField, Fields
from schedcpd.kernel.sched_ext import ROOT

# Real-time, so that it can still let go under a policy that starves everybody else, and without
# a capability but the two that it takes to load, attach and detach a policy.
CHILD_ARGV = (
    *("/usr/bin/chrt", "--reset-on-fork", "--fifo", "1"),
    *("/usr/bin/setpriv", "--no-new-privs", "--inh-caps=-all", "--ambient-caps=-all"),
    *("--bounding-set=-all,+bpf,+perfmon",),
    *("/usr/bin/python3", "-I", "-m", "schedcpd.deploy.load"),
)
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}


@dataclass(frozen=True, slots=True)
class LoaderSettings:
    """Where everything is, and how long to wait for the child."""

    schedulers: Path
    enrolled: Path
    tokens: Path
    public_key: Path
    settle_s: float = 0.3
    argv: tuple[str, ...] = CHILD_ARGV
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


class Loader:
    """One attached policy, which lives as long as its child does."""

    def __init__(
        self, settings: LoaderSettings, policy: str, process: Process, attached: Attached
    ) -> None:
        self.attached = attached
        self._settings = settings
        self._policy = policy
        self._process = process
        self._last = LoaderStatus(None)
        self._failure: Failure | None = None  # why it could not be resumed
        self._wanted: EventName | None = None  # the answer that is waited for
        self._answer: asyncio.Future[Fields] | None = None
        self._asking = asyncio.Lock()
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
        process = await _start(settings, policy, parameters, object_sha256)
        try:
            fields = await _first_event(settings, policy, process)
            attached = _attached(fields, EventName.ATTACHED)
        except BadField as exc:
            await _kill(process)
            raise LoaderLost(policy, f"it said nonsense: {exc}") from exc
        except BaseException:
            # Also when the caller is cancelled: nobody would hold the child any more.
            await _kill(process)
            raise
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
        try:
            return _attached(fields, EventName.RESUMED)
        except BadField as exc:
            await _kill(self._process)
            raise LoaderLost(self._policy, f"it said nonsense: {exc}") from exc

    async def _ask(self, command: Command, wanted: EventName, wait_s: float) -> Fields | None:
        """The answer to a command, None when the child ended instead; LoaderLost on silence."""
        async with self._asking:
            if self._listener.done():
                return None
            self._wanted, self._answer = wanted, asyncio.get_running_loop().create_future()
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
        return LoaderLost(self._policy, f"it died with status {self._process.returncode}")

    async def detach(self) -> LoaderStatus:
        """Take the policy out, by killing the child if it has to be; the last status there was."""
        self._send(Command.DETACH)
        await asyncio.wait((self._listener,), timeout=self._settings.detach_timeout_s)
        await _kill(self._process)
        return await asyncio.shield(self._listener)

    async def ended(self) -> LoaderStatus:
        """Wait until the child is gone; ``exit`` is None when it died without a word."""
        return await asyncio.shield(self._listener)

    def _send(self, command: Command) -> None:
        if self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(messages.encode({"command": command}))

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
        event = fields.text("event")
        match event:
            case EventName.STATUS | EventName.SUSPENDED | EventName.EJECTED | EventName.DETACHED:
                self._last = messages.decode_status(fields)
            case EventName.FAILED:
                self._failure = messages.decode_failure(fields)
                self._last = LoaderStatus(self._failure.exit, self._last.counters)
            case EventName.RESUMED:
                pass
            case _:
                raise BadField(f"unexpected event {event[:40]!r}")
        if event == self._wanted and self._answer is not None and not self._answer.done():
            self._answer.set_result(fields)


async def check(settings: LoaderSettings, policy: str) -> str:
    """Until when the loader would take a policy, as ``valid until …``; TokenRefused if never."""
    process = await _start(settings, policy, {}, check_only=True)
    try:
        return (await _first_event(settings, policy, process)).text("token", 200)
    except BadField as exc:
        raise LoaderLost(policy, f"it said nonsense: {exc}") from exc
    finally:
        await _kill(process)


async def _start(
    settings: LoaderSettings,
    policy: str,
    parameters: Mapping[str, int],
    object_sha256: str = "",
    *,
    check_only: bool = False,
) -> Process:
    request = Request(
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
    try:
        process = await asyncio.create_subprocess_exec(
            *settings.argv,
            stdin=PIPE,
            stdout=PIPE,
            env=ENVIRONMENT,
            limit=messages.LINE_LIMIT,
        )
    except OSError as exc:
        raise LoaderLost(policy, f"it could not be started: {exc}") from exc
    if process.stdin is not None:
        process.stdin.write(messages.encode_request(request))
    return process


async def _first_event(settings: LoaderSettings, policy: str, process: Process) -> Fields:
    """What came of the request: ``admissible`` or ``attached``; raises what ``failed`` carries."""
    try:
        async with asyncio.timeout(settings.attach_timeout_s):
            fields = await _next_event(process)
            code = await process.wait() if fields is None else 0
    except TimeoutError as exc:
        raise LoaderLost(policy, f"it said nothing in {settings.attach_timeout_s:g} s") from exc
    if fields is None:
        raise LoaderLost(policy, f"it ended with status {code} before the policy was attached")
    if fields.text("event") == EventName.FAILED:
        raise messages.decode_failure(fields).to_error(policy)
    return fields


async def _next_event(process: Process) -> Fields | None:
    """The next event, or None when the child has closed its end; BadField when it is none."""
    if process.stdout is None:
        return None
    try:
        line = await process.stdout.readline()
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


async def _kill(process: Process) -> None:
    """Kill the child if it still lives, and wait until it is gone, and its policy with it."""
    if process.returncode is None:
        with suppress(ProcessLookupError):  # it went between the look and the signal
            process.kill()
    await process.wait()
    if process.stdin is not None:
        process.stdin.close()
