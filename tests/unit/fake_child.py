# SPDX-License-Identifier: GPL-2.0-or-later
"""A loader's child without a kernel: the policy's name says how it behaves.

It also shows what it was asked, in the name of the ops that it claims to have attached.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

EXIT = {"kind": 1026, "code": 0, "reason": "stall", "message": "a[1] failed to run", "dump": "d"}
UNREG = {**EXIT, "kind": 64, "reason": "unregistered from user space", "message": "", "dump": ""}
FAILED = {"event": "failed", "stage": "load", "reason": "why", "log": "last words", "exit": None}


def say(**message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def refuse(policy: str) -> bool:
    """Whether the policy is one that is refused."""
    what, _, error = policy.partition(":")
    if what == "fail":
        say(**{**FAILED, "error": error, "exit": EXIT if error == "Ejected" else None})
    return what == "fail"


def behave_before(policy: str) -> None:
    """Never return, for the policies that the child is lost through."""
    if policy == "silent":
        time.sleep(60)
    elif policy == "garbage":
        sys.stdout.write("this is no JSON\n")
    elif policy == "long":
        sys.stdout.write("x" * 2_000_000 + "\n")
    elif policy == "incomplete":
        say(event="attached", ops="x")
    elif policy == "wrong-event":
        say(event="status", exit=None, counters={})
    elif policy != "dies":
        return
    sys.stdout.flush()
    sys.exit(7)


def switch(policy: str, command: str, counters: dict[str, int]) -> bool:
    """Suspend or resume; whether there is still something to serve."""
    if command == "suspend" and policy == "ejected-suspending":
        say(event="ejected", exit=EXIT, counters=counters)
        return False
    if command == "resume" and policy.startswith("fails-resuming:"):
        say(**{**FAILED, "error": policy.partition(":")[2], "stage": "attach"})
        return False
    if command == "resume" and policy == "resumes-badly":
        say(event="resumed", ops=policy)
    elif command == "resume":
        say(event="resumed", ops=policy, enable_seq=4, load_ms=12.5, attach_ms=30)
    else:
        say(event="suspended", exit=None, counters=counters)
    return True


def misbehave(policy: str, command: str) -> None:
    """Never return, for the policies that are there to do something else."""
    if policy == "deaf" or (policy, command) == ("stubborn", "detach"):
        time.sleep(60)
    elif policy == "closes":
        os.close(1)
        time.sleep(60)
    elif policy == "dies-asked":
        sys.exit(9)


def update(policy: str, request: dict[str, object], entries: dict[str, object]) -> None:
    """Take the entries of a map, or not; the answer shows what there is."""
    number = request["number"]
    if policy == "updates-badly":
        say(event="updated", number=number)
    elif request["map"] == policy:
        say(event="updated", number=number, refused="it is full")
    else:
        entries.update(request["updates"])  # type: ignore[call-overload]
        for key in request["deletions"]:  # type: ignore[attr-defined]
            entries.pop(key, None)
        shown = json.dumps(entries) if policy == "shows" else ""
        say(event="updated", number=number, refused=shown)


def serve(policy: str) -> None:
    counters, entries = {"nr_enqueued": 0}, dict[str, object]()
    for line in sys.stdin:
        counters["nr_enqueued"] += 1
        request = json.loads(line)
        command = request["command"]
        misbehave(policy, command)
        if policy == "nonsense":
            say(event="what")
        elif command == "update":
            update(policy, request, entries)
        elif command in ("suspend", "resume"):
            if not switch(policy, command, counters):
                return
        elif command == "detach":
            say(event="detached", exit=UNREG, counters=counters)
            return
        elif policy == "ejected":
            say(event="ejected", exit=EXIT, counters=counters)
            return
        else:
            say(event="status", exit=None, counters=counters)


def await_request() -> dict[str, str]:
    """The next request, if there is one."""
    line = sys.stdin.readline()
    return json.loads(line) if line else sys.exit()  # type: ignore[no-any-return]


def check(policy: str, number: int) -> None:
    if not refuse(policy):
        behave_before(policy)
        told = f"{os.getpid()} {number}" if policy == "counts" else "valid until tomorrow"
        say(event="admissible", token=told)
    if policy == "dies-later":
        sys.exit(7)


def main() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    request, number = await_request(), 0
    while request["check_only"]:
        number += 1
        check(request["policy"], number)
        request = await_request()
    policy = request["policy"]
    if refuse(policy):
        return
    behave_before(policy)
    ops = {"echo": json.dumps(request), "echo-digest": request["object_sha256"]}.get(policy, policy)
    say(event="attached", ops=ops[:128], enable_seq=3, load_ms=12.5, attach_ms=40)
    if policy == "ejected-soon":
        say(event="ejected", exit=EXIT, counters={"nr_enqueued": 4})
        return
    serve(policy)


main()
