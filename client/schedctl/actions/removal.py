# SPDX-License-Identifier: GPL-2.0-or-later
"""``schedctl revoke`` and ``schedctl withdraw``: policies that must not be attached any more."""

from __future__ import annotations

import re
from argparse import Namespace

from schedclient.choose import find_policy
from schedclient.exit import ExitCode
from schedctl.context import Context

DIGEST = re.compile(r"[0-9a-f]{64}")


async def revoke(context: Context, arguments: Namespace) -> ExitCode:
    """Have a policy's object signed no more, or undo that."""
    if arguments.undo:
        return await reinstate(context, arguments.policy)
    async with context.daemon() as daemon:
        policy = find_policy(await daemon.policies(), arguments.policy)
        await daemon.verb("Revoke", "s", policy.name)
    return conclude(
        context,
        policy.name,
        policy.sha256,
        f"{policy.name} is revoked and cannot be attached; "
        f"'schedctl revoke --undo {policy.name}' takes that back.",
    )


async def reinstate(context: Context, wanted: str) -> ExitCode:
    """Undo a revocation; an object whose policy is not installed is given by its digest."""
    async with context.daemon() as daemon:
        name, digest = "", wanted
        if not DIGEST.fullmatch(wanted):
            policy = find_policy(await daemon.policies(), wanted)
            name, digest = policy.name, policy.sha256
        await daemon.verb("Reinstate", "s", digest)
    next_step = f"; 'schedctl verify {name}' gives it its token." if name else "."
    words = f"{name or 'The object'} is not revoked any more{next_step}"
    return conclude(context, name, digest, words)


async def withdraw(context: Context, arguments: Namespace) -> ExitCode:
    """Remove an enrolled policy."""
    async with context.daemon() as daemon:
        policy = find_policy(await daemon.policies(), arguments.policy)
        await daemon.verb("Withdraw", "s", policy.name)
    words = f"{policy.name} is withdrawn: it is not in the repository any more."
    return conclude(context, policy.name, policy.sha256, words)


def conclude(context: Context, policy: str, digest: str, words: str) -> ExitCode:
    """Say what was done."""
    if context.json:
        context.report.json({"policy": policy, "object_sha256": digest})
    else:
        context.report.line(words)
    return ExitCode.OK
