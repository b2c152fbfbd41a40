# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon as a run's tools see it, with what a test wants to be on the machine.

It keeps the daemon's rules that the agent's promises lean on: only what was enrolled or came with
the package is deployed, and only what the verifier passed is enrolled.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from integration import samples
from schedclient import names
from schedclient.daemon import Daemon
from schedclient.errors import ClientError, ObjectGoneError
from schedclient.exit import ExitCode
from schedclient.objects import (
    Candidate,
    Deployment,
    Hit,
    Job,
    Machine,
    Policy,
    Quarantine,
    Rule,
    Workload,
)
from schedcpd.model import Finding, Report, Severity, StageOutcome, StageReport, VerifyStage
from schedcpd.reports import encode_report

NUMBER = 4242
UNIT = "build.service"
PATH = names.workload_path(NUMBER)
SOUND = "scx_bpf_dsq_insert("  # what the source of a sound policy has

FIGURES = {
    "taken_at": samples.NOW,
    "window_s": 0.3,
    "processes": 40,
    "threads": 40,
    "runnable": 39.5,
    "cpus_used": 1.98,
    "throttled_s": 0.0,
    "pressure_some": 0.97,
    "youngest_s": 1.5,
    "oldest_s": 41.0,
    "workers": 39.0,
    "work": "batch",
}


