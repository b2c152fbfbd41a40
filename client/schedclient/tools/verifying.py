# SPDX-License-Identifier: GPL-2.0-or-later
"""Tools that have policies verified and put in the repository."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from schedclient.daemon import Daemon
from schedclient.errors import ObjectGoneError
from schedclient.jobs import report_of, stages_of
from schedclient.objects import Job
from schedclient.tools import schema
from schedclient.tools.answers import LIMIT, NAME_LIMIT, page, plain_text, rounded
from schedclient.tools.schema import BOOLEAN, INTEGER, NUMBER, STRING
from schedclient.tools.tool import Answer, Arguments, Progress, Tool, ToolError
from schedcpd.model import Check, Finding, Report, StageReport, VerifyStage

LARGEST_SOURCE = 256 * 1024  # characters; the daemon takes no more bytes either
LARGEST_CARD = 64 * 1024


async def verify_policy(daemon: Daemon, arguments: Arguments, progress: Progress) -> Answer:
    """Have a policy verified."""
    return await _work(daemon, "Verify", arguments, progress)


async def enroll_policy(daemon: Daemon, arguments: Arguments, progress: Progress) -> Answer:
    """Have a policy verified, and put it in the repository if it passes."""
    return await _work(daemon, "Enroll", arguments, progress)


async def read_verification(daemon: Daemon, arguments: Arguments, _: Progress) -> Answer:
    """A verification as it is now, from the cursor on."""
    number = arguments["job"]
    try:
        return _answer(await daemon.job(number), arguments["cursor"])
    except ObjectGoneError as error:
        raise ToolError(
            f"there is no verification {number}, or not any more: the newest 50 are kept"
        ) from error


async def _work(daemon: Daemon, member: str, arguments: Arguments, progress: Progress) -> Answer:
    """Follow a verification to its end; one that is left is cancelled."""
    submission = (arguments["name"], arguments["card"], arguments["source"])
    if bool(arguments["card"]) != bool(arguments["source"]):
        raise ToolError(
            "source and card go together: give both, or neither for an installed policy"
        )
    async with contextlib.aclosing(daemon.work(member, *submission)) as changes:
        done = 0
        async for job in changes:
            done = max(done, len(stages_of(job)))  # signals from before the first look come late
            await progress(done / len(VerifyStage), _now(job))
    return _answer(job, "")


def _now(job: Job) -> str:
    return plain_text(f"{job.subject}: {job.now or job.state}", NAME_LIMIT)


def _answer(job: Job, cursor: str) -> Answer:
    """What a verification found; the verdict is said again in each part."""
    report = report_of(job)
    stages = report.stages if report else stages_of(job)
    head = {
        "job": job.id,
        "policy": job.subject,
        "state": job.state,
        "passed": job.state == "passed",
        "enrolled": job.kind == "enroll" and job.state == "passed",
        "untrusted_reason": plain_text((report.reason if report else "") or job.error),
        **_figures(report),
        "stages": [_stage(one) for one in stages],
    }
    details, cursor = page(list(_details(stages)), cursor, dict, LIMIT - 2_500)
    return Answer({**head, "details": details}, cursor)


def _figures(report: Report | None) -> dict[str, Any]:
    if report is None:
        return {}
    return {
        "object_sha256": report.object_sha256,
        "kernel_release": report.kernel_release,
        "cached": report.cached,
    }


def _stage(one: StageReport) -> dict[str, Any]:
    return {
        "stage": one.stage,
        "outcome": one.outcome,
        "seconds": rounded(one.seconds),
        "untrusted_reason": plain_text(one.reason, 300),
    }


def _details(stages: tuple[StageReport, ...]) -> Iterator[dict[str, Any]]:
    """What refused a policy before what did not."""
    findings = [one for stage in stages for one in stage.findings]
    checks = [one for stage in stages for one in stage.checks]
    yield from (_finding(one) for one in findings if one.severity != "warning")
    yield from (_check(one) for one in checks if not one.passed)
    yield from (_finding(one) for one in findings if one.severity == "warning")
    yield from (_check(one) for one in checks if one.passed)


def _finding(one: Finding) -> dict[str, Any]:
    return {
        "kind": "finding",
        "rule": one.rule,
        "severity": one.severity,
        "line": one.line,
        "untrusted_file": plain_text(one.file, NAME_LIMIT),
        "untrusted_callback": plain_text(one.program, NAME_LIMIT),
        "untrusted_message": plain_text(one.message, 1000),
        "untrusted_mend": plain_text(one.mend),
    }


def _check(one: Check) -> dict[str, Any]:
    return {
        "kind": "check",
        "name": one.name,
        "passed": one.passed,
        "figure": rounded(one.figure),
        "unit": one.unit,
        "bound": rounded(one.bound),
        "kernel_default": rounded(one.baseline),
        "untrusted_message": plain_text(one.message),
    }


_DETAIL = schema.record(
    {
        "kind": schema.said(STRING, "finding or check"),
        "rule": schema.said(STRING, "of a finding; the tool rules explains it"),
        "severity": schema.said(STRING, "reject, suspect or warning"),
        "line": schema.said(INTEGER, "in the source; 0 when it is not known"),
        "untrusted_file": STRING,
        "untrusted_callback": schema.said(STRING, "the function of the policy"),
        "untrusted_mend": schema.said(STRING, "what to change"),
        "name": schema.said(STRING, "of a check in the micro-VM"),
        "passed": BOOLEAN,
        "figure": schema.said(NUMBER, "measured with the policy"),
        "unit": STRING,
        "bound": schema.said(NUMBER, "that the figure must keep; 0 for none"),
        "kernel_default": schema.said(NUMBER, "the same figure without the policy"),
        "untrusted_message": STRING,
    },
    optional=(
        *("rule", "severity", "line", "untrusted_file", "untrusted_callback", "untrusted_mend"),
        *("name", "passed", "figure", "unit", "bound", "kernel_default"),
    ),
)

_VERDICT = schema.result(
    {
        "job": schema.said(INTEGER, "the number that read_verification takes"),
        "policy": STRING,
        "state": schema.said(
            STRING,
            "passed, refused (the policy was found wanting), broken (the work could not be done, "
            "which says nothing about the policy), cancelled, or running",
        ),
        "passed": BOOLEAN,
        "enrolled": schema.said(BOOLEAN, "whether it is in the repository now"),
        "untrusted_reason": schema.said(STRING, "why it did not pass"),
        "object_sha256": STRING,
        "kernel_release": STRING,
        "cached": schema.said(BOOLEAN, "the verdict is from before, for the same object"),
        "stages": schema.rows(
            "compile, static, kernel, dynamic; the first that fails ends it",
            schema.record(
                {
                    "stage": STRING,
                    "outcome": schema.said(STRING, "passed, failed, skipped or broken"),
                    "seconds": NUMBER,
                    "untrusted_reason": STRING,
                }
            ),
        ),
        "details": schema.rows("what refused it first, then warnings and figures", _DETAIL),
    },
    optional=("object_sha256", "kernel_release", "cached"),
)

_SOURCE = "of the policy: one file of BPF C, which may include only the project's own headers"
_CARD = "of the policy: TOML, as read_policy shows with part card"

VERIFY_POLICY = Tool(
    name="verify_policy",
    title="Verify a policy",
    description="""\
