# SPDX-License-Identifier: GPL-2.0-or-later
"""The tool that lists the installed policies."""

from __future__ import annotations

from typing import Any

from schedclient.choose import find_policy
from schedclient.daemon import Daemon
from schedclient.objects import Policy, Tunable
from schedclient.tools import schema
from schedclient.tools.answers import LIMIT, NAME_LIMIT, fitted, page, plain_text
from schedclient.tools.schema import BOOLEAN, INTEGER, STRING, STRINGS, TABLE
from schedclient.tools.tool import Answer, Arguments, Progress, Tool


async def list_policies(daemon: Daemon, arguments: Arguments, _: Progress) -> Answer:
    """The installed policies, or one of them."""
    policies = await daemon.policies()
    if arguments["name"]:
        policies = (find_policy(policies, arguments["name"]),)
    rows, cursor = page(policies, arguments["cursor"], _policy)
    return Answer({"policies": rows}, cursor)


def _policy(one: Policy) -> dict[str, Any]:
    card = {"title": one.title, "summary": one.summary, "suits": one.suits, "fails": one.fails}
    return {
        "name": one.name,
        "version": plain_text(one.version, NAME_LIMIT),
        "kind": one.kind,
        "usable": one.admissible,
        "whole_machine": not one.targeted,
        "enrolled": one.enrolled,
        "min_kernel": plain_text(one.min_kernel, NAME_LIMIT),
        "token": plain_text(one.token, NAME_LIMIT),
        "ignores": fitted(one.ignores, NAME_LIMIT),
        "tunables": [_tunable(tunable) for tunable in one.tunables if not tunable.role],
        "untrusted_card": fitted(card, LIMIT // 4),
    }


def _tunable(one: Tunable) -> dict[str, Any]:
    return {
        "name": plain_text(one.name, NAME_LIMIT),
        "unit": plain_text(one.unit, NAME_LIMIT),
        "default": int(one.default),
        "minimum": int(one.minimum),
        "maximum": int(one.maximum),
        "untrusted_description": plain_text(one.description, NAME_LIMIT),
    }


LIST_POLICIES = Tool(
    name="list_policies",
    title="The installed policies",
    description="""\
The installed policies: what each suits and where it fails, and the tunables that deploy_policy
takes, with unit, default and range. Cheap. usable: it has a valid token and can be attached on this
kernel; token says until when, or why not. ignores: promises of the kernel default that it does not
keep, as cpu.max: where such a limit is set, it cannot be attached. whole_machine: it schedules
everybody, not one workload alone. untrusted_card was written by the author of the policy.""",
    arguments=schema.arguments(
        name=schema.text("only this one; empty for all", 15, default=""), cursor=schema.CURSOR
    ),
    result=schema.result(
        {
            "policies": schema.rows(
                "by name",
                schema.record(
                    {
                        "name": STRING,
                        "version": STRING,
                        "kind": schema.said(
                            STRING, "bpf; or foreign, which only a person can attach"
                        ),
                        "usable": BOOLEAN,
                        "whole_machine": BOOLEAN,
                        "enrolled": schema.said(BOOLEAN, "a person or an agent put it there"),
                        "min_kernel": STRING,
                        "token": STRING,
                        "ignores": STRINGS,
                        "tunables": schema.rows(
                            "constants that may be set",
                            schema.record(
                                {
                                    "name": STRING,
                                    "unit": STRING,
                                    "default": INTEGER,
                                    "minimum": INTEGER,
                                    "maximum": INTEGER,
                                    "untrusted_description": STRING,
                                }
                            ),
                        ),
                        "untrusted_card": schema.said(TABLE, "title, summary, suits, fails"),
                    }
                ),
            )
        }
    ),
    reads_only=True,
    run=list_policies,
)