class StandIn(Daemon):
    """One workload on a machine with three packaged policies."""

    def __init__(self) -> None:
        self.unit = UNIT
        self.programs: list[list[Any]] = [["xz", 39], ["make", 1]]
        self.arguments = ["xz -9 a.tar", "make -j40"]
        self.files: dict[str, str] = {"Makefile": "all:\n\txz -9 a.tar\n"}
        self.memory: dict[str, str] = {"scx_batch": samples.SOURCE}
        self.hits: list[list[Any]] = [
            ["policy", "scx_batch", 0.9, "runs to completion", "for many short processes"]
        ]
        self.past: list[dict[str, Any]] = []
        self.reasons = ["built-in planner: no installed policy promises a gain"]
        self.finding = "a path through enqueue queues the task nowhere"
        self.installed = {"scx_batch", "scx_fair", "scx_latency"}
        self.canaries: list[tuple[float, float, float]] = [(0.31, 0.22, 0.4)]
        self.verbs: list[tuple[str, tuple[Any, ...]]] = []
        self.had = 0.0  # what the policy that is attached gains
        self.tried: dict[int, Deployment] = {}
        self.refusal: ClientError | None = None
        self.state = "left-alone"
        self.away = False

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Daemon]:
        """As schedclient.daemon.connected gives it."""
        if self.away:
            raise ClientError("schedcpd is not running", ExitCode.NOT_RUNNING)
        yield self

    def did(self, member: str) -> list[tuple[Any, ...]]:
        """With what a method was called."""
        return [arguments for name, arguments in self.verbs if name == member]

    # What is read

    async def machine(self) -> Machine:
        return Machine(
            version="1",
            kernel_release="7.3.4",
            mode="auto",
            safe="",
            sched_ext_state="disabled",
            kernel_policy="",
            owner="kernel-default",
            unusable="",
            enable_seq=3,
            active_deployment="/",
            last_deployment="/",
            workloads={"left-alone": 1},
            cpus=2,
            holds=(),
        )

    async def workloads(self) -> tuple[Workload, ...]:
        return (await self.workload(PATH),)

    async def workload(self, path: str) -> Workload:
        if path != PATH:
            raise ObjectGoneError("it has just ended")
        return Workload(
            id=f"/system.slice/{self.unit}",
            cgroup_id=NUMBER,
            unit=self.unit,
            kind="service",
            state=self.state,
            appeared_at=samples.NOW - 42,
            sentence="40 processes of xz compete for 2 CPUs.",
            profile={**FIGURES, "programs": self.programs, "arguments": self.arguments},
            advice="",
            objective="none",
            reason=self.reasons[0],
            candidates=(Candidate("scx_batch", 0.02, "its card", "too little"),),
            identity=f"unit:{self.unit}",
        )

    async def policies(self) -> tuple[Policy, ...]:
        return ()

    async def quarantines(self) -> tuple[Quarantine, ...]:
        return ()

    async def rules(self) -> tuple[Rule, ...]:
        return tuple(
            Rule(one.id, str(one.severity), one.title, one.catches, one.why, one.example, one.mend)
            for one in samples.RULES
        )

    async def why(self, workload: str) -> tuple[str, ...]:
        return tuple(self.reasons)

    async def deployment(self, path: str) -> Deployment:
        try:
            return self.tried[int(path.rpartition("/")[2])]
        except KeyError as error:
            raise ObjectGoneError("it is not there") from error

    async def past_deployment(self, ident: int) -> Deployment:
        raise ClientError(f"there is no deployment {ident}", ExitCode.NOT_FOUND)

    async def deployment_changes(self, number: int) -> AsyncGenerator[Deployment, None]:
        yield await self.deployment(f"/{number}")

    # What is done

    def _done(self, member: str, *given: Any) -> None:
        self.verbs.append((member, given))

    async def profile(self, workload: str, tier: str) -> dict[str, Any]:
        self._done("Profile", workload, tier)
        return {**FIGURES, "programs": self.programs, "arguments": self.arguments}

    async def read_file(
        self, workload: str, path: str, offset: int, length: int
    ) -> tuple[str, int]:
        self._done("ReadFile", workload, path, offset, length)
        if path not in self.files:
            raise ClientError(f"{path} cannot be read")
        return self.files[path][offset : offset + length], len(self.files[path])

    async def search(self, query: str, kind: str, limit: int) -> tuple[Hit, ...]:
        self._done("Search", query, kind, limit)
        return tuple(Hit(*one) for one in self.hits if kind in ("", one[0]))

    async def read(self, kind: str, name: str, part: str, offset: int) -> tuple[str, int]:
        self._done("Read", kind, name, part, offset)
        text = self.memory.get(name)
        if text is None:
            raise ClientError(f"there is nothing named {name}", ExitCode.NOT_FOUND)
        return text[offset : offset + 16_000], len(text)

    async def outcomes(
        self, workload: str, policy: str, count: int
    ) -> tuple[Mapping[str, Any], ...]:
        self._done("Outcomes", workload, policy, count)
        return tuple(self.past)

    async def annotate(self, kind: str, name: str, note: str) -> int:
        self._done("Annotate", kind, name, note)
        return 1

    async def verb(self, member: str, signature: str = "", *arguments: Any) -> Any:
        self._done(member, *arguments)
        raise ClientError(f"schedcpd does not know {member}")

    async def propose(
        self,
        workload: str,
        policy: str,
        parameters: Mapping[str, int],
        objective: str,
        reason: str,
    ) -> str:
        self._done("Propose", workload, policy, dict(parameters), objective, reason)
        if self.refusal is not None:
            raise self.refusal
        if workload != PATH or policy not in self.installed:
            raise ClientError(f"there is no policy {policy!r}", ExitCode.NOT_FOUND)
        effect, low, high = self.canaries.pop(0) if len(self.canaries) > 1 else self.canaries[0]
        won = low > max(0.03, self.had)
        self.had = effect if won else self.had
        number = len(self.tried) + 1
        self.tried[number] = Deployment(
            id=number,
            workload=PATH,
            workload_id=f"/system.slice/{self.unit}",
            policy=policy,
            origin="agent",
            state="attached" if won else "reverted",
            started_at=samples.NOW,
            ended_at=0.0 if won else samples.NOW + 20,
            attach_ms=30.0,
            exit_kind=0,
            exit_code=0,
            exit_reason="",
            exit_message="",
            exit_cause="",
            error="",
            counters={},
            reason="",
            object_sha256="ab" * 32,
            canary={
                "metric": "completions",
                "pairs": 6,
                "effect": effect,
                "low": low,
                "high": high,
                "decision": "promote" if won else "no-gain",
                "reason": "six pairs",
            },
            revert_ms=0.0,
        )
        return f"{names.ROOT_PATH}/deployment/{number}"

    async def work(self, member: str, *arguments: str) -> AsyncGenerator[Job, None]:
        self.verbs.append((member, arguments))
        name, _, source = arguments
        report = self.judged(source)
        if report.passed and member == "Enroll":
            self.installed.add(name)
        yield Job(
            id=len(self.verbs),
            kind="enroll" if member == "Enroll" else "verify",
            subject=name,
            state="passed" if report.passed else "refused",
            now="",
            stages="[]",
            report=json.dumps(encode_report(report)),
            error="",
            started_at=samples.NOW,
            ended_at=samples.NOW + 21,
        )

    def judged(self, source: str) -> Report:
        """What the verifier would say."""
        if SOUND in source:
            return samples.report()
        lost = Finding(
            *("SCX101", Severity.REJECT, self.finding, "end each path with scx_bpf_dsq_insert"),
            *("enqueue", "scx_mine.bpf.c", 57),
        )
        refused = StageReport(
            VerifyStage.STATIC, StageOutcome.FAILED, 0.3, f"SCX101: {self.finding}", (lost,)
        )
        return samples.report(samples.COMPILED, refused)