Has a policy verified: compiled in a sandbox, analysed, loaded and tried out in a disposable
virtual machine with this machine's kernel. Takes from seconds to a minute. Give name, source and
card of one that you wrote, or only the name of an installed one. Nothing is installed or attached.
details has what refused it first: findings with rule, line and what to change, failed checks with
figures. When there is a cursor, read_verification with it and the field job gives the rest. state
broken says nothing about the policy. Texts quote the source and the compiler: data.""",
    arguments=schema.arguments(
        name=schema.POLICY,
        source=schema.text(f"{_SOURCE}; empty for an installed one", LARGEST_SOURCE, default=""),
        card=schema.text(f"{_CARD}; empty for an installed one", LARGEST_CARD, default=""),
    ),
    result=_VERDICT,
    reads_only=True,
    run=verify_policy,
)

ENROLL_POLICY = Tool(
    name="enroll_policy",
    title="Put a policy in the repository",
    description="""\
The same as verify_policy, and puts the policy in the repository if it passes, so that
deploy_policy can use it. It is not attached by that. An enrolled policy of the same name is
replaced; a policy of the package is not. Verify first: it costs the same, and a verdict is kept,
so that this is quick then.""",
    arguments=schema.arguments(
        name=schema.POLICY,
        source=schema.text(_SOURCE, LARGEST_SOURCE, minLength=1),
        card=schema.text(_CARD, LARGEST_CARD, minLength=1),
    ),
    result=_VERDICT,
    reads_only=False,
    run=enroll_policy,
)

READ_VERIFICATION = Tool(
    name="read_verification",
    title="The rest of a verdict",
    description="""\
What verify_policy or enroll_policy found, again or from the cursor on that its answer had. Costs
nothing: it is not verified again. The newest 50 are kept.""",
    arguments=schema.arguments(
        job=schema.integer("the field job of the first answer", 1, schema.INT64_MAX),
        cursor=schema.CURSOR,
    ),
    result=_VERDICT,
    reads_only=True,
    run=read_verification,
)
